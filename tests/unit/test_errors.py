import inspect
import pickle
import re

import pytest

import etlkit
import etlkit.errors
from etlkit import ApiError, CountMismatchError, EtlkitError, ImageError, RetryableError, RowError


def subclasses(cls):
    for child in cls.__subclasses__():
        if child.__module__.startswith("etlkit."):
            yield child
            yield from subclasses(child)


def test_the_tree_in_the_docstring_is_the_tree():
    """Every class is drawn, with its parent one step to the left, and nothing else is."""
    drawn = re.findall(
        r"^( *)(?:\| +)*\+- (\w+)|^(EtlkitError)$", etlkit.errors.__doc__, re.MULTILINE
    )
    names = {name or root for _, name, root in drawn}
    defined = {EtlkitError.__name__, *(c.__name__ for c in subclasses(EtlkitError))}
    assert names == {n for n in defined if n in vars(etlkit.errors)}


@pytest.mark.parametrize(
    "error",
    [
        RowError("bad", row_number=3, row_id="x", column="uri"),
        ImageError("bad image", code=3),
        RetryableError("slow down", retry_after_s=2.5),
        ApiError("no", service="vision", status=403, reason="denied"),
        CountMismatchError("off by one", read=2, staged=1),
    ],
)
def test_errors_survive_another_process(error):
    """Keyword values are kept when an error is pickled."""
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert {k: v for k, v in vars(copy).items() if k != "_values"} == {
        k: v for k, v in vars(error).items() if k != "_values"
    }


def test_a_row_error_names_row_and_column():
    """The message starts with where."""
    error = RowError("not a number", column="size").at_row(7, "abc")
    assert str(error) == "row 7 (id abc), column 'size': not a number"
    assert pickle.loads(pickle.dumps(error)).row_number == 7


def test_only_configuration_exits_with_2():
    """Exit status 2 means that nothing was tried."""
    codes = {c.__name__: c.exit_code for c in subclasses(EtlkitError)}
    assert {name for name, code in codes.items() if code == 2} == {"ConfigError"}
    assert set(codes.values()) == {1, 2}


def test_all_public_errors_are_exported():
    """Each error class can be imported from the package itself."""
    public = {n for n, v in vars(etlkit.errors).items() if inspect.isclass(v) and n[0] != "_"}
    public = {n for n in public if issubclass(getattr(etlkit.errors, n), EtlkitError)}
    assert public <= set(etlkit.__all__)

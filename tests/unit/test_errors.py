import inspect
import pickle
import re
from pathlib import Path

import pytest

import etlkit
import etlkit.errors
from etlkit import ApiError, CountMismatchError, EtlkitError, ImageError, RetryableError, RowError

PAGE = Path(etlkit.__file__).parents[1] / "docs" / "reference" / "errors.md"


def subclasses(cls):
    for child in cls.__subclasses__():
        if child.__module__.startswith("etlkit."):
            yield child
            yield from subclasses(child)


def drawn(text):
    """The first tree that a text draws, as child to parent."""
    tree, path = {}, [(-1, "EtlkitError")]
    for line in text.split("EtlkitError\n", 1)[1].splitlines():
        branch = re.match(r"([ |│]*)[+├└][-─]+ (\w+)", line)
        if branch is None:
            break
        depth, name = len(branch[1]), branch[2]
        while path[-1][0] >= depth:
            path.pop()
        tree[name] = path[-1][1]
        path.append((depth, name))
    return tree


@pytest.mark.parametrize(
    "text", [etlkit.errors.__doc__, PAGE.read_text(encoding="utf-8")], ids=["docstring", "page"]
)
def test_the_drawn_tree_is_the_tree(text):
    """Every class of the module is drawn once, below its base class, and nothing else is."""
    defined = [each for each in subclasses(EtlkitError) if each.__name__ in vars(etlkit.errors)]
    assert drawn(text) == {each.__name__: each.__base__.__name__ for each in defined}


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

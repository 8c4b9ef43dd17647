import pytest

from etlkit import EtlBase


def test_a_class_without_a_transform_is_refused_at_import():
    """Forgetting the transform is found when the class is defined, not at row one."""
    with pytest.raises(TypeError, match=r"transform_row.*transform_batch"):
        type("Etl", (EtlBase,), {"transform_rows": lambda self, row: row})


def test_an_abstract_base_of_ones_own_is_fine():
    """`abstract=True` lets a shared base stay without a transform, but not its children."""

    class Base(EtlBase, abstract=True):
        def helper(self):
            return 1

    with pytest.raises(TypeError, match="Child"):
        type("Child", (Base,), {})


@pytest.mark.parametrize("hook", ["transform_row", "transform_batch"])
def test_either_transform_is_enough(hook):
    """One of the two hooks makes a transform."""
    assert issubclass(type("Etl", (EtlBase,), {hook: lambda self, rows: rows}), EtlBase)


def test_a_constructor_without_super_works():
    """TROCCO's template has an `__init__` that does nothing; it stays valid."""

    class Etl(EtlBase):
        def __init__(self):
            pass

        def transform_row(self, row):
            return row

    etl = Etl()
    etl.before_action()
    assert etl.transform_row({"a": 1}) == {"a": 1}
    etl.after_action()
    assert (etl.max_concurrency, etl.columns, etl.output_schema) == (1, None, None)

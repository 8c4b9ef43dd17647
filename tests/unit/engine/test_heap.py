import gc

import pytest

from etlkit import EtlBase
from etlkit.engine.heap import settled_heap
from etlkit.testing import run_transform


@pytest.fixture(autouse=True)
def _thawed():
    """As a user's process begins; `tests/conftest.py` has frozen what was collected."""
    gc.unfreeze()
    yield
    gc.freeze()


class Looking(EtlBase):
    """Says whether objects are frozen while rows run."""

    def transform_row(self, row):
        return {"n": row["n"], "is_frozen": gc.get_freeze_count() > 0}


def test_objects_are_frozen_while_rows_run_and_not_afterwards():
    """Also if the run fails, and if one run is inside of another."""
    assert gc.get_freeze_count() == 0
    assert run_transform(Looking, [{"n": 1}]) == [{"n": 1, "is_frozen": True}]
    assert gc.get_freeze_count() == 0
    with settled_heap():
        with pytest.raises(ValueError, match="over"), settled_heap():
            raise ValueError("over")
        assert gc.get_freeze_count() > 0
    assert gc.get_freeze_count() == 0


def test_objects_that_somebody_else_froze_stay_frozen():
    """A server that forks freezes what its children share."""
    gc.freeze()
    try:
        run_transform(Looking, [{"n": 1}])
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()

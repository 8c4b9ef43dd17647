import gc
import time

import pytest

from etlkit import EtlBase
from etlkit.engine.chunk import block_rows
from etlkit.engine.clock_marks import EVERY
from etlkit.engine.heap import FastRows, settled_heap
from etlkit.testing import run_transform


def is_frozen() -> bool:
    """Whether somebody has frozen what is there; Python 3.12 freezes some hundred objects itself."""
    return gc.get_freeze_count() > 10_000


class Looking(EtlBase):
    """Says whether objects are frozen while rows run."""

    def transform_row(self, row):
        return {"n": row["n"], "is_frozen": is_frozen()}


def test_objects_are_frozen_while_rows_run_and_not_afterwards():
    """Also if the run fails, and if one run is inside of another."""
    assert not is_frozen()
    assert run_transform(Looking, [{"n": 1}]) == [{"n": 1, "is_frozen": True}]
    assert not is_frozen()
    with settled_heap():
        with pytest.raises(ValueError, match="over"), settled_heap():
            raise ValueError("over")
        assert is_frozen()
    assert not is_frozen()


def test_objects_that_somebody_else_froze_stay_frozen():
    """A server that forks freezes what its children share."""
    gc.freeze()
    try:
        run_transform(Looking, [{"n": 1}])
        assert is_frozen()
    finally:
        gc.unfreeze()


@pytest.fixture
def usual():
    """The thresholds that others have set."""
    before = gc.get_threshold()
    gc.set_threshold(600, 11, 12)
    yield gc.get_threshold()
    gc.set_threshold(*before)


def test_the_search_is_rare_while_the_rows_of_some_worker_are_fast(usual):
    with FastRows() as one, FastRows() as other:
        assert gc.get_threshold() == usual
        one.begin()
        one.begin()
        other.begin()
        assert gc.get_threshold() == (20_000, 11, 12)
        one.end()
        assert gc.get_threshold() == (20_000, 11, 12)
        other.end()
        assert gc.get_threshold() == usual
        one.begin()
    assert gc.get_threshold() == usual


@pytest.mark.parametrize("set_by_user", [(0, 11, 12), (50_000, 11, 12)], ids=["off", "rarer"])
def test_a_search_that_the_user_has_made_rarer_stays_so(usual, set_by_user):
    gc.set_threshold(*set_by_user)
    with FastRows() as rows:
        rows.begin()
        assert gc.get_threshold() == set_by_user
    assert gc.get_threshold() == set_by_user


def test_what_is_set_meanwhile_stays(usual):
    with FastRows() as rows:
        rows.begin()
        gc.set_threshold(900, 11, 12)
    assert gc.get_threshold() == (900, 11, 12)


class Noting(EtlBase):
    """Notes the threshold at each row; one row is slow."""

    slow_row = 6 * block_rows(1) + 10

    def transform_row(self, row):
        if row["n"] == self.slow_row:
            time.sleep(0.05)
        row["threshold"] = gc.get_threshold()[0]
        return row


def test_a_slow_row_ends_it_at_once_and_the_run_ends_it_always(usual):
    """In the time of a slow row, a cycle may come to hold an image."""
    made = run_transform(Noting, [{"n": n} for n in range(7 * block_rows(1))])
    found = [row["threshold"] for row in made]
    assert found[0] == usual[0]
    assert max(found[: Noting.slow_row]) == 20_000
    after = found[Noting.slow_row + EVERY : Noting.slow_row + 100]  # rows of the same block
    assert set(after) == {usual[0]}
    assert gc.get_threshold() == usual

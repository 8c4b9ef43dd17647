import threading

import pytest

from etlkit import EtlBase
from etlkit.calls.retry import Calls
from etlkit.engine import workers
from etlkit.engine.workers import Task, WorkerPool


class Clock:
    """A clock that the transform moves."""

    now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def looks(monkeypatch):
    """Run tasks of one worker; gives the rows that had been transformed at each look at the sink."""
    clock = Clock()
    monkeypatch.setattr(workers, "time", clock)

    def run(*tasks):
        """Rows are seconds that they take."""
        done, looked = [], []
        idle = threading.Event()

        class Etl(EtlBase):
            def transform_row(self, row):
                clock.now += row["s"]
                done.append(row["s"])
                return row

            def after_action(self):
                idle.set()

        def is_ready():
            looked.append(len(done))
            return True

        pool = WorkerPool(Etl, 1, lambda: None, Calls(), is_ready)
        for seconds in tasks:
            pool.submit(Task([{"s": each} for each in seconds]))
        pool.close(abandon=False, timeout_s=30)
        assert idle.wait(30)
        assert pool.error is None
        return looked

    return run


def test_a_row_after_a_slow_one_is_preceded_by_a_look(looks):
    """Whatever the rows before took: a process that lost its run makes no further call."""
    fast = [0.0] * 100
    assert looks([*fast, 1.0, 1.0, 1.0]) == [0, 101, 102]


def test_fast_rows_share_a_look(looks):
    """Also across tasks: a look would cost a good part of a row of a microsecond."""
    assert looks([0.0] * 50, [0.0], [0.0] * 50) == [0]


def test_slow_rows_of_small_tasks_have_a_look_each(looks):
    """A task is one row where calls run side by side."""
    assert looks([1.0], [1.0], [1.0]) == [0, 1, 2]

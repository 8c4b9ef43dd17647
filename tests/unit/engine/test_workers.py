import threading

import pytest

from etlkit import EtlBase
from etlkit.calls.run_calls import Calls
from etlkit.engine import row_loop
from etlkit.engine.task import Task
from etlkit.engine.workers import WorkerPool


class Clock:
    """A clock that the transform moves."""

    now = 100.0

    def monotonic(self):
        return self.now

    def thread_time(self):
        return 0.0


@pytest.fixture
def looks(monkeypatch):
    """Run tasks of one worker; gives the rows that had been transformed at each look at the sink."""
    clock = Clock()
    monkeypatch.setattr(row_loop, "time", clock)

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
        pool.submit([Task([{"s": each} for each in seconds]) for seconds in tasks])
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


def test_no_task_is_begun_after_one_that_failed():
    """Where a failed row ends the run: those in flight end, and those before it are all run."""
    begun, failed = [], threading.Event()

    class Etl(EtlBase):
        def transform_row(self, row):
            begun.append(row["n"])
            if row["n"] == 5:
                raise ValueError("bad")
            if row["n"] > 5:
                assert failed.wait(30)
            return row

    def wake():
        if pool._dispatcher._ends_after == 6:  # tasks count from 1
            failed.set()

    pool = WorkerPool(Etl, 4, wake, Calls(), lambda: True, ends_at_error=True)
    tasks = [Task([{"n": n}]) for n in range(20)]
    pool.submit(tasks)
    pool.close(abandon=False, timeout_s=30)
    assert pool.error is None
    assert set(begun) <= set(range(9))
    assert [len(task.outcomes) for task in tasks[:6]] == [1] * 6
    assert [task.has_failed for task in tasks] == [n == 5 for n in range(20)]

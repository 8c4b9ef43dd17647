from collections import deque
from types import SimpleNamespace

import pytest

from etlkit import JobError, TransformError
from etlkit.api.outcomes import FullOutcome
from etlkit.engine.pace import Pace
from etlkit.engine.pipeline import Pipeline
from etlkit.engine.task import Task
from etlkit.engine.task_window import TaskWindow


class Writer:
    """What a batch writer is given to save."""

    def __init__(self):
        self.added = []
        self.flushed = False

    def keep(self, chunk, start, outcomes):
        self.added.append((chunk, start, outcomes))

    def write_kept(self):
        return

    def flush(self):
        self.flushed = True


class Chunk:
    """As much of a chunk as a window looks at."""

    num_bytes = 0


CHUNK = Chunk()


def task(start, *outcomes):
    made = Task([{} for _ in outcomes], CHUNK, start)
    made.outcomes = list(outcomes)
    made.is_done = True
    return made


def window(*tasks):
    made = TaskWindow(100, deque(), Pace(1))
    for each in tasks:
        made.add(each)
    return made


def test_rows_collected_already_are_counted_for_the_first_task_alone():
    """At a stop, finished rows of all tasks are saved, each once, under their own numbers."""
    writer = Writer()
    pipeline = Pipeline.__new__(Pipeline)
    first = Task([{}, {}, {}], CHUNK, 0)
    pipeline._window = window(first, task(3, {"n": 3}, {"n": 4}))
    first.outcomes += [{"n": 0}, {"n": 1}]
    assert list(pipeline._window.take_in_order()) == [(CHUNK, 0, [{"n": 0}, {"n": 1}])]
    first.outcomes.append({"n": 2})
    pipeline._batch_writer = pipeline._writer = writer
    pipeline._save_outcomes()
    assert writer.added == [(CHUNK, 2, [{"n": 2}]), (CHUNK, 3, [{"n": 3}, {"n": 4}])]
    assert writer.flushed


def test_the_error_of_an_earlier_row_comes_before_the_one_that_ended_the_workers():
    """As if rows ran one by one: what is finished is collected before the run ends."""

    class Refusing(Writer):
        def add(self, chunk, start, outcomes):
            raise TransformError(f"row {start}")

    pipeline = Pipeline.__new__(Pipeline)
    pipeline._run = SimpleNamespace(stop_signal=None)
    pipeline._pool = SimpleNamespace(error=JobError("a later row ended the run"))
    pipeline._window = window(task(0, FullOutcome((), TransformError("bad"))))
    pipeline._keeps_order = True
    pipeline._batch_writer = Refusing()
    with pytest.raises(TransformError, match="row 0"):
        pipeline._advance()
    with pytest.raises(JobError, match="a later row"):
        pipeline._advance()


def test_finished_rows_behind_a_slow_call_are_taken_though_their_own_task_is_held_up():
    """Each worker may be in a slow call after fast rows: a kill is not to repeat those."""
    slow, behind = Task([{}, {}], CHUNK, 0), Task([{}, {}, {}], CHUNK, 2)
    single = Task([{}], CHUNK, 5)
    its = window(slow, behind, single)
    behind.outcomes += [{"n": 2}, {"n": 3}]
    assert list(its.take_in_order()) == []
    assert list(its.take_begun()) == [(CHUNK, 2, [{"n": 2}, {"n": 3}])]
    assert list(its.take_begun()) == []
    behind.outcomes.append({"n": 4})
    behind.is_done = True
    its._finished.append(behind)
    assert list(its.take_behind()) == [(CHUNK, 4, [{"n": 4}])]
    slow.outcomes += [{"n": 0}, {"n": 1}]
    single.outcomes.append({"n": 5})
    assert list(its.take_in_order()) == [(CHUNK, 0, [{"n": 0}, {"n": 1}]), (CHUNK, 5, [{"n": 5}])]
    assert not its


def test_a_row_with_an_error_waits_for_its_turn_and_the_rows_behind_it_too():
    slow, bad = Task([{}, {}], CHUNK, 0), FullOutcome((), TransformError("bad"))
    behind = Task([{}, {}, {}, {}], CHUNK, 2)
    its = window(slow, behind)
    behind.outcomes += [{"n": 2}, bad, {"n": 4}]
    assert list(its.take_begun()) == [(CHUNK, 2, [{"n": 2}])]
    slow.outcomes += [{"n": 0}, {"n": 1}]
    assert list(its.take_in_order()) == [
        (CHUNK, 0, [{"n": 0}, {"n": 1}]),
        (CHUNK, 3, [bad, {"n": 4}]),
    ]

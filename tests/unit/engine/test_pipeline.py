from collections import deque

from etlkit.engine.pipeline import Pipeline
from etlkit.engine.workers import Task


class Writer:
    """What a batch writer is given to save."""

    def __init__(self):
        self.added = []
        self.flushed = False

    def add(self, chunk, start, outcomes):
        self.added.append((chunk, start, outcomes))

    def write_collected(self):
        return

    def flush(self):
        self.flushed = True


def task(*outcomes):
    made = Task([{} for _ in outcomes])
    made.outcomes = list(outcomes)
    return made


def test_rows_collected_already_are_counted_for_the_first_task_alone():
    """At a stop, finished rows of all tasks are saved, each once, under their own numbers."""
    writer = Writer()
    pipeline = Pipeline.__new__(Pipeline)
    pipeline._tasks = deque(
        [("chunk", 0, task({"n": 0}, {"n": 1}, {"n": 2})), ("chunk", 3, task({"n": 3}, {"n": 4}))]
    )
    pipeline._num_collected = 2
    pipeline._batch_writer = pipeline._writer = writer
    pipeline._save_outcomes()
    assert writer.added == [("chunk", 2, [{"n": 2}]), ("chunk", 3, [{"n": 3}, {"n": 4}])]
    assert writer.flushed

"""Rows that wait for a service give their slots to other rows."""

import threading

import pytest

from etlkit import EtlBase, RetryableError, RetryPolicy, TransferJob
from etlkit.api.run import RunRequest
from etlkit.calls.retry import caller
from etlkit.engine.transfer import run_transfer
from etlkit.testing import MemorySink, MemorySource

SLOTS = 4


class Api:
    """A service that tells some rows to come back, which they may when it has answered all others."""

    def __init__(self, told, num_others):
        self.told = set(told)
        self.others_left = num_others
        self.at_work = self.most_at_work = 0
        self.all_others_answered = threading.Event()
        self._lock = threading.Lock()

    def attempt(self, n):
        with self._lock:
            self.at_work += 1
            self.most_at_work = max(self.at_work, self.most_at_work)
        try:
            return self._answer(n)
        finally:
            with self._lock:
                self.at_work -= 1

    def _answer(self, n):
        with self._lock:
            if n in self.told:
                if self.all_others_answered.is_set():
                    return n
                raise RetryableError("come back", status=429, retry_after_s=0.05)
            self.others_left -= 1
            if not self.others_left:
                self.all_others_answered.set()
        return n


def etl_for(api):
    class Etl(EtlBase):
        max_concurrency = SLOTS

        def before_action(self):
            self.api = caller("api", RetryPolicy(max_attempts=10_000))

        def transform_row(self, row):
            return {"n": self.api.call(lambda _timeout_s: api.attempt(row["n"]))}

    return Etl


@pytest.mark.parametrize("keeps_order", [True, False], ids=["in order", "in any order"])
def test_rows_that_are_told_to_wait_do_not_stop_the_others(keeps_order):
    """All slots would be taken by rows that wait until all others are answered."""
    num_rows, told = 3_000, range(3, 3 + 4 * SLOTS)
    api, sink = Api(told, num_rows - 4 * SLOTS), MemorySink("replace")
    inner_open = sink.open

    def opened(*args):
        writer = inner_open(*args)
        writer.keeps_order = keeps_order
        return writer

    sink.open = opened
    job = TransferJob(
        source=MemorySource([{"n": n} for n in range(num_rows)]), transform=etl_for(api), sink=sink
    )
    report = run_transfer(job, RunRequest("test"))
    assert report.written == num_rows
    numbers = [row["n"] for row in sink.rows]
    assert (numbers if keeps_order else sorted(numbers)) == list(range(num_rows))
    assert api.most_at_work <= SLOTS

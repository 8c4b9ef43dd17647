"""Rows that wait for a service give their slots to other rows."""

import threading
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from types import MappingProxyType

import pytest

from etlkit import ConfigError, EtlBase, RetryableError, RetryPolicy, TransferJob
from etlkit.api.run import RunRequest
from etlkit.calls import clock
from etlkit.calls.run_calls import caller
from etlkit.calls.waits import Waits
from etlkit.calls.worker import Worker
from etlkit.engine import row_loop
from etlkit.engine.dispatcher import Dispatcher
from etlkit.engine.transfer import run_transfer
from etlkit.engine.workers import WorkerPool
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
                raise RetryableError("come back", status=429, retry_after_s=0.3)
            self.others_left -= 1
            if not self.others_left:
                self.all_others_answered.set()
        return n


def etl_for(api, prepare=lambda: None):
    class Etl(EtlBase):
        max_concurrency = SLOTS

        def before_action(self):
            prepare()
            self.api = caller("api", RetryPolicy(max_attempts=10_000))

        def transform_row(self, row):
            return {"n": self.api.call(lambda _timeout_s: api.attempt(row["n"]))}

    return Etl


@pytest.mark.parametrize("keeps_order", [True, False], ids=["in order", "in any order"])
def test_rows_that_are_told_to_wait_do_not_stop_the_others(keeps_order):
    """All slots would be taken by rows that wait until all others are answered."""
    num_rows, told = 1_000, range(3, 3 + 4 * SLOTS)
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


def test_a_row_that_comes_back_gets_the_slot_of_one_whose_results_wait_for_it(monkeypatch):
    """Encoded rows are taken in order: their workers wait for a row that waits for their slots."""
    monkeypatch.setattr(row_loop, "_MIN_MADE", 1)
    monkeypatch.setattr(row_loop, "_MAX_MADE_BYTES", 1)
    waiting, told = threading.Semaphore(0), 50
    wait_until_taken = WorkerPool.wait_until_taken

    def noted(pool, task):
        if task.start > told:
            waiting.release()
        wait_until_taken(pool, task)

    monkeypatch.setattr(WorkerPool, "wait_until_taken", noted)

    class Etl(EtlBase):
        max_concurrency = 2
        output_schema = MappingProxyType({"n": "INT64"})

        def before_action(self):
            self.api = caller("api", RetryPolicy(max_attempts=10))

        def transform_row(self, row):
            if row["n"] == told:
                attempts = iter([RetryableError("come back", status=429, retry_after_s=0.001)])
                self.api.call(lambda _timeout_s: self.attempt(attempts))
            return row

        def attempt(self, attempts):
            if (error := next(attempts, None)) is not None:
                raise error

    resume = Dispatcher.resume

    def resumed(dispatcher, worker, waker):
        for _ in range(2):
            waiting.acquire(timeout=60)
        monkeypatch.setattr(Dispatcher, "resume", resume)
        return resume(dispatcher, worker, waker)

    monkeypatch.setattr(Dispatcher, "resume", resumed)
    assert transfer(Etl, 100).written == 100


def transfer(transform, num_rows):
    job = TransferJob(
        source=MemorySource([{"n": n} for n in range(num_rows)]),
        transform=transform,
        sink=MemorySink("replace"),
    )
    return run_transfer(job, RunRequest("test"))


def test_each_parked_row_is_on_an_instance_of_its_own_and_there_are_no_others():
    """One more worker for each row that waits; `after_action` runs on each of them."""
    prepared, ended = [], []
    api = Api(range(3, 3 + SLOTS), 200)

    class Etl(etl_for(api)):
        def before_action(self):
            super().before_action()
            prepared.append(self)

        def after_action(self):
            ended.append(self)

    assert transfer(Etl, 200 + SLOTS).written == 200 + SLOTS
    assert SLOTS < len(prepared) <= 2 * SLOTS
    assert set(ended) == set(prepared)


def test_rows_keep_their_slots_where_there_cannot_be_more_workers(caplog):
    """A worker that cannot be prepared is no reason to end a run that has others."""
    prepared = []

    def prepare():
        prepared.append(None)
        if len(prepared) > SLOTS:
            raise ValueError("no more licences")

    api = Api(range(3, 3 + SLOTS - 1), 200)
    assert transfer(etl_for(api, prepare), 200 + SLOTS - 1).written == 200 + SLOTS - 1
    assert SLOTS < len(prepared) < 2 * SLOTS  # several rows may wait before the first has failed
    assert [each for each in caplog.messages if "no more licences" in each]


def test_max_parked_bounds_the_workers_beside_those_at_work():
    """0 = none: before_action may load a model, and there is memory for so many of them."""
    prepared = []
    api = Api(range(3, 3 + SLOTS - 1), 200)

    class Etl(etl_for(api, lambda: prepared.append(None))):
        max_parked = 0

    assert transfer(Etl, 200 + SLOTS - 1).written == 200 + SLOTS - 1
    assert len(prepared) == SLOTS
    Etl.max_parked = -1
    with pytest.raises(ConfigError, match=r"max_parked = -1"):
        transfer(Etl, 1)


def test_a_factory_that_always_gives_the_same_instance_gets_no_more_workers():
    """`before_action` would prepare it again while it is at work."""
    prepared = []
    api = Api(range(3, 3 + SLOTS - 1), 200)
    etl = etl_for(api, lambda: prepared.append(None))()
    assert transfer(lambda: etl, 200 + SLOTS - 1).written == 200 + SLOTS - 1
    assert len(prepared) == SLOTS


def test_a_single_worker_parks_nothing():
    """Rows run one after the other then, and what `self` knows is from the rows before."""
    instances, told = set(), iter([True, False])

    class Etl(EtlBase):
        def transform_row(self, row):
            instances.add(id(self))
            return {"n": caller("api").call(lambda _: self.attempt(row["n"]))}

        def attempt(self, n):
            if n == 3 and next(told):
                raise RetryableError("come back", retry_after_s=0.05)
            return n

    assert transfer(Etl, 2_000).written == 2_000
    assert len(instances) == 1


def test_the_progress_says_how_many_rows_are_parked():
    """And how many wait with their slot."""
    waits, workers = Waits(), [Worker(), Worker(), Parked()]
    with ExitStack() as stack:
        for worker in workers:
            context = copy_context()
            context.run(worker.enter)
            stack.enter_context(ran_in(context, waits))
        assert waits.texts() == ["geo asks to wait 30 s: 1 row is parked and 2 calls wait"]


class Parked(Worker):
    is_parked = True


@contextmanager
def ran_in(context, waits):
    during = context.run(waits.during, "geo", "asked", clock.now() + 30)
    context.run(during.__enter__)
    yield
    context.run(during.__exit__, None, None, None)

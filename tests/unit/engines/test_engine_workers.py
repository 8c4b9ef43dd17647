"""Workers on an engine, for the process that holds the run. The engine is a pool of threads."""

import pickle
import signal
import threading
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest

from etlkit import BigQuerySink, BigQuerySource, TransferJob
from etlkit.api.outcomes import Counts
from etlkit.api.run import Interrupted, RunRequest, Settings
from etlkit.api.sink import WorkersNow
from etlkit.engine.importable import check_importable
from etlkit.engine.worker_launcher import SharedWork
from etlkit.engine.worker_messages import Ended, Usage
from etlkit.engines import engine_workers
from etlkit.engines.engine import EngineFailedError
from etlkit.engines.engine_workers import EngineWorkers
from etlkit.engines.registry import make_engine
from etlkit.engines.sent_order import check_sendable, sent_order
from etlkit.errors import ConfigError, JobError, RunTakenOverError
from etlkit.rows.columns import Column
from tests.engines.faulty_etl import Etl


class Tasks:
    def __init__(self, pool, work, orders):
        self.left = {pool.submit(work, order) for order in orders}
        self.was_cancelled = False

    @property
    def is_done(self):
        return not self.left

    def wait(self, timeout_s):
        done, self.left = wait(self.left, timeout_s, FIRST_COMPLETED)
        return [pickle.loads(each.result()) for each in done]

    def cancel(self):
        self.was_cancelled = bool(self.left)
        self.left = set()


class Threads:
    """An engine."""

    name, max_restarts, is_remote = "threads", 2, False

    def __init__(self, num_workers):
        self.num_workers = num_workers
        self.started = []

    def check(self):
        pass

    @contextmanager
    def connect(self):
        with ThreadPoolExecutor(8) as self.pool:
            yield self.num_workers

    def start(self, work, orders):
        self.started.append(Tasks(self.pool, work, orders))
        return self.started[-1]


class Writer:
    """What the run's own writer says of its workers."""

    def __init__(self):
        self.stopped = threading.Event()
        self.now = WorkersNow(0, have_failed=False)

    def workers_now(self):
        return self.now

    def stop_workers(self):
        self.stopped.set()


def ended(read, error=None):
    usage = Usage(Counts(read=read, written=read), calls=read)
    return pickle.dumps(Ended(usage, None if error is None else pickle.dumps(error)))


def index_of(order):
    return pickle.loads(order)[0].worker.index


@pytest.fixture
def shared():
    """A run's work, and everything that was shown of it."""
    job = TransferJob(
        source=BigQuerySource("SELECT 1 AS n"), transform=Etl, sink=BigQuerySink("a.b")
    )
    run = SimpleNamespace(run_id="r", attempt=1, stop_signal=None, scheduler_task=None)
    environ = {"GOOGLE_CLOUD_PROJECT": "p", "SERVICE_KEY": "secret"}
    request = RunRequest("j", Settings(environ=environ))
    shown: list[Usage] = []
    return SharedWork(job, request, run, Writer(), lambda: None, shown.append), shown


def run_all(work, engine, main):
    workers = EngineWorkers(work, engine=engine, main=main)
    try:
        workers.run_all()
    finally:
        work.writer.stopped.set()  # so that no thread of the pool is left
    return workers


def test_all_workers_are_waited_for_and_summed(shared):
    """Each has an order with its number; one that left its rows to the others is no failure."""
    work, shown = shared
    left = {1: RunTakenOverError("paused for too long"), 2: Interrupted(signal.SIGTERM)}
    workers = run_all(
        work, Threads(4), lambda order: ended(10 + index_of(order), left.get(index_of(order)))
    )
    assert (workers.usage.counts.read, workers.usage.calls) == (46, 46)
    assert shown[-1] == workers.usage


def test_rows_are_shown_by_the_shards_that_are_settled(shared, monkeypatch):
    """What workers have done is not known before they end."""
    monkeypatch.setattr(engine_workers, "_LOOK_S", 0.0)
    work, shown = shared
    work.writer.now = WorkersNow(7, have_failed=False)
    enough = threading.Event()

    def main(_order):
        assert enough.wait(60)
        return ended(9)

    def show(usage):
        shown.append(usage)
        enough.set()

    object.__setattr__(work, "on_usage", show)
    run_all(work, Threads(1), main)
    assert [usage.counts.read for usage in (shown[0], shown[-1])] == [7, 9]


@pytest.mark.parametrize("by_events", [False, True])
def test_an_error_of_one_worker_stops_all(shared, monkeypatch, by_events):
    """Seen in its answer, or before in what it has told BigQuery. What all have done is kept."""
    work, _ = shared
    if by_events:
        monkeypatch.setattr(engine_workers, "_LOOK_S", 0.0)
        work.writer.now = WorkersNow(0, have_failed=True)

    def main(order):
        if index_of(order) or by_events:
            assert work.writer.stopped.wait(60)
        return ended(5, None if index_of(order) else JobError("row 3 is bad"))

    workers = EngineWorkers(work, engine=Threads(3), main=main)
    with pytest.raises(JobError, match="row 3 is bad"):
        workers.run_all()
    assert work.writer.stopped.is_set()
    assert workers.usage.calls == 15


def test_a_signal_stops_all_workers(shared):
    """They finish what they have, and the run is interrupted by that signal."""
    work, _ = shared

    def main(_order):
        work.run.stop_signal = signal.SIGINT
        assert work.writer.stopped.wait(60)
        return ended(2, Interrupted(signal.SIGTERM))

    workers = EngineWorkers(work, engine=Threads(2), main=main)
    with pytest.raises(Interrupted) as stopped:
        workers.run_all()
    assert stopped.value.signum == signal.SIGINT
    assert workers.usage.calls == 4


def test_a_run_that_is_lost_ends_its_workers(shared):
    """Another process has it: what the workers would do changes nothing."""
    work, _ = shared

    def check():
        raise RunTakenOverError("taken over")

    object.__setattr__(work, "check", check)
    with pytest.raises(RunTakenOverError, match="taken over"):
        run_all(work, Threads(1), lambda _order: ended(1) if work.writer.stopped.wait(60) else b"")


def test_workers_are_started_again_when_the_engine_loses_one(shared):
    """Twice here; the third loss ends the run, with what to do next."""
    work, _ = shared
    losses = 2

    class Losing(Tasks):
        def wait(self, timeout_s):
            if len(engine.started) <= losses:
                raise EngineFailedError("a process died")
            return super().wait(timeout_s)

    class LosingThreads(Threads):
        def start(self, work, orders):
            self.started.append(Losing(self.pool, work, orders))
            return self.started[-1]

    engine = LosingThreads(2)
    assert run_all(work, engine, lambda _order: ended(1)).usage.calls == 2
    assert [each.was_cancelled for each in engine.started] == [True, True, False]
    losses, engine = 3, LosingThreads(2)
    with pytest.raises(JobError, match=r"lost workers 3 times.*a process died.*--resume"):
        run_all(work, engine, lambda _order: ended(1))


def test_workers_are_told_the_columns(shared):
    """Hundreds of staging tables of earlier attempts need not be looked up by each of them."""
    work, _ = shared
    columns = (Column("n", "INT64"),)
    assert replace(work, known_columns=columns).order(0, 1).worker.known_columns == columns
    assert work.order(0, 1).worker.known_columns == ()


def test_no_key_of_the_environment_is_sent(shared):
    """An engine stores what it is given. The local world goes along, where there is one."""
    work, _ = shared
    order = work.order(0, 1)
    assert b"secret" not in sent_order(order)
    sent, folders = pickle.loads(sent_order(order))
    assert sent.request.settings.environ == {"GOOGLE_CLOUD_PROJECT": "p"}
    assert "" not in folders
    order.request.settings.environ.update(
        BIGQUERY_EMULATOR_HOST="http://127.0.0.1:1", ETLKIT_LOCAL_TOKEN="t"
    )
    sent, _ = pickle.loads(sent_order(order))
    assert sent.request.settings.environ["ETLKIT_LOCAL_TOKEN"] == "t"


def test_what_workers_could_not_import_is_refused(shared, tmp_path, monkeypatch):
    """By the name of a module; a script has none, nor has a file in a folder of its own."""
    work, _ = shared
    check_sendable(work.job, {}, Threads(1))
    for module, words in (("__main__", "in the script"), ("away_etl", "PYTHONPATH")):
        there = SimpleNamespace(Etl=type("Etl", (Etl,), {"__module__": module}), __file__="x.py")
        monkeypatch.setitem(__import__("sys").modules, module, there)
        job = TransferJob(source=work.job.source, transform=there.Etl, sink=work.job.sink)
        with pytest.raises(ConfigError, match=words):
            check_sendable(job, {}, Threads(1))
        with nullcontext() if module == "__main__" else pytest.raises(ConfigError, match=words):
            check_importable(job, with_script=True)  # processes of this machine import the script


def test_the_local_world_is_not_offered_to_other_machines(shared):
    """Its server answers this machine only."""
    work, _ = shared
    engine = Threads(1)
    engine.is_remote = True
    environ = {"BIGQUERY_EMULATOR_HOST": "http://127.0.0.1:1"}
    with pytest.raises(ConfigError, match="local BigQuery"):
        check_sendable(work.job, environ, engine)


def test_engines_that_are_not_there_are_refused(monkeypatch):
    """With what there is, and with what to install."""
    with pytest.raises(ConfigError, match="no engine 'flink': there are beam and ray"):
        make_engine("flink", {}, None, {})
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    for name in ("beam", "ray"):
        with pytest.raises(ConfigError, match=rf"pip install -e '\.\[{name}\]'"):
            make_engine(name, {}, None, {})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"adress": "h:1"}, "adress: for ray there are address, working_dir"),
        ({"num_cpus": "two"}, "num_cpus=two: it is a number"),
        ({"memory": "-1"}, "memory=-1"),
        ({"working_dir": "/no/such/folder"}, "no such folder"),
    ],
)
def test_arguments_of_ray_are_checked(arguments, words, monkeypatch):
    """Before anything is started."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: True)
    with pytest.raises(ConfigError, match=words):
        make_engine("ray", arguments, None, {})


@pytest.mark.parametrize(
    ("address", "is_remote"),
    [(None, False), ("auto", False), ("127.0.0.1:6379", False), ("ray://head:10001", True)],
)
def test_ray_knows_whether_its_workers_are_elsewhere(address, is_remote, monkeypatch):
    """By the address, which may come from RAY_ADDRESS."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: True)
    environ = {} if address is None else {"RAY_ADDRESS": address}
    assert make_engine("ray", {}, None, environ).is_remote is is_remote

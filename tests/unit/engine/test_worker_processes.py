"""The process that holds a shared run, and workers that do not end as they should."""

import logging
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from etlkit import BigQuerySink, BigQuerySource, EtlBase, TransferJob
from etlkit.api.outcomes import Counts
from etlkit.api.run import Interrupted, Run, RunRequest, Settings
from etlkit.api.scheduler_task import SchedulerTask
from etlkit.bigquery.runs import process_identity
from etlkit.engine import worker_processes
from etlkit.engine.worker_count import num_workers, num_workers_of_task
from etlkit.engine.worker_launcher import SharedWork
from etlkit.engine.worker_messages import Ended, Usage
from etlkit.engine.worker_processes import WorkerProcesses
from etlkit.errors import ConfigError


def one_of_them_stands_still(pipe, order):
    """The worker of a machine that swaps, or of a file system that hangs."""
    pipe.send(Usage(Counts(read=1)))
    begun = Path(os.environ["ETLKIT_TEST_SAYS"])
    if order.worker.index == 0:
        while not begun.exists():
            time.sleep(0.01)
        pipe.send(Ended(Usage(Counts(read=2))))
        return
    begun.touch()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)


def test_a_worker_that_stands_still_does_not_hold_up_a_run_whose_rows_are_settled(
    monkeypatch, caplog, tmp_path
):
    monkeypatch.setenv("ETLKIT_TEST_SAYS", str(tmp_path / "begun"))
    monkeypatch.setattr(worker_processes, "_FROZEN_TIMEOUT_S", 0.2)
    request = RunRequest("job", Settings(environ={}), num_workers=2)
    with Run(request) as run, caplog.at_level(logging.WARNING, logger="etlkit"):
        work = SharedWork("a job", request, run, None, lambda: None, lambda _: None)
        workers = WorkerProcesses(work, one_of_them_stands_still)
        workers.run_all()
    assert "worker 2 does not end although all rows are settled" in caplog.text
    assert workers.usage.counts.read == 3


def waits_for_stop(pipe, order):
    """A worker that ends when it is asked to, and leaves its number behind."""
    Path(
        os.environ["ETLKIT_TEST_SAYS"], f"{order.worker.index} of {order.worker.num_workers}"
    ).touch()
    pipe.send(Ended(Usage(Counts(read=pipe.recv().signum))))


def test_the_first_ctrl_c_is_told_to_all_workers_and_none_is_started_for_no_row(
    monkeypatch, caplog, tmp_path
):
    monkeypatch.setenv("ETLKIT_TEST_SAYS", str(tmp_path))
    request = RunRequest("job", Settings(environ={}), num_workers=5)
    with Run(request) as run:

        def stop_when_all_are_there():
            """As a signal would: on the run's own thread, wherever it is."""
            if len(list(tmp_path.iterdir())) == 2 and run.stop_signal is None:
                run.request_stop(signal.SIGINT)

        work = SharedWork(
            "a job", request, run, None, stop_when_all_are_there, lambda _: None, num_rows=2
        )
        workers = WorkerProcesses(work, waits_for_stop)
        with pytest.raises(Interrupted) as stopped:
            workers.run_all()
    assert stopped.value.signum == signal.SIGINT
    assert workers.usage.counts.read == 2 * signal.SIGINT
    assert {path.name for path in tmp_path.iterdir()} == {"0 of 2", "1 of 2"}
    assert "the workers have 30 s to end; another Ctrl-C ends at once" in caplog.text


def test_more_workers_than_a_query_takes_tables_are_refused():
    sink, source = BigQuerySink("d.t"), BigQuerySource("SELECT 1 AS n")
    job = TransferJob(source=source, transform=EtlBase, sink=sink)
    assert num_workers(job, 1_000, None) == 1_000
    with pytest.raises(ConfigError, match="1,001 workers: a run takes 1,000 workers at most"):
        num_workers(job, 1_001, None)
    request = RunRequest(
        "job", Settings(environ={}), num_workers=4, scheduler_task=SchedulerTask(0, 250, "today")
    )
    assert num_workers_of_task(job, request) == 4
    request = replace(request, scheduler_task=SchedulerTask(0, 251, "today"))
    with pytest.raises(ConfigError, match=r"251 tasks of 4 workers: a run takes 1,000"):
        num_workers_of_task(job, request)


def says_who_it_is(pipe, order):
    """A worker that leaves its environment and its identity behind."""
    with Path(os.environ["ETLKIT_TEST_SAYS"]).open("a", encoding="utf-8") as said:
        said.write(f"{os.environ.get('ETLKIT_TEST_DAY')} {process_identity.PROCESS_ID}\n")
    pipe.send(Ended(Usage(Counts())))


def test_workers_have_the_environment_of_today_and_are_processes_of_their_own(
    monkeypatch, tmp_path
):
    """The process that they are forked from began with the first run of this one."""
    monkeypatch.setenv("ETLKIT_TEST_SAYS", str(tmp_path / "said"))
    for day in ("monday", "tuesday"):
        monkeypatch.setenv("ETLKIT_TEST_DAY", day)
        request = RunRequest("job", Settings(environ={}), num_workers=2)
        with Run(request) as run:
            work = SharedWork("a job", request, run, None, lambda: None, lambda _: None)
            needed = (process_identity.__name__,)
            WorkerProcesses(work, says_who_it_is, needed).run_all()
    said = [line.split() for line in (tmp_path / "said").read_text().splitlines()]
    assert [day for day, _ in said] == ["monday", "monday", "tuesday", "tuesday"]
    assert len({identity for _, identity in said} | {process_identity.PROCESS_ID}) == 5


def test_a_resume_that_finds_a_shared_run_does_not_start_workers_that_cannot_import_the_job(
    monkeypatch, tmp_path
):
    """Without `workers` nothing was known of it when the job was checked."""
    monkeypatch.setenv("ETLKIT_TEST_SAYS", str(tmp_path / "said"))
    body = {"__module__": "away_etl", "transform_row": lambda _self, row: row}
    there = SimpleNamespace(Etl=type("Etl", (EtlBase,), body))
    monkeypatch.setitem(sys.modules, "away_etl", there)
    job = TransferJob(source=BigQuerySource("d.s"), transform=there.Etl, sink=BigQuerySink("d.t"))
    request = RunRequest("job", Settings(environ={}))
    with Run(request) as run:
        work = SharedWork(job, request, run, None, lambda: None, lambda _: None)
        workers = WorkerProcesses(work, says_who_it_is)
        with pytest.raises(ConfigError, match="away_etl is in no folder"):
            workers.run_all()
    assert not (tmp_path / "said").exists()

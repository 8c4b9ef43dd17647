"""One attempt at a run, in a process of its own that starts within milliseconds.

The processes are forked from a server that has imported everything. What a test changes for them
(lease, clock, who they seem to be) is changed here, in the process, and nowhere in etlkit.
"""

from __future__ import annotations

import http.client
import logging
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psutil

import etlkit.bigquery.http_sink.writer
import etlkit.bigquery.publish.publisher
import etlkit.bigquery.publish.staged_writer
import etlkit.bigquery.runs.guard
import etlkit.bigquery.runs.lease
import etlkit.bigquery.runs.process_identity
import etlkit.engine.transfer
from etlkit import (
    BigQuerySink,
    BigQuerySource,
    Datamart,
    EtlBase,
    HttpSink,
    RowError,
    TransferJob,
)
from etlkit.api.run import Settings
from etlkit.runner import run_datamart, run_job
from tests.faults.gateway import Gateway

ROOT = Path(__file__).parents[2]
NUM_ROWS = 60
CONCURRENCY = 4
MAX_WAIT_S = 90.0
_CLIENTS = "etlkit.worker_imports"
"""Imports Google's clients."""


@dataclass(frozen=True)
class Plan:
    """What an attempt does, and who it seems to be.

    Attributes:
        target: The table.
        mode: The sink's mode.
        sink: Its other options.
        job: The job's other options.
        datamart: An insert of a datamart instead of a transfer: options of `Datamart`.
        http: Rows go to an API instead of a table: options of `HttpSink`.
        resume: As in `run_job`; likewise `retry_rejects`.
        retry_rejects: See there.
        is_mended: Whether the rows that failed before do not fail any more.
        fan_out: How many rows those become that become several.
        clock_s: How far the machine's clock is ahead.
        host: The machine's name; None = its own.
        namespace: The space of process numbers; None = its own. As if in a container.
        lease_s: How long a lease lasts; None = as long as ever. Renewed five times in it.
    """

    target: str
    mode: str = "append"
    sink: Mapping[str, Any] = field(default_factory=dict)
    job: Mapping[str, Any] = field(default_factory=dict)
    datamart: Mapping[str, Any] | None = None
    http: Mapping[str, Any] | None = None
    resume: str | None = None
    retry_rejects: str | None = None
    is_mended: bool = False
    fan_out: int = 3
    clock_s: float = 0.0
    host: str | None = None
    namespace: str | None = None
    lease_s: float | None = None


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended.

    Attributes:
        error: Class of the error; empty = it was published.
        message: The error's text.
        report: The report's values.
        notes: What was logged.
    """

    error: str
    message: str
    report: dict[str, Any]
    notes: tuple[str, ...]


def fate(n: int, *, is_mended: bool = False, fan_out: int = 3) -> int | None:
    """Target rows that row `n` becomes; None = it is rejected."""
    if n % 10 == 0:
        return 0
    if n % 10 == 1:
        return fan_out
    return None if n % 20 == 7 and not is_mended else 1


REJECTED = [n for n in range(NUM_ROWS) if fate(n) is None]
WRITTEN = [n for n in range(NUM_ROWS) if fate(n)]
ROWS = [(n, part, n * 2) for n in WRITTEN for part in range(fate(n) or 0)]
MENDED_ROWS = [(n, 0, n * 2) for n in REJECTED]
COUNTS = {
    "read": NUM_ROWS,
    "written": len(WRITTEN),
    "skipped": NUM_ROWS - len(WRITTEN) - len(REJECTED),
    "rejected": len(REJECTED),
    "rows_published": len(ROWS),
}


class Etl(EtlBase):
    """Each row costs a call of the paid API."""

    max_concurrency = CONCURRENCY
    plan = Plan("")
    api = ""

    def before_action(self):
        self.connection = http.client.HTTPConnection(self.api, timeout=MAX_WAIT_S)

    def transform_row(self, row):
        n = row["n"]
        self.connection.request("POST", "/call", body=str(n))
        self.connection.getresponse().read()
        parts = fate(n, is_mended=self.plan.is_mended, fan_out=self.plan.fan_out)
        if parts is None:
            raise RowError(f"number {n} is bad")
        return [{"n": n, "part": part, "value": n * 2} for part in range(parts)]

    def after_action(self):
        self.connection.close()


def make_job(plan: Plan) -> TransferJob:
    """The transfer of a plan."""
    sink: BigQuerySink | HttpSink = BigQuerySink(plan.target, mode=plan.mode, **plan.sink)
    if plan.http is not None:
        sink = HttpSink(name=plan.target, **plan.http)
    return TransferJob(
        source=BigQuerySource("SELECT n FROM fence.numbers"),
        transform=Etl,
        sink=sink,
        name=plan.target,
        on_row_error="reject",
        **plan.job,
    )


def seem(plan: Plan) -> None:
    """Change this process: its lease, its clock, its host, its process numbers."""
    guard, lease = etlkit.bigquery.runs.guard, etlkit.bigquery.runs.lease
    if plan.lease_s is not None:
        guard.LEASE_S = lease.LEASE_S = plan.lease_s
        lease._MARGIN_S = plan.lease_s / 5
        lease.Lease.__init__.__kwdefaults__["renew_s"] = plan.lease_s / 5
    identity = etlkit.bigquery.runs.process_identity
    if plan.host is not None:
        identity.socket.gethostname = lambda: plan.host
    if plan.namespace is not None:
        identity._pid_namespace = lambda: plan.namespace
    if plan.clock_s:
        shift_clock(plan.clock_s)


def shift_clock(seconds: float) -> None:
    """Set this process's time of day ahead, for etlkit and for `time.time`."""
    real_time, ahead = time.time, timedelta(seconds=seconds)

    class Shifted(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + ahead

    time.time = lambda: real_time() + seconds
    for name, module in list(sys.modules.items()):
        if name.startswith("etlkit") and getattr(module, "datetime", None) is datetime:
            module.datetime = Shifted


class _Notes(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def attempt(plan: Plan, environ: Mapping[str, str], api: str, answers: Any) -> None:
    """Make the attempt; what the process does."""
    notes = _Notes()
    logging.getLogger("etlkit").addHandler(notes)
    logging.getLogger("etlkit").setLevel(logging.INFO)
    seem(plan)
    Etl.plan, Etl.api = plan, api
    settings = Settings(environ=environ)
    error: BaseException | None = None
    try:
        if plan.datamart is not None:
            report = run_datamart(Datamart(**plan.datamart), name=plan.target, settings=settings)
        else:
            report = run_job(
                make_job(plan),
                settings=settings,
                resume=plan.resume,
                allow_code_change=True,
                retry_rejects=plan.retry_rejects,
            )
    except BaseException as caught:
        error, report = caught, caught.report
    answers.send(
        Outcome(
            "" if error is None else type(error).__name__,
            "" if error is None else str(error),
            asdict(report),
            tuple(notes.texts),
        )
    )


class Attempt:
    """An attempt, from outside.

    Attributes:
        gateway: All that it asks for.
        process: Its process.
    """

    def __init__(self, plan: Plan, environ: Mapping[str, str], gateway: Gateway) -> None:
        self.gateway = gateway
        self._answers, there = _CONTEXT.Pipe(duplex=False)
        environ = {**environ, "BIGQUERY_EMULATOR_HOST": f"http://{gateway.address}"}
        self.process = _CONTEXT.Process(
            target=attempt, args=(plan, environ, gateway.address, there), daemon=True
        )
        self.process.start()
        there.close()
        self.pid = self.process.pid

    def stop(self) -> None:
        """SIGSTOP; returns when it stands still."""
        os.kill(self.pid, signal.SIGSTOP)
        process = psutil.Process(self.pid)
        while process.status() != psutil.STATUS_STOPPED:
            time.sleep(0.001)

    def wake(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, from any thread; returns when it runs no more."""
        process = psutil.Process(self.pid)
        process.kill()
        with suppress(psutil.NoSuchProcess):  # the fork server buries it between the two questions
            while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.001)

    def end(self) -> Outcome:
        """Let it end."""
        assert self._answers.poll(MAX_WAIT_S), f"no answer; its last requests: {self._last()}"
        try:
            outcome: Outcome = self._answers.recv()
        except EOFError:
            raise AssertionError(f"it died; its last requests: {self._last()}") from None
        self.process.join(MAX_WAIT_S)
        return outcome

    def _last(self) -> list[str]:
        return [request.name for request in self.gateway.requests[-5:]]

    def close(self) -> None:
        """End it, whatever it does."""
        if self.process.is_alive():
            os.kill(self.pid, signal.SIGKILL)
            self.process.join(MAX_WAIT_S)
        self._answers.close()
        self.gateway.__exit__()


def main() -> None:
    """Make the attempt that stands on standard input; the outcome goes to standard output."""

    class Answers:
        @staticmethod
        def send(outcome: Outcome) -> None:
            sys.stdout.buffer.write(pickle.dumps(outcome))

    attempt(*pickle.load(sys.stdin.buffer), Answers())


class ContainedAttempt:
    """An attempt in a space of process numbers of its own, where it is process 1, as in a container."""

    def __init__(self, plan: Plan, environ: Mapping[str, str], gateway: Gateway) -> None:
        self.gateway = gateway
        environ = {**environ, "BIGQUERY_EMULATOR_HOST": f"http://{gateway.address}"}
        code = f"import {_CLIENTS}; from tests.faults.attempt import main; main()"
        unshare = str(shutil.which("unshare"))
        self._process = subprocess.Popen(
            [
                unshare,
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                sys.executable,
                "-c",
                code,
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._process.stdin.write(pickle.dumps((plan, environ, gateway.address)))
        self._process.stdin.close()

    def kill(self) -> None:
        """SIGKILL, to it and to all that is in there; returns when it is gone."""
        self._process.kill()
        self._process.wait(MAX_WAIT_S)

    def end(self) -> Outcome:
        """Let it end."""
        outcome: Outcome = pickle.loads(self._process.stdout.read())
        self._process.wait(MAX_WAIT_S)
        return outcome

    def close(self) -> None:
        """End it, whatever it does."""
        self.kill()
        self._process.stdout.close()
        self.gateway.__exit__()


_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["__main__", _CLIENTS, __name__])

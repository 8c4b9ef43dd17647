"""The work of one worker of a shared run, in a process of this machine or on an engine."""

from __future__ import annotations

import logging
import os
import pickle
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from etlkit.api.outcomes import Counts
from etlkit.api.run import STOP_TIMEOUT_S, Run, RunRecord
from etlkit.api.sink import TakesWorkers
from etlkit.api.source import TakesOver
from etlkit.calls.leased import LeasedCalls
from etlkit.engine.estimate import make_calls
from etlkit.engine.journal.journal import open_journal
from etlkit.engine.pipeline import Pipeline
from etlkit.engine.transform_spec import TransformSpec
from etlkit.engine.worker_messages import Ended, LogLine, Order, Stop, Usage, pickled_error

if TYPE_CHECKING:
    import signal

    from etlkit.api.job import TransferJob
    from etlkit.engine.journal.journal import Journal

_TELL_EVERY_S = 0.25
_MAX_LINES = 20


def run_worker(pipe: Connection, order: Order, died: signal.Signals) -> None:
    """Do what an order says, and tell the run's process how it goes and how it ended.

    Args:
        pipe: To and from the run's process.
        order: What to do.
        died: Stops the worker as this signal would when the run's process is gone.
    """
    link = _Link(pipe)
    logging.getLogger("etlkit").addHandler(_ToParent(link))
    logging.getLogger("etlkit").setLevel(order.log_level)
    worker = _WorkerRun(order, link.send)
    link.send(worker.run(partial(_listen, link, died)))


def run_remote_worker(order: Order) -> Ended:
    """Do what an order says where the run's process cannot be talked to.

    The worker finds out by itself when the run is over. An order that is carried out twice does no
    harm: each time it is another worker.

    Args:
        order: What to do.

    Returns:
        What it has done, and why it failed if it did. It raises nothing, so that an engine does not try
        again what would fail again.
    """
    worker = replace(order.worker, id=secrets.token_hex(4), is_remote=True)
    log, kept = logging.getLogger("etlkit"), _Kept(max(order.log_level, logging.WARNING))
    log.addHandler(kept)
    log.setLevel(order.log_level)
    try:
        ended = _WorkerRun(replace(order, worker=worker), _nobody).run(lambda _run: None)
    finally:
        log.removeHandler(kept)
    return replace(ended, lines=tuple(kept.lines), index=worker.index)


def _nobody(_message: object) -> None:
    return


def _listen(link: _Link, died: int, run: Run) -> None:
    """Stop the run when its process asks for it, or is gone."""

    def listen() -> None:
        signum = died
        try:
            message = link.pipe.recv()
        except (EOFError, OSError):
            message = None
        if isinstance(message, Stop):
            signum = message.signum
        run.request_stop(signum)
        if message is None:  # nobody would kill this process if it hung
            time.sleep(STOP_TIMEOUT_S)
            os._exit(1)

    threading.Thread(target=listen, daemon=True).start()


class _Link:
    """The way to the run's process. A message to one that is gone is lost."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe
        self._lock = threading.Lock()

    def send(self, message: object) -> None:
        with self._lock:
            try:
                self.pipe.send(message)
            except OSError:
                return


class _ToParent(logging.Handler):
    """Sends log lines to the run's process, which writes them."""

    def __init__(self, link: _Link) -> None:
        super().__init__()
        self._link = link

    def emit(self, record: logging.LogRecord) -> None:
        self._link.send(LogLine(record.name, record.levelno, record.getMessage()))


class _Kept(logging.Handler):
    """Keeps the first lines of a log."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.lines: list[LogLine] = []

    def emit(self, record: logging.LogRecord) -> None:
        if len(self.lines) < _MAX_LINES:
            self.lines.append(LogLine(record.name, record.levelno, record.getMessage()))


class _WorkerRun:
    """A worker at work.

    Args:
        order: What it does.
        tell: Is given its `Usage`, now and then.
    """

    def __init__(self, order: Order, tell: Callable[[object], None]) -> None:
        self._order = order
        self._send = tell
        self._counts = Counts()
        self._run: Run | None = None
        self._journal: Journal | None = None
        self._told_at = 0.0

    def run(self, on_run: Callable[[Run], None]) -> Ended:
        """Work until nothing is left.

        Args:
            on_run: Called with the run before it begins.

        Returns:
            How it ended. Nothing is raised.
        """
        try:
            self._run_order(on_run)
        except BaseException as error:
            return Ended(self._usage(), pickled_error(error))
        return Ended(self._usage())

    def _usage(self) -> Usage:
        counts = replace(self._counts, waits=None)
        if self._run is None:
            return Usage(counts)
        meter = self._run.calls.meter
        resumed = 0 if self._journal is None else self._journal.answers.num_used
        return Usage(counts, meter.calls, meter.retries, meter.units, resumed)

    def _run_order(self, on_run: Callable[[Run], None]) -> None:
        order = self._order
        job: TransferJob = pickle.loads(order.job)  # noqa: S301 - the run's own process made it  # nosec B301
        spec = TransformSpec(job)
        record = RunRecord(order.run_id, order.request.job_name, order.attempt - 1, "")
        run = Run(
            order.request,
            fingerprint=spec.fingerprint(job.source),
            labels=job.labels,
            calls=make_calls(job, LeasedCalls(job.max_calls, job.max_cost)),
            record=replace(record, is_shared=True),
            worker=order.worker,
        )
        self._run = run
        on_run(run)
        with run:
            self._join(job, spec, run)

    def _join(self, job: TransferJob, spec: TransformSpec, run: Run) -> None:
        if not isinstance(job.sink, TakesWorkers):
            raise AssertionError("sharing the rows of this sink was refused")  # noqa: TRY004
        reader, writer = job.sink.join(job, run, job.source)
        try:
            columns = spec.decoded_columns(reader.columns)
            self._journal = open_journal(job, run, writer, columns)
            if self._journal is not None and isinstance(reader, TakesOver):
                reader.on_taken_over = self._journal.read_of
            Pipeline(spec, reader, writer, job, self._counts, run, self._tell, self._journal).run()
            writer.commit(self._counts)
        except BaseException as error:
            writer.abort(error)
            raise
        finally:
            if self._journal is not None:
                self._journal.close(is_done=False)
            reader.close(succeeded=False)

    def _tell(self, _stage: str, _counts: Counts, _expected: int | None) -> None:
        now = time.monotonic()
        if now - self._told_at >= _TELL_EVERY_S:
            self._told_at = now
            self._send(self._usage())

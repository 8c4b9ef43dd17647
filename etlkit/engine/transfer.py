"""The engine: batches in, hooks, settled batches out. It knows nothing but the seams.

A run is a row of stages. Whatever goes wrong in one of them, the workers are closed, `after_action`
has run, and the sink is told to abort; success is the one path that says so.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from etlkit.api.outcomes import Counts
from etlkit.api.report import Progress, RunReport, State
from etlkit.engine.estimate import calls_of, estimate
from etlkit.engine.pipeline import Pipeline
from etlkit.engine.transform_spec import TransformSpec
from etlkit.errors import AlreadyPublishedError

if TYPE_CHECKING:
    from etlkit.api.job import TransferJob
    from etlkit.api.run import Run
    from etlkit.api.sink import SinkWriter
    from etlkit.api.source import SourceReader

log = logging.getLogger("etlkit")


def run_transfer(job: TransferJob, run: Run, on_progress: Progress | None = None) -> RunReport:
    """Run a job once, from source to published target.

    Args:
        job: What to run.
        run: This run's id, limits and settings; entered by the caller.
        on_progress: Called with stage and counts, often; None = nobody watches.

    Returns:
        The report, state `published`.

    Raises:
        EtlkitError: The run failed and nothing was published; `report` on it holds a `RunReport`.
        KeyboardInterrupt: The run was interrupted; likewise.
    """
    transfer = _Transfer(job, run, on_progress or _nobody)
    try:
        return transfer.run()
    except AlreadyPublishedError as done:
        log.info("%s", done)
        return transfer.done_before(done)
    except BaseException as error:
        error.report = transfer.report(error)  # type: ignore[attr-defined]
        raise


def _nobody(_stage: str, _counts: Counts, _expected: int | None) -> None:
    return


class _Transfer:
    """One run in progress."""

    def __init__(self, job: TransferJob, run: Run, on_progress: Progress) -> None:
        self._job = job
        self._run = run
        self._on_progress = on_progress
        self._counts = Counts()
        self._seconds: dict[str, float] = {}
        self._target = ""
        self._published = 0
        self._resumed = 0
        self._done = False

    def run(self) -> RunReport:
        etl = TransformSpec(self._job)
        self._run.alone = not self._job.is_runnable_concurrently
        self._run.on_schema_change = self._job.on_schema_change
        self._run.on_row_error = self._job.on_row_error
        self._run.checks = self._job.checks
        self._run.calls = calls_of(self._job)
        self._run.fingerprint = etl.fingerprint(self._job.source)
        with self._stage("open"):
            reader = self._job.source.open(self._run)
        try:
            with self._stage("open"):
                etl.read_columns(reader.columns)  # a wrong name is found before anything is paid
                writer = self._job.sink.open(self._run)
                self._target = writer.target
            try:
                with self._stage("snapshot"):
                    earlier = writer.recover()
                    self._counts = earlier.counts
                    self._resumed = earlier.counts.settled
                    reader.freeze(earlier)
                self._transform_and_publish(etl, reader, writer)
            except BaseException as error:
                if not self._done:
                    writer.abort(error)
                raise
        finally:
            reader.close(succeeded=self._done)
        return self.report(None)

    def _transform_and_publish(
        self, etl: TransformSpec, reader: SourceReader, writer: SinkWriter
    ) -> None:
        log.info("%s", estimate(self._job, etl, reader.num_rows, resumed=self._resumed))
        with self._stage("transform"):
            Pipeline(
                etl, reader, writer, self._job, self._counts, self._run, self._on_progress
            ).run()
        with self._stage("publish"):
            self._on_progress("publish", self._counts, self._counts.read)
            self._published = writer.commit(self._counts)
        self._done = True

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        log.debug("stage %s", name)
        started = time.monotonic()
        try:
            yield
        finally:
            spent = self._seconds.get(name, 0.0) + time.monotonic() - started
            self._seconds[name] = round(spent, 3)

    def done_before(self, done: AlreadyPublishedError) -> RunReport:
        self._counts, self._target = done.counts, done.target
        self._resumed, self._published = done.counts.read, done.counts.parts
        return self.report(None)

    def report(self, error: BaseException | None) -> RunReport:
        state: State = "published" if error is None else "failed"
        if error is not None and not isinstance(error, Exception):
            state = "interrupted"
        counts, spent = self._counts, self._seconds.get("transform", 0.0)
        return RunReport(
            run_id=self._run.run_id,
            job=self._run.job,
            state=state,
            target=self._target,
            resumed=self._resumed,
            read=counts.read,
            written=counts.written,
            skipped=counts.skipped,
            rejected=counts.rejected,
            rows_published=self._published,
            row_errors=counts.row_errors,
            first_errors=counts.first_errors,
            calls=self._run.calls.meter.calls,
            retries=self._run.calls.meter.retries,
            units=self._run.calls.meter.units,
            cost=self._run.calls.meter.cost,
            rows_per_s=round((counts.read - self._resumed) / spent, 1) if spent else 0.0,
            seconds=self._seconds,
            error=None if error is None else str(error) or type(error).__name__,
        )

"""`run_transfer`: one run of a transfer job, stage by stage.

The stages are open, snapshot, transform, publish. Whatever fails in one of them, the workers are
closed, `after_action` has run, and the sink aborts; only the last line of the last stage publishes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from etlkit.api.outcomes import Counts
from etlkit.api.report import Progress, RunReport, end_state, error_text
from etlkit.api.run import AUTO, LAST, MakeReport, ProgressNow, Run, is_too_old
from etlkit.api.run_watch import WatchedRun, run_watcher
from etlkit.api.sink import SharesRun, TakesResults
from etlkit.calls.limits import Meter
from etlkit.engine.code_files import changes
from etlkit.engine.estimate import estimate, make_calls
from etlkit.engine.journal.journal import open_journal
from etlkit.engine.pipeline import Pipeline
from etlkit.engine.reuse import plan_reuse, warn_of_other_columns
from etlkit.engine.revision import revision_of
from etlkit.engine.row_errors import RowErrorHandler
from etlkit.engine.timed_hooks import timed
from etlkit.engine.told_rows import ToldRows
from etlkit.engine.transform_spec import TransformSpec
from etlkit.engine.worker_launcher import SharedWork, added
from etlkit.errors import AlreadyPublishedError, RunStateError
from etlkit.telemetry.current_run import CurrentRun, in_run
from etlkit.telemetry.spans import RunSpan, run_span, span

if TYPE_CHECKING:
    from etlkit.api.job import TransferJob
    from etlkit.api.reuse import Reuse
    from etlkit.api.run import RunRecord, RunRequest
    from etlkit.api.sink import SinkWriter
    from etlkit.api.source import SourceReader
    from etlkit.api.worker_report import WorkerReport
    from etlkit.engine.journal.journal import Journal
    from etlkit.engine.worker_launcher import WorkerLauncher
    from etlkit.engine.worker_messages import Usage

log: logging.Logger = logging.getLogger("etlkit")

_MAX_ROUNDS = 3
"""How often workers are started for rows that are left although every shard was said to be settled."""


def run_transfer(
    job: TransferJob,
    request: RunRequest,
    *,
    on_start: Callable[[Run], None] | None = None,
    on_progress: Progress | None = None,
    launch: WorkerLauncher | None = None,
) -> RunReport:
    """Run a job once, from source to published target.

    Args:
        job: What to run.
        request: A new run, or the one to resume.
        on_start: Called with the run before it begins, e.g. to keep its `request_stop`.
        on_progress: Called often with stage and counts; None = nobody watches.
        launch: How workers that share the run are started; None = there are none.

    Returns:
        The report, state `published`.

    Raises:
        EtlkitError: The run failed and nothing was published; `report` on it holds a `RunReport`.
        KeyboardInterrupt: The run was interrupted; likewise.
    """
    with run_span("transfer", identity(request)) as span:
        transfer = _Transfer(job, request, on_progress or _ignore_progress, launch)
        try:
            report = transfer.run(on_start)
        except AlreadyPublishedError as done:
            log.info("%s", done)
            return transfer.report_published(done)
        except BaseException as error:
            report = transfer.report(error)
            error.report = report  # type: ignore[attr-defined]
            _tell(span, report)
            transfer.tell_end(report, error)
            raise
        _tell(span, report)
        transfer.tell_end(report, None)
        return report


def identity(request: RunRequest) -> CurrentRun:
    """The run that is asked for, as logs and telemetry name it."""
    parent = request.parent
    if parent is None:
        return CurrentRun("", request.job_name)
    return CurrentRun("", request.job_name, parent.task, parent.run_id)


def _tell(span: RunSpan, report: RunReport) -> None:
    names = ("run_id", "state", "target", "read", "written", "skipped", "rejected", "resumed")
    more = ("reused", "rows_published", "calls", "retries", "units", "cost")
    span.set(**{name: getattr(report, name) for name in (*names, *more)})
    span.ended(report.state)
    span.add_cost(report.cost, report.currency)


def make_run(
    job: TransferJob,
    request: RunRequest,
    spec: TransformSpec,
    report: MakeReport | None = None,
    progress: ProgressNow | None = None,
) -> Run:
    """Make the run that a request asks for, complete: id, attempt, fingerprint, calls.

    Args:
        job: What it is a run of.
        request: A new run, or the one to resume.
        spec: The job's transform.
        report: As in `Run`.
        progress: As in `Run`.

    Raises:
        AlreadyPublishedError: The run to resume is published.
        RunStateError: It cannot be resumed.
    """
    fingerprint = spec.fingerprint(job.source)
    code = spec.parts(job.source)
    record = None if request.resume is None else _find(job, request, fingerprint, code)
    return Run(
        request,
        fingerprint=fingerprint,
        code=code,
        revision=revision_of(job.transform, request.settings.environ),
        labels=job.labels,
        calls=make_calls(job, request.shared, request.times),
        record=record,
        report=report,
        progress=progress,
    )


def _find(
    job: TransferJob, request: RunRequest, fingerprint: str, code: Mapping[str, str]
) -> RunRecord | None:
    """The run to resume; None = a new run begins."""
    if request.resume != AUTO:
        record = job.sink.find_run(request)
        _check_resumable(record, request, fingerprint, code)
        return record
    try:
        record = job.sink.find_run(replace(request, resume=LAST))
        _check_resumable(record, request, fingerprint, code)
    except RunStateError as reason:  # a run in progress will refuse the new one
        log.info("a new run begins: %s", reason)
        return None
    if is_too_old(record.run_id, request.started_at):
        log.info("a new run begins: run %s is too old to be resumed by itself", record.run_id)
        return None
    if request.scheduler_task is not None and not record.is_shared:
        log.info("a new run begins: run %s was started without workers", record.run_id)
        return None
    return record


def _check_resumable(
    record: RunRecord, request: RunRequest, fingerprint: str, code: Mapping[str, str]
) -> None:
    run_id = record.run_id
    if record.job_name != request.job_name:
        raise RunStateError(
            f"run {run_id} is a run of job {record.job_name}, not of {request.job_name}"
        )
    if record.retry_of != request.retry_of:
        how = f"--retry-rejects {record.retry_of}" if record.retry_of else "no --retry-rejects"
        raise RunStateError(f"run {run_id} was started with {how}: resume it with the same")
    if record.published is not None:
        raise AlreadyPublishedError(
            f"run {run_id} is already published; there is nothing left to do",
            run_id=run_id,
            counts=record.published,
            target=record.target,
        )
    if record.fingerprint != fingerprint and not request.allow_code_change:
        what = f" ({'; '.join(changes(record.code, code))})" if record.code else ""
        raise RunStateError(
            f"code or query changed since run {run_id} began{what}: rows transformed then and now may "
            "differ. To resume anyway, add --allow-code-change to --resume; or start a new run"
        )


def query_texts(source: object) -> tuple[str, ...]:
    """The SQL that a source reads with; empty = it has none."""
    query = getattr(source, "query", None)
    return (query,) if isinstance(query, str) else ()


def _ignore_progress(_stage: str, _counts: Counts, _expected: int | None) -> None:
    return


class _Transfer:
    """One run in progress."""

    def __init__(
        self,
        job: TransferJob,
        request: RunRequest,
        on_progress: Progress,
        launch: WorkerLauncher | None,
    ) -> None:
        self._job = job
        self._launch = launch
        self._request = request
        self._told_rows = ToldRows(request.job_name)
        self._on_progress = self._told_rows.before(on_progress)
        self._counts = Counts()
        self._seconds: dict[str, float] = {}
        self._running = "open", time.monotonic()
        self._meter = Meter()
        self._run_id = "" if request.resume in {None, LAST, AUTO} else str(request.resume)
        self._target = ""
        self._published = 0
        self._journal: Journal | None = None
        self._reuse: Reuse | None = None
        self._recovered = self._reused = 0
        self._keeps_rows = False
        self._done = False
        self._expected: int | None = None
        self._workers: list[WorkerReport] = []
        self._watched: WatchedRun | None = None

    def run(self, on_start: Callable[[Run], None] | None) -> RunReport:
        spec = TransformSpec(self._job)
        if self._request.times is not None:
            spec.make_worker = timed(spec, self._request.times)
        with self._stage("open"):
            run = make_run(self._job, self._request, spec, self._report_now, self._progress_now)
        with run:
            self._run_id, self._meter = run.run_id, run.calls.meter
            known = replace(identity(self._request), run_id=run.run_id)
            self._watched = WatchedRun(
                "transfer",
                run.run_id,
                run.job_name,
                self._job,
                run.settings,
                run.parent,
                run.revision,
                statements=query_texts(self._job.source),
            )
            with in_run(known):
                run_watcher().started(self._watched)
                if on_start is not None:
                    on_start(run)
                self._execute(spec, run)
        return self.report(None)

    def _execute(self, spec: TransformSpec, run: Run) -> None:
        with self._stage("open"):
            reader = self._job.source.open(self._job, run)
        try:
            with self._stage("open"):
                spec.read_columns(reader.columns)  # a wrong name is found before anything is paid
                self._reuse = plan_reuse(self._job, spec, self._request, reader.columns)
                self._job.sink.check(self._job, run, reader, spec.output_schema)
                writer = self._job.sink.open(self._job, run, reader)
                self._target = writer.target
                self._keeps_rows = getattr(writer, "keeps_rows", True)
            self._tell_opened(spec, reader)
            try:
                with self._stage("snapshot"):
                    columns = spec.decoded_columns(reader.columns)
                    self._journal = open_journal(self._job, run, writer, columns)
                    self._recover(spec, reader, writer)
                self._transform_and_publish(spec, run, reader, writer)
            except BaseException as error:
                if not self._done:
                    writer.abort(error)
                raise
            finally:
                if self._journal is not None:
                    self._journal.close(is_done=self._done)
        finally:
            reader.close(succeeded=self._done)

    def _recover(self, spec: TransformSpec, reader: SourceReader, writer: SinkWriter) -> None:
        """Freeze the rows, and find those that have a result: of this run, or of an earlier one."""
        recovered = writer.recover()
        reader.freeze(recovered)
        reuse = self._reuse
        if reuse is not None and isinstance(writer, TakesResults):
            warn_of_other_columns(reuse, spec, reader.columns)
            self._reused = writer.take_results(reuse)
            if self._reused:
                recovered = writer.recover()
                reader.freeze(recovered)
        self._counts = recovered.counts
        self._told_rows.known(self._counts)
        self._recovered = max(0, recovered.counts.finished - self._reused)

    def _transform_and_publish(
        self, spec: TransformSpec, run: Run, reader: SourceReader, writer: SinkWriter
    ) -> None:
        task = "" if run.parent is None else f"{run.parent.task}: "
        log.info(
            "%s%s",
            task,
            estimate(
                self._job, spec, reader.num_rows, resumed=self._recovered, reused=self._reused
            ),
        )
        rest = reader.num_rows
        self._expected = None if rest is None else rest + self._counts.read
        with self._stage("transform"):
            if run.num_workers is None or not self._share(run, reader, writer):
                pipeline = Pipeline(
                    spec,
                    reader,
                    writer,
                    self._job,
                    self._counts,
                    run,
                    self._on_progress,
                    self._journal,
                )
                pipeline.run()
                if self._watched is not None:
                    self._watched.columns = pipeline.columns
        with self._stage("publish"):
            self._on_progress("publish", self._counts, self._counts.read)
            self._published = writer.commit(self._counts)
        self._done = True

    def _share(self, run: Run, reader: SourceReader, writer: SinkWriter) -> bool:
        """Let workers transform the rows. False = none is left for them."""
        if not isinstance(writer, SharesRun) or self._launch is None:
            raise AssertionError("workers were refused for this sink")
        check = writer.is_ready
        began_with = replace(self._counts)
        shared = False
        for _ in range(_MAX_ROUNDS):
            num_rows = writer.open_shards()
            if not num_rows:
                break
            shared = True
            show_usage = partial(self._show_usage, began_with, reader.num_rows)
            known = tuple(writer.known_columns)
            # Of tasks, the others do not know how many rows there are, and number their workers alike.
            useful = num_rows if run.scheduler_task is None else None
            workers = self._launch(
                SharedWork(self._job, self._request, run, writer, check, show_usage, known, useful)
            )
            try:
                workers.run_all()
            finally:
                self._add_usage(workers.usage, began_with)
            began_with = replace(self._counts)
        if shared:
            self._count_again(writer)
        self._workers = list(writer.workers())
        return shared

    def _show_usage(self, began_with: Counts, rows_left: int | None, usage: Usage) -> None:
        is_part = self._request.scheduler_task is not None  # what other tasks do is not known here
        expected = None if rows_left is None or is_part else rows_left + began_with.read
        self._counts = added(began_with, usage.counts)
        RowErrorHandler(self._job, self._counts).check_max_rejected(is_over=False)
        self._on_progress("transform", self._counts, expected)

    def _add_usage(self, usage: Usage, began_with: Counts) -> None:
        self._counts = added(began_with, usage.counts)
        self._meter.add_many(usage.calls, usage.retries, usage.units)

    def _count_again(self, writer: SinkWriter) -> None:
        """Take the counts from what is staged: rows of workers that died were counted twice."""
        found = writer.recover().counts
        found.row_errors = max(found.row_errors, self._counts.row_errors)
        found.first_errors = self._counts.first_errors
        found.error_classes = self._counts.error_classes
        self._counts = found
        RowErrorHandler(self._job, found).check_max_rejected(is_over=True)

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        log.debug("stage %s", name)
        started = time.monotonic()
        self._running = name, started
        if name in {"open", "snapshot"}:
            self._on_progress(name, self._counts, None)
        try:
            with span(name):
                yield
        finally:
            self._told_rows.tell(self._counts)
            ended = time.monotonic()
            self._seconds[name] = round(self._seconds.get(name, 0.0) + ended - started, 3)
            self._running = name, ended  # what the sink's records say of a failure comes now

    def _tell_opened(self, spec: TransformSpec, reader: SourceReader) -> None:
        watched = self._watched
        if watched is not None:
            watched.target = self._target
            watched.tables = tuple(getattr(reader, "tables", ()))
            watched.source_columns = tuple(reader.columns)
            watched.read = tuple(c.name for c in spec.read_columns(tuple(reader.columns)))
            run_watcher().opened(watched)

    def tell_end(self, report: RunReport, error: BaseException | None) -> None:
        """Tell whoever watches runs how this one has ended, if it had begun."""
        if self._watched is not None:
            run_watcher().ended(self._watched, report, error)

    def _progress_now(self) -> tuple[str, Counts, int | None]:
        return self._running[0], self._counts, self._expected

    def report_published(self, done: AlreadyPublishedError) -> RunReport:
        self._run_id, self._counts, self._target = done.run_id, done.counts, done.target
        self._recovered, self._published = done.counts.read, done.counts.parts
        return self.report(None)

    @property
    def _resumed(self) -> int:
        """Rows whose result is an earlier attempt's: staged, or in its journal."""
        return self._recovered + (0 if self._journal is None else self._journal.answers.num_used)

    def _report_now(self, counts: Counts | None, error: BaseException | None) -> RunReport:
        """The report for the sink's records: they are written before the last stage is over."""
        published = counts.parts if counts is not None and error is None else 0
        stage, began = self._running
        spent = self._seconds.get(stage, 0.0) + time.monotonic() - began
        return replace(
            self.report(error),
            rows_published=published,
            seconds={**self._seconds, stage: round(spent, 3)},
        )

    def report(self, error: BaseException | None) -> RunReport:
        counts, spent = self._counts, self._seconds.get("transform", 0.0)
        task = self._request.scheduler_task
        return RunReport(
            run_id=self._run_id,
            job=self._request.job_name,
            state="published" if error is None else end_state(error),
            target=self._target,
            resumed=self._resumed,
            reused=self._reused,
            read=counts.read,
            written=counts.written,
            skipped=counts.skipped,
            rejected=counts.rejected,
            rows_published=self._published,
            kept=0 if error is None or not self._keeps_rows else counts.finished,
            row_errors=counts.row_errors,
            first_errors=counts.first_errors,
            error_classes=dict(counts.error_classes),
            calls=self._meter.calls,
            retries=self._meter.retries,
            units=self._meter.units,
            cost=self._meter.cost,
            currency=self._job.currency,
            rows_per_s=round((counts.read - self._resumed - self._reused) / spent, 1)
            if spent
            else 0.0,
            seconds=self._seconds,
            task=None if task is None else str(task),
            workers=self._workers,
            error=None if error is None else error_text(error),
        )

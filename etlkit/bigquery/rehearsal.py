"""A rehearsal's target: a throw-away table in the work dataset, made like the job's own."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from etlkit.api.sink import Findings, Outlook
from etlkit.bigquery.modes import MODES
from etlkit.bigquery.names import parse_table
from etlkit.bigquery.publish.staged_writer import BigQueryWriter
from etlkit.bigquery.sample import LeaveOut, SampledReader, sampled
from etlkit.bigquery.sink import BigQuerySink
from etlkit.bigquery.source import BigQuerySource
from etlkit.bigquery.sql import ddl
from etlkit.bigquery.table_definition import (
    Definition,
    ExpiringDefinition,
    definition_of,
    work_table,
)
from etlkit.errors import ConfigError, SinkError

if TYPE_CHECKING:
    from google.cloud import bigquery

    from etlkit.api.checks import Check
    from etlkit.api.job import TransferJob
    from etlkit.api.job_options import JobOptions
    from etlkit.api.outcomes import Counts
    from etlkit.api.reuse import Reuse
    from etlkit.api.run import Run
    from etlkit.api.source import Sampling, Source, SourceReader
    from etlkit.bigquery.client import Connection
    from etlkit.bigquery.names import TableName
    from etlkit.rows.columns import Column


@dataclass(frozen=True)
class RehearsalSink(BigQuerySink):
    """A `BigQuerySink` whose table is thrown away.

    Attributes:
        copy_of: The job's own target: the table gets its columns, if it exists.
        checks: The job's checks. They are evaluated, and do not end the run.
        findings: Filled in.
        keep: Whether the table stays when the run is over, until it expires.
    """

    copy_of: str = ""
    checks: Sequence[Check | str] = ()
    findings: Findings = field(default_factory=Findings, compare=False)
    keep: bool = False

    def check(
        self,
        job: JobOptions,  # noqa: ARG002
        run: Run,  # noqa: ARG002
        reader: SourceReader,  # noqa: ARG002
        columns: tuple[Column, ...] | None,  # noqa: ARG002
    ) -> Outlook:
        """See `etlkit.api.sink.Sink.check`. The table is not there yet."""
        return Outlook(self.table)

    def open(self, job: JobOptions, run: Run, reader: SourceReader) -> RehearsalWriter:
        """See `etlkit.api.sink.Sink.open`: makes the table, which goes when the run ends."""
        from etlkit.bigquery.client import connect
        from etlkit.bigquery.google_errors import errors_as

        connection = connect(run)
        with errors_as(SinkError, "open", f"making the throw-away table {self.table} failed"):
            tables = _ThrowAway(self, connection)
            run.share("rehearsal", lambda: tables, _ThrowAway.drop)
            tables.make()
        return RehearsalWriter(self, job, run, connection, reader, tables)


def rehearsal_job(
    job: TransferJob,
    sampling: Sampling,
    findings: Findings,
    plan: Callable[[tuple[Column, ...]], Reuse | None],
    other: Source,
    *,
    keep: bool,
) -> TransferJob:
    """The job with a sample for its source and a throw-away table for its target.

    Every failed row is rejected: how many there are is what a rehearsal is for.

    Args:
        job: What is rehearsed.
        sampling: Which rows.
        findings: Filled in by the run.
        plan: Which results of earlier runs count: rows that have one are not taken.
        other: The sample of a source that is not in BigQuery.
        keep: Whether the table stays until it expires.

    Raises:
        ConfigError: The job's sink has no rehearsal.
    """
    if not isinstance(job.sink, BigQuerySink):
        raise ConfigError(
            f"--rehearse needs a BigQuerySink, not a {type(job.sink).__name__}: there is no table to "
            "write to instead. --preview runs a few rows and sends nothing"
        )
    source = other
    if isinstance(job.source, BigQuerySource):
        source = sampled(job.source, sampling, LeaveOut(job.sink.work_dataset, plan))
    return replace(
        job,
        source=source,
        sink=_sink(job.sink, job.checks, findings, keep=keep),
        on_row_error="reject",
        max_rejected=None,
        checks=(),
        allow_empty=True,
        is_runnable_concurrently=True,
        journal="off",
    )


def _sink(
    sink: BigQuerySink, checks: Sequence[Check | str], findings: Findings, *, keep: bool
) -> RehearsalSink:
    name = f"rehearsal_{datetime.now(UTC):%Y%m%d_%H%M%S}_{secrets.token_hex(4)}"
    mode = sink.mode
    if not MODES[mode].is_staged:
        mode = "append"
        findings.differences.append(
            f"rows were staged, as in mode append; mode {sink.mode} stages none"
        )
    if sink.before_load is not None:
        findings.differences.append("before_load did not run: it changes the target")
    own = {each.name: getattr(sink, each.name) for each in fields(BigQuerySink)}
    changed = {
        "table": f"{sink.work_dataset}.{name}",
        "mode": mode,
        "before_load": None,
        "definition": ExpiringDefinition.of(sink.definition),
        "create_dataset": True,
    }
    return RehearsalSink(
        **own | changed, copy_of=sink.table, checks=checks, findings=findings, keep=keep
    )


class _ThrowAway:
    """The tables of a rehearsal, which expire by themselves.

    Args:
        sink: Says what they are.
        connection: The run's connection.
    """

    def __init__(self, sink: RehearsalSink, connection: Connection) -> None:
        self._sink = sink
        self._connection = connection
        self.name = parse_table(sink.table, connection.project)
        self.staging: list[TableName] = []

    def make(self) -> None:
        from etlkit.bigquery.publish.rejects import REJECTS_COLUMNS, rejects_table

        connection = self._connection
        connection.find_table(self.name)  # what was looked up ahead
        connection.make_dataset(self.name.dataset_id)
        real = connection.find_table(parse_table(self._sink.copy_of, connection.project))
        if real is not None:
            self._copy(real.schema, definition_of(real))
        connection.make_table(work_table(rejects_table(self.name), REJECTS_COLUMNS))
        self._sink.findings.table = str(self.name)

    def _copy(self, schema: Sequence[bigquery.SchemaField], definition: Definition) -> None:
        from etlkit.bigquery.schema_fields import from_schema_fields

        columns = from_schema_fields(schema)
        clauses = ExpiringDefinition.of(definition).clauses(columns, self._connection.labels)
        text = ddl.create_table(self.name, columns, clauses)
        self._connection.query(text, "make_rehearsal")

    def drop(self) -> None:
        """Drop what the run leaves, whichever way it ended."""
        from etlkit.bigquery.publish.rejects import rejects_table

        own = [] if self._sink.keep else [self.name, rejects_table(self.name)]
        self._connection.drop_beside([*own, *self.staging])


class RehearsalWriter(BigQueryWriter):
    """See `etlkit.api.sink.SinkWriter`. Its checks are reported, and end nothing."""

    def __init__(
        self,
        options: RehearsalSink,
        job: JobOptions,
        run: Run,
        connection: Connection,
        reader: SourceReader,
        tables: _ThrowAway,
    ) -> None:
        super().__init__(options, job, run, connection, reader)
        self._findings = options.findings
        self._checks = options.checks
        self._tables = tables

    def commit(self, counts: Counts) -> int:
        """See `etlkit.api.sink.SinkWriter.commit`."""
        from etlkit.bigquery.google_errors import errors_as
        from etlkit.bigquery.publish.audit import failed_checks

        self.flush()
        with errors_as(SinkError, "audit", "a check could not run"):
            found = failed_checks(self._connection, self._staging, self._checks)
            self._findings.failed_checks.extend(found)
        published = super().commit(counts)
        if self._results is not None and isinstance(self._reader, SampledReader):
            with errors_as(SinkError, "publish", "counting the known rows failed"):
                self._findings.num_known = self._results.count_known(self._reader.population)
        return published

    def take_results(self, reuse: Reuse, /) -> int:
        """See `etlkit.api.sink.TakesResults.take_results`."""
        known = super().take_results(reuse)
        self._tables.staging.append(self._staging.taken)
        return known

    def abort(self, error: BaseException, /) -> None:
        """See `etlkit.api.sink.SinkWriter.abort`: nobody resumes a rehearsal."""
        super().abort(error)
        self._tables.staging += self._staging.all_names

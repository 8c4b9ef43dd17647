"""`query_mode="insert"`: the rows of a query are staged, audited and published in one atomic step."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from etlkit.api.outcomes import Counts
from etlkit.bigquery.client import Connection
from etlkit.bigquery.datamart import sql
from etlkit.bigquery.datamart.schema_evolution import check_columns, policy
from etlkit.bigquery.datamart.statements import in_file, run_step, statement_error
from etlkit.bigquery.datamart.versions import Versions
from etlkit.bigquery.google_errors import errors_as
from etlkit.bigquery.modes import ModeName, refuse_incomparable
from etlkit.bigquery.names import TableName, parse_table, work_dataset
from etlkit.bigquery.parameters import query_parameters
from etlkit.bigquery.publish.audit import refuse_many_partitions, run_checks
from etlkit.bigquery.publish.preflight import check_before_load, check_checks
from etlkit.bigquery.publish.publisher import Publisher
from etlkit.bigquery.publish.target import Target
from etlkit.bigquery.sink import SinkOptions
from etlkit.bigquery.sql.staging import Staged
from etlkit.bigquery.table_definition import Definition
from etlkit.errors import ConfigError, SinkError
from etlkit.rows.columns import Column, check_names

if TYPE_CHECKING:
    from etlkit.api.datamart import Datamart
    from etlkit.api.report import DatamartReport
    from etlkit.api.run import Run
    from etlkit.bigquery.datamart.plan import Plan
    from etlkit.bigquery.runs.run_owner import RunOwner

log: logging.Logger = logging.getLogger("etlkit.bigquery")

_MODES: dict[str, ModeName] = {
    "append": "append",
    "truncate": "replace",
    "incremental": "merge",
    "scd_type_2": "append",
}


class StagedQuery:
    """The rows of the query in `out_<run id>`. See `StagedRows`.

    Attributes:
        table: The work table.
        columns: Its columns.
        staged: Nothing: the rows of a query have no ids and none is rejected.
        makes_empty_table: The columns of a query are known without rows.
    """

    def __init__(self, table: TableName, columns: tuple[Column, ...]) -> None:
        self.table = table
        self.columns = columns
        self.staged: Staged = Staged(())
        self.makes_empty_table = True

    @property
    def plain(self) -> StagedQuery:
        """The rows as the query returns them."""
        return self

    @property
    def names(self) -> list[TableName]:
        """See `StagedRows.names`."""
        return [self.table]

    def rows(self, columns: Sequence[Column], /) -> str:
        """See `StagedRows.rows`."""
        return sql.staged(self.table, columns)

    def unrepeated_rows(self, _columns: Sequence[Column], _counts: Counts, /) -> None:
        """See `StagedRows.unrepeated_rows`: the rows have no ids, so `rows` sorts nothing."""
        return


class StagedVersions(StagedQuery):
    """The same rows as versions for `scd_type_2`."""

    def __init__(
        self, table: TableName, columns: tuple[Column, ...], job: Datamart, run: Run
    ) -> None:
        start, end, current = job.validity_columns.names
        more = (Column(start, "TIMESTAMP"), Column(end, "TIMESTAMP"), Column(current, "BOOL"))
        super().__init__(table, (*columns, *more))
        self._own = columns
        self._job = job
        self._run = run

    @property
    def plain(self) -> StagedQuery:
        """See `StagedQuery.plain`."""
        return StagedQuery(self.table, self._own)

    def rows(self, columns: Sequence[Column], /) -> str:
        """See `StagedRows.rows`."""
        validity = self._job.validity_columns
        own = [column for column in columns if column.name not in validity.names]
        return sql.new_versions(self.table, own, validity, self._run.started_at)


class Insert:
    """One run in `insert` mode."""

    def __init__(
        self, plan: Plan, run: Run, connection: Connection, report: DatamartReport
    ) -> None:
        self._plan = plan
        self._job = plan.job
        self._run = run
        self._connection = connection
        self._report = report
        self._options = sink_options(plan.job)
        self._columns: tuple[Column, ...] = ()
        self._query = sql.wrapped(plan.steps[0].sql, plan.job.lookback, run.started_at)

    def check(self) -> None:
        """Have BigQuery validate the query, and compare it with the table. Writes nothing.

        Raises:
            StatementError: BigQuery refused the query.
            JobError: The rows would not fit the table, or there is no such dataset.
        """
        self.validate()
        dataset = parse_table(self._options.table, self._connection.project).dataset_id
        if not self._options.create_dataset or self._connection.find_dataset(dataset) is not None:
            self._fit()  # otherwise there is no table to compare with
        self._report.statements[0].state = "checked"

    def validate(self) -> None:
        """Have BigQuery validate the query. That gives its columns and its location.

        Raises:
            StatementError: BigQuery refused it.
        """
        self._columns = self._dry_run()
        self._report.target = str(parse_table(self._options.table, self._connection.project))

    def _fit(self) -> None:
        with errors_as(SinkError, "open", f"opening the target {self._job.destination} failed"):
            self._target = Target(self._options, policy(self._job), self._connection)
            self._target.prepare()
        self._staged = self._stage_of(self._columns)
        self._report.warnings += check_columns(self._job, self._target, self._columns)
        self._target.check_fit(self._staged.columns)
        check_before_load(self._connection, self._options, self._target)
        check_checks(self._connection, self._job.checks, self._columns, complete=True)

    def run(self, owner: RunOwner) -> None:
        """Compare, stage, audit and publish. Call `validate` first.

        Raises:
            StatementError: The query failed.
            JobError: The rows do not fit the table, or a check or publishing failed.
        """
        self._fit()
        target, staged, statement = self._target, self._staged, self._report.statements[0]
        text = sql.stage(staged.table, self._query)
        run_step(self._connection, self._plan, self._plan.steps[0], statement, "stage", text)
        with errors_as(SinkError, "audit", "the audit of the new rows could not run"):
            counts = self._count(staged)
            statement.rows = counts.parts
            refuse_many_partitions(self._connection, staged, target, counts.parts)
            run_checks(self._connection, staged.plain, self._job.checks)
        with errors_as(SinkError, "publish", f"publishing to {target.name} failed"):
            Publisher(
                self._options,
                self._run,
                self._connection,
                target,
                staged,
                owner,
                mode=self._versions(),
            ).publish(counts)
        self._report.rows_published = counts.parts
        self._connection.drop_work_table(staged.table)

    def _dry_run(self) -> tuple[Column, ...]:
        from google.api_core.exceptions import GoogleAPIError

        from etlkit.bigquery.schema_fields import from_schema_fields

        step, statement = self._plan.steps[0], self._report.statements[0]
        try:
            job = self._connection.dry_run(self._query, query_parameters(step.parameters))
        except GoogleAPIError as error:
            statement.state, statement.error = "failed", in_file(error, step, self._query)
            raise statement_error(self._plan, step, statement) from error
        statement.statement_type = job.statement_type
        statement.bytes_processed = job.total_bytes_processed
        self._connection.location = self._connection.location or job.location
        columns = from_schema_fields(job.schema or ())
        if not columns or job.statement_type not in {None, "SELECT"}:
            raise ConfigError(
                f"query_mode='insert' takes one SELECT, this is {job.statement_type}; other "
                "statements run with query_mode='query'"
            )
        check_names(columns)
        return columns

    def _stage_of(self, columns: tuple[Column, ...]) -> StagedQuery:
        dataset = work_dataset(self._job.work_dataset, self._connection.project)
        table = TableName(*dataset, f"out_{self._run.run_id}")
        check_keys(self._job, columns)
        if self._job.write_disposition != "scd_type_2":
            return StagedQuery(table, columns)
        return StagedVersions(table, columns, self._job, self._run)

    def _versions(self) -> Versions | None:
        """The mode of `scd_type_2`; None = the mode of the options."""
        if self._job.write_disposition != "scd_type_2":
            return None
        return Versions(
            self._job.merge_keys,
            str(self._job.incremental_column),
            self._job.validity_columns,
            self._run.started_at,
        )

    def _count(self, staged: StagedQuery) -> Counts:
        count = self._connection.select(sql.count_rows(staged.table))[0]["n"]
        return Counts(read=count, written=count, parts=count)


def check_keys(job: Datamart, columns: Sequence[Column]) -> None:
    """Raise if the query lacks a key, or has a column that `scd_type_2` adds. No I/O.

    Args:
        job: The datamart.
        columns: Of its query.

    Raises:
        SinkError: Says which column.
    """
    names = {column.name for column in columns}
    needed = [*job.merge_keys, *filter(None, [job.incremental_column])]
    if missing := [name for name in needed if name not in names]:
        raise SinkError(
            f"the query has no column {', '.join(missing)}; it has {', '.join(sorted(names))}",
            stage="open",
        )
    refuse_incomparable(job.merge_keys, columns)
    added = set(job.validity_columns.names) if job.write_disposition == "scd_type_2" else set()
    if taken := names & added:
        raise SinkError(
            f"the query has a column {', '.join(sorted(taken))}, which scd_type_2 adds itself: "
            "leave it out, or choose other validity_columns",
            stage="open",
        )


def sink_options(job: Datamart) -> SinkOptions:
    """The options of a transfer into the same table.

    Raises:
        ConfigError: The table name is wrong, or the definition is not an `etlkit.Definition`.
    """
    definition = job.definition or Definition()
    if not isinstance(definition, Definition):
        raise ConfigError(f"definition is a {type(definition).__name__}; give etlkit.Definition(…)")
    mode = _MODES[str(job.write_disposition)]
    return SinkOptions(
        table=str(job.destination),
        mode=mode,
        merge_keys=job.merge_keys if mode == "merge" else (),
        merge_update_columns=() if job.on_matched_action == "skip" else None,
        before_load=job.before_load,
        definition=definition,
        create_dataset=job.create_dataset,
        work_dataset=job.work_dataset,
    )

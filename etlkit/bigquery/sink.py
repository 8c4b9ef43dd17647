"""`BigQuerySink`: a BigQuery table as the target of a job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from etlkit.api.sink import Outlook
from etlkit.bigquery.modes import MODES, ModeName
from etlkit.bigquery.names import check_table
from etlkit.bigquery.source import WORK_DATASET, BigQuerySource
from etlkit.bigquery.table_definition import Definition
from etlkit.errors import ConfigError, SinkError
from etlkit.variables.substitution import without_variables

if TYPE_CHECKING:
    import pyarrow as pa

    from etlkit.api.job_options import JobOptions
    from etlkit.api.rendezvous import Rendezvous
    from etlkit.api.reuse import Reuse
    from etlkit.api.run import Run, RunRecord, RunRequest
    from etlkit.api.scheduler_task import SchedulerTask
    from etlkit.api.sink import SinkWriter
    from etlkit.api.source import Source, SourceReader
    from etlkit.rows.columns import Column
    from etlkit.rows.row import Row
    from etlkit.variables.definitions import Value


@dataclass(frozen=True)
class SinkOptions:
    """What a job says about its target; `BigQuerySink` is this, ready to be opened.

    Attributes:
        table: `dataset.table` or `project.dataset.table`; created when it is missing.
        mode: `append` adds the rows. `replace` makes them the table's only rows; changed columns
            are altered, so descriptions, policy tags, access policies and partitioning stay.
            `merge` updates rows that are there by `merge_keys` and adds the others.
            `delete_in_advance` is `replace` that also gives the table the job's definition.
            `append_direct` writes straight into the table: at least once, visible at once, no
            checks, no resume.
        merge_keys: Columns that name a row; nulls are equal to each other.
        merge_update_columns: Columns that `merge` updates; None = all but the keys.
        before_load: DML that runs in the same transaction before the rows, if the table exists.
        definition: Partitioning, clustering, description, labels and column descriptions; used
            when the table is made, and compared with a table that is there already.
        create_dataset: Create the target's dataset when it is missing.
        allow_drop: Let `delete_in_advance` drop the table and create it again where the definition
            has another partitioning or clustering, which BigQuery cannot change. Access policies,
            policy tags and keys of the table are lost.
        work_dataset: Where staged rows and the ledger live, `dataset` or `project.dataset`; made
            if missing, in the same location as the target.
    """

    table: str
    mode: ModeName = "append"
    merge_keys: tuple[str, ...] = ()
    merge_update_columns: tuple[str, ...] | None = None
    before_load: str | None = None
    definition: Definition = field(default_factory=Definition)
    create_dataset: bool = False
    allow_drop: bool = False
    work_dataset: str = WORK_DATASET

    def __post_init__(self) -> None:
        """Refuse what can be seen to be wrong without any I/O."""
        check_table(without_variables(self.table) if isinstance(self.table, str) else self.table)
        if self.mode not in MODES:
            raise ConfigError(
                f"mode={self.mode!r}: it is one of {', '.join(repr(name) for name in MODES)}"
            )
        for name in ("merge_keys", "merge_update_columns"):
            if isinstance(getattr(self, name), str):
                raise ConfigError(f"{name} is a str; write ({getattr(self, name)!r},)")
        MODES[self.mode].check_options(self)


@dataclass(frozen=True)
class BigQuerySink(SinkOptions):
    """A BigQuery table. Rows are staged in the work dataset and become visible all at once.

    Its attributes are those of `SinkOptions`: `table`, `mode`, `merge_keys`,
    `merge_update_columns`, `before_load`, `definition`, `create_dataset`, `allow_drop`,
    `work_dataset`.
    """

    def expand(self, values: Mapping[str, Value]) -> tuple[BigQuerySink, frozenset[str]]:
        """Expand custom variables in `table` and `before_load`.

        Returns:
            The sink, and the variables that stood there.

        Raises:
            ConfigError: An unknown variable, or a value that cannot be part of a name.
        """
        from etlkit.variables.substitution import expand_name, expand_sql

        table, used = expand_name(self.table, values)
        before = self.before_load
        if before is not None and "$" in before:
            expanded = expand_sql(before, values, as_literals=True)
            before, used = expanded.sql, used | expanded.used
        return replace(self, table=table, before_load=before), used

    def find_run(self, request: RunRequest) -> RunRecord:
        """See `etlkit.api.sink.Sink.find_run`. Finishes the clean-up of a run that is published."""
        from etlkit.bigquery.names import parse_table
        from etlkit.bigquery.runs.find_run import recorded_run

        return recorded_run(
            request,
            self.work_dataset,
            lambda connection: str(parse_table(self.table, connection.project)),
            self.mode,
            can_resume=MODES[self.mode].is_staged,
        )

    def check(
        self,
        job: JobOptions,
        run: Run,
        reader: SourceReader,
        columns: tuple[Column, ...] | None,
    ) -> Outlook:
        """See `etlkit.api.sink.Sink.check`: dry runs, which are free."""
        from etlkit.bigquery.client import connect
        from etlkit.bigquery.google_errors import errors_as
        from etlkit.bigquery.publish.preflight import check_before_load, check_checks
        from etlkit.bigquery.publish.target import target_of

        connection = connect(run)
        with errors_as(SinkError, "open", f"opening the target {self.table} failed"):
            target = target_of(run, self, job)
            check_before_load(connection, self, target)
            if columns is None:
                target.check_known(reader.columns)
            else:
                target.check_fit(columns)
                check_checks(connection, job.checks, columns, complete=True)
        return Outlook(str(target.name), target.changes(columns))

    def open(self, job: JobOptions, run: Run, reader: SourceReader) -> SinkWriter:
        """See `etlkit.api.sink.Sink.open`."""
        from etlkit.bigquery.client import connect
        from etlkit.bigquery.publish.staged_writer import BigQueryWriter

        if not MODES[self.mode].is_staged:
            from etlkit.bigquery.publish.direct_writer import DirectWriter

            return DirectWriter(self, job, run, connect(run), reader.details)
        return BigQueryWriter(self, job, run, connect(run), reader)

    def check_reuse(self, source: Source, /) -> None:
        """See `etlkit.api.sink.KeepsResults.check_reuse`."""
        if not MODES[self.mode].is_staged:
            raise ConfigError(
                f"reuse does not go with mode {self.mode}: its rows are never staged, so nothing is "
                "kept of them. Choose another mode"
            )
        if not isinstance(source, BigQuerySource):
            raise ConfigError(
                f"reuse needs a BigQuerySource, not a {type(source).__name__}: known rows are found by "
                "SQL. Load the files into a table first, and read that"
            )

    def check_workers(self, source: Source, /) -> None:
        """See `etlkit.api.sink.TakesWorkers.check_workers`."""
        if not MODES[self.mode].is_staged:
            raise ConfigError(
                f"workers do not go with mode {self.mode}: its rows are never staged, so nobody could "
                "tell which are done. Choose another mode"
            )
        if type(source) is not BigQuerySource:
            raise ConfigError(
                f"workers need a BigQuerySource, not a {type(source).__name__}: they share rows that "
                "are in a table. Load the files into a table first, and read that"
            )

    def join(self, job: JobOptions, run: Run, source: Source, /) -> tuple[SourceReader, SinkWriter]:
        """See `etlkit.api.sink.TakesWorkers.join`."""
        from etlkit.bigquery.shards.join import join_run

        if not isinstance(source, BigQuerySource):
            raise AssertionError("check_workers has refused it")  # noqa: TRY004
        return join_run(self, job, run, source)

    def meet(
        self, job: JobOptions, source: Source, request: RunRequest, task: SchedulerTask, /
    ) -> Rendezvous:
        """See `etlkit.api.rendezvous.TakesTasks.meet`."""
        from etlkit.bigquery.shards.task_rendezvous import TaskRendezvous

        return TaskRendezvous(self, job, source, request, task)

    def check_lineage(self, _source: Source, /) -> None:
        """See `etlkit.api.lineage.KeepsLineage.check_lineage`."""
        if not MODES[self.mode].is_staged:
            raise ConfigError(
                f"lineage does not go with mode {self.mode}: its rows are never staged, so nothing is "
                "kept of them. Choose another mode"
            )

    def count_results(self, run: Run, reuse: Reuse, /) -> int:
        """See `etlkit.api.sink.KeepsResults.count_results`."""
        from etlkit.bigquery.client import connect
        from etlkit.bigquery.google_errors import errors_as
        from etlkit.bigquery.names import work_dataset
        from etlkit.bigquery.results.results_table import ResultsTable

        connection = connect(run)
        dataset = work_dataset(self.work_dataset, connection.project)
        with errors_as(SinkError, "open", "counting the results of earlier runs failed"):
            return ResultsTable(connection, run, dataset, reuse).count()

    def read_results(
        self, run: Run, reuse: Reuse, frozen: str, /
    ) -> tuple[tuple[Column, ...], dict[str, list[Row]]]:
        """See `etlkit.api.sink.ReadsResults.read_results`."""
        from etlkit.bigquery.client import connect
        from etlkit.bigquery.google_errors import errors_as
        from etlkit.bigquery.names import parse_table, work_dataset
        from etlkit.bigquery.results.results_table import ResultsTable

        connection = connect(run)
        dataset = work_dataset(self.work_dataset, connection.project)
        with errors_as(SinkError, "open", "reading the results of earlier runs failed"):
            table = ResultsTable(connection, run, dataset, reuse)
            return table.read(parse_table(frozen, connection.project))

    def read_rows(self, run: Run, /, *, is_published: bool, max_bytes: int) -> pa.Table:
        """See `etlkit.api.sink.ReadsBack.read_rows`."""
        from etlkit.bigquery.read_back import read_staged, read_table

        if is_published:
            return read_table(run, self.table, max_bytes)
        return read_staged(run, self.work_dataset, max_bytes)

    def rejected_rows(self, source: Source, run_id: str, only: str | None) -> Source:
        """See `etlkit.api.sink.Sink.rejected_rows`."""
        from etlkit.bigquery.rejects_source import RejectsSource

        return RejectsSource(source, self.table, self.work_dataset, run_id, only)

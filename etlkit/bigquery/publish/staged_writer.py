"""The writer of a run: stages rows in Arrow, audits them and publishes them in one step."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from etlkit.api.source import GuessesColumns
from etlkit.bigquery.client import Connection
from etlkit.bigquery.google_errors import errors_as
from etlkit.bigquery.modes import MODES
from etlkit.bigquery.names import work_dataset
from etlkit.bigquery.publish.opening import open_target
from etlkit.bigquery.publish.preflight import check_checks
from etlkit.bigquery.publish.staging import Staging
from etlkit.bigquery.runs.run_owner import RunOwner
from etlkit.bigquery.source import BigQueryReader
from etlkit.errors import RunTakenOverError, SinkError
from etlkit.telemetry.spans import span

if TYPE_CHECKING:
    import pyarrow as pa

    from etlkit.api.job_options import JobOptions
    from etlkit.api.lineage import RowCalls
    from etlkit.api.outcomes import Counts, Recovered, RefusedRow, RejectedRow
    from etlkit.api.reuse import Reuse
    from etlkit.api.run import Run
    from etlkit.api.sink import WorkersNow
    from etlkit.api.source import SourceReader
    from etlkit.api.worker_report import WorkerReport
    from etlkit.bigquery.modes import TargetOptions
    from etlkit.bigquery.names import TableName
    from etlkit.bigquery.results.results_table import ResultsTable
    from etlkit.bigquery.shards.shared_run import SharedRun
    from etlkit.rows.columns import Column

log: logging.Logger = logging.getLogger("etlkit.bigquery")

_MAX_NAMES, _MAX_NAME_CHARS = 10, 60
"""Of columns, in a message: the first line of an error page may be long."""


class Hold(Protocol):
    """A process's hold on a run, or on the part of it that is its own."""

    def check(self) -> None:
        """Return if it certainly still has it, else raise `RunTakenOverError`. Cheap."""

    def raise_if_lost(self, why: BaseException) -> None:
        """Ask BigQuery whether it is lost, and raise `RunTakenOverError` then."""

    def end(self, error: BaseException, /) -> None:
        """Record why it ends."""

    def drop_late_tables(self) -> None:
        """Drop the work tables that are left of the run, if it has no guard any more."""


HoldT = TypeVar("HoldT", bound=Hold)


class StagedWriter(Generic[HoldT]):
    """What the writers over staged rows have in common; see `etlkit.api.sink.SinkWriter`.

    Args:
        staging: The run's staged rows.
        owner: This process's hold on the run.
    """

    keeps_order = False  # a table has no order

    def __init__(self, staging: Staging, owner: HoldT) -> None:
        self._staging = staging
        self._owner = owner

    def recover(self) -> Recovered:
        """See `etlkit.api.sink.SinkWriter.recover`."""
        with errors_as(SinkError, "snapshot", "counting what is staged already failed"):
            return self._staging.recover()

    def on_durable(self, notify: Callable[[pa.Array], None], /) -> None:
        """See `etlkit.api.sink.TellsDurable`."""
        self._staging.notify = notify

    def reject(self, rows: Sequence[RejectedRow]) -> None:
        """See `etlkit.api.sink.SinkWriter.reject`."""
        self._owner.check()
        with errors_as(SinkError, "stage", "creating the table of rejected rows failed"):
            self._staging.reject(rows)

    def record_calls(self, calls: Sequence[RowCalls], /) -> None:
        """See `etlkit.api.lineage.RecordsCalls.record_calls`."""
        with self._told_if_lost(), errors_as(SinkError, "stage", "recording calls failed"):
            self._staging.record_calls(calls)

    def refused(self) -> Sequence[RefusedRow]:
        """See `etlkit.api.sink.SinkWriter.refused`."""
        return self._staging.refused()

    def flush(self) -> None:
        """See `etlkit.api.sink.SinkWriter.flush`."""
        self._owner.check()  # the staging tables of a run that others have published are gone
        with self._told_if_lost():
            self._staging.flush()

    def is_ready(self) -> bool:
        """See `etlkit.api.sink.SinkWriter.is_ready`."""
        self._owner.check()
        return self._staging.is_ready()

    @contextmanager
    def _told_if_lost(self) -> Iterator[None]:
        """Say that the run was taken over if that is why staging fails.

        The attempt that publishes a run drops the work tables of all attempts.
        """
        try:
            yield
        except SinkError as error:
            self._owner.raise_if_lost(error)
            raise

    def abort(self, error: BaseException, /) -> None:
        """See `etlkit.api.sink.SinkWriter.abort`."""
        try:
            self._staging.close()
            self._owner.end(error)
        except Exception as second:  # the first error is the one to report
            log.warning("the ledger could not record that the run failed: %s", second)
        if isinstance(error, RunTakenOverError):
            self._owner.drop_late_tables()


class BigQueryWriter(StagedWriter[RunOwner]):
    """See `etlkit.api.sink.SinkWriter`."""

    def __init__(
        self,
        options: TargetOptions,
        job: JobOptions,
        run: Run,
        connection: Connection,
        reader: SourceReader,
    ) -> None:
        self._options = options
        self._job = job
        self._run = run
        self._connection = connection
        self._reader = reader
        self._results: ResultsTable | None = None
        self._shared: SharedRun | None = None
        self._target, owner = open_target(options, job, run, connection, reader.details)
        self.target: str = str(self._target.name)
        dataset = work_dataset(options.work_dataset, connection.project)
        super().__init__(Staging(connection, run, dataset), owner)
        with errors_as(SinkError, "open", f"opening the target {options.table} failed"):
            self._staging.find()

    @property
    def known_columns(self) -> tuple[Column, ...]:
        """See `etlkit.api.sink.SinkWriter.known_columns`; columns staged by an earlier attempt win."""
        known = {column.name: column for column in self._target.columns}
        for column in self._staging.columns:
            there = known.get(column.name, column)
            known[column.name] = column.limited_by(there)
        return tuple(known.values())

    def begin(self, columns: tuple[Column, ...]) -> None:
        """See `etlkit.api.sink.SinkWriter.begin`."""
        self._refuse_other_table(
            "each row", columns, "If the table is to have other columns, drop it first"
        )
        self._target.check_fit(columns)
        self._owner.check()  # a new table would be left behind by a process that lost its run
        with errors_as(SinkError, "stage", "creating the staging table failed"):
            if columns:
                check_checks(
                    self._connection, self._job.checks, columns, complete=self._is_complete
                )
            self._staging.begin(columns)

    @property
    def _is_complete(self) -> bool:
        """Whether the columns of the first rows are those of all rows."""
        return self._job.on_schema_change != "add_columns"

    def write(self, batch: pa.RecordBatch) -> None:
        """See `etlkit.api.sink.SinkWriter.write`."""
        with self._told_if_lost():
            self._staging.append(batch)

    def commit(self, counts: Counts) -> int:
        """See `etlkit.api.sink.SinkWriter.commit`."""
        from etlkit.bigquery.publish.audit import audit
        from etlkit.bigquery.publish.publisher import Publisher

        self.flush()  # closing the connection would drop what is not acknowledged yet
        self._staging.close()
        self._refuse_emptying(counts)
        with (
            span("audit"),
            self._told_if_lost(),
            errors_as(SinkError, "audit", "the audit of the staged rows could not run"),
        ):
            audit(self._connection, self._staging, self._target, self._job.checks, counts)
        with errors_as(SinkError, "publish", f"publishing to {self.target} failed"):
            Publisher(
                self._options,
                self._run,
                self._connection,
                self._target,
                self._staging,
                self._owner,
            ).publish(counts, [*self._results_to_keep(), *self._lineage_to_keep()])
        taken = [] if self._results is None else [self._staging.taken]
        shared = [] if self._shared is None else self._shared.work_tables()
        self._owner.finish(list(dict.fromkeys([*self._staging.all_names, *taken, *shared])))
        return counts.parts

    def open_shards(self) -> int:
        """See `etlkit.api.sink.SharesRun.open_shards`."""
        from etlkit.bigquery.shards.shared_run import SharedRun

        if not isinstance(self._reader, BigQueryReader):
            raise AssertionError("sharing rows of other sources was refused")  # noqa: TRY004
        dataset = work_dataset(self._options.work_dataset, self._connection.project)
        if self._shared is None:
            self._shared = SharedRun(
                self._connection, self._run, dataset, self._reader, self._staging
            )
        self._owner.check()
        with errors_as(SinkError, "snapshot", "sharing the rows among the workers failed"):
            return self._shared.open()

    def workers_now(self) -> WorkersNow:
        """See `etlkit.api.sink.SharesRun.workers_now`."""
        if self._shared is None:
            raise AssertionError("no shards were opened")
        with errors_as(SinkError, "transform", "looking how far the workers are failed"):
            return self._shared.now()

    def stop_workers(self) -> None:
        """See `etlkit.api.sink.SharesRun.stop_workers`."""
        with errors_as(SinkError, "transform", "the workers could not be told to stop"):
            self._owner.stop_workers()

    def workers(self) -> Sequence[WorkerReport]:
        """See `etlkit.api.sink.SharesRun.workers`."""
        return () if self._shared is None else self._shared.workers()

    def take_results(self, reuse: Reuse, /) -> int:
        """See `etlkit.api.sink.TakesResults.take_results`."""
        from etlkit.bigquery.results.results_table import ResultsTable

        dataset = work_dataset(self._options.work_dataset, self._connection.project)
        self._results = ResultsTable(self._connection, self._run, dataset, reuse)
        with errors_as(SinkError, "snapshot", "taking results of earlier runs failed"):
            taken = self._staging.taken
            known, columns = self._results.take(self._frozen, taken, self._target.columns)
        if known:
            self._target.check_fit(columns)
            self._staging.adopt(taken, columns)
        return known

    def _results_to_keep(self) -> list[str]:
        if self._results is None:
            return []
        staging = self._staging
        return self._results.keep(self._frozen, staging.staged, staging.taken, staging.columns)

    def _lineage_to_keep(self) -> list[str]:
        if not self._job.lineage:
            return []
        from etlkit.bigquery.lineage.row_lineage import RowLineage

        dataset = work_dataset(self._options.work_dataset, self._connection.project)
        results, price = self._results, self._job.price_per_unit
        taken = self._staging.taken if results is not None and results.says_who_made else None
        lineage = RowLineage(self._connection, self._run, dataset, self._reader, price)
        return lineage.statements(self._staging, taken)

    @property
    def _frozen(self) -> TableName:
        if not isinstance(self._reader, BigQueryReader):
            raise AssertionError("reuse of other sources was refused")  # noqa: TRY004
        return self._reader.frozen

    def _refuse_emptying(self, counts: Counts) -> None:
        """Raise if a run in which no row was written would empty a table that holds rows."""
        table = self._target.table
        if self._job.allow_empty or counts.parts or table is None:
            return
        if not MODES[self._options.mode].replaces or self._run.retry_of is not None:
            return
        if not counts.read:
            self._refuse_other_table(
                "the source",
                self._reader.columns,
                "If the table is to be empty, declare the job with allow_empty=True",
            )
        elif table.num_rows:
            raise SinkError(
                f"all {counts.read:,} source rows were skipped or rejected, and mode "
                f"{self._options.mode} would empty {table.name}, which has {table.num_rows:,} rows; "
                "nothing was published. Does the transform return its rows? If this is what you "
                "want, declare the job with allow_empty=True"
            )

    def _refuse_other_table(self, what: str, columns: Sequence[Column], way_out: str) -> None:
        """Raise if data that may be no table would go to a table of other columns that holds rows.

        Args:
            what: Has the columns.
            columns: Of the source, or of the rows.
            way_out: What to do if it is meant.
        """
        table, reader = self._target.table, self._reader
        if table is None or not table.num_rows or not columns:
            return
        if not (isinstance(reader, GuessesColumns) and reader.guesses_columns):
            return
        given, there = (
            {column.name.casefold(): column.name for column in each}
            for each in (columns, table.columns)
        )
        if not given.keys() & there.keys():
            raise SinkError(
                f"{what} has the columns {_listed(given.values())}, and none of those of {table.name}: "
                f"{_listed(there.values())}. Is the file what it should be, and not a web server's "
                f"error page? Nothing was published. {way_out}",
                stage="stage",
            )


def _listed(names: Iterable[str]) -> str:
    shown = [
        name if len(name) <= _MAX_NAME_CHARS else name[:_MAX_NAME_CHARS] + "…" for name in names
    ]
    return ", ".join(shown[:_MAX_NAMES]) + (", …" if len(shown) > _MAX_NAMES else "")

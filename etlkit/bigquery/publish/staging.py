"""The staging tables of one run: rows that have an outcome, at least once, not yet visible."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from etlkit.api.outcomes import Counts, Recovered, RefusedRow
from etlkit.api.source import ROW_ID
from etlkit.bigquery.lineage.sql import CALL_COLUMNS
from etlkit.bigquery.names import TableName
from etlkit.bigquery.sql import staging as staging_sql
from etlkit.bigquery.storage.append_rows import Appender
from etlkit.bigquery.table_definition import work_table
from etlkit.errors import SinkError
from etlkit.rows.columns import Column

if TYPE_CHECKING:
    import pyarrow as pa

    from etlkit.api.lineage import RowCalls
    from etlkit.api.outcomes import RejectedRow
    from etlkit.api.run import Run
    from etlkit.bigquery.client import Connection

REJECT_COLUMNS = (
    Column("source_row", "JSON", description="The source row, all columns"),
    Column("error_class", "STRING", description="Class of the error"),
    Column("code", "STRING", description="The provider's code; null = none was given"),
    Column("message", "STRING", description="What happened"),
    Column("attempts", "INT64", description="Calls made for the row"),
    Column("rejected_at", "TIMESTAMP", description="When it was given up"),
)

_STAGED_REJECT_COLUMNS = (
    Column(ROW_ID, "STRING"),
    Column(staging_sql.ATTEMPT, "INT64"),
    *REJECT_COLUMNS,
)


MANY_TABLES = 200
"""From this many tables of earlier attempts on, a resume joins them: each one makes queries slower."""


class Staging:
    """`out_<run id>_<attempt>_<n>`, a new one whenever the columns change, and `rej_<run id>`.

    A new table instead of `ALTER TABLE`: the write service may take minutes to see new columns of an
    old table, and sees a new one at once. Each attempt has tables of its own, and each row says which
    attempt staged it.

    Args:
        connection: The run's connection.
        run: The attempt.
        dataset: Project and dataset of the work tables.
        on_durable: See `Appender`; for rows that are not rejected.
        generations: Gives the generation of each of these rows, by id, for a run that many workers
            share: the highest one of a row counts. None = the number of the attempt.

    Attributes:
        tables: The staging tables of all attempts, with the target's columns that each has.
        calls: The table of the calls that rows took, of all attempts; None = none were recorded.
        notify: Called with the ids of rows that are durable, rejected ones too, on the connections'
            threads; None = nobody needs to know.
        on_rejected: Likewise, with those of rejected rows alone.
    """

    makes_empty_table = False
    """Without rows nothing is known of the columns that a transform would have given."""

    def __init__(
        self,
        connection: Connection,
        run: Run,
        dataset: tuple[str, str],
        *,
        on_durable: Callable[[pa.RecordBatch], None] | None = None,
        generations: Callable[[pa.Array], pa.Array] | None = None,
    ) -> None:
        self._connection = connection
        self._run = run
        self._dataset = dataset
        self._on_durable = on_durable
        self._generations = generations or self._attempts
        self._worker = "" if run.worker is None else f"w{run.worker.id}"
        self._appender: Appender | None = None
        self._rejecter: Appender | None = None
        self._counter: Appender | None = None
        self._num_records = 0
        self.calls: TableName | None = None
        self._refused: list[RefusedRow] = []
        self._rejects: TableName | None = None
        self._num_own = 0
        self._num_staged: int | None = None
        self.tables: list[tuple[TableName, tuple[Column, ...]]] = []
        self._columns_of: dict[TableName, tuple[Column, ...]] = {}
        self.notify: Callable[[pa.Array], None] | None = None
        self.on_rejected: Callable[[pa.Array], None] | None = None

    @property
    def names(self) -> list[TableName]:
        """All staging tables of rows that are not rejected."""
        return [name for name, _ in self.tables]

    @property
    def staged(self) -> staging_sql.Staged:
        """The work tables, for SQL."""
        return staging_sql.Staged(tuple(self.tables), self._rejects, self._run.run_id)

    def rows(self, columns: Sequence[Column]) -> str:
        """A SELECT of the rows to publish, each once."""
        return staging_sql.staged_rows(self.staged, columns)

    def unrepeated_rows(self, columns: Sequence[Column], counts: Counts) -> str | None:
        """The same where the last count has found that none was staged twice; None = one was.

        Nothing is ever removed from the tables: as long as the SELECT gives as many rows, they are
        those that were counted.
        """
        if self._num_staged != counts.parts + counts.skipped:
            return None
        return staging_sql.unrepeated_rows(self.staged, columns)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that the rows have in the end: every one that any staging table has."""
        return _merged(self.tables)

    def find(self) -> None:
        """Look up what earlier attempts at the run have left."""
        from etlkit.bigquery.schema_fields import staged_columns

        if self._run.num_workers is not None:
            self.find_shared()
            return
        if self._run.attempt == 1:
            return
        for attempt in range(1, self._run.attempt):
            number = 1
            while (table := self._connection.find_table(self._name(attempt, number))) is not None:
                self.tables.append((self._name(attempt, number), staged_columns(table)))
                number += 1
        name = TableName(*self._dataset, f"rej_{self._run.run_id}")
        if self._connection.find_table(name) is not None:
            self._rejects = name
        self._find_calls()

    def _find_calls(self) -> None:
        if self._connection.find_table(self._calls_name) is not None:
            self.calls = self._calls_name

    @property
    def _calls_name(self) -> TableName:
        return TableName(*self._dataset, f"cal_{self._run.run_id}")

    def find_shared(self) -> None:
        """Look up what all workers of the run have left, in all attempts."""
        known = self._columns_of
        found = find_staged(self._connection, self._dataset, self._run.run_id, known)
        self.tables, self._rejects = list(found.tables), found.rejects
        self._find_calls()

    def join_earlier(self) -> None:
        """Copy the rows of earlier attempts into one table, if they have left very many.

        A query may name 1,000 tables (https://cloud.google.com/bigquery/quotas#query_jobs). Nobody may
        be at work on the tables of earlier attempts. They stay until the run is published, and are not
        looked at any more.

        Raises:
            google.api_core.exceptions.GoogleAPIError: BigQuery refused.
        """
        names = {name.table: name for name in self.names}
        found = _staging_tables(names, self._run.run_id)
        earlier = {names[each.name] for each in found if 0 < each.attempt < self._run.attempt}
        if len(earlier) < MANY_TABLES:
            return
        tables = [(name, columns) for name, columns in self.tables if name in earlier]
        columns = _merged(tables)
        joined = self._name(self._run.attempt, 0)
        text = staging_sql.join_staging(joined, columns, staging_sql.Staged(tuple(tables)))
        self._connection.query(text, "join_staging")
        self.find_shared()

    def _name(self, attempt: int, number: int) -> TableName:
        whose = f"{attempt}{self._worker if attempt else ''}"
        return TableName(*self._dataset, f"out_{self._run.run_id}_{whose}_{number}")

    @property
    def taken(self) -> TableName:
        """Where results of earlier runs are staged: before those of all attempts, which win."""
        return self._name(0, 1)

    def adopt(self, name: TableName, columns: tuple[Column, ...]) -> None:
        """Count a table that SQL has made among the staging tables, before all others."""
        self.tables.insert(0, (name, columns))

    def begin(self, columns: tuple[Column, ...]) -> None:
        """Create the next staging table; what went to the one before is durable then."""
        self.flush()
        self._close_appender()
        self._num_own += 1
        name = self._name(self._run.attempt, self._num_own)
        self._connection.make_table(work_table(name, (*staging_sql.STAGING_COLUMNS, *columns)))
        self.tables.append((name, columns))

    def append(self, batch: pa.RecordBatch) -> None:
        """Stage rows; see `Appender.append`."""
        batch = self._with_attempt(batch)
        if self._appender is None:
            if not self._num_own:
                raise SinkError("rows came before their columns", stage="stage")
            client = self._connection.writer()
            self._appender = Appender(
                client, self.tables[-1][0], batch.schema, on_durable=self._told_written
            )
        self._appender.append(batch)

    def _told_written(self, batch: pa.RecordBatch) -> None:
        if self._on_durable is not None:
            self._on_durable(batch)
        self._told_durable(batch)

    def _told_rejected(self, batch: pa.RecordBatch) -> None:
        if self.on_rejected is not None:
            self.on_rejected(batch.column(ROW_ID))
        self._told_durable(batch)

    def _told_durable(self, batch: pa.RecordBatch) -> None:
        if self.notify is not None:
            self.notify(batch.column(ROW_ID))

    def _with_attempt(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        import pyarrow as pa

        attempts = self._generations(batch.column(0))
        field = pa.field(staging_sql.ATTEMPT, pa.int64())
        return pa.RecordBatch.from_arrays(
            [batch.column(0), attempts, *batch.columns[1:]], schema=batch.schema.insert(1, field)
        )

    def _attempts(self, row_ids: pa.Array) -> pa.Array:
        import pyarrow as pa

        return pa.repeat(pa.scalar(self._run.attempt, pa.int64()), len(row_ids))

    def reject(self, rows: Sequence[RejectedRow]) -> None:
        """Stage rejected rows."""
        import pyarrow as pa

        from etlkit.rows.columns import arrow_schema

        schema = arrow_schema(_STAGED_REJECT_COLUMNS)
        if self._rejects is None:
            name = TableName(*self._dataset, f"rej_{self._run.run_id}")
            self._connection.make_table(work_table(name, _STAGED_REJECT_COLUMNS))
            self._rejects = name
        if self._rejecter is None:
            self._rejecter = Appender(
                self._connection.writer(), self._rejects, schema, on_durable=self._told_rejected
            )
        attempts = self._generations(pa.array([row.row_id for row in rows], pa.string()))
        values = [
            (
                r.row_id,
                attempt,
                r.source_row,
                r.error_class,
                r.code,
                r.message,
                r.attempts,
                _utc(r.at),
            )
            for r, attempt in zip(rows, attempts.to_pylist(), strict=True)
        ]
        arrays = [
            pa.array(column, type=field.type)
            for column, field in zip(zip(*values, strict=True), schema, strict=True)
        ]
        self._rejecter.append(pa.RecordBatch.from_arrays(arrays, schema=schema))

    def record_calls(self, calls: Sequence[RowCalls]) -> None:
        """Stage the calls of rows, for their lineage."""
        import pyarrow as pa

        from etlkit.rows.columns import arrow_schema

        schema = arrow_schema(CALL_COLUMNS)
        if self.calls is None:
            self._connection.make_table(work_table(self._calls_name, CALL_COLUMNS))
            self.calls = self._calls_name
        if self._counter is None:
            self._counter = Appender(self._connection.writer(), self.calls, schema)
        values = []
        for each in calls:
            self._num_records += 1
            numbers = self._run.attempt, self._num_records, each.calls, each.units
            values += [(row_id, *numbers, len(each.row_ids)) for row_id in each.row_ids]
        arrays = [
            pa.array(column, type=field.type)
            for column, field in zip(zip(*values, strict=True), schema, strict=True)
        ]
        self._counter.append(pa.RecordBatch.from_arrays(arrays, schema=schema))

    @property
    def has_refused(self) -> bool:
        """Whether `refused` has rows to give."""
        return bool(self._refused) or (self._appender is not None and self._appender.has_refused)

    def refused(self) -> list[RefusedRow]:
        """Source rows that BigQuery did not take, since the last call."""
        refused, self._refused = self._refused, []
        if self._appender is not None:
            refused += self._appender.take_refused()
        return refused

    def recover(self) -> Recovered:
        """What has an outcome by now, from the tables themselves."""
        self.flush()
        if not self.tables and self._rejects is None:
            return Recovered()
        query = staging_sql.finished_ids(self.staged)
        return Recovered(self.count(), lambda: self._ids(query), query)

    def _ids(self, query: str) -> list[str]:
        return [row[ROW_ID] for row in self._connection.select(query)]

    def count(self) -> Counts:
        """Count what is in the tables; rows that were cut off have no outcome yet."""
        counts = Counts()
        if self.tables or self._rejects is not None:
            found = self._connection.select(staging_sql.audit(self.staged))[0]
            self._num_staged = found["staged"]
            counts.written = found["written"] - found["broken"]
            counts.skipped = found["skipped"]
            counts.parts = found["parts"] - found["broken_parts"]
            counts.rejected = counts.row_errors = found["rejected"]
        counts.read = counts.finished
        return counts

    @property
    def _appenders(self) -> tuple[Appender | None, ...]:
        return self._appender, self._rejecter, self._counter

    def is_ready(self) -> bool:
        """Whether staging takes rows; see `Appender.is_ready`."""
        return all(each is None or each.is_ready() for each in self._appenders)

    def flush(self) -> None:
        """Return when all rows are durable."""
        for appender in self._appenders:
            if appender is not None:
                appender.flush()

    def close(self) -> None:
        """End the connections; the tables stay."""
        self._close_appender()
        if self._rejecter is not None:
            self._rejecter.close()
            self._rejecter = None
        if self._counter is not None:
            self._counter.close()
            self._counter = None

    def _close_appender(self) -> None:
        if self._appender is not None:
            self._refused += self._appender.take_refused()
            self._appender.close()
            self._appender = None

    @property
    def all_names(self) -> list[TableName]:
        """All staging tables."""
        return [*self.names, *(each for each in (self._rejects, self.calls) if each is not None)]

    def drop(self) -> None:
        """Drop the tables."""
        for name in self.all_names:
            self._connection.drop_work_table(name)


def find_staged(
    connection: Connection,
    dataset: tuple[str, str],
    run_id: str,
    known: dict[TableName, tuple[Column, ...]] | None = None,
    workers: Container[str] | None = None,
) -> staging_sql.Staged:
    """Look up what was staged of a run, by all attempts and all their workers.

    Args:
        connection: To look with.
        dataset: Project and dataset of the work tables.
        run_id: The run.
        known: The columns of tables that were looked up before, which never change; what is found goes
            there, too.
        workers: Only the rows that these have written, and all rejected ones; None = all rows.
    """
    from etlkit.bigquery.client import REQUEST_S
    from etlkit.bigquery.schema_fields import staged_columns

    rejects = f"rej_{run_id}"
    listed = connection.client.list_tables(
        ".".join(dataset), retry=connection.retry(), timeout=REQUEST_S
    )
    listed_names = [item.table_id for item in listed]
    names = [
        TableName(*dataset, each.name)
        for each in _staging_tables(listed_names, run_id)
        if workers is None or each.worker in workers
    ]
    known = {} if known is None else known
    unknown = [name for name in names if name not in known]
    connection.look_ahead((), unknown)
    for name in unknown:
        table = connection.find_table(name)
        if table is not None:
            known[name] = staged_columns(table)
    tables = tuple((name, known[name]) for name in names if name in known)
    return staging_sql.Staged(
        tables, TableName(*dataset, rejects) if rejects in listed_names else None
    )


class _StagingTable(NamedTuple):
    """Sorted as they count: of a column that several have, the last one's definition.

    Attributes:
        attempt: Who made it; 0 = it holds results of earlier runs.
        worker: Id of its worker; empty = the process that held the run.
        number: In the attempt; 0 = it holds the rows of all earlier attempts.
        name: The table's.
    """

    attempt: int
    worker: str
    number: int
    name: str


def _staging_tables(names: Iterable[str], run_id: str) -> list[_StagingTable]:
    """Those staging tables of a run that count: not those whose rows are in another one."""
    ours = re.compile(rf"out_{re.escape(run_id)}_(\d+)w?([0-9a-f]*)_(\d+)")
    found = sorted(
        _StagingTable(int(match[1]), match[2], int(match[3]), name)
        for name in names
        if (match := ours.fullmatch(name))
    )
    since = max((each.attempt for each in found if each.attempt and not each.number), default=0)
    return [each for each in found if not each.attempt or each.attempt >= since]


def _merged(tables: Sequence[tuple[TableName, tuple[Column, ...]]]) -> tuple[Column, ...]:
    """Every column that any of the tables has, as the last one has it."""
    merged: dict[str, Column] = {}
    for _, columns in reversed(tables):
        for column in columns:
            merged.setdefault(column.name, column)
    return tuple(merged.values())


def _utc(at: datetime) -> datetime:
    return at.astimezone(UTC)

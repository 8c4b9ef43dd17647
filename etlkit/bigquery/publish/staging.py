"""The staging tables of one run: settled rows, at least once, not yet visible to anybody."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from etlkit.api.outcomes import Counts, Recovered, RefusedRow
from etlkit.api.source import ROW_ID
from etlkit.bigquery import sql
from etlkit.bigquery.names import TableName
from etlkit.bigquery.storage.append_rows import Appender
from etlkit.errors import SinkError
from etlkit.rows.columns import Column

if TYPE_CHECKING:
    import pyarrow as pa

    from etlkit.api.outcomes import RejectedRow
    from etlkit.api.run import Run
    from etlkit.bigquery.client import Connection

_NUM_META = 3
"""Row id, part, parts stand before the columns."""

REJECT_COLUMNS = (
    Column("source_row", "JSON", description="The source row, all columns"),
    Column("error_class", "STRING", description="Class of the error"),
    Column("code", "STRING", description="The provider's code; null = none was given"),
    Column("message", "STRING", description="What happened"),
    Column("attempts", "INT64", description="Calls made for the row"),
    Column("rejected_at", "TIMESTAMP", description="When it was given up"),
)


class Staging:
    """`out_<run id>`, and `out_<run id>_2`, … when the columns change on the way; `rej_<run id>`.

    A new table instead of `ALTER TABLE`: the write service may take minutes to see new columns of an
    old table, and none at all to see a new one.
    """

    def __init__(self, connection: Connection, run: Run, dataset: tuple[str, str]) -> None:
        self._connection = connection
        self._run = run
        self._dataset = dataset
        self._appender: Appender | None = None
        self._rejecter: Appender | None = None
        self._audits = 0
        self._refused: list[RefusedRow] = []
        self._rejects: TableName | None = None
        self.tables: list[tuple[TableName, tuple[Column, ...]]] = []

    @property
    def names(self) -> list[TableName]:
        """All staging tables of settled rows."""
        return [name for name, _ in self.tables]

    @property
    def rejects(self) -> TableName | None:
        """The staging table of rejected rows; None = no row was rejected."""
        return self._rejects

    @property
    def makes_empty_table(self) -> bool:
        """Without rows nothing is known of the columns that a transform would have given."""
        return False

    def rows(self, columns: Sequence[Column]) -> str:
        """A SELECT of the rows to publish, each once."""
        return sql.staged_rows(self.tables, columns)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that the rows have in the end: every one that any staging table has."""
        merged: dict[str, Column] = {}
        for _, columns in reversed(self.tables):
            for column in columns:
                merged.setdefault(column.name, column)
        return tuple(merged.values())

    def find(self) -> None:
        """Look up what earlier attempts at the run have left."""
        from etlkit.bigquery.schema_fields import from_schema_fields

        while (table := self._connection.find_table(self._name(len(self.tables) + 1))) is not None:
            columns = from_schema_fields(table.schema)[_NUM_META:]
            self.tables.append((self._name(len(self.tables) + 1), columns))
        name = TableName(*self._dataset, f"rej_{self._run.run_id}")
        if self._connection.find_table(name) is not None:
            self._rejects = name

    def _name(self, number: int) -> TableName:
        suffix = "" if number == 1 else f"_{number}"
        return TableName(*self._dataset, f"out_{self._run.run_id}{suffix}")

    def begin(self, columns: tuple[Column, ...]) -> None:
        """Make the next staging table; what went to the one before is durable then."""
        self.flush()
        self._close_appender()
        name = self._name(len(self.tables) + 1)
        self._connection.query(sql.staging(name, columns), f"staging_{len(self.tables) + 1}")
        self.tables.append((name, columns))

    def append(self, batch: pa.RecordBatch) -> None:
        """Stage rows; see `Appender.append`."""
        if self._appender is None:
            if not self.tables:
                raise SinkError("rows came before their columns", stage="stage")
            client = self._connection.writer()
            self._appender = Appender(client, self.tables[-1][0], batch.schema)
        self._appender.append(batch)

    def reject(self, rows: Sequence[RejectedRow]) -> None:
        """Stage rejected rows."""
        import pyarrow as pa

        from etlkit.rows.columns import arrow_schema

        columns = (Column(ROW_ID, "STRING"), *REJECT_COLUMNS)
        schema = arrow_schema(columns)
        if self._rejects is None:
            self._rejects = TableName(*self._dataset, f"rej_{self._run.run_id}")
            self._connection.query(sql.work_table(self._rejects, columns), "staging_rejects")
        if self._rejecter is None:
            self._rejecter = Appender(self._connection.writer(), self._rejects, schema)
        values = [
            (r.row_id, r.source_row, r.error_class, r.code, r.message, r.attempts, _utc(r.at))
            for r in rows
        ]
        arrays = [
            pa.array(column, type=field.type)
            for column, field in zip(zip(*values, strict=True), schema, strict=True)
        ]
        self._rejecter.append(pa.RecordBatch.from_arrays(arrays, schema=schema))

    def refused(self) -> list[RefusedRow]:
        """Source rows that BigQuery did not take, since the last call."""
        refused, self._refused = self._refused, []
        if self._appender is not None:
            refused += self._appender.take_refused()
        return refused

    def recover(self) -> Recovered:
        """What is settled by now, from the tables themselves."""
        self.flush()
        if not self.tables and self._rejects is None:
            return Recovered()
        query = sql.settled_ids(self.names, self._rejects)
        return Recovered(self.count(), lambda: self._ids(query), query)

    def _ids(self, query: str) -> list[str]:
        self._audits += 1
        return [row[ROW_ID] for row in self._connection.rows(query, f"ids_{self._audits}")]

    def count(self) -> Counts:
        """Count what stands in the tables; rows that were cut off count as not settled."""
        self._audits += 1
        counts = Counts()
        if self.tables:
            found = self._connection.rows(sql.audit(self.names), f"audit_{self._audits}")[0]
            counts.written = found["written"] - found["broken"]
            counts.skipped = found["skipped"]
            counts.parts = found["parts"] - found["broken_parts"]
        if self._rejects is not None:
            text = f"SELECT COUNT(DISTINCT {ROW_ID}) AS n FROM {self._rejects.sql}"
            counts.rejected = self._connection.rows(text, f"rejects_{self._audits}")[0]["n"]
            counts.row_errors = counts.rejected
        counts.read = counts.finished
        return counts

    def flush(self) -> None:
        """Return when all rows are durable."""
        for appender in (self._appender, self._rejecter):
            if appender is not None:
                appender.flush()

    def close(self) -> None:
        """End the connections; the tables stay."""
        self._close_appender()
        if self._rejecter is not None:
            self._rejecter.close()
            self._rejecter = None

    def _close_appender(self) -> None:
        if self._appender is not None:
            self._refused += self._appender.take_refused()
            self._appender.close()
            self._appender = None

    def drop(self) -> None:
        """Drop the tables."""
        for name in [*self.names, *([] if self._rejects is None else [self._rejects])]:
            self._connection.drop_work_table(name)


def _utc(at: datetime) -> datetime:
    return at.astimezone(UTC)

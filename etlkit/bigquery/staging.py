"""The staging tables of one run: settled rows, at least once, not yet visible to anybody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from etlkit.bigquery import sql
from etlkit.bigquery.appender import Appender
from etlkit.bigquery.names import TableName
from etlkit.errors import SinkError

if TYPE_CHECKING:
    import pyarrow as pa

    from etlkit.bigquery.client import Connection
    from etlkit.columns import Column
    from etlkit.context import Run


class Staging:
    """`out_<run id>`, and `out_<run id>_2`, … when the columns change on the way.

    A new table instead of `ALTER TABLE`: the write service may take minutes to see new columns of an
    old table, and none at all to see a new one.
    """

    def __init__(self, connection: Connection, run: Run, dataset: tuple[str, str]) -> None:
        self._connection = connection
        self._run = run
        self._dataset = dataset
        self._appender: Appender | None = None
        self.tables: list[tuple[TableName, tuple[Column, ...]]] = []

    @property
    def names(self) -> list[TableName]:
        """All staging tables."""
        return [name for name, _ in self.tables]

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that the rows have in the end."""
        return self.tables[-1][1] if self.tables else ()

    def begin(self, columns: tuple[Column, ...]) -> None:
        """Make the next staging table; what went to the one before is durable then."""
        self.flush()
        self.close()
        number = len(self.tables) + 1
        suffix = "" if number == 1 else f"_{number}"
        name = TableName(*self._dataset, f"out_{self._run.run_id}{suffix}")
        self._connection.query(sql.staging(name, columns), f"staging_{number}")
        self.tables.append((name, columns))

    def append(self, batch: pa.RecordBatch) -> None:
        """Stage rows; see `Appender.append`."""
        if self._appender is None:
            if not self.tables:
                raise SinkError("rows came before their columns", stage="stage")
            client = self._connection.writer()
            self._appender = Appender(client, self.tables[-1][0], batch.schema)
        self._appender.append(batch)

    def flush(self) -> None:
        """Return when all rows are durable."""
        if self._appender is not None:
            self._appender.flush()

    def close(self) -> None:
        """End the connection; the tables stay."""
        if self._appender is not None:
            self._appender.close()
            self._appender = None

    def drop(self) -> None:
        """Drop the tables."""
        for name in self.names:
            self._connection.drop_work_table(name)

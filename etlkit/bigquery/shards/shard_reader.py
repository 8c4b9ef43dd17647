"""The source of a worker: the rows of the shards that it claims, one claim after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from etlkit.api.source import ROW_ID
from etlkit.bigquery.google_errors import errors_as
from etlkit.bigquery.names import TableName, parse_table
from etlkit.bigquery.publish.staging import find_staged
from etlkit.bigquery.sql import frozen_rows
from etlkit.bigquery.sql.shards import shards_between
from etlkit.bigquery.sql.staging import Staged, finished_ids
from etlkit.errors import SourceError
from etlkit.rows.batches import no_rows
from etlkit.rows.casts import conform
from etlkit.rows.columns import Column

if TYPE_CHECKING:
    import pyarrow as pa

    from etlkit.api.outcomes import Recovered
    from etlkit.bigquery.client import Connection
    from etlkit.bigquery.shards.shard_claims import ShardClaims
    from etlkit.bigquery.shards.shard_map import Claim
    from etlkit.rows.row import Row


class ShardReader:
    """See `etlkit.api.source.SourceReader`. How many rows it will give is not known before.

    Args:
        connection: The worker's connection.
        run_id: The run.
        frozen: The run's frozen rows.
        columns: The user's columns.
        claims: What this worker claims.

    Attributes:
        on_taken_over: Called with the ids of all workers that were lost, before rows are read which one
            of them has left; None = nobody wants to know.
    """

    num_rows: int | None = None
    num_bytes: int | None = None

    def __init__(
        self,
        connection: Connection,
        run_id: str,
        frozen: TableName,
        columns: tuple[Column, ...],
        claims: ShardClaims,
    ) -> None:
        self.columns = columns
        self.details: Mapping[str, Any] = {}
        self._connection = connection
        self._run_id = run_id
        self._frozen = frozen
        self._claims = claims
        self.on_taken_over: Callable[[Iterable[str]], None] | None = None
        self._again: list[Claim] = []
        self._num_fetches = self._num_rests = 0
        self._rests: list[TableName] = []
        self._staged_columns: dict[TableName, tuple[Column, ...]] = {}

    def freeze(self, recovered: Recovered | None = None) -> None:  # noqa: ARG002
        """See `etlkit.api.source.SourceReader.freeze`: rows without an outcome are read again."""
        self._again = self._claims.unsettled()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """See `etlkit.api.source.SourceReader.batches`: waits while others may leave rows to it."""
        with errors_as(SourceError, "read", "reading the rows of a shard failed"):
            for again in self._again:
                yield from self._read(again, without_finished=True)
            while (claim := self._claims.next()) is not None:
                yield from self._read(claim, without_finished=claim.is_taken_over)

    def stop_reading(self) -> None:
        """See `etlkit.api.source.StopsReading`."""
        self._claims.close()

    def _read(self, claim: Claim, *, without_finished: bool) -> Iterator[pa.RecordBatch]:
        from etlkit.bigquery.storage.read_rows import read_table

        table = parse_table(claim.source, self._connection.project)
        where = shards_between(claim.first, claim.last)
        if claim.is_taken_over and self.on_taken_over is not None:
            self.on_taken_over(self._claims.lost)
        if without_finished and (staged := self._staged()) is not None:
            table, where = self._rest(claim, table, staged), ""
        columns = (Column(ROW_ID, "STRING"), *self.columns)
        names = [column.name for column in columns]
        for batch in read_table(self._connection, table, columns=names, where=where):
            rows = conform(batch, columns)
            self._claims.was_read(claim, rows.column(ROW_ID))
            yield rows
        self._claims.was_read_whole(claim)
        yield no_rows(columns)

    def _staged(self) -> Staged | None:
        """What has been staged since the shards were opened; None = nothing.

        Rows that had an outcome before are not in the tables that shards are read from. A run that was
        resumed a hundred times has hundreds of staging tables.
        """
        staged = find_staged(
            self._connection,
            (self._frozen.project, self._frozen.dataset),
            self._run_id,
            self._staged_columns,
            self._claims.everyone,
        )
        return staged if staged.tables or staged.rejects else None

    def _rest(self, claim: Claim, source: TableName, staged: Staged) -> TableName:
        """Copy the rows of shards that others have left behind, without those that have an outcome."""
        self._num_rests += 1
        name = f"src_{self._run_id}_{self._claims.worker}_{self._num_rests}"
        table = TableName(self._frozen.project, self._frozen.dataset, name)
        shards = claim.first, claim.last
        text = frozen_rows.rest(table, source, finished_ids(staged), shards=shards)
        self._connection.query(text, f"rest_{self._num_rests}")
        self._rests.append(table)
        return table

    def fetch(self, row_ids: Sequence[str]) -> Mapping[str, Row]:
        """See `etlkit.api.source.SourceReader.fetch`."""
        from etlkit.bigquery.source import fetch_rows

        self._num_fetches += 1
        purpose = f"fetch_{self._num_fetches}"
        return fetch_rows(self._connection, self._frozen, self.columns, row_ids, purpose)

    def close(self, *, succeeded: bool) -> None:  # noqa: ARG002 - others may need the frozen rows
        """Drop what this worker has copied. The frozen rows go when the run is published."""
        self._claims.close()
        for table in self._rests:
            self._connection.drop_work_table(table)

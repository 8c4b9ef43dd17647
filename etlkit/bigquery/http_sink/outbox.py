"""The outbox of a run: rows that are to be sent, and what the API said, in work tables.

A row is staged before it is sent, together with the request that it belongs to. So a later attempt
knows what may be on its way, and sends the same rows in the same requests under the same keys.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any

from etlkit.api.outcomes import RefusedRow, error_class
from etlkit.api.sink import PART, PARTS
from etlkit.api.source import ROW_ID
from etlkit.bigquery.http_sink import sql
from etlkit.bigquery.http_sink.bundle import Item, ItemOutcome, unsettled
from etlkit.bigquery.names import TableName
from etlkit.bigquery.publish.staging import Staging
from etlkit.bigquery.sql import staging as staging_sql
from etlkit.bigquery.storage.append_rows import Appender
from etlkit.bigquery.table_definition import work_table
from etlkit.errors import CallFailedError, RequestRefusedError, RowError, RowSchemaError
from etlkit.rows.columns import Column, arrow_schema
from etlkit.rows.json_rows import row_to_json

if TYPE_CHECKING:
    import pyarrow as pa

    from etlkit.api.outcomes import Recovered
    from etlkit.api.run import Run
    from etlkit.bigquery.client import Connection
    from etlkit.rows.row import Row

_OURS = frozenset(column.name for column in sql.OUTBOX_COLUMNS)


@dataclass
class Leftovers:
    """What earlier attempts have left to do.

    Attributes:
        bundles: Items to send, by request, in order.
        refused: Rows that were refused, and not handled yet.
        undone: Rows to transform anew, with the number of rows that each became.
    """

    bundles: list[list[Item]] = field(default_factory=list)
    refused: list[RefusedRow] = field(default_factory=list)
    undone: dict[str, int] = field(default_factory=dict)

    def correct(self, recovered: Recovered) -> Recovered:
        """What has an outcome, without the rows that are transformed anew."""
        if not self.undone:
            return recovered
        for num_parts in self.undone.values():
            recovered.counts.remove(num_parts)
            recovered.counts.read -= 1
        ids = recovered.ids
        query = recovered.query and sql.without_rows(recovered.query, list(self.undone))
        return replace(
            recovered, ids=lambda: [i for i in ids() if i not in self.undone], query=query
        )


class Outbox:
    """The work tables of one run: `Staging` with the rows, and `ans_<run id>` with the outcomes.

    Args:
        connection: The run's connection.
        run: The attempt.
        dataset: Project and dataset of the work tables.
        on_durable: Called with the ids of items that are staged, on another thread.
        fails: Whether a refused row ends the run; a later attempt transforms it anew then.
    """

    def __init__(
        self,
        connection: Connection,
        run: Run,
        dataset: tuple[str, str],
        *,
        on_durable: Callable[[list[tuple[str, int]]], None],
        fails: bool,
    ) -> None:
        self._connection = connection
        self._run = run
        self._fails = fails
        self._on_durable = on_durable
        self._next_position = 0
        self._lock = threading.Lock()
        self._appender: Appender | None = None
        self.answers: TableName = TableName(*dataset, f"ans_{run.run_id}")
        self.staging: Staging = Staging(connection, run, dataset, on_durable=self._told)

    def open(self) -> None:
        """Look up what earlier attempts have left, and make the table of outcomes."""
        self.staging.find()
        self._connection.make_table(work_table(self.answers, sql.ANSWER_COLUMNS))

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of the rows, of all attempts."""
        return tuple(column for column in self.staging.columns if column.name not in _OURS)

    def begin(self, columns: tuple[Column, ...]) -> None:
        """Prepare for rows of these columns. The table has them only to remember their types."""
        empty = [
            replace(c, mode="REPEATED" if c.mode == "REPEATED" else "NULLABLE") for c in columns
        ]
        self.staging.begin((*sql.OUTBOX_COLUMNS, *empty))

    def item(self, row_id: str, part: int, num_parts: int, row: Row) -> Item:
        """The next item."""
        position, self._next_position = self._next_position, self._next_position + 1
        text = json.dumps(row_to_json(row), ensure_ascii=False, separators=(",", ":"))
        return Item(row_id, part, num_parts, self._run.attempt, position, text)

    def stage(self, bundles: Sequence[list[Item]]) -> None:
        """Stage items; `on_durable` tells when they are safe."""
        rows = [
            (i.row_id, i.part, i.num_parts, bundle[0].position, i.position, i.text)
            for bundle in bundles
            for i in bundle
        ]
        if rows:
            self.staging.append(_staged_batch(rows))

    def skip(self, row_ids: Sequence[str]) -> None:
        """Stage source rows that became no row."""
        if row_ids:
            self.staging.append(_staged_batch([(i, 0, 0, None, None, None) for i in row_ids]))

    def _told(self, batch: pa.RecordBatch) -> None:
        columns = (batch.column(name).to_pylist() for name in (ROW_ID, PART))
        self._on_durable(list(zip(*columns, strict=True)))

    def record(self, outcomes: Sequence[ItemOutcome]) -> None:
        """Make outcomes durable.

        Raises:
            SinkError: They cannot be stored.
        """
        import pyarrow as pa

        schema = arrow_schema(sql.ANSWER_COLUMNS)
        values = [self._answer(each) for each in outcomes]
        arrays = [
            pa.array(column, type=kind.type)
            for column, kind in zip(zip(*values, strict=True), schema, strict=True)
        ]
        with self._lock:
            if self._appender is None:
                self._appender = Appender(self._connection.writer(), self.answers, schema)
            appender = self._appender
        appender.append(pa.RecordBatch.from_arrays(arrays, schema=schema))
        appender.flush()

    def _answer(self, each: ItemOutcome) -> tuple[Any, ...]:
        item, error = each.item, each.error
        outcome = "failed" if error is not None and self._fails else each.name
        return (
            item.row_id,
            item.attempt,
            item.part,
            outcome,
            each.status,
            each.answer,
            None if error is None else error_class(error),
            getattr(error, "code", None),
            None if error is None else error.message,
            getattr(error, "attempts", None),
            datetime.now(UTC),
        )

    def leftovers(self) -> Leftovers:
        """What earlier attempts have left to do; only for an attempt after the first."""
        if not self.staging.tables:
            return Leftovers()
        left = Leftovers()
        for row in self._connection.select(sql.refused_rows(self.staging.staged, self.answers)):
            if self._fails or row["outcome"] == "failed":
                left.undone[row[ROW_ID]] = row["parts"]
            else:
                left.refused.append(_refused(row))
        rows = self._connection.select(sql.open_bundles(self.staging.staged, self.answers))
        left.bundles = list(_bundles(rows, {*left.undone, *(r.row_id for r in left.refused)}))
        return left

    def count_accepted(self) -> int:
        """How many of the staged rows the API has accepted."""
        if not self.staging.tables:
            return 0
        found = self._connection.select(sql.count_accepted(self.staging.staged, self.answers))
        return int(found[0]["n"])

    def responses(self, target: TableName) -> list[str]:
        """The DML that adds the answers to a table."""
        staged = self.staging.staged
        if not staged.tables:
            return []
        return [sql.insert_responses(target, staged, self.answers, self._run.run_id)]

    def close(self) -> None:
        """End the connections; the tables stay."""
        self.staging.close()
        with self._lock:
            if self._appender is not None:
                self._appender.close()
                self._appender = None

    def drop(self) -> None:
        """Drop the tables."""
        self.staging.drop()
        self._connection.drop_work_table(self.answers)


def _bundles(rows: list[dict[str, Any]], settled_rows: set[str]) -> Iterator[list[Item]]:
    for _, group in groupby(rows, lambda row: (row[staging_sql.ATTEMPT], row[sql.BUNDLE])):
        members = list(group)
        items = [
            Item(
                row[ROW_ID],
                row[PART],
                row[PARTS],
                row[staging_sql.ATTEMPT],
                row[sql.POSITION],
                row[sql.ROW],
            )
            for row in members
        ]
        settled = {
            item.id
            for item, row in zip(items, members, strict=True)
            if row["is_settled"] or item.row_id in settled_rows
        }
        yield from unsettled(items, settled)


def _refused(row: dict[str, Any]) -> RefusedRow:
    message, attempts = str(row["message"]), int(row["attempts"] or 0)
    error: RowError
    if row["error_class"] == RowSchemaError.__name__:
        error = RowSchemaError(message)
    else:
        failed = row["error_class"] == CallFailedError.__name__
        kind = CallFailedError if failed else RequestRefusedError
        error = kind(message, code=row["code"], attempts=attempts)
    return RefusedRow(row[ROW_ID], row["parts"], message, error)


def _staged_batch(rows: Sequence[tuple[Any, ...]]) -> pa.RecordBatch:
    import pyarrow as pa

    columns = [c for c in staging_sql.STAGING_COLUMNS if c.name != staging_sql.ATTEMPT]
    schema = arrow_schema((*columns, *sql.OUTBOX_COLUMNS))
    arrays = [
        pa.array(column, type=kind.type)
        for column, kind in zip(zip(*rows, strict=True), schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)

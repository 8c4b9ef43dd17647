"""A source and a sink in memory. `contracts` proves that they behave as BigQuery's do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from etlkit.columns import Column, check_names, parse_schema
from etlkit.errors import CountMismatchError, SinkError
from etlkit.infer import infer_columns
from etlkit.schema import RowDecoder, RowEncoder
from etlkit.sink import PART, PARTS
from etlkit.source import ROW_ID

if TYPE_CHECKING:
    from etlkit.base import Row
    from etlkit.context import Run
    from etlkit.settle import Counts


class MemorySource:
    """Rows from a list.

    Args:
        rows: The rows; taken as they are when a run opens the source.
        schema: Their columns, as in `EtlBase.output_schema`; None = inferred from the rows.
        batch_rows: Rows a batch.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        schema: Mapping[str, str] | None = None,
        *,
        batch_rows: int = 1000,
    ) -> None:
        self.rows = rows
        self._schema = schema
        self._batch_rows = batch_rows

    def open(self, run: Run) -> MemoryReader:
        """See `etlkit.source.Source`."""
        rows = list(self.rows)[: run.limit]
        columns = infer_columns(rows, {}) if self._schema is None else parse_schema(self._schema)
        check_names(columns)
        return MemoryReader(columns, rows, self._batch_rows)


class MemoryReader:
    """See `etlkit.source.SourceReader`."""

    def __init__(self, columns: tuple[Column, ...], rows: list[Row], batch_rows: int) -> None:
        self.columns = columns
        self.num_rows: int | None = len(rows)
        self._rows = rows
        self._batch_rows = batch_rows
        self.frozen = False
        self.closed: bool | None = None

    def freeze(self) -> None:
        """See `etlkit.source.SourceReader.freeze`."""
        self.frozen = True

    def batches(self) -> Iterator[pa.RecordBatch]:
        """See `etlkit.source.SourceReader.batches`; row ids are `row-1`, `row-2` and so on."""
        encoder = RowEncoder(self.columns)
        for start in range(0, len(self._rows), self._batch_rows):
            rows = self._rows[start : start + self._batch_rows]
            ids = pa.array([f"row-{start + i + 1}" for i in range(len(rows))], pa.string())
            data = encoder.encode(rows)
            yield pa.RecordBatch.from_arrays(
                [ids, *data.columns],
                schema=pa.schema([pa.field(ROW_ID, pa.string()), *data.schema]),
            )

    def close(self, *, succeeded: bool) -> None:
        """See `etlkit.source.SourceReader.close`."""
        self.closed = succeeded


class MemorySink:
    """A table in memory.

    Args:
        mode: `append` or `replace`, as in `BigQuerySink`.

    Attributes:
        rows: What a reader of the table sees.
        columns: Its columns; empty = it does not exist yet.
        aborted: The error of the last run that failed; None = none did.
    """

    def __init__(self, mode: Literal["append", "replace"] = "append") -> None:
        self.mode = mode
        self.rows: list[Row] = []
        self.columns: tuple[Column, ...] = ()
        self.aborted: BaseException | None = None

    def open(self, run: Run) -> MemoryWriter:
        """See `etlkit.sink.Sink`."""
        return MemoryWriter(self, run)


class MemoryWriter:
    """See `etlkit.sink.SinkWriter`."""

    def __init__(self, sink: MemorySink, run: Run) -> None:
        self._sink = sink
        self.known_columns = sink.columns
        self.target = f"memory ({run.job})"
        self.columns: tuple[Column, ...] = ()
        self._decoder = RowDecoder(())
        self._staged: dict[str, tuple[int, dict[int, Row]]] = {}

    def begin(self, columns: tuple[Column, ...]) -> None:
        """See `etlkit.sink.SinkWriter.begin`."""
        missing = {c.name for c in columns} - {c.name for c in self.known_columns}
        if self._sink.mode == "append" and self.known_columns and missing:
            raise SinkError(
                f"{self.target} has no column {', '.join(sorted(missing))}", stage="stage"
            )
        self.columns = columns
        self._decoder = RowDecoder(columns)

    def write(self, batch: pa.RecordBatch) -> None:
        """See `etlkit.sink.SinkWriter.write`."""
        ids, parts, of = (batch.column(name).to_pylist() for name in (ROW_ID, PART, PARTS))
        rows = self._decoder.decode(batch).rows
        for row_id, part, num_parts, row in zip(ids, parts, of, rows, strict=True):
            _, settled = self._staged.setdefault(row_id, (num_parts, {}))
            if num_parts:
                settled[part] = row

    def flush(self) -> None:
        """See `etlkit.sink.SinkWriter.flush`: memory is as durable as it gets."""

    def commit(self, counts: Counts) -> int:
        """See `etlkit.sink.SinkWriter.commit`."""
        skipped = sum(1 for num_parts, _ in self._staged.values() if num_parts == 0)
        written = sum(
            1 for num_parts, rows in self._staged.values() if num_parts and len(rows) == num_parts
        )
        if (counts.read, counts.written, counts.skipped) != (
            len(self._staged) + counts.rejected,
            written,
            skipped,
        ):
            raise CountMismatchError(
                f"read {counts.read}, staged {written} written and {skipped} skipped",
                read=counts.read,
                settled=written + skipped,
            )
        published = [rows[part] for _, rows in self._staged.values() for part in sorted(rows)]
        names = [c.name for c in self.columns] or [c.name for c in self.known_columns]
        published = [{name: row.get(name) for name in names} for row in published]
        self._sink.rows = published if self._sink.mode == "replace" else self._sink.rows + published
        if self._sink.mode == "replace" or not self._sink.columns:
            self._sink.columns = self.columns
        return len(published)

    def abort(self, error: BaseException, /) -> None:
        """See `etlkit.sink.SinkWriter.abort`."""
        self._sink.aborted = error

"""Settled rows on their way to the sink: output columns decided, encoded, batched."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from etlkit.columns import Column, arrow_schema, check_names
from etlkit.errors import ConfigError, RowError, RowSchemaError
from etlkit.infer import infer_columns
from etlkit.schema import RowEncoder
from etlkit.settle import SKIPPED, Counts, Settled
from etlkit.sink import PART, PARTS
from etlkit.source import ROW_ID

if TYPE_CHECKING:
    from etlkit.base import Row
    from etlkit.feed import Chunk
    from etlkit.job import OnRowError
    from etlkit.sink import SinkWriter

SAMPLE_ROWS = 1000
"""Settled rows that are looked at, at most, to find the types of new columns."""

_WRITE_ROWS = 5000
"""Settled rows that are written at once; the sink splits by bytes."""

FLUSH_S = 1.0
"""A settled row waits this long, at most, before it is staged: what a crash can make us repeat."""


class Layout:
    """Which output column comes from where.

    Args:
        source: The source's columns.
        read: Names of those that the transform reads; the others pass through in Arrow.
        output_schema: The Etl's own; None = decide from `sample`.
        target: Columns of the existing target: their types win for new columns.
        sample: Rows the transform returned.
    """

    def __init__(
        self,
        source: Sequence[Column],
        read: Sequence[str],
        output_schema: tuple[Column, ...] | None,
        target: Sequence[Column],
        sample: Sequence[Row],
    ) -> None:
        passing = {column.name: column for column in source if column.name not in set(read)}
        if output_schema is None:
            known = {column.name: column for column in (*target, *source)}
            found = infer_columns(sample, known)
            _refuse_overwrite(found, passing)
            kept = {column.name for column in found} | set(passing)
            old = tuple(column for column in source if column.name in kept)
            names = {column.name for column in old}
            self.columns = old + tuple(column for column in found if column.name not in names)
        else:
            self.columns = output_schema
            _refuse_cast(output_schema, passing)
        check_names(self.columns)
        self.passing = tuple(column.name for column in self.columns if column.name in passing)
        self.made = tuple(column for column in self.columns if column.name not in passing)
        self.encoder = RowEncoder(self.made)
        meta = [(ROW_ID, pa.string()), (PART, pa.int64()), (PARTS, pa.int64())]
        self.schema = pa.schema([*meta, *arrow_schema(self.columns)])

    def batch(
        self, chunk: Chunk, indices: list[int], parts: list[tuple[int, int]], made: pa.RecordBatch
    ) -> pa.RecordBatch:
        """Put one batch together: ids and passing columns by source index, made ones as encoded."""
        if indices == list(range(indices[0], indices[0] + len(indices))):
            take = chunk.batch.slice(indices[0], len(indices))
        else:
            take = chunk.batch.take(pa.array(indices, pa.int64()))
        arrays: dict[str, pa.Array] = dict(zip(made.schema.names, made.columns, strict=True))
        arrays |= {name: take.column(name) for name in self.passing}
        arrays[ROW_ID] = take.column(ROW_ID)
        arrays[PART] = pa.array([part for part, _ in parts], pa.int64())
        arrays[PARTS] = pa.array([of for _, of in parts], pa.int64())
        return pa.RecordBatch.from_arrays(
            [arrays[name] for name in self.schema.names], schema=self.schema
        )

    def skipped(self, row_ids: list[str]) -> pa.RecordBatch:
        """Rows that became nothing are staged too: a resumed run must not pay for them again."""
        zeros = pa.array([0] * len(row_ids), pa.int64())
        nulls = [pa.nulls(len(row_ids), field.type) for field in list(self.schema)[3:]]
        return pa.RecordBatch.from_arrays(
            [pa.array(row_ids, pa.string()), zeros, zeros, *nulls], schema=self.schema
        )


def _refuse_overwrite(found: Sequence[Column], passing: dict[str, Column]) -> None:
    for column in found:
        if column.name in passing:
            raise RowSchemaError(
                f"the transform returned a value for {column.name!r}, which passes through "
                "untouched; add it to the class attribute `columns` to write it",
                column=column.name,
            )


def _refuse_cast(wanted: Sequence[Column], passing: dict[str, Column]) -> None:
    for column in wanted:
        source = passing.get(column.name)
        if source is not None and source.ddl != column.ddl:
            raise ConfigError(
                f"output_schema says {column.name} {column.ddl}, but the column passes through "
                f"as {source.ddl}; add it to the class attribute `columns` to convert it"
            )


class Assembler:
    """Collects settled rows in order and writes them to the sink in batches.

    Args:
        writer: The sink.
        source: The source's columns.
        read: Names of those that the transform reads.
        output_schema: The Etl's own; None = inferred from the first settled rows.
        on_row_error: What a row that cannot be settled does to the run.
        counts: Kept up to date here.
    """

    def __init__(
        self,
        writer: SinkWriter,
        source: Sequence[Column],
        read: Sequence[str],
        output_schema: tuple[Column, ...] | None,
        on_row_error: OnRowError,
        counts: Counts,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._writer = writer
        self._source = source
        self._read = read
        self._output_schema = output_schema
        self._on_row_error = on_row_error
        self._counts = counts
        self._clock = clock
        self._layout: Layout | None = None
        self._decided = False
        self._pieces: list[tuple[Chunk, int, list[Settled]]] = []
        self._batches: list[pa.RecordBatch] = []
        self._waiting_rows = 0
        self._oldest: float | None = None

    def add(self, chunk: Chunk, start: int, settled: list[Settled]) -> None:
        """Take what consecutive rows of a chunk became, `start` counting from 0 in the chunk.

        Raises:
            RowError: A row failed and the job's policy is `fail`.
        """
        settled = [self._judge(chunk, start + i, each) for i, each in enumerate(settled)]
        last = self._pieces[-1] if self._pieces else None
        if last is not None and last[0] is chunk and last[1] + len(last[2]) == start:
            last[2].extend(settled)
        else:
            self._pieces.append((chunk, start, settled))
        self._waiting_rows += len(settled)
        self._counts.read += len(settled)
        if self._oldest is None:
            self._oldest = self._clock()

    def due_in(self) -> float | None:
        """Seconds until something has to be staged; None = nothing waits."""
        if self._oldest is None:
            return None
        return max(0.0, self._oldest + FLUSH_S - self._clock())

    def step(self) -> None:
        """Encode and write what is due; cheap when nothing is."""
        enough = _WRITE_ROWS if self._decided else SAMPLE_ROWS
        if self._waiting_rows >= enough or self.due_in() == 0.0:
            self.write_out()

    def write_out(self) -> None:
        """Hand everything collected so far to the sink.

        Raises:
            RowError: A row does not fit the columns and the job's policy is `fail`.
        """
        pieces, self._pieces, self._waiting_rows, self._oldest = self._pieces, [], 0, None
        sample = [row for *_, settled in pieces for each in settled for row in each.rows]
        if pieces and not self._decided:
            self._decide(sample)
        for chunk, start, settled in pieces:
            self._encode(chunk, start, settled)
        batches, self._batches = self._batches, []
        for batch in batches:
            self._writer.write(batch)

    def finish(self) -> None:
        """Write the rest. Also without a single row the sink knows its columns afterwards."""
        self.write_out()
        if not self._decided:
            columns = tuple(self._writer.known_columns) or tuple(self._source)
            self._begin(Layout(self._source, self._read, columns, (), ()))

    def _decide(self, sample: list[Row]) -> None:
        if self._output_schema is None and not sample:
            # Only skipped rows so far: they are staged without columns, which later rows decide.
            self._begin(Layout((), (), (), (), ()))
            return
        target = self._writer.known_columns
        self._decided = True
        self._begin(Layout(self._source, self._read, self._output_schema, target, sample))

    def _begin(self, layout: Layout) -> None:
        if self._layout is None or self._layout.columns != layout.columns:
            self._writer.begin(layout.columns)
        self._layout = layout

    def _encode(self, chunk: Chunk, start: int, settled: list[Settled]) -> None:
        layout = self._layout
        if layout is None:
            raise AssertionError("no layout: _decide comes first")
        rows: list[Row] = []
        indices: list[int] = []
        parts: list[tuple[int, int]] = []
        for index, each in enumerate(settled, start):
            for part, row in enumerate(each.rows):
                rows.append(row)
                indices.append(index)
                parts.append((part, len(each.rows)))
        one_to_one = indices == list(range(chunk.batch.num_rows))
        try:
            made = layout.encoder.encode(rows, chunk.decoded if one_to_one else None)
        except RowSchemaError as error:
            if self._on_row_error == "fail":
                raise _located(error, chunk, indices[error.index]) from error.__cause__
            bad = {indices[at]: each for at, each in layout.encoder.bad_rows(rows).items()}
            self._encode(chunk, start, self._without(bad, chunk, start, settled))
            return
        skipped = [chunk.row_id(i) for i, each in enumerate(settled, start) if not each.rows]
        if rows:
            self._batches.append(layout.batch(chunk, indices, parts, made))
        if skipped:
            self._batches.append(layout.skipped(skipped))
        for each in settled:
            self._counts.add(len(each.rows))

    def _without(
        self, bad: dict[int, RowSchemaError], chunk: Chunk, start: int, settled: list[Settled]
    ) -> list[Settled]:
        for index, error in bad.items():
            self._counts.add_error(_located(error, chunk, index))
        return [SKIPPED if i in bad else each for i, each in enumerate(settled, start)]

    def _judge(self, chunk: Chunk, index: int, settled: Settled) -> Settled:
        if settled.error is None:
            return settled
        error = _located(settled.error, chunk, index)
        if self._on_row_error == "fail":
            raise error
        self._counts.add_error(error)
        return SKIPPED


def _located(error: RowError, chunk: Chunk, index: int) -> RowError:
    return error.at_row(chunk.first_row_number + index, chunk.row_id(index))

"""Outcome rows on their way to the sink: policies applied, columns decided, encoded, batched."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeAlias, cast

from etlkit.api.outcomes import Counts, RowOutcome, rows_of
from etlkit.engine.output_schema import OutputSchema
from etlkit.engine.row_errors import REJECTED, RowErrorPolicy, located
from etlkit.errors import EtlkitError, RowSchemaError

if TYPE_CHECKING:
    import pyarrow as pa

    from etlkit.api.job import TransferJob
    from etlkit.api.sink import SinkWriter
    from etlkit.engine.prefetch import Chunk
    from etlkit.rows.columns import Column
    from etlkit.rows.row import Row

log = logging.getLogger("etlkit")

SAMPLE_ROWS = 1000
"""Outcome rows that are looked at, at most, to find the types of new columns."""

_WRITE_ROWS = 5000
"""Outcome rows that are written at once; the sink splits by bytes."""

FLUSH_S = 0.25
"""A settled row waits this long, at most, before it is staged: what a crash can make us repeat.
With the time until a running task is looked at and the time a request takes, it is durable within
a second."""

Piece: TypeAlias = "tuple[Chunk, int, list[RowOutcome]]"
"""A chunk, the position of its first row concerned (0 = first), and what became of the rows."""


class BatchWriter:
    """Collects settled rows in order and writes them to the sink in batches.

    Args:
        writer: The sink.
        source: The source's columns.
        read: Names of those that the transform reads.
        output_schema: The Etl's own; None = inferred from the first settled rows.
        job: For its policies.
        counts: Kept up to date here.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        writer: SinkWriter,
        source: Sequence[Column],
        read: Sequence[str],
        output_schema: tuple[Column, ...] | None,
        job: TransferJob,
        counts: Counts,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._writer = writer
        self._source = tuple(source)
        self._passing = {c.name: c for c in source if c.name not in set(read)}
        self._output_schema = output_schema
        self._job = job
        self._counts = counts
        self._clock = clock
        self._layout: OutputSchema | None = None
        self._decided = False
        self._pieces: list[Piece] = []
        self._batches: list[pa.RecordBatch] = []
        self._policy = RowErrorPolicy(job, counts)
        self._waiting_rows = 0
        self._oldest: float | None = None
        self._told: set[str] = set()

    def add(self, chunk: Chunk, start: int, settled: list[RowOutcome]) -> None:
        """Take what consecutive rows of a chunk became, `start` counting from 0 in the chunk.

        Raises:
            RowError: A row failed and the job's policy is `fail`.
            TooManyRejectedError: The job's `max_rejected` is passed.
        """
        self._counts.read += len(settled)  # first: a share of rejected rows is a share of these
        for index, each in enumerate(settled if not all_plain(settled) else ()):
            if isinstance(each, dict) or each.error is None:
                continue
            try:
                settled[index] = self._policy.judge(each.error, chunk, start + index)
            except EtlkitError:
                self._collect(chunk, start, settled[:index])  # a resume need not repeat them
                raise
        self._collect(chunk, start, settled)

    def _collect(self, chunk: Chunk, start: int, settled: list[RowOutcome]) -> None:
        if not settled:
            return
        last = self._pieces[-1] if self._pieces else None
        if last is not None and last[0] is chunk and last[1] + len(last[2]) == start:
            last[2].extend(settled)
        else:
            self._pieces.append((chunk, start, settled))
        self._waiting_rows += len(settled)
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
        if pieces and not self._decided:
            self._decide(pieces)
        for chunk, start, settled in pieces:
            self._encode(chunk, start, settled)
        self._hand_over()

    def settle_refused(self, fetch: Callable[[Sequence[str]], Mapping[str, Row]]) -> bool:
        """Settle rows that the sink's own system did not take, by the job's policy.

        Args:
            fetch: Gives source rows again by id: their chunks are gone by now.

        Returns:
            Whether there were any.

        Raises:
            RowError: The job's policy is `fail`.
        """
        refused = self._writer.refused()
        if not refused or self._layout is None:
            return False
        sources = fetch([r.row_id for r in refused]) if self._job.on_row_error == "reject" else {}
        for each in refused:
            error = RowSchemaError(f"the row cannot be stored: {each.message}", row_id=each.row_id)
            self._counts.take_back(each.num_parts)
            if self._policy.put_aside(
                error, each.row_id, partial(sources.__getitem__, each.row_id)
            ):
                self._counts.rejected += 1
            else:
                self._counts.add(0)
                self._batches.append(self._layout.skipped([each.row_id]))
        self._hand_over()
        return True

    def finish(self) -> None:
        """Write the rest. Also without a single row the sink knows its columns afterwards.

        Raises:
            TooManyRejectedError: The share of rejected rows is too large at the very end.
        """
        self.write_out()
        if not self._decided:
            declared = self._output_schema or tuple(self._writer.known_columns) or self._source
            self._begin(OutputSchema(declared, {}))
        elif self._layout is not None:
            self._begin(self._layout.settled())
        self._policy.refuse_too_many(few=0)

    def _decide(self, pieces: list[Piece]) -> None:
        if self._output_schema is not None:
            self._begin(OutputSchema(self._output_schema, self._passing))
        elif rows_of_pieces(pieces):
            try:
                layout = self._infer(rows_of_pieces(pieces))
            except RowSchemaError:
                self._judge_alone(pieces)
                layout = self._infer(rows_of_pieces(pieces))
            self._begin(layout)
        else:
            # Only skipped rows so far: they are staged without columns, which later rows decide.
            self._begin(OutputSchema((), {}))
            return
        self._decided = True

    def _infer(self, sample: list[Row]) -> OutputSchema:
        known = self._writer.known_columns
        waits = self._job.on_schema_change == "add_columns"
        layout = OutputSchema.inferred(
            self._source, self._passing, known, sample, wait_for_values=waits
        )
        if not layout.columns and not layout.undecided and sample:
            raise RowSchemaError("the transform returned rows without a single column")
        return layout

    def _judge_alone(self, pieces: list[Piece]) -> None:
        """Find the rows that cannot have columns, and settle them by the job's policy."""
        for chunk, start, settled in pieces:
            for index, each in enumerate(settled):
                try:
                    self._infer(list(rows_of(each)))
                except RowSchemaError as error:
                    settled[index] = self._policy.judge(error, chunk, start + index)

    def _begin(self, layout: OutputSchema) -> None:
        if self._layout is None or self._layout.columns != layout.columns:
            self._hand_over()  # they have the columns of the layout before
            self._writer.begin(layout.columns)
        self._layout = layout

    def _hand_over(self) -> None:
        batches, self._batches = self._batches, []
        rejected = self._policy.take_rejected()
        for batch in batches:
            self._writer.write(batch)
        if rejected:
            self._writer.reject(rejected)

    def _encode(self, chunk: Chunk, start: int, settled: list[RowOutcome]) -> None:
        layout = self._layout
        if layout is None:
            raise AssertionError("no layout: _decide comes first")
        rows, indices, parts = flatten(start, settled)
        layout.without_nulls(rows)
        one_to_one = indices == range(chunk.batch.num_rows)
        try:
            made = layout.encoder.encode(rows, chunk.decoded if one_to_one else None)
        except RowSchemaError as error:
            if self._fit_columns(layout, rows):
                self._encode(chunk, start, settled)
                return
            if self._job.on_row_error == "fail":
                raise located(error, chunk, indices[error.index]) from error.__cause__
            bad = {indices[at]: each for at, each in layout.encoder.bad_rows(rows).items()}
            left = [
                self._policy.judge(bad[i], chunk, i) if i in bad else each
                for i, each in enumerate(settled, start)
            ]
            self._encode(chunk, start, left)
            return
        if rows:
            self._batches.append(layout.batch(chunk, indices, parts, made))
        self._close_rows(chunk, start, settled, layout)

    def _close_rows(
        self, chunk: Chunk, start: int, settled: list[RowOutcome], layout: OutputSchema
    ) -> None:
        if all_plain(settled):
            self._counts.add_plain(len(settled))
            return
        skipped = []
        for index, each in enumerate(settled, start):
            if each is REJECTED:
                self._counts.rejected += 1
                continue
            num_rows = len(rows_of(each))
            self._counts.add(num_rows)
            if not num_rows:
                skipped.append(chunk.row_id(index))
        if skipped:
            self._batches.append(layout.skipped(skipped))

    def _fit_columns(self, layout: OutputSchema, rows: list[Row]) -> bool:
        """Deal with keys that no column has, as the job says; False = there are none to deal with."""
        policy = self._job.on_schema_change
        if self._output_schema is not None:
            return False  # a declared schema is meant as it is
        news = {name for row in rows for name in layout.unknown(row)} - set(self._passing)
        if not news:
            return False
        if policy != "add_columns" and (old := news & {c.name for c in self._writer.known_columns}):
            # The target has the column; only the rows looked at first did not.
            found = [{name: row[name] for name in old & row.keys()} for row in rows]
            self._begin(layout.widened(found, self._writer.known_columns))
            return True
        if policy == "fail":
            return False
        if policy == "add_columns":
            self._begin(layout.widened(rows, self._writer.known_columns))
            log.info("new columns on the way: %s", ", ".join(sorted(news)))
            return True
        for row in rows:
            for name in news & row.keys():
                del row[name]
        if news - self._told:
            log.warning("columns left out of the rows: %s", ", ".join(sorted(news - self._told)))
            self._told |= news
        return True


def rows_of_pieces(pieces: list[Piece]) -> list[Row]:
    """All target rows, in order."""
    return [row for *_, settled in pieces for each in settled for row in rows_of(each)]


def all_plain(settled: list[RowOutcome]) -> bool:
    """Whether every source row became one target row; said without looking at each in Python."""
    return set(map(type, settled)) == {dict}


def flatten(
    start: int, settled: list[RowOutcome]
) -> tuple[list[Row], Sequence[int], list[tuple[int, int]] | None]:
    """Target rows, the source row each comes from, and its part and number of parts.

    Where every source row became one target row, the indices are a range and the parts None.
    """
    if all_plain(settled):
        return cast("list[Row]", settled), range(start, start + len(settled)), None
    rows: list[Row] = []
    indices: list[int] = []
    parts: list[tuple[int, int]] = []
    for index, each in enumerate(settled, start):
        each_rows = rows_of(each)
        for part, row in enumerate(each_rows):
            rows.append(row)
            indices.append(index)
            parts.append((part, len(each_rows)))
    return rows, indices, parts

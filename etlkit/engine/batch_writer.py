"""Outcomes on their way to the sink: errors handled, columns decided, rows encoded and batched."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from etlkit.api.lineage import RecordsCalls, RowCalls
from etlkit.api.outcomes import Counts, FullOutcome, Outcome, rows_of
from etlkit.api.source import ROW_ID
from etlkit.engine.chunk_outcomes import (
    MADE,
    ChunkOutcomes,
    all_made,
    all_single,
    clean_parts,
    errors_of,
    num_unmade_rows,
    runs,
    target_rows,
    unmade,
)
from etlkit.engine.made_rows import MadeRows, flatten, make_rows, merged, take_made
from etlkit.engine.output_schema import OutputSchema, limited
from etlkit.engine.recent_rows import RecentRows
from etlkit.engine.row_errors import REJECTED, RowErrorHandler, located
from etlkit.engine.row_loop import SAMPLE_ROWS
from etlkit.errors import EtlkitError, RowError, RowSchemaError
from etlkit.rows.arrow_columns import column_of
from etlkit.rows.batches import as_one
from etlkit.rows.inference import first_misfit

if TYPE_CHECKING:
    from etlkit.api.job import TransferJob
    from etlkit.api.outcomes import RefusedRow
    from etlkit.api.sink import SinkWriter
    from etlkit.engine.chunk import Chunk
    from etlkit.rows.columns import Column
    from etlkit.rows.row import Row

log: logging.Logger = logging.getLogger("etlkit")

_ENCODE_ROWS = 5000
"""Target rows that wait as dicts, at most, beside those that come together."""

_WRITE_BYTES = 4 * 1024 * 1024
"""What goes to the sink at once, if it comes that fast: a request of a few MB costs little more than
one of a few kB."""

_LARGE_BYTES = 2**20
"""A batch of this size is written by itself."""

FLUSH_INTERVAL_S = 0.25
"""How long a finished row waits before it is staged, at most; a crash repeats what waits.
Together with the polling of running tasks and the duration of a request, a row is durable within a
second."""

_CONVERT = "convert it in transform_arrow, or declare output_schema"


class BatchWriter:
    """Collects outcomes in order and writes them to the sink in batches.

    Args:
        writer: The sink.
        source: The source's columns.
        read: Names of the columns that the transform reads.
        output_schema: Declared by the Etl; None = inferred from the first rows.
        job: For `on_row_error` and `on_schema_change`.
        counts: Updated here.
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
        self._declared = output_schema
        self._job = job
        self._counts = counts
        self._clock = clock
        self._schema: OutputSchema | None = None
        self._decided = False
        self._collected: list[ChunkOutcomes] = []
        self._has_made = False
        self._batches: list[tuple[pa.RecordBatch, int]] = []  # with the bytes of each
        self._batch_bytes = 0
        self._skipped: list[pa.Array] = []
        self._row_errors = RowErrorHandler(job, counts)
        self._calls: list[RowCalls] = []
        self._recent = RecentRows()
        self._waiting_rows = 0
        self._waiting_bytes = 0
        self._oldest: float | None = None
        self._logged: set[str] = set()

    @property
    def schema(self) -> OutputSchema | None:
        """The output columns; None = not decided yet."""
        return self._schema if self._decided else None

    def add(self, chunk: Chunk, start: int, outcomes: list[Outcome]) -> None:
        """Add the outcomes of consecutive rows; `start` is the index of the first one in the chunk.

        Raises:
            RowError: A row failed and `on_row_error` is `fail`.
            TooManyRejectedError: The job's `max_rejected` is exceeded.
        """
        self._counts.read += len(outcomes)  # first: the share of rejected rows is a share of these
        places = [] if all_single(outcomes) else unmade(outcomes)
        for index, error in errors_of(outcomes, places):
            try:
                outcomes[index] = self._row_errors.handle(error, chunk, start + index)
            except EtlkitError:
                for part in clean_parts(chunk, start, outcomes):  # a resume need not repeat them
                    self._collect(*part)
                raise
        self._collect(chunk, start, outcomes, places)

    def keep(self, chunk: Chunk, start: int, outcomes: list[Outcome]) -> None:
        """As `add`, for a run that ends: failed rows that the job does not take have no outcome."""
        for index, error in errors_of(outcomes, unmade(outcomes)):
            with suppress(EtlkitError):  # the error that ended the run is the one to report
                outcomes[index] = self._row_errors.handle(error, chunk, start + index)
        for part in clean_parts(chunk, start, outcomes):
            self._counts.read += len(part[2])
            self._collect(*part)

    def _collect(
        self, chunk: Chunk, start: int, outcomes: list[Outcome], places: list[int] | None = None
    ) -> None:
        """Keep outcomes until they are encoded; `places` are those of `unmade`, if they are known."""
        if not outcomes:
            return
        if self._job.lineage:
            self._calls += chunk.calls.take(start, start + len(outcomes), chunk.row_id)
        last = self._collected[-1] if self._collected else None
        if last is not None and last[0] is chunk and last[1] + len(last[2]) == start:
            last[2].extend(outcomes)
        else:
            self._collected.append((chunk, start, outcomes))
        self._waiting_bytes += self._look_at(outcomes, places) * chunk.row_bytes
        if self._oldest is None:
            self._oldest = self._clock()

    def _look_at(self, outcomes: list[Outcome], places: list[int] | None = None) -> int:
        """Take note of what is among outcomes; gives how many target rows wait as dicts."""
        num_rows = num_unmade_rows(outcomes, places)
        self._waiting_rows += num_rows
        # `in` compares each dict with it, which costs more than the look at the types.
        self._has_made = self._has_made or (not all_single(outcomes) and MADE in outcomes)
        return num_rows

    def due_in(self) -> float | None:
        """Seconds until the next write is due; None = nothing waits."""
        if self._oldest is None:
            return None
        return max(0.0, self._oldest + FLUSH_INTERVAL_S - self._clock())

    def step(self) -> None:
        """Encode and write what is due; cheap when nothing is."""
        if self.due_in() == 0.0:
            self.write_collected()
            return
        is_enough = self._waiting_rows >= self._num_enough()
        if is_enough or self._has_made or self._waiting_bytes >= _WRITE_BYTES:
            self._encode_collected()
        if self._batch_bytes >= _WRITE_BYTES:
            self._write_batches()

    def _num_enough(self) -> int:
        """Target rows from which on it is worth encoding them, or possible."""
        if self._decided:
            return _ENCODE_ROWS
        return SAMPLE_ROWS if self._declared is None else 1

    def write_collected(self) -> None:
        """Write everything collected so far to the sink.

        Raises:
            RowError: A row does not fit the columns and `on_row_error` is `fail`. The others are
                still collected.
        """
        self._encode_collected()
        self._write_batches()

    def _encode_collected(self) -> None:
        collected, self._collected = self._collected, []
        has_made = self._has_made
        is_mixed = has_made and self._waiting_rows > 0
        self._waiting_rows, self._waiting_bytes, self._has_made = 0, 0, False
        num_encoded = 0
        try:
            if collected and not self._decided:
                self._decide_schema(collected)
            if is_mixed:
                collected = [run for group in collected for run in runs(*group)]
            for chunk, start, outcomes in collected:
                if has_made and MADE in outcomes:
                    self._stage_made(chunk, start, outcomes)
                else:
                    self._encode(chunk, start, outcomes)
                num_encoded += 1
        except EtlkitError:
            rest = collected[num_encoded:]
            self._collected = [part for group in rest for part in clean_parts(*group)]
            for *_, outcomes in self._collected:
                self._look_at(outcomes)
            raise

    def write_kept(self) -> None:
        """Write what can be written although the run ends: a resume must not pay for it again."""
        left = None
        while (num_rows := sum(len(outcomes) for *_, outcomes in self._collected)) != left:
            left = num_rows
            with suppress(EtlkitError):  # the rows it is about are not among the others any more
                self.write_collected()

    def handle_refused(self, fetch: Callable[[Sequence[str]], Mapping[str, Row]]) -> bool:
        """Apply `on_row_error` to rows that the target system refused.

        Args:
            fetch: Reads source rows again by id; their chunks are gone by now.

        Returns:
            Whether there were any.

        Raises:
            RowError: `on_row_error` is `fail`.
        """
        if self._schema is None:  # rows of an earlier attempt may be refused before there is one
            return False
        refused = self._writer.refused()
        if not refused:
            return False
        sources = self._source_rows(refused, fetch) if self._job.on_row_error == "reject" else {}
        for each in refused:
            error = each.error or RowSchemaError(f"the row cannot be stored: {each.message}")
            error.at_row(None, each.row_id)
            self._counts.remove(each.num_parts)
            if self._row_errors.reject_or_skip(
                error, each.row_id, partial(sources.__getitem__, each.row_id)
            ):
                self._counts.rejected += 1
            else:
                self._counts.add(0)
                self._skipped.append(pa.array([each.row_id], pa.string()))
        self._write_batches()
        return True

    def _source_rows(
        self,
        refused: Sequence[RefusedRow],
        fetch: Callable[[Sequence[str]], Mapping[str, Row]],
    ) -> dict[str, Row]:
        """The source rows of refused rows; those that came a while ago are read again."""
        wanted = [each.row_id for each in refused]
        found = self._recent.find(wanted)
        if missing := [row_id for row_id in wanted if row_id not in found]:
            found |= fetch(missing)
        return found

    def finish(self) -> None:
        """Write the rest. The sink knows the columns afterwards, even if there was no row."""
        self.write_collected()
        if not self._decided:
            declared = self._declared or tuple(self._writer.known_columns) or self._source
            self._begin(OutputSchema(declared, {}))
        elif self._schema is not None:
            self._begin(self._schema.completed())

    def check_max_rejected(self) -> None:
        """Look at the share of failed rows when every row has its outcome.

        Raises:
            TooManyRejectedError: It is too large.
        """
        self._row_errors.check_max_rejected(is_over=True)

    def _decide_schema(self, collected: list[ChunkOutcomes]) -> None:
        if self._declared is not None:
            declared = limited(self._declared, self._writer.known_columns)
            self._begin(OutputSchema(declared, self._passing))
        elif (schema := self._inferred(collected)) is not None:
            self._begin(schema)
        else:
            # No target row so far: stage the others without columns. Later rows decide the columns.
            self._begin(OutputSchema((), {}))
            return
        self._decided = True

    def _inferred(self, collected: list[ChunkOutcomes]) -> OutputSchema | None:
        """The schema of the first rows; None = each of them is skipped, or has failed."""
        rows = target_rows(collected)
        if not rows:
            return None
        try:
            return self._infer(rows)
        except RowSchemaError:
            self._classify_each(collected)
        return self._infer_together(collected) if target_rows(collected) else None

    def schema_for(self, found: pa.Schema) -> OutputSchema:
        """The output columns for results in Arrow that have these columns.

        Raises:
            RowSchemaError: A new column cannot be added.
            ConfigError: No column holds the values of one.
        """
        known_columns = tuple(self._writer.known_columns)
        there = {column.name: column for column in (*known_columns, *self._source)}
        columns = [there.get(f.name) or column_of(f.name, f.type, _CONVERT) for f in found]
        empty = {f.name for f in found if pa.types.is_null(f.type) and f.name not in there}
        schema = self._schema if self._decided else None
        if schema is None and self._declared is not None:
            self._begin(OutputSchema(limited(self._declared, known_columns), self._passing))
        elif schema is None:
            passing = self._passing
            self._begin(OutputSchema.found(self._source, passing, known_columns, columns, empty))
        else:
            self._add_columns(schema, [c for c in columns if c.name not in empty])
        self._decided = True
        if self._schema is None:
            raise AssertionError("_begin sets it")
        self._schema.drops_unknown = self._job.on_schema_change == "drop_columns"
        return self._schema

    def _add_columns(self, schema: OutputSchema, columns: Sequence[Column]) -> None:
        """Apply `on_schema_change` to the columns among these that the schema lacks."""
        policy, known = self._job.on_schema_change, {c.name for c in self._writer.known_columns}
        new = [c for c in columns if c.name not in self._passing and schema.unknown({c.name: None})]
        added = [c for c in new if policy == "add_columns" or c.name in known]
        if added and self._declared is None:
            self._begin(schema.with_columns(added, self._writer.known_columns))
            log.info("new columns: %s", ", ".join(c.name for c in added))
        if policy == "drop_columns":
            self._log_left_out({c.name for c in new} - {c.name for c in added})

    def _infer(self, sample: Sequence[Row]) -> OutputSchema:
        known = self._writer.known_columns
        waits = self._job.on_schema_change == "add_columns"
        schema = OutputSchema.inferred(
            self._source, self._passing, known, sample, wait_for_values=waits
        )
        if not schema.columns and not schema.undecided and sample:
            raise RowSchemaError("the transform returned rows without a single column")
        return schema

    def _infer_together(self, collected: list[ChunkOutcomes]) -> OutputSchema:
        """Infer from rows that are fine one by one; the error names the first that does not fit in."""
        rows = target_rows(collected)
        try:
            return self._infer(rows)
        except RowSchemaError as error:
            places = [
                (chunk, index)
                for chunk, start, outcomes in collected
                for index, each in enumerate(outcomes, start)
                for _ in rows_of(each)
            ]
            raise located(error, *places[first_misfit(rows, self._infer)]) from None

    def _classify_each(self, collected: list[ChunkOutcomes]) -> None:
        """Find the rows whose types cannot be inferred, and apply `on_row_error` to them."""
        for chunk, start, outcomes in collected:
            bad = {}
            for index, each in enumerate(outcomes, start):
                try:
                    self._infer(list(rows_of(each)))
                except RowSchemaError as error:
                    bad[index] = error
            self._handle(bad, chunk, start, outcomes)

    def _handle(
        self, bad: Mapping[int, RowError], chunk: Chunk, start: int, outcomes: list[Outcome]
    ) -> None:
        """Apply `on_row_error` to rows of a chunk; `bad` has their errors by index in the chunk."""
        for index, error in bad.items():  # so none of them has an outcome if the run ends at one
            outcomes[index - start] = FullOutcome((), error)
        for index in sorted(bad):
            outcomes[index - start] = self._row_errors.handle(bad[index], chunk, index)

    def _begin(self, schema: OutputSchema) -> None:
        if self._schema is None or self._schema.columns != schema.columns:
            oldest = self._oldest
            self._write_batches()  # they have the old columns
            self._oldest = oldest  # rows that are being encoded wait still
            self._writer.begin(schema.columns)
        self._schema = schema

    def _write_batches(self) -> None:
        batches, self._batches, self._batch_bytes = self._batches, [], 0
        skipped, self._skipped = self._skipped, []
        rejected = self._row_errors.take_rejected()
        if skipped and self._schema is not None:
            batch = self._schema.skipped(pa.concat_arrays(skipped))
            batches.append((batch, batch.nbytes))
        for batch in joined(batches, _WRITE_BYTES):
            self._writer.write(batch)
        if rejected:
            self._writer.reject(rejected)
        if self._calls and isinstance(self._writer, RecordsCalls):
            self._writer.record_calls(self._calls)
            self._calls = []
        if not self._collected:
            self._oldest = None

    def _encode(self, chunk: Chunk, start: int, outcomes: list[Outcome]) -> None:
        schema = self._schema
        if schema is None:
            raise AssertionError("_decide_schema must come first")
        try:
            made = _encoded(schema, chunk, start, outcomes)
        except RowSchemaError as error:
            rows, indices, _ = flatten(start, outcomes)
            if not self._adapt_schema(schema, rows):
                found = schema.passing_errors(chunk, indices) | schema.encoder.bad_rows(rows)
                bad = {
                    indices[at]: schema.with_origin(each)
                    for at, each in {error.index: error, **found}.items()
                }
                self._handle(bad, chunk, start, outcomes)
            self._encode(chunk, start, outcomes)
            return
        self._stage(chunk, made)
        self._count(chunk, start, outcomes)

    def _stage_made(self, chunk: Chunk, start: int, outcomes: list[Outcome]) -> None:
        """Stage rows that their worker encoded."""
        if self._schema is None:
            raise AssertionError("rows are encoded for a schema")
        found = take_made(chunk, start, start + len(outcomes))
        # As they are: JSON's null and NULL are the same for Python, and would be so from then on.
        fitting = [each for made in found if (each := made.widened(self._schema)) is not None]
        if len(fitting) == len(found):
            self._stage(chunk, merged(fitting, chunk))
            self._count(chunk, start, outcomes)
            return
        as_rows = {i: each for made in found for i, each in made.outcomes(chunk)}
        # In the place of the others: whoever looks at them next would find no rows for `MADE` any more.
        outcomes[:] = [as_rows.get(i, e) for i, e in enumerate(outcomes, start)]
        self._encode(chunk, start, outcomes)

    def _stage(self, chunk: Chunk, made: MadeRows) -> None:
        if not made.indices:
            return
        batch = made.batch(chunk)
        num_bytes = batch.nbytes
        self._batches.append((batch, num_bytes))
        self._batch_bytes += num_bytes
        self._counts.parts += batch.num_rows
        if self._job.on_row_error == "reject":
            self._recent.add(chunk.source)

    def _count(self, chunk: Chunk, start: int, outcomes: list[Outcome]) -> None:
        """Count how source rows ended whose target rows are staged, and stage those without any."""
        if all_made(outcomes) or all_single(outcomes):
            self._counts.written += len(outcomes)
            return
        ended = [start + at for at in unmade(outcomes) if not rows_of(outcomes[at])]
        skipped = [i for i in ended if outcomes[i - start] is not REJECTED]
        self._counts.written += len(outcomes) - len(ended)
        self._counts.rejected += len(ended) - len(skipped)
        self._counts.skipped += len(skipped)
        if skipped:
            self._skipped.append(chunk.batch.column(ROW_ID).take(pa.array(skipped, pa.int64())))

    def _adapt_schema(self, schema: OutputSchema, rows: list[Row]) -> bool:
        """Apply `on_schema_change` to keys without a column; False = none, or it is `fail`."""
        policy = self._job.on_schema_change
        if self._declared is not None:
            return False  # a declared schema never changes
        new = {name for row in rows for name in schema.unknown(row)} - set(self._passing)
        if not new:
            return False
        if policy != "add_columns" and (old := new & {c.name for c in self._writer.known_columns}):
            # The target has the column; only the first rows did not.
            found = [{name: row[name] for name in old & row.keys()} for row in rows]
            self._begin(schema.widened(found, self._writer.known_columns))
            return True
        if policy == "fail":
            return False
        if policy == "add_columns":
            self._begin(schema.widened(rows, self._writer.known_columns))
            log.info("new columns: %s", ", ".join(sorted(new)))
            return True
        for row in rows:
            for name in new & row.keys():
                del row[name]
        self._log_left_out(new)
        return True

    def _log_left_out(self, names: set[str]) -> None:
        if names - self._logged:
            log.warning("columns left out of the rows: %s", ", ".join(sorted(names - self._logged)))
            self._logged |= names


def _encoded(schema: OutputSchema, chunk: Chunk, start: int, outcomes: list[Outcome]) -> MadeRows:
    """Encode the target rows of outcomes, with the untouched columns of blocks that are decoded still.

    Raises:
        RowSchemaError: As `make_rows`.
    """
    parts = chunk.known_parts(start, start + len(outcomes))
    if len(parts) > 1:
        with suppress(RowSchemaError):  # then they are encoded together, to say which row is bad
            found = [
                make_rows(schema, chunk, p.start, outcomes[p.start - start : p.stop - start], p)
                for p in parts
            ]
            if found := [each for each in found if each.indices]:
                for part in parts:
                    chunk.forget(part)
                return merged(found, chunk)
    return make_rows(schema, chunk, start, outcomes, parts[0] if len(parts) == 1 else None)


def joined(
    batches: Sequence[tuple[pa.RecordBatch, int]], max_bytes: int
) -> Iterator[pa.RecordBatch]:
    """Batches of the same columns as fewer, of about `max_bytes` if they are not larger.

    Each comes with its bytes. Arrow takes long to count them, and gives the interpreter away.
    Large ones stay as they are: joining copies them, and saves little. The sink may join them still.
    """
    waiting: list[pa.RecordBatch] = []
    num_bytes = 0
    for batch, size in batches:
        if waiting and (num_bytes + size > max_bytes or size >= _LARGE_BYTES):
            yield as_one(waiting)
            waiting, num_bytes = [], 0
        if size >= _LARGE_BYTES:
            yield batch
            continue
        waiting.append(batch)
        num_bytes += size
    if waiting:
        yield as_one(waiting)

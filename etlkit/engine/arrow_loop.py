"""The loop for `transform_arrow`: batches in, batches out, and which rows are bad."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from etlkit.api.outcomes import SKIPPED, FullOutcome, Outcome, classify
from etlkit.engine.chunk import ChunkRows
from etlkit.engine.chunk_outcomes import MADE
from etlkit.engine.made_rows import MadeRows
from etlkit.errors import JobError, RowSchemaError

if TYPE_CHECKING:
    from etlkit.api.transform import EtlBase
    from etlkit.engine.chunk import Chunk
    from etlkit.engine.output_schema import OutputSchema
    from etlkit.engine.task import Task

_TAKES = "a RecordBatch, a Table, or anything else with an Arrow stream, such as a polars DataFrame"


class SchemaKeeper(Protocol):
    """Who decides the output columns; see `WorkerPool`."""

    schema: OutputSchema | None

    def schema_for(self, found: pa.Schema) -> OutputSchema:
        """The output columns for results with these columns.

        Raises:
            RowSchemaError: There are none: every row with such columns is bad.
        """


class ArrowLoop:
    """Runs the tasks of one worker whose `Etl` has `transform_arrow`.

    Args:
        etl: The worker's instance.
        known: Decides the output columns.
        wait_until_ready: Returns when the sink is ready for more rows; False = the run ends.
        ends_at_error: Whether a row that fails ends the run: then no later row has an outcome.
    """

    def __init__(
        self,
        etl: EtlBase,
        known: SchemaKeeper,
        wait_until_ready: Callable[[], bool],
        ends_at_error: bool,
    ) -> None:
        self._etl = etl
        self._known = known
        self._wait_until_ready = wait_until_ready
        self._ends_at_error = ends_at_error

    def run(self, task: Task) -> None:
        """Give each row of a task its outcome, unless one before it ends the run."""
        rows = task.rows
        if not isinstance(rows, ChunkRows):
            raise TypeError("rows in Arrow come in chunks")
        self._run(task, rows.chunk, rows.start, rows.stop)

    def _run(self, task: Task, chunk: Chunk, start: int, stop: int) -> bool:
        """Transform rows; by halves if that fails, so that only bad rows fail. False = the run ends."""
        if not self._wait_until_ready():
            return False
        batch = chunk.read_batch(start, stop)
        try:
            returned = self._etl.transform_arrow(batch)
            result, keep = _result(returned)
        except Exception as error:
            outcome = classify(error)
            if stop - start == 1:
                return self._settle(task, [outcome])
            middle = (start + stop) // 2
            return self._run(task, chunk, start, middle) and self._run(task, chunk, middle, stop)
        indices = self._kept(result, keep, start, stop)
        outcomes: list[Outcome] = [SKIPPED] * (stop - start)
        for index in indices:
            outcomes[index - start] = MADE
        for at, wrong in self._make(chunk, indices, result, batch):
            outcomes[at - start] = FullOutcome((), wrong)
        return self._settle(task, outcomes)

    def _kept(
        self, result: pa.RecordBatch, keep: pa.Array | None, start: int, stop: int
    ) -> Sequence[int]:
        """The source row of each row of the result."""
        name, num_rows = type(self._etl).__name__, stop - start
        if keep is None:
            kept: Sequence[int] = range(start, stop)
            wanted = "it must return one row per row, in their order, or (rows, keep)"
        else:
            if len(keep) != num_rows:
                raise JobError(
                    f"{name}.transform_arrow returned a `keep` of {len(keep)} values for {num_rows} "
                    "rows: it says for each row of the batch whether it is kept",
                    stage="transform",
                )
            found = pc.indices_nonzero(keep.fill_null(False))  # noqa: FBT003 - a value of the array
            kept = array("q", (start + at for at in found.to_pylist()))
            wanted = f"`keep` keeps {len(kept)}"
        if result.num_rows != len(kept):
            raise JobError(
                f"{name}.transform_arrow returned {result.num_rows} rows for {num_rows} rows: {wanted}",
                stage="transform",
            )
        return kept

    def _make(
        self, chunk: Chunk, indices: Sequence[int], result: pa.RecordBatch, given: pa.RecordBatch
    ) -> list[tuple[int, RowSchemaError]]:
        """Give the chunk a result in the columns' types; gives the error of each row that is bad."""
        if not len(indices):
            return []
        try:
            schema = self._known.schema
            if schema is None or not schema.has_all(result.schema):
                schema = self._known.schema_for(result.schema)
            schema.refuse_types(result.schema)
        except RowSchemaError as error:
            return [(at, RowSchemaError(error.message, column=error.column)) for at in indices]
        return _convert(schema, chunk, indices, result, _addresses(result) - _addresses(given))

    def _settle(self, task: Task, outcomes: list[Outcome]) -> bool:
        """Add outcomes, up to the first that ends the run; False = one does."""
        if self._ends_at_error:
            for at, each in enumerate(outcomes):
                if isinstance(each, FullOutcome) and each.error is not None:
                    task.outcomes.extend(outcomes[: at + 1])
                    task.has_failed = True
                    return False
        task.outcomes.extend(outcomes)
        return True


def _convert(
    schema: OutputSchema,
    chunk: Chunk,
    indices: Sequence[int],
    result: pa.RecordBatch,
    foreign: set[int],
) -> list[tuple[int, RowSchemaError]]:
    """Convert by halves as long as a value does not fit.

    Args:
        schema: The columns.
        chunk: Gets the rows.
        indices: The source row of each row of the result.
        result: What the transform returned.
        foreign: Addresses of memory that it may write to later, such as that of a NumPy array.
    """
    try:
        arrays = [_owned(each, foreign) for each in schema.converted(result)]
        for wrong in schema.passing_errors(chunk, indices).values():
            raise wrong
    except RowSchemaError as error:
        if len(indices) == 1:
            return [(indices[0], schema.with_origin(error))]
        middle = len(indices) // 2
        return [
            *_convert(schema, chunk, indices[:middle], result.slice(0, middle), foreign),
            *_convert(schema, chunk, indices[middle:], result.slice(middle), foreign),
        ]
    chunk.made.append(MadeRows(schema, indices, None, arrays))
    return []


def _addresses(batch: pa.RecordBatch) -> set[int]:
    """Where the memory of its columns begins."""
    buffers = (buffer for column in batch.columns for buffer in column.buffers())
    return {buffer.address for buffer in buffers if buffer is not None}


def _owned(array: pa.Array, foreign: set[int]) -> pa.Array:
    """The array; a copy of one in foreign memory. Arrow does not know which of it is never changed."""
    buffers = (buffer for buffer in array.buffers() if buffer is not None)
    if foreign.isdisjoint(buffer.address for buffer in buffers):
        return array
    return pa.concat_arrays([array, array.slice(0, 0)])  # one array by itself need not be copied


def _result(returned: Any) -> tuple[pa.RecordBatch, pa.Array | None]:
    """What `transform_arrow` returned, as one batch, and which rows it keeps; None = all."""
    keep = None
    if isinstance(returned, tuple) and len(returned) == 2:
        returned, keep = returned
        if not isinstance(keep, (pa.Array, pa.ChunkedArray)):
            keep = pa.array(keep, pa.bool_())
        if isinstance(keep, pa.ChunkedArray):
            keep = pa.concat_arrays(keep.chunks) if keep.num_chunks else pa.array([], pa.bool_())
    if isinstance(returned, pa.RecordBatch):
        return returned, keep
    if not isinstance(returned, pa.Table):
        if not hasattr(returned, "__arrow_c_stream__"):
            raise JobError(
                f"transform_arrow returned a {type(returned).__name__}; it must return {_TAKES}, or a "
                "tuple of that and `keep`",
                stage="transform",
            )
        returned = pa.table(returned)
    batches = returned.combine_chunks().to_batches()
    if batches:
        return batches[0], keep
    empty = [pa.array([], field.type) for field in returned.schema]
    return pa.RecordBatch.from_arrays(empty, schema=returned.schema), keep

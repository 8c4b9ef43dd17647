"""Rows through a job's real chain into memory: what each of them becomes. Nothing is written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from etlkit.api.outcomes import Counts, Recovered, RefusedRow, RejectedRow
from etlkit.api.sink import PARTS
from etlkit.api.source import ROW_ID
from etlkit.engine.pipeline import Pipeline
from etlkit.rows.batches import RowDecoder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

    from etlkit.api.job import TransferJob
    from etlkit.api.run import Run
    from etlkit.api.source import SourceReader
    from etlkit.engine.transform_spec import TransformSpec
    from etlkit.rows.columns import Column
    from etlkit.rows.row import Row


@dataclass(frozen=True, slots=True)
class TrialError:
    """Why a source row failed.

    Attributes:
        kind: The class of the error, as in `etlkit.api.report.RunReport.error_classes`.
        message: What happened.
    """

    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class TrialRow:
    """One source row and what it became.

    Attributes:
        row_id: Its id.
        before: The source row.
        after: The target rows; empty = skipped or failed.
        error: Why it failed; None = it did not.
    """

    row_id: str
    before: Row
    after: tuple[Row, ...]
    error: TrialError | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """The outcome of a trial.

    Attributes:
        columns: The columns that the target would get.
        rows: In the source's order.
        counts: How they ended; failed rows count as rejected.
    """

    columns: tuple[Column, ...]
    rows: list[TrialRow]
    counts: Counts


def run_trial(job: TransferJob, spec: TransformSpec, reader: SourceReader, run: Run) -> Trial:
    """Run all rows of a reader through transform and encoder.

    Rows that fail are kept with their error instead of ending the trial, whatever `on_row_error` says.

    Args:
        job: Whose rows they are.
        spec: Its transform.
        reader: The rows; it is not closed.
        run: For calls and stop.

    Raises:
        EtlkitError: The source cannot be read, or the transform failed outside of a row.
    """
    writer, counts, recording = _TrialWriter(), Counts(), _RecordingReader(reader)
    lenient = replace(job, on_row_error="reject", max_rejected=None)
    Pipeline(spec, recording, writer, lenient, counts, run, lambda *_: None).run()
    rows = [
        TrialRow(row_id, before, tuple(writer.rows.get(row_id, ())), writer.errors.get(row_id))
        for row_id, before in recording.source_rows
    ]
    return Trial(writer.columns, rows, counts)


class _RecordingReader:
    """A reader that keeps the few rows it has read."""

    def __init__(self, reader: SourceReader) -> None:
        self._reader = reader
        self.columns = reader.columns
        self.num_rows: int | None = None
        self.num_bytes = reader.num_bytes
        self.details = reader.details
        self.source_rows: list[tuple[str, Row]] = []

    def freeze(self, _recovered: Recovered | None = None) -> None:
        raise AssertionError("a trial writes nothing")

    def batches(self) -> Iterator[pa.RecordBatch]:
        decoder = RowDecoder(self.columns)
        for batch in self._reader.batches():
            ids = batch.column(ROW_ID).to_pylist()
            self.source_rows.extend(zip(ids, decoder.decode(batch).rows, strict=True))
            yield batch

    def fetch(self, row_ids: Sequence[str]) -> Mapping[str, Row]:
        return self._reader.fetch(row_ids)

    def close(self, *, succeeded: bool) -> None:
        self._reader.close(succeeded=succeeded)


class _TrialWriter:
    """A writer that keeps the target rows and the errors in memory, by source row id."""

    keeps_order = True
    known_columns: tuple[Column, ...] = ()
    target = "(trial)"

    def __init__(self) -> None:
        self.columns: tuple[Column, ...] = ()
        self.rows: dict[str, list[Row]] = {}
        self.errors: dict[str, TrialError] = {}
        self._decoder = RowDecoder(())

    def begin(self, columns: tuple[Column, ...]) -> None:
        self.columns = columns
        self._decoder = RowDecoder(columns)

    def write(self, batch: pa.RecordBatch) -> None:
        ids, parts = batch.column(ROW_ID).to_pylist(), batch.column(PARTS).to_pylist()
        rows = self._decoder.decode(batch).rows
        for row_id, num_parts, row in zip(ids, parts, rows, strict=True):
            if num_parts:
                self.rows.setdefault(row_id, []).append(row)

    def recover(self) -> Recovered:
        return Recovered()

    def reject(self, rows: Sequence[RejectedRow]) -> None:
        self.errors |= {row.row_id: TrialError(row.error_class, row.message) for row in rows}

    def refused(self) -> Sequence[RefusedRow]:
        return ()

    def flush(self) -> None:
        return

    def is_ready(self) -> bool:
        return True

    def commit(self, counts: Counts) -> int:
        return counts.parts

    def abort(self, _error: BaseException) -> None:
        return

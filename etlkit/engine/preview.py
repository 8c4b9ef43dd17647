"""Preview: a few rows through the real chain, before and after, nothing written."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from etlkit.api import html
from etlkit.api.outcomes import Counts, Recovered, RefusedRow, RejectedRow
from etlkit.api.run import Run
from etlkit.api.sink import PARTS, SendsRequests
from etlkit.api.source import ROW_ID
from etlkit.engine.estimate import make_calls
from etlkit.engine.pipeline import Pipeline
from etlkit.engine.transform_spec import TransformSpec
from etlkit.rows.batches import RowDecoder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

    from etlkit.api.job import TransferJob
    from etlkit.api.run import RunRequest
    from etlkit.api.source import SourceReader
    from etlkit.rows.columns import Column
    from etlkit.rows.row import Row


@dataclass(frozen=True, slots=True)
class PreviewRow:
    """One source row and what it would become.

    Attributes:
        before: The source row.
        after: The target rows; empty = skipped or failed.
    """

    before: Row
    after: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Preview:
    """The outcome of a preview.

    Attributes:
        columns: The columns the target would get.
        rows: In the source's order.
        errors: The first few rows that failed, with row number and reason.
        num_errors: All that failed.
        request: The first request that a sink for an API would send, secrets hidden; None = there is
            none.
    """

    columns: tuple[Column, ...]
    rows: list[PreviewRow]
    errors: list[str] = field(default_factory=list)
    num_errors: int = 0
    request: str | None = None

    def _repr_html_(self) -> str:
        """The rows for a notebook; values that are new or have changed are marked."""
        names = [column.name for column in self.columns]
        rows = [
            [
                html.marked(row.get(name))
                if row.get(name) != each.before.get(name)
                else row.get(name)
                for name in names
            ]
            for each in self.rows
            for row in each.after
        ]
        left_out = sum(not each.after for each in self.rows)
        errors = [(text,) for text in self.errors]
        return html.page_of(
            html.table(names, rows, caption=f"{len(self.rows):,} source rows; marked = changed"),
            html.headline(f"{left_out:,} skipped or failed") if left_out else "",
            html.table((f"{self.num_errors:,} failed",), errors) if errors else "",
        )


def preview_transfer(job: TransferJob, request: RunRequest) -> Preview:
    """Run the first `request.limit` rows through the transform and the encoder.

    Rows that fail are listed instead of ending the preview, whatever `on_row_error` says.

    Raises:
        EtlkitError: The source cannot be read, or the transform failed outside of a row.
    """
    spec = TransformSpec(job)
    writer = _PreviewWriter()
    counts = Counts()
    with Run(request, labels=job.labels, calls=make_calls(job)) as run:
        reader = _RecordingReader(job.source.open(job, run))
        try:
            lenient = replace(job, on_row_error="skip")
            Pipeline(spec, reader, writer, lenient, counts, run, lambda *_: None).run()
        finally:
            reader.close(succeeded=True)
    rows = [PreviewRow(before, tuple(writer.rows.get(of, ()))) for of, before in reader.source_rows]
    sent = [row for each in rows for row in each.after]
    first = None
    if isinstance(job.sink, SendsRequests) and sent:
        first = job.sink.first_request(sent)
    return Preview(writer.columns, rows, counts.first_errors, counts.row_errors, first)


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
        raise AssertionError("a preview writes nothing")

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


class _PreviewWriter:
    """A writer that keeps the target rows in memory, by source row id."""

    keeps_order = True
    known_columns: tuple[Column, ...] = ()
    target = "(preview)"

    def __init__(self) -> None:
        self.columns: tuple[Column, ...] = ()
        self.rows: dict[str, list[Row]] = {}
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
        raise AssertionError(f"a preview only skips, but {len(rows)} rows were rejected")

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

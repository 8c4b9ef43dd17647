"""A source and a sink in memory. The contracts prove that they behave like BigQuery's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import pyarrow as pa

from etlkit.api.outcomes import Counts, Recovered, RefusedRow, RejectedRow
from etlkit.api.run import LAST, RunRecord
from etlkit.api.sink import PART, PARTS, Outlook
from etlkit.api.source import ROW_ID
from etlkit.errors import (
    ConfigError,
    CountMismatchError,
    RunStateError,
    SinkError,
    SourceError,
)
from etlkit.rows.batches import RowDecoder, RowEncoder
from etlkit.rows.columns import Column, check_names, parse_schema
from etlkit.rows.inference import infer_columns
from etlkit.testing.arguments import given_rows

if TYPE_CHECKING:
    from etlkit.api.job_options import JobOptions
    from etlkit.api.run import Run, RunRequest
    from etlkit.api.source import Source, SourceReader
    from etlkit.rows.row import Row
    from etlkit.variables.definitions import Value

_ROWS = "MemorySource"
_Mode: TypeAlias = Literal["append", "replace"]


class MemorySource:
    """Rows from a list.

    Args:
        rows: The rows; each run freezes a copy. A list may be changed between runs.
        schema: Their columns, as in `EtlBase.output_schema`; None = inferred from the rows.
        batch_rows: Rows per batch.

    Raises:
        ConfigError: The rows are no dicts; of a list when it is opened.
    """

    fingerprint = "memory"

    def __init__(
        self,
        rows: Iterable[Row],
        schema: Mapping[str, str] | None = None,
        *,
        batch_rows: int = 1000,
    ) -> None:
        self.rows: Sequence[Row] = rows if isinstance(rows, list) else given_rows(_ROWS, rows)
        self.batch_rows = batch_rows
        self.frozen: dict[str, list[Row]] = {}
        self._schema = schema

    def expand(self, values: Mapping[str, Value]) -> tuple[MemorySource, frozenset[str]]:  # noqa: ARG002
        """See `etlkit.api.source.Source.expand`: rows have no variables."""
        return self, frozenset()

    def open(self, job: JobOptions, run: Run) -> MemoryReader:  # noqa: ARG002
        """See `etlkit.api.source.Source.open`."""
        rows = given_rows(_ROWS, self.rows)
        if self._schema is None:
            columns = infer_columns(rows, {})
            check_names(columns)
        else:
            columns = parse_schema(self._schema)
            _check_keys(rows, columns)
        return MemoryReader(self, run, columns)


def _check_keys(rows: Sequence[Row], columns: Sequence[Column]) -> None:
    names = [column.name for column in columns]
    for number, row in enumerate(rows, 1):
        for name in row:
            if name not in names:
                raise ConfigError(
                    f"{_ROWS}: row {number} has {name!r}, which its schema does not name; that has "
                    f"{', '.join(names) or 'no columns'}"
                )


class MemoryReader:
    """See `etlkit.api.source.SourceReader`."""

    def __init__(self, source: MemorySource, run: Run, columns: tuple[Column, ...]) -> None:
        self._source = source
        self._run = run
        self._rows = _with_ids(source.rows, run.limit)
        self.columns = columns
        self.details: Mapping[str, Any] = {}
        self.num_rows: int | None = None
        self.num_bytes: int | None = None
        self.closed: bool | None = None

    def freeze(self, recovered: Recovered | None = None) -> None:
        """See `etlkit.api.source.SourceReader.freeze`."""
        frozen = self._source.frozen
        if self._run.run_id not in frozen:
            if self._run.attempt > 1:
                raise SourceError(f"the frozen rows of run {self._run.run_id} are gone")
            frozen[self._run.run_id] = [row for _, row in self._rows]
        finished = set(recovered.ids()) if recovered is not None else set()
        rows = _with_ids(frozen[self._run.run_id], None)
        self._rows = [(row_id, row) for row_id, row in rows if row_id not in finished]
        self.num_rows = len(self._rows)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """See `etlkit.api.source.SourceReader.batches`; row ids are `row-1`, `row-2` and so on."""
        encoder, step = RowEncoder(self.columns), self._source.batch_rows
        for start in range(0, len(self._rows), step):
            some = self._rows[start : start + step]
            data = encoder.encode([row for _, row in some])
            yield pa.RecordBatch.from_arrays(
                [pa.array([row_id for row_id, _ in some], pa.string()), *data.columns],
                schema=pa.schema([pa.field(ROW_ID, pa.string()), *data.schema]),
            )

    def fetch(self, row_ids: Sequence[str]) -> Mapping[str, Row]:
        """See `etlkit.api.source.SourceReader.fetch`."""
        frozen = dict(_with_ids(self._source.frozen[self._run.run_id], None))
        return {row_id: dict(frozen[row_id]) for row_id in row_ids}

    def close(self, *, succeeded: bool) -> None:
        """See `etlkit.api.source.SourceReader.close`."""
        self.closed = succeeded
        if succeeded:
            self._source.frozen.pop(self._run.run_id, None)


def _with_ids(rows: Sequence[Row], limit: int | None) -> list[tuple[str, Row]]:
    return [(f"row-{number}", row) for number, row in enumerate(list(rows)[:limit], 1)]


@dataclass
class _Staged:
    """What one run has staged: row id -> (number of parts, rows by part), and rejects by id."""

    job_name: str
    fingerprint: str
    retry_of: str | None = None
    code: Mapping[str, str] = field(default_factory=dict)
    attempts: int = 0
    published: bool = False
    columns: dict[str, Column] = field(default_factory=dict)
    rows: dict[str, tuple[int, dict[int, Row]]] = field(default_factory=dict)
    rejects: dict[str, RejectedRow] = field(default_factory=dict)

    def target_rows(self) -> list[Row]:
        rows = [by_part[n] for _, by_part in self.rows.values() for n in sorted(by_part)]
        return [{name: row.get(name) for name in self.columns} for row in rows]

    def counts(self) -> Counts:
        counts = Counts(rejected=len(self.rejects), row_errors=len(self.rejects))
        for num_parts, rows in self.rows.values():
            if len(rows) == num_parts:
                counts.add(num_parts)
        counts.read = counts.finished
        return counts


class MemorySink:
    """A table in memory, with its rejected rows and its unpublished runs.

    Args:
        mode: `append` or `replace`, as in `BigQuerySink`.
        refuse: Gives the reason why a row cannot be stored; None = it can be stored.

    Attributes:
        rows: What a reader of the table sees.
        columns: Its columns; empty = it does not exist yet.
        rejects: What a reader of `<target>_rejects` sees.
        aborted: The error of the last run that failed; None = none did.
    """

    def __init__(
        self,
        mode: _Mode = "append",
        refuse: Callable[[Row], str | None] = lambda _: None,
    ) -> None:
        if mode not in get_args(_Mode):
            raise ConfigError(
                f"MemorySink(mode={mode!r}): it is 'append' or 'replace'; the other modes of "
                "BigQuerySink are tested with --local"
            )
        self.mode = mode
        self.refuse = refuse
        self.rows: list[Row] = []
        self.columns: tuple[Column, ...] = ()
        self.rejects: list[RejectedRow] = []
        self.aborted: BaseException | None = None
        self._runs: dict[str, _Staged] = {}

    def expand(self, values: Mapping[str, Value]) -> tuple[MemorySink, frozenset[str]]:  # noqa: ARG002
        """See `etlkit.api.sink.Sink.expand`: a list has no variables."""
        return self, frozenset()

    def find_run(self, request: RunRequest) -> RunRecord:
        """See `etlkit.api.sink.Sink.find_run`."""
        run_id = str(request.resume)
        if run_id == LAST:
            mine = [i for i, staged in self._runs.items() if staged.job_name == request.job_name]
            if not mine:
                raise RunStateError(f"job {request.job_name} has no run to resume")
            unpublished = [i for i in mine if not self._runs[i].published]
            run_id = max(unpublished or mine)
        if run_id not in self._runs:
            raise RunStateError(f"there is no run {run_id}")
        staged = self._runs[run_id]
        return RunRecord(
            run_id,
            staged.job_name,
            staged.attempts,
            staged.fingerprint,
            staged.retry_of,
            published=staged.counts() if staged.published else None,
            target="memory",
            code=staged.code,
        )

    def check(
        self,
        job: JobOptions,  # noqa: ARG002
        run: Run,
        reader: SourceReader,  # noqa: ARG002
        columns: tuple[Column, ...] | None,  # noqa: ARG002
    ) -> Outlook:
        """See `etlkit.api.sink.Sink.check`: memory takes everything."""
        return Outlook(f"memory ({run.job_name})")

    def open(self, job: JobOptions, run: Run, reader: SourceReader) -> MemoryWriter:  # noqa: ARG002
        """See `etlkit.api.sink.Sink.open`."""
        staged = self._runs.setdefault(
            run.run_id, _Staged(run.job_name, run.fingerprint, run.retry_of, run.code)
        )
        if staged.published or staged.attempts != run.attempt - 1:
            raise RunStateError(f"run {run.run_id} was resumed by another process")
        staged.attempts = run.attempt
        if run.parent is not None:
            run.parent.on_started(run.run_id)
        return MemoryWriter(self, run, staged)

    def read_rows(self, run: Run, /, *, is_published: bool, max_bytes: int) -> pa.Table:
        """See `etlkit.api.sink.ReadsBack.read_rows`."""
        staged = self._runs[run.run_id]
        columns = self.columns if is_published else tuple(staged.columns.values())
        rows = self.rows if is_published else staged.target_rows()
        batch = RowEncoder(columns).encode(rows)
        if batch.nbytes > max_bytes:
            raise ConfigError(f"{batch.nbytes:,} bytes: more than max_bytes={max_bytes:,}")
        return pa.Table.from_batches([batch])

    def rejected_rows(self, source: Source, run_id: str, only: str | None) -> Source:  # noqa: ARG002
        """See `etlkit.api.sink.Sink.rejected_rows`."""
        raise ConfigError("--retry-rejects needs a sink with a table of rejected rows")


class MemoryWriter:
    """See `etlkit.api.sink.SinkWriter`."""

    keeps_order = True

    def __init__(self, sink: MemorySink, run: Run, staged: _Staged) -> None:
        self._sink = sink
        self._run = run
        self._staged = staged
        self._decoder = RowDecoder(())
        known = {column.name: column for column in sink.columns} | staged.columns
        self.known_columns: tuple[Column, ...] = tuple(known.values())
        self.target: str = f"memory ({run.job_name})"
        self.columns: tuple[Column, ...] = ()
        self._refused: list[RefusedRow] = []

    def recover(self) -> Recovered:
        """See `etlkit.api.sink.SinkWriter.recover`."""
        done = [i for i, (num_parts, rows) in self._staged.rows.items() if len(rows) == num_parts]
        return Recovered(self._staged.counts(), lambda: [*done, *self._staged.rejects])

    def begin(self, columns: tuple[Column, ...]) -> None:
        """See `etlkit.api.sink.SinkWriter.begin`."""
        self.columns = columns
        self._staged.columns |= {column.name: column for column in columns}
        self._decoder = RowDecoder(columns)

    def write(self, batch: pa.RecordBatch) -> None:
        """See `etlkit.api.sink.SinkWriter.write`."""
        if [ROW_ID, PART, PARTS, *(c.name for c in self.columns)] != batch.schema.names:
            raise SinkError(f"expected {self.columns}, got {batch.schema.names}", stage="stage")
        ids, parts, of = (batch.column(name).to_pylist() for name in (ROW_ID, PART, PARTS))
        rows = self._decoder.decode(batch).rows
        bad = {i: why for i, row in zip(ids, rows, strict=True) if (why := self._sink.refuse(row))}
        self._refused += [RefusedRow(i, ids.count(i), why) for i, why in bad.items()]
        for row_id, part, num_parts, row in zip(ids, parts, of, rows, strict=True):
            if row_id in bad:
                continue
            _, by_part = self._staged.rows.setdefault(row_id, (num_parts, {}))
            if num_parts:
                by_part[part] = row

    def reject(self, rows: Sequence[RejectedRow]) -> None:
        """See `etlkit.api.sink.SinkWriter.reject`."""
        self._staged.rejects.update({row.row_id: row for row in rows})

    def refused(self) -> Sequence[RefusedRow]:
        """See `etlkit.api.sink.SinkWriter.refused`."""
        refused, self._refused = self._refused, []
        return refused

    def flush(self) -> None:
        """See `etlkit.api.sink.SinkWriter.flush`: memory is as durable as it gets."""

    def is_ready(self) -> bool:
        """See `etlkit.api.sink.SinkWriter.is_ready`: memory always is."""
        return True

    def commit(self, counts: Counts) -> int:
        """See `etlkit.api.sink.SinkWriter.commit`."""
        found = self._staged.counts()
        for name in ("read", "written", "skipped", "rejected", "parts"):
            if getattr(found, name) != getattr(counts, name):
                raise CountMismatchError(
                    f"staged {name} {getattr(found, name)}, counted {getattr(counts, name)}",
                    read=counts.read,
                    staged=found.finished,
                )
        published = self._staged.target_rows()
        sink = self._sink
        sink.rows = published if sink.mode == "replace" else sink.rows + published
        sink.rejects = [*sink.rejects, *self._staged.rejects.values()]
        if sink.mode == "replace" or not sink.columns:
            sink.columns = tuple(self._staged.columns.values())
        self._staged.published = True
        if self._run.parent is not None:
            self._run.parent.on_published(self._run.run_id)
        return len(published)

    def abort(self, error: BaseException, /) -> None:
        """See `etlkit.api.sink.SinkWriter.abort`."""
        self._sink.aborted = error

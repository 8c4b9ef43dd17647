"""`FileReader`: the rows of frozen files, each with an id that says where it is."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

import pyarrow as pa

from etlkit.api.source import ROW_ID
from etlkit.errors import ConfigError, SourceError
from etlkit.files.file import CHANGED, named_errors
from etlkit.rows.batches import RowDecoder
from etlkit.rows.columns import arrow_schema, check_names

if TYPE_CHECKING:
    from etlkit.api.outcomes import Recovered
    from etlkit.api.run import Run
    from etlkit.files.file import File
    from etlkit.rows.columns import Column
    from etlkit.rows.row import Row

_DIGITS = 16
_NOT_FROZEN = "preview"
_SHOWN_FILES = 20


class Format(Protocol):
    """How one kind of file is read.

    Attributes:
        guesses_columns: See `etlkit.api.source.GuessesColumns`.
    """

    guesses_columns: ClassVar[bool]

    def columns(self, files: Sequence[File], limit: int | None) -> tuple[Column, ...]:
        """The columns that hold the rows of all files without loss, from the files' heads.

        Args:
            files: In order.
            limit: How many rows are read at most; None = all. Files behind them are not looked at.

        Raises:
            SourceError: A file cannot be read, or files do not go together; names both of them.
            ConfigError: The source declares columns that the files do not have.
        """

    def batches(
        self, file: File, columns: tuple[Column, ...], *, is_checked: bool
    ) -> Iterator[pa.RecordBatch]:
        """The rows of a file in order, in the Arrow types of `columns`.

        Args:
            file: The file.
            columns: Of all files.
            is_checked: Whether the same rows of the same content were read before without an error.

        Raises:
            SourceError: A row is bad; names file and line.
        """


class RowId(NamedTuple):
    """Where a row is: `<snapshot>-<limit>-<file>-<row>`.

    Attributes:
        snapshot: Digest of the contents of all files.
        limit: How many rows the run reads at most; 0 = all.
        file: Position of its file, 1 = first.
        row: Its position in the file, 1 = first.
    """

    snapshot: str
    limit: int
    file: int
    row: int

    @classmethod
    def parse(cls, text: str) -> RowId:
        """Read an id.

        Raises:
            ValueError: It is not of this kind.
        """
        snapshot, limit, file, row = text.split("-")
        return cls(snapshot, int(limit), int(file), int(row))


class FileReader:
    """See `etlkit.api.source.SourceReader`.

    Freezing reads every file once: it computes the digest of the content, counts the rows and finds
    each bad one before anything is paid for. The digest is part of the ids, so a resumed run sees
    from the ids of finished rows whether the files are still the same.
    """

    def __init__(self, files: Sequence[File], file_format: Format, run: Run) -> None:
        self._files = files
        self._format = file_format
        self.guesses_columns: bool = file_format.guesses_columns
        self._run = run
        self._snapshot = _NOT_FROZEN
        self._is_checked = False
        self._limit = run.limit
        self._finished: dict[int, bytearray] = {}
        self.num_rows: int | None = None
        self.num_bytes: int | None = None
        self.details: dict[str, Any] = {"files": [file.name for file in files[:_SHOWN_FILES]]}
        if len(files) > _SHOWN_FILES:
            self.details["num_files"] = len(files)
        try:
            self.columns: tuple[Column, ...] = file_format.columns(files, run.limit)
            _check_names(files[0], self.columns)
        except BaseException:
            self.close(succeeded=False)
            raise

    def freeze(self, recovered: Recovered | None = None) -> None:
        """See `etlkit.api.source.SourceReader.freeze`."""
        digests = [file.freeze() for file in self._files]
        self._snapshot = hashlib.sha256(b"".join(digests)).hexdigest()[:_DIGITS]
        finished: Iterable[str] = ()
        if recovered is not None and recovered.counts.finished:
            finished = recovered.ids()
        row_ids = [self._of_this_run(text) for text in finished]
        counts = self._count()
        self._is_checked = True
        self._finished = {number: bytearray(rows) for number, rows in counts.items()}
        for row_id in row_ids:
            self._finished[row_id.file][row_id.row - 1] = 1
        self.num_rows = sum(counts.values()) - sum(map(sum, self._finished.values()))

    def _of_this_run(self, text: str) -> RowId:
        try:
            row_id = RowId.parse(text)
        except ValueError:
            row_id = RowId("", 0, 0, 0)
        if row_id.snapshot != self._snapshot:
            raise SourceError(
                f"the files have changed since run {self._run.run_id} began: one was edited, added or "
                "removed. Restore them, or start a new run"
            )
        self._limit = row_id.limit or None
        return row_id

    def _count(self) -> dict[int, int]:
        """Count the rows of each file by reading all of them."""
        counts: dict[int, int] = dict.fromkeys(range(1, len(self._files) + 1), 0)
        for number, _, batch in self._walk():
            counts[number] += batch.num_rows
        return counts

    def _walk(self) -> Iterator[tuple[int, int, pa.RecordBatch]]:
        """File number, position of the first row in the file (0 = first), rows; up to the limit."""
        missing = self._limit
        for number, file in enumerate(self._files, 1):
            first = 0
            for whole in self._batches_of(file):
                batch = whole if missing is None else whole.slice(0, missing)
                if batch.num_rows:
                    yield number, first, batch
                first += batch.num_rows
                if missing is not None:
                    missing -= batch.num_rows
                    if not missing:
                        return
            file.check()

    def _batches_of(self, file: File) -> Iterator[pa.RecordBatch]:
        """The rows of one file; every error has the file's name."""
        batches = self._format.batches(file, self.columns, is_checked=self._is_checked)
        num_rows = 0
        while True:
            with named_errors(file, f"cannot be read behind row {num_rows:,}"):
                batch = next(batches, None)
            if batch is None:
                return
            num_rows += batch.num_rows
            yield batch

    def batches(self) -> Iterator[pa.RecordBatch]:
        """See `etlkit.api.source.SourceReader.batches`."""
        for number, first, batch in self._walk():
            ids = self._ids(number, first, batch.num_rows)
            arrays = [pa.array(ids, pa.string()), *batch.columns]
            schema = pa.schema([pa.field(ROW_ID, pa.string()), *arrow_schema(self.columns)])
            rows = pa.RecordBatch.from_arrays(arrays, schema=schema)
            if self._finished:
                done = self._finished[number][first : first + batch.num_rows]
                if len(done) < batch.num_rows:
                    raise SourceError(f"{self._files[number - 1].name} {CHANGED}", stage="read")
                if any(done):
                    rows = rows.filter(pa.array([not each for each in done], pa.bool_()))
            if rows.num_rows:
                yield rows

    def _ids(self, number: int, first: int, num_rows: int) -> list[str]:
        prefix = f"{self._snapshot}-{self._limit or 0}-{number}-"
        return [f"{prefix}{row}" for row in range(first + 1, first + num_rows + 1)]

    def fetch(self, row_ids: Sequence[str]) -> Mapping[str, Row]:
        """See `etlkit.api.source.SourceReader.fetch`; reads the files up to the last wanted row."""
        wanted: dict[int, set[int]] = defaultdict(set)
        for row_id in row_ids:
            parsed = RowId.parse(row_id)
            wanted[parsed.file].add(parsed.row)
        decoder = RowDecoder(self.columns)
        found: dict[str, Row] = {}
        for number, first, batch in self._walk():
            rows = sorted(r for r in wanted[number] if first < r <= first + batch.num_rows)
            for row in rows:
                (row_id,) = self._ids(number, row - 1, 1)
                found[row_id] = decoder.decode(batch.slice(row - first - 1, 1)).rows[0]
            if len(found) == len(set(row_ids)):
                break
        return found

    def close(self, *, succeeded: bool) -> None:  # noqa: ARG002 - a resume copies the files again
        """See `etlkit.api.source.SourceReader.close`."""
        for file in self._files:
            file.close()


def _check_names(file: File, columns: Sequence[Column]) -> None:
    try:
        check_names(columns)
    except ConfigError as error:
        raise ConfigError(f"{file.name}: {error.message}") from error

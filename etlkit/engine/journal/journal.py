"""`Journal`: outcomes of rows that took a call, written ahead to files until the sink has them."""

from __future__ import annotations

import json
import logging
import os
import secrets
import threading
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etlkit.api.outcomes import Outcome, is_clean, rows_of
from etlkit.api.sink import TellsDurable
from etlkit.engine.journal.answers import Answers
from etlkit.engine.journal.place import is_private, journals_folder, make_folder, remove_folder
from etlkit.engine.journal.records import (
    UnknownValueError,
    from_record,
    read_frames,
    to_frame,
    to_record,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from etlkit.api.job_options import JobOptions
    from etlkit.api.run import Run
    from etlkit.api.sink import SinkWriter
    from etlkit.rows.columns import Column

log: logging.Logger = logging.getLogger("etlkit")

_FORMAT = 1

MAX_SEGMENT_BYTES = 4 * 1024 * 1024
"""A file that is longer is followed by a new one, so that files go as their rows become durable."""

SYNC_INTERVAL_S = 0.2
"""How often what was written goes to the disk itself. A process that is killed needs it not at all; a
machine that crashes loses this much."""

_LARGE_BYTES = 1024 * 1024

_SUFFIX = ".journal"


class _Segment:
    """One file, and how many of its rows are not durable in the sink yet."""

    def __init__(self, path: Path, num_rows: int = 0) -> None:
        self.path = path
        self.num_rows = num_rows
        self.num_bytes = 0
        self.is_full = False


class Journal:
    """The journal of one attempt at a run. Its methods may be called from any thread; none raises.

    Nothing depends on it but money: a row that it lacks is transformed again, and one that it has
    goes through the sink as any other.

    Of a run that many workers share, each worker has a folder of its own in the run's.

    Args:
        folder: The run's own folder; made when the first row is kept.
        run: The attempt.
        keeps_errors: Whether rows that failed are kept: `on_row_error` is not `fail`.
        columns: The source columns that rows have as dicts. Rows of an attempt that had other ones,
            such as under another version of etlkit, would lack values: they are not used.

    Attributes:
        answers: What earlier attempts have left.
    """

    def __init__(
        self, folder: Path, run: Run, *, keeps_errors: bool, columns: Sequence[str] = ()
    ) -> None:
        self._of_run = folder
        self._folder = folder if run.worker is None else folder / run.worker.id
        self._keeps_errors = keeps_errors
        self._attempt = run.attempt
        self._header = {
            "format": _FORMAT,
            "run_id": run.run_id,
            "fingerprint": run.fingerprint,
            "columns": list(columns),
        }
        self._lock = threading.Lock()
        self._large_rows = threading.Lock()
        self._token = secrets.token_hex(4)
        self._num_segments = 0
        self._segment: _Segment | None = None
        self._file = -1
        self._full_files: list[int] = []
        self._is_dirty = self._is_off = False
        self._pending: dict[str, _Segment] = {}
        self._workers_read: set[str] = set()
        self._closing = threading.Event()
        self._syncing: threading.Thread | None = None
        self.answers: Answers = Answers(self._load() if run.attempt > 1 else {})

    def read_of(self, workers: Iterable[str]) -> None:
        """Read what other workers of this attempt have left that are gone, as far as it is here."""
        for worker in workers:
            folder = self._of_run / worker
            if worker not in self._workers_read and is_private(folder):
                self._workers_read.add(worker)
                self.answers.add(self._load_all(sorted(folder.glob(f"*{_SUFFIX}"))))

    def keep(self, row_ids: Sequence[str], outcomes: Sequence[Outcome]) -> None:
        """Write down how rows ended, before the next call is made."""
        # As JSON they take several times their size: not those of all workers at once.
        with self._large_rows if _are_large(outcomes) else nullcontext():
            self._keep(row_ids, outcomes)

    def _keep(self, row_ids: Sequence[str], outcomes: Sequence[Outcome]) -> None:
        frames = self._frames(row_ids, outcomes)
        with self._lock:
            if self._is_off or not frames:
                return
            try:
                segment = self._write(b"".join(frames.values()))
            except OSError as error:
                self._give_up(error)
                return
            for row_id in frames:
                if self._pending.get(row_id) is not segment:
                    segment.num_rows += 1
                    self._pending[row_id] = segment
            if segment.num_bytes >= MAX_SEGMENT_BYTES:
                self._end_segment()

    def _frames(self, row_ids: Sequence[str], outcomes: Sequence[Outcome]) -> dict[str, bytes]:
        frames = {}
        for row_id, outcome in zip(row_ids, outcomes, strict=True):
            if self._keeps_errors or is_clean(outcome):
                try:
                    frames[row_id] = to_frame(to_record(row_id, outcome))
                except UnknownValueError as unknown:
                    log.debug("row %s is not in the journal: %s", row_id, unknown)
        return frames

    def forget(self, row_ids: pa.Array) -> None:
        """Drop rows that are durable in the sink; a file whose rows all are is removed."""
        if not self._pending:
            return
        ids = row_ids.to_pylist()
        with self._lock:
            for row_id in ids:
                segment = self._pending.pop(row_id, None)
                if segment is not None:
                    segment.num_rows -= 1
                    if segment.is_full and not segment.num_rows:
                        segment.path.unlink(missing_ok=True)

    def close(self, *, is_done: bool) -> None:
        """Stop writing.

        Args:
            is_done: Whether the run is published: then nothing is left of the journal. Else its files
                stay for a resume, as long as they have rows that are not durable.
        """
        self._closing.set()
        if self._syncing is not None:
            self._syncing.join()
        with self._lock:
            self._is_off = True
            self._end_segment()
        self._sync()
        if is_done or not self._pending:
            remove_folder(self._folder)

    def _load(self) -> dict[str, Outcome]:
        """What earlier attempts with the same code and query have answered; a later one wins."""
        if not is_private(self._of_run):
            return {}
        earlier = sorted(
            (number, path)
            for pattern in (f"*{_SUFFIX}", f"*/*{_SUFFIX}")
            for path in self._of_run.glob(pattern)
            if (number := _attempt_of(path)) < self._attempt
        )
        return self._load_all([path for _, path in earlier])

    def _load_all(self, paths: Sequence[Path]) -> dict[str, Outcome]:
        found: dict[str, Outcome] = {}
        for path in paths:
            try:
                rows = self._read(path)
            except (OSError, ValueError, KeyError, TypeError) as error:
                log.info("the journal %s cannot be read and is not used: %s", path, error)
                continue
            segment = _Segment(path, len(rows))
            segment.is_full = True
            self._pending.update(dict.fromkeys(rows, segment))
            found |= rows
        if found:
            log.info("%d rows at most are taken from the journal in %s", len(found), self._of_run)
        return found

    def _read(self, path: Path) -> dict[str, Outcome]:
        frames = read_frames(path)
        header: Any = json.loads(next(frames, b"null"))
        if header != self._header:
            log.info(
                "the journal %s is of other code, or of another version of etlkit: it is not used",
                path,
            )
            return {}
        outcomes = dict(map(from_record, frames))
        if self._keeps_errors:
            return outcomes
        return {row_id: outcome for row_id, outcome in outcomes.items() if is_clean(outcome)}

    def _write(self, content: bytes) -> _Segment:
        if self._segment is None:
            self._segment = self._begin_segment()
        _write_all(self._file, content)
        self._segment.num_bytes += len(content)
        self._is_dirty = True
        return self._segment

    def _begin_segment(self) -> _Segment:
        make_folder(self._of_run)
        if self._folder != self._of_run:
            self._folder.mkdir(mode=0o700, exist_ok=True)
        self._num_segments += 1
        name = f"{self._attempt}-{self._token}-{self._num_segments}{_SUFFIX}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | getattr(os, "O_BINARY", 0)
        self._file = os.open(self._folder / name, flags, 0o600)
        _write_all(self._file, to_frame(json.dumps(self._header).encode()))
        if self._syncing is None:
            thread = threading.Thread(target=self._keep_syncing, name="etlkit-journal", daemon=True)
            self._syncing = thread
            thread.start()
        return _Segment(self._folder / name)

    def _end_segment(self) -> None:
        segment, self._segment = self._segment, None
        if segment is None:
            return
        self._full_files.append(self._file)
        segment.is_full = True
        if not segment.num_rows:
            segment.path.unlink(missing_ok=True)

    def _give_up(self, error: OSError) -> None:
        self._is_off = True
        log.warning(
            "the journal in %s cannot be written (%s). The run goes on without it: after a kill, a "
            "resume repeats the calls of about a second. Choose another folder with --journal, or off",
            self._folder,
            error.strerror or error,
        )

    def _keep_syncing(self) -> None:
        while not self._closing.wait(SYNC_INTERVAL_S):
            self._sync()

    def _sync(self) -> None:
        """Put on the disk what was written; the files stay open for writing meanwhile."""
        with self._lock:
            full, self._full_files = self._full_files, []
            is_dirty, self._is_dirty = self._is_dirty and self._segment is not None, False
            files = [*full, *([self._file] if is_dirty else [])]
        try:
            for file in files:  # nobody else closes them
                os.fsync(file)
        except OSError as error:
            log.debug("the journal cannot be put on the disk: %s", error)
        finally:
            for file in full:
                os.close(file)


def open_journal(
    job: JobOptions, run: Run, writer: SinkWriter, columns: Sequence[Column]
) -> Journal | None:
    """Open the journal of a run that this process owns; None = it has none.

    Args:
        job: Its `journal` says where, and its `on_row_error` whether failed rows are kept.
        run: The attempt; it has taken the run over, if it is not the first.
        writer: The sink. Without `TellsDurable` nobody would know when a row can be dropped.
        columns: The source columns that rows have as dicts.
    """
    folder = journals_folder(run.journal or job.journal, run.settings.environ)
    if folder is None or not isinstance(writer, TellsDurable):
        return None
    names, keeps_errors = [column.name for column in columns], job.on_row_error != "fail"
    journal = Journal(folder / run.run_id, run, keeps_errors=keeps_errors, columns=names)
    writer.on_durable(journal.forget)
    return journal


def _are_large(outcomes: Sequence[Outcome]) -> bool:
    """Whether texts and bytes have more than a megabyte; cheap: what is nested is not seen."""
    sizes = (
        len(value)
        for outcome in outcomes
        for row in rows_of(outcome)
        # In one step: the pipeline may remove keys without a column meanwhile, on its own thread.
        for value in list(row.values())
        if type(value) is str or type(value) is bytes
    )
    return sum(sizes) > _LARGE_BYTES


def _attempt_of(path: Path) -> int:
    number = path.name.partition("-")[0]
    return int(number) if number.isdecimal() else 0


def _write_all(file: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(file, view) :]

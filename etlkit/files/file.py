"""One file: can be opened again and again, and gives the same bytes each time or an error."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

from etlkit.errors import EtlkitError, SourceError
from etlkit.rows.refused import type_name

CHANGED = "was changed while the run was reading it; start a new run"


class File(Protocol):
    """A file of a run.

    Attributes:
        name: Its path or address for messages, without anything secret.
        encoded: A compression that the name does not show; None = there is none.
    """

    name: str
    encoded: str | None

    def open(self, *, whole: bool = False) -> io.BufferedReader:
        """Open it for reading. With `whole`, the result can seek.

        Raises:
            SourceError: It cannot be read, or it was changed after `freeze`.
        """

    def freeze(self) -> bytes:
        """Fix the content as it is now and return its SHA-256 digest, 32 bytes."""

    def pause(self) -> None:
        """Let go of what it holds open, e.g. a connection; the next read opens it again."""

    def check(self) -> None:
        """Check that the content read is the frozen content.

        Raises:
            SourceError: It was changed.
        """

    def close(self) -> None:
        """Release its resources."""


class LocalFile:
    """A file on this machine. It is not copied; size, modification time and inode show a change."""

    encoded: str | None = None

    def __init__(self, path: Path, name: str) -> None:
        # A name on disk may be bytes that are no text; messages and the ledger hold text.
        self.name: str = name.encode("utf-8", "backslashreplace").decode()
        self._path = path
        self._stamp: tuple[int, ...] | None = None

    def open(self, *, whole: bool = False) -> io.BufferedReader:  # noqa: ARG002 - it always can
        """See `File`."""
        self.check()
        try:
            return self._path.open("rb")
        except OSError as error:
            raise self._unreadable(error) from error

    def freeze(self) -> bytes:
        """See `File`; reads the file once."""
        before = self._look()
        try:
            with self._path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").digest()
        except OSError as error:
            raise self._unreadable(error) from error
        self._stamp = before
        self.check()
        return digest

    def pause(self) -> None:
        """See `File`; it holds nothing."""

    def check(self) -> None:
        """See `File`."""
        if self._stamp is not None and self._look() != self._stamp:
            raise SourceError(f"{self.name} {CHANGED}", stage="read")

    def close(self) -> None:
        """See `File`."""

    def _look(self) -> tuple[int, ...]:
        try:
            status = self._path.stat()
        except OSError as error:
            raise self._unreadable(error) from error
        return status.st_size, status.st_mtime_ns, status.st_ino

    def _unreadable(self, error: OSError) -> SourceError:
        return SourceError(f"{self.name} cannot be read: {error.strerror}", stage="read")


class CopiedFile:
    """A file on another machine, copied to a temporary file as far as it was read.

    So it crosses the network once, and every read sees the same bytes. A preview that needs only the
    first rows copies only these.

    Args:
        name: See `File`.
        chunks: Called once; yields the content from its beginning.
        pause: Called between two chunks, to let go of what they need.
    """

    def __init__(
        self,
        name: str,
        chunks: Callable[[], Generator[bytes, None, None]],
        pause: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.encoded: str | None = None
        self._begin = chunks
        self._let_go = pause
        self._chunks: Generator[bytes, None, None] | None = None
        self._copy: IO[bytes] | None = None
        self._digest = hashlib.sha256()
        self._size = 0
        self._is_whole = False
        self._lock = threading.Lock()

    def open(self, *, whole: bool = False) -> io.BufferedReader:
        """See `File`."""
        while whole and self.pull():
            pass
        return io.BufferedReader(_CopyReader(self), buffer_size=1 << 20)

    def freeze(self) -> bytes:
        """See `File`."""
        while self.pull():
            pass
        return self._digest.digest()

    def pause(self) -> None:
        """See `File`."""
        with self._lock:
            self._let_go()

    def check(self) -> None:
        """See `File`; does nothing: nobody else writes to the copy."""

    def pull(self) -> bool:
        """Copy the next chunk; False = the copy is complete, or the file is closed."""
        with self._lock:  # pyarrow reads ahead on a thread of its own
            return self._pull()

    def _pull(self) -> bool:
        if self._is_whole:
            return False
        if self._chunks is None:
            self._copy = tempfile.TemporaryFile(prefix="etlkit-")  # noqa: SIM115 - until close()
            self._chunks = self._begin()
        chunk = next(self._chunks, None)
        if chunk is None or self._copy is None:
            self._is_whole = True
            return False
        self._copy.write(chunk)
        self._copy.flush()
        self._digest.update(chunk)
        self._size += len(chunk)
        return True

    def read_at(self, position: int, num_bytes: int) -> bytes:
        """Read up to `num_bytes` bytes; empty = the end."""
        while position >= self._size and self.pull():
            pass
        if self._copy is None:
            return b""
        return os.pread(self._copy.fileno(), num_bytes, position)

    @property
    def size(self) -> int:
        """Bytes copied so far; all of them once the copy is complete."""
        return self._size

    def close(self) -> None:
        """See `File`."""
        with self._lock:
            self._is_whole = True
            if self._chunks is not None:
                self._chunks.close()  # ends a download whose rest nobody needs
            if self._copy is not None:
                self._copy.close()


class _CopyReader(io.RawIOBase):
    def __init__(self, file: CopiedFile) -> None:
        self._file = file
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._file.size}
        self._position = base[whence] + offset
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._file.read_at(self._position, len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


@contextmanager
def named_errors(file: File, what: str) -> Iterator[None]:
    """Give whatever a broken file makes a library raise the name of the file; `what` is wrong."""
    try:
        yield
    except (EtlkitError, MemoryError):
        raise
    except Exception as error:
        raise SourceError(
            f"{file.name} {what} ({type_name(type(error))}); is it damaged?", stage="read"
        ) from error

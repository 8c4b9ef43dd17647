"""A limit on reading ahead: pyarrow's CSV reader would otherwise read hundreds of megabytes ahead."""

from __future__ import annotations

import atexit
import io
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

_PATIENCE_S = 0.5
"""A reader that needs more than usual for one batch gets it, but has to wait this long each time."""

_EXIT_S = 1.0

_open: weakref.WeakSet[Throttle] = weakref.WeakSet()


class Throttle(io.RawIOBase):
    """A stream that another thread reads ahead of its consumer, by a bounded number of bytes.

    Args:
        stream: The stream to read.
        block_bytes: What the reader needs for one batch; it may be two such blocks ahead.
        count: A byte to count on the way; None = count nothing.

    Attributes:
        counted: How many of these bytes have been read so far.
    """

    def __init__(self, stream: IO[bytes], block_bytes: int, count: bytes | None = None) -> None:
        self.counted = 0
        self._stream = stream
        self._count = count
        self._block_bytes = block_bytes
        self._changed = threading.Condition()
        self._is_wanted = False
        self._is_over = False
        self._is_reading = False
        self._allowed = 2 * block_bytes
        _open.add(self)

    @contextmanager
    def wanted(self) -> Iterator[None]:
        """Let the reader go on by one block: a consumer waits for its next batch."""
        with self._changed:
            self._is_wanted = True
            self._allowed += self._block_bytes
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._is_wanted = False

    def end(self) -> None:
        """Make the stream look finished to the reader: nobody needs the rest."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def readable(self) -> bool:
        """See `io.RawIOBase`."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """See `io.RawIOBase`."""
        with self._changed:
            self._is_reading = True
            self._wait()
            is_over = self._is_over
        data = b"" if is_over else self._stream.read(size)
        if self._count is not None:
            self.counted += data.count(self._count)
        with self._changed:
            self._is_reading = False
            self._allowed -= len(data)
            self._changed.notify_all()
        return data

    def _wait(self) -> None:
        while self._allowed <= 0 and not self._is_over:
            patience_s = _PATIENCE_S if self._is_wanted else None
            if not self._changed.wait(patience_s) and self._is_wanted:
                return

    def leave(self) -> None:
        """End, and wait a moment until the reader's thread has left `read`."""
        self.end()
        with self._changed:
            self._changed.wait_for(lambda: not self._is_reading, _EXIT_S)


@atexit.register
def _leave_all() -> None:
    """Release pyarrow's threads: one that still waits in Python keeps the process from ending."""
    for throttle in list(_open):
        throttle.leave()

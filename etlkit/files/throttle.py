"""A limit on reading ahead: pyarrow's CSV reader would otherwise read hundreds of megabytes ahead."""

from __future__ import annotations

import atexit
import io
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

_PATIENCE_S = 0.5
"""A reader that needs more than usual for one batch gets it, but has to wait this long each time."""

_EXIT_S = 5.0
"""How long the end of the process waits for pyarrow's threads; usually some milliseconds."""

_EXIT_POLL_S = 0.001

_open: weakref.WeakSet[Throttle] = weakref.WeakSet()

_lent: list[weakref.ref[memoryview]] = []
"""The data that pyarrow has not given back yet."""


class Throttle(io.RawIOBase):
    """A stream that another thread reads ahead of its consumer, by a bounded number of bytes.

    Args:
        stream: The stream to read.
        block_bytes: What the reader needs for one batch; it may be two such blocks ahead.
        watch: Gets all that is read, in order, before the reader does; None = nobody watches.

    Attributes:
        reader: pyarrow's iterator over this stream; None = it is not open. The consumer sets it, has
            no other reference to it, and resets it: Python finds no cycles through pyarrow.
    """

    def __init__(
        self,
        stream: IO[bytes],
        block_bytes: int,
        watch: Callable[[bytes], None] | None = None,
    ) -> None:
        self.reader: Iterator[Any] | None = None
        self._stream = stream
        self._watch = watch
        self._block_bytes = block_bytes
        self._changed = threading.Condition()
        self._is_wanted = False
        self._is_over = False
        self._is_reading = False
        self._allowed = 2 * block_bytes
        self._in_pyarrow = threading.RLock()
        _open.add(self)

    @contextmanager
    def wanted(self) -> Iterator[None]:
        """Let the reader go on by one block: a consumer waits for its next batch."""
        with self._in_pyarrow:
            with self._changed:
                self._is_wanted = True
                self._allowed += self._block_bytes
                self._changed.notify_all()
            try:
                yield
            finally:
                with self._changed:
                    self._is_wanted = False

    def next_batch(self) -> Any:
        """The next item of the reader; None = there are no more."""
        with self.wanted():
            return None if self.reader is None else next(self.reader, None)

    def end(self) -> None:
        """Make the stream look finished to the reader: nobody needs the rest."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def readable(self) -> bool:
        """See `io.RawIOBase`."""
        return True

    def read(self, size: int = -1, /) -> memoryview:
        """See `io.RawIOBase`. Returns a view, which says when it is given back; bytes do not."""
        data = b""
        with self._changed:
            self._is_reading = True
            self._wait()
            is_over = self._is_over
        try:
            if not is_over:
                data = self._stream.read(size)
            if self._watch is not None:
                self._watch(data)
        finally:
            with self._changed:
                self._is_reading = False
                self._allowed -= len(data)
                self._changed.notify_all()
        block = memoryview(data)
        # `remove` is not Python code, so no other thread runs between it and the end of the release.
        _lent.append(weakref.ref(block, _lent.remove))
        return block

    def _wait(self) -> None:
        while self._allowed <= 0 and not self._is_over:
            patience_s = _PATIENCE_S if self._is_wanted else None
            if not self._changed.wait(patience_s) and self._is_wanted:
                return

    def release(self, deadline: float) -> None:
        """Let pyarrow finish what it has read, and drop its reader. No consumer can go on afterwards.

        Args:
            deadline: When to give up, by `time.monotonic`.
        """
        # The lock is kept: a consumer must not be in pyarrow when the interpreter ends.
        if not self._in_pyarrow.acquire(timeout=max(deadline - time.monotonic(), 0)):
            return
        with self._changed:
            patience_s = max(deadline - time.monotonic(), 0)
            if not self._changed.wait_for(lambda: not self._is_reading, patience_s):
                return
        with suppress(Exception):  # the last row is probably cut off
            while self.next_batch() is not None:
                pass
        self.reader = None


@atexit.register
def _leave_all() -> None:
    """Wait until pyarrow's threads no longer need Python.

    The interpreter ends a thread that still wants to run Python code, in the middle of its C++ code,
    and that aborts the process. It is not enough to end the streams: the threads also need Python to
    give back the data that they have read ahead.
    """
    deadline = time.monotonic() + _EXIT_S
    throttles = list(_open)
    for throttle in throttles:
        throttle.end()
    for throttle in throttles:
        throttle.release(deadline)
    while _lent and time.monotonic() < deadline:
        time.sleep(_EXIT_POLL_S)

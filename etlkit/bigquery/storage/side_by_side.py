"""Messages of several read streams, each read on a thread of its own."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

_MAX_WAITING_BYTES = 16 * 1024 * 1024
"""Streams are read until this much waits. A slow transform then slows them down."""


def side_by_side(streams: Sequence[Callable[[], Iterator[Any]]]) -> Iterator[Any]:
    """Yield the messages of several streams as they come: one that stalls does not stop the others.

    Args:
        streams: Each opens a stream, and gives its messages.

    Raises:
        Exception: The first error of a stream. Messages of the others that nobody has seen are dropped.
    """
    messages = _Messages(len(streams))
    threads = [
        threading.Thread(
            target=messages.take, args=(each,), name=f"etlkit-read-{number}", daemon=True
        )
        for number, each in enumerate(streams)
    ]
    for thread in threads:
        thread.start()
    try:
        yield from messages
    finally:
        messages.close()


class _Messages:
    """What has come and was not given on yet, bounded in bytes."""

    def __init__(self, num_streams: int) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Any, int]] = deque()
        self._num_bytes = 0
        self._num_open = num_streams
        self._error: BaseException | None = None
        self._closed = False

    def take(self, stream: Callable[[], Iterator[Any]]) -> None:
        """Read a stream to its end; runs on a thread of its own."""
        error = None
        try:
            for message in stream():
                if not self._put(message):
                    return
        except BaseException as why:
            error = why
        finally:
            with self._changed:
                self._num_open -= 1
                self._error = self._error or error
                self._changed.notify_all()

    def _put(self, message: Any) -> bool:
        """Queue a message, when there is room. False = nobody reads any more."""
        size = len(message.arrow_record_batch.serialized_record_batch)
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._num_bytes < _MAX_WAITING_BYTES)
            self._waiting.append((message, size))
            self._num_bytes += size
            self._changed.notify_all()
            return not self._closed

    def __iter__(self) -> Iterator[Any]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._error or not self._num_open)
                if self._error is not None:
                    raise self._error
                if not self._waiting:
                    return
                message, size = self._waiting.popleft()
                self._num_bytes -= size
                self._changed.notify_all()
            yield message

    def close(self) -> None:
        """Nobody reads any more."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()

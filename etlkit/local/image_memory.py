"""How much memory decoded images take at once, in the local Vision and in the local BigQuery."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, Lock
from typing import Final

MAX_PIXELS: Final = 75_000_000
"""Vision's limit for OCR, applied here to every image: BigQuery documents none.

Source: https://cloud.google.com/vision/docs/supported-files (75 M pixels, width x height).
"""

MAX_BYTES: Final = 640_000_000
"""Of images that are being decoded. Those that need more are decoded alone."""

_PIXEL_BYTES: Final = 12
"""Pillow keeps 4 bytes for each pixel, again for a copy in RGB, and a decoder may keep as many."""


class MemoryBudget:
    """Lets threads take memory in the order in which they ask, and wait while there is none.

    Args:
        num_bytes: What all may hold together.
    """

    def __init__(self, num_bytes: int) -> None:
        self._free = num_bytes
        self._most = num_bytes
        self._turn = Lock()
        self._changed = Condition()

    @contextmanager
    def held(self, num_bytes: int) -> Iterator[None]:
        """Hold memory. What is larger than the budget gets all of it."""
        num_bytes = min(num_bytes, self._most)
        with self._turn, self._changed:  # in turns, or large images would wait for ever
            self._changed.wait_for(lambda: self._free >= num_bytes)
            self._free -= num_bytes
        try:
            yield
        finally:
            with self._changed:
                self._free += num_bytes
                self._changed.notify_all()


_budget: Final = MemoryBudget(MAX_BYTES)


@contextmanager
def decoding(num_pixels: int) -> Iterator[None]:
    """Around the decoding of an image, until it has been made small."""
    with _budget.held(num_pixels * _PIXEL_BYTES):
        yield

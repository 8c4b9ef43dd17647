"""What Python's search for cycles costs a run: it looks at every object that a process has."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

_MANY_OBJECTS = 20_000
"""New objects between two searches while rows are fast: more than a block of rows has, mostly. When it
is done they are gone, so there is nothing to search."""

_FEW_OBJECTS = 5_000
"""With fewer frozen objects than this, nobody has called `gc.freeze`. Python 3.12 keeps a few hundred
immortal objects there itself; Python's own modules alone are 15,000 objects."""

_lock = threading.Lock()
_num_inside = 0
_is_ours = False
_num_fast = 0
_usual: tuple[int, int, int] | None = None


@contextmanager
def settled_heap() -> Iterator[None]:
    """Leave the objects that are there now out of the search for cycles, while inside.

    Rows with lists and dicts make the search run again and again, each time over all modules and
    classes of the clients as well, which can take a third of the time of such a transform. What the run
    makes is still searched. Several runs of a process may be inside; if somebody else has frozen
    objects, nothing is done: theirs must stay frozen.

    See https://docs.python.org/3/library/gc.html#gc.freeze.
    """
    global _num_inside, _is_ours  # noqa: PLW0603 - there is one heap
    with _lock:
        if not _num_inside and gc.get_freeze_count() < _FEW_OBJECTS:
            gc.freeze()
            _is_ours = True
        _num_inside += 1
    try:
        yield
    finally:
        with _lock:
            _num_inside -= 1
            if not _num_inside and _is_ours:
                gc.unfreeze()
                _is_ours = False


class FastRows:
    """Makes the search rare while the rows of one worker take microseconds.

    The values of a block are all alive until it is encoded: lists and dicts in them would be searched
    several times until then. It is not for slow rows: in the time that they take, a cycle may come to
    hold an image, and 20,000 objects may come to hold many. Nothing is done if the search is off, or
    rare already.

    See https://docs.python.org/3/library/gc.html#gc.set_threshold.
    """

    def __init__(self) -> None:
        self._is_inside = False

    def __enter__(self) -> Self:
        """None has run yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """There are no more rows."""
        self.end()

    def begin(self) -> None:
        """Rows are fast from now on."""
        global _num_fast, _usual  # noqa: PLW0603 - there is one heap
        if self._is_inside:
            return
        self._is_inside = True
        with _lock:
            _num_fast += 1
            found = gc.get_threshold()
            if _num_fast == 1 and 0 < found[0] < _MANY_OBJECTS:
                _usual = found
                gc.set_threshold(_MANY_OBJECTS, *found[1:])

    def end(self) -> None:
        """Rows are not fast any more."""
        global _num_fast, _usual  # noqa: PLW0603 - there is one heap
        if not self._is_inside:
            return
        self._is_inside = False
        with _lock:
            _num_fast -= 1
            if not _num_fast and _usual is not None:
                if gc.get_threshold()[0] == _MANY_OBJECTS:  # else somebody else has set it since
                    gc.set_threshold(*_usual)
                _usual = None

"""What Python's search for cycles costs a run: it looks at every object that a process has."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_num_inside = 0
_is_ours = False


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
        if not _num_inside and not gc.get_freeze_count():
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

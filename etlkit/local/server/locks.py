"""File locks between processes: the kernel frees them however their holder ends."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_POLL_S: Final = 0.02


@contextmanager
def hold(path: Path, *, timeout_s: float, give_up: Callable[[], bool] = bool) -> Iterator[None]:
    """Hold the lock of `path`.

    `flock` knows no deadline, so a taken lock is asked for again at short intervals.

    Args:
        path: The lock file; it is made if missing and never removed, for a removed lock file would
            let two holders in.
        timeout_s: How long to wait for another holder.
        give_up: Asked between two attempts; true = stop waiting.

    Raises:
        TimeoutError: Somebody else held the lock for the whole time.
    """
    deadline = time.monotonic() + timeout_s
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while not _try_lock(descriptor):
            if time.monotonic() > deadline or give_up():
                raise TimeoutError(f"{path} is held by another process")
            time.sleep(_POLL_S)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

"""A folder in memory for everything that tests write.

Each statement of a local server ends with an fsync, and each journal has its own: on a disk they cost
more than the statement. Tests kill processes, not machines, so that memory keeps what a disk would.
"""

import os
import shutil
import tempfile
from multiprocessing.util import Finalize
from pathlib import Path

import psutil

_MEMORY = Path("/dev/shm")  # noqa: S108 - that it is in memory is the point
_LEAST_BYTES = 6 * 2**30
"""Free memory and free room there. The suite writes less than 2 GB."""


def begin() -> None:
    """Make the folder and let temporary files of this process and its children be there.

    It goes when this process ends. Nothing is done if there is no room, or if `TMPDIR` says where to
    write: set it to look at what a test has left.
    """
    if "TMPDIR" in os.environ or not _has_room():
        return
    folder = tempfile.mkdtemp(prefix="etlkit-tests-", dir=_MEMORY)
    tempfile.tempdir = os.environ["TMPDIR"] = folder
    # After what multiprocessing itself has there, which it removes at -100.
    Finalize(None, shutil.rmtree, [folder], {"ignore_errors": True}, exitpriority=-200)


def _has_room() -> bool:
    if not os.access(_MEMORY, os.W_OK):
        return False
    if os.statvfs(_MEMORY).f_flag & os.ST_NOEXEC:  # some tests write programs
        return False
    free = min(shutil.disk_usage(_MEMORY).free, psutil.virtual_memory().available)
    return free >= _LEAST_BYTES

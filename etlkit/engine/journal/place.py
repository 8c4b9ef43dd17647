"""Where the journals of runs are, and what becomes of those that nobody needs any more."""

from __future__ import annotations

import os
import re
import shutil
import stat
import time
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "ETLKIT_JOURNAL"
"""Environment variable: a folder, or `off`."""

OFF = "off"

_RUN_ID = re.compile(r"\d{8}_\d{9}_[0-9a-f]{8}")

_MAX_AGE_S = 8 * 24 * 3600.0
"""A run cannot be resumed after 7 days: its frozen rows are gone."""


def journals_folder(chosen: str | None, environ: Mapping[str, str]) -> Path | None:
    """The folder of all journals; None = there are to be none.

    Args:
        chosen: What the command line or the job says: a folder, or `off`; None = nothing.
        environ: The environment. Without `ETLKIT_JOURNAL` it is `etlkit/journal` in the user's folder
            for state, see https://specifications.freedesktop.org/basedir-spec/latest/
    """
    said = chosen or environ.get(VARIABLE)
    if said == OFF:
        return None
    if said:
        return Path(said)
    for variable, below in (
        ("XDG_STATE_HOME", ""),
        ("LOCALAPPDATA", ""),
        ("HOME", ".local/state"),
        ("USERPROFILE", ".local/state"),
    ):
        if Path(environ.get(variable) or ".").is_absolute():
            return Path(environ[variable]) / below / "etlkit" / "journal"
    return None


def make_folder(folder: Path) -> None:
    """Make the folder of a run's journal, for the user only, and remove those of runs long past.

    Raises:
        OSError: It cannot be made, or others could write into it.
    """
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    if not is_private(folder):
        raise PermissionError(f"{folder} is not only this user's")
    oldest = time.time() - _MAX_AGE_S
    for other in folder.parent.iterdir():
        if _RUN_ID.fullmatch(other.name) and other.lstat().st_mtime < oldest:
            remove_folder(other)


def is_private(folder: Path) -> bool:
    """Whether it is a folder into which nobody but this user can write."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    if not stat.S_ISDIR(found.st_mode):
        return False
    return os.name == "nt" or (found.st_uid == os.getuid() and not found.st_mode & 0o022)


def remove_folder(folder: Path) -> None:
    """Remove the journal of a run, if it is there."""
    if not folder.is_symlink():
        shutil.rmtree(folder, ignore_errors=True)

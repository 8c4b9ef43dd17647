"""The local folder, which is for its user only: it has all data, and the token of the server."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path
from typing import Final

from etlkit.errors import ConfigError

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_WRITTEN: Final = ("data", "buckets", "uploads", "server.log", "start.lock", "data.lock")
"""What the local world writes, and how a folder is known to be one."""


def make_local_dir(path: Path) -> None:
    """Create the local folder, or check that it can be used, and keep other users out of it.

    A folder that has something else in it keeps its mode: then only what is ours in it is closed.

    Raises:
        ConfigError: It cannot be created or written, or belongs to another user.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_writable(path)
        _close(path)
    except OSError as error:
        raise ConfigError(
            f"the local folder {path} cannot be used ({error.strerror or error}): choose another "
            "one with --local-dir"
        ) from error


def write_private(path: Path, text: str) -> None:
    """Write a file in one step, readable for this user only. A reader sees all of it or none."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    partial.replace(path)


def _check_writable(path: Path) -> None:
    ours = [path / name for name in (*_WRITTEN, "data/bqemulator.duckdb")]
    for each in (path, *filter(Path.exists, ours)):
        if not os.access(each, os.W_OK | (os.X_OK if each.is_dir() else 0)):
            raise ConfigError(
                f"the local folder cannot be used: {each} cannot be written by this user; change "
                "that, or choose another folder with --local-dir"
            )
    try:
        # Not by `tempfile`: it takes the absolute path, of which a folder above may be closed to us.
        probe = path / f".etlkit-{secrets.token_hex(8)}"
        write_private(probe, "")
        probe.unlink()
    except OSError as error:  # /proc and the like let root in, and have no files of ours
        raise ConfigError(
            f"the local folder cannot be used: no file can be made in {path} "
            f"({error.strerror or error}); choose another folder with --local-dir"
        ) from error


def _close(path: Path) -> None:
    """Take from the group and others what they may do with the folder, or with what is ours in it."""
    names = {each.name for each in path.iterdir()}
    is_ours = not names or not names.isdisjoint(_WRITTEN)
    for each in (path,) if is_ours else [path / name for name in _WRITTEN if name in names]:
        mode = each.stat().st_mode
        if os.name != "posix" or not mode & _OTHERS:
            continue
        if each.stat().st_uid not in {os.geteuid(), 0} and os.geteuid() != 0:
            raise ConfigError(
                f"{each} belongs to another user, who could change what the local server does: "
                "choose another folder with --local-dir"
            )
        each.chmod(mode & ~_OTHERS & 0o7777)
        _close_below(each)


def _close_below(path: Path) -> None:
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            inner = Path(folder, name)
            if not inner.is_symlink():
                inner.chmod(inner.stat().st_mode & ~_OTHERS & 0o7777)

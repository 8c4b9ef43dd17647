"""Texts that are kept for later processes of the same user, in files of the cache folder."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from etlkit.local.bigquery.wasm_service import cache_folder, is_own

_MAX_ROWS: Final = 50_000
_TIMEOUT_S: Final = 2.0
_UNUSED_AFTER_S: Final = 30 * 86400.0
"""How long after its last use a file of another version is removed."""


class KeptTexts:
    """A table of keys and texts. Where it cannot be used, nothing is kept.

    Args:
        name: What the file is called.
        version: Changes with all that decides about a text. Each version has a file of its own.
    """

    def __init__(self, name: str, version: str) -> None:
        self._lock = threading.Lock()
        self._connection: Any = None
        self._end: Callable[[], object] = lambda: None
        try:
            folder = cache_folder()
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._open(folder / f"{name}-{version}.sqlite")
            _remove_unused(folder, name)
        except (OSError, RuntimeError, sqlite3.Error):  # no home, a full or broken disk
            self.close()

    def _open(self, path: Path) -> None:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        if not is_own(path):
            return
        os.utime(path)
        connection = sqlite3.connect(
            path, timeout=_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        # From Python 3.13 on, one that is not closed by its owner is told as a leak.
        self._end = weakref.finalize(self, connection.close)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")  # what is lost is found again
        connection.execute("CREATE TABLE IF NOT EXISTS known (key BLOB PRIMARY KEY, body TEXT)")
        (rows,) = connection.execute("SELECT count(*) FROM known").fetchone()
        if rows > _MAX_ROWS:
            connection.execute("DELETE FROM known")
        self._connection = connection

    def get(self, key: bytes) -> str | None:
        """The text of a key; None = it is not known."""
        found = self._execute("SELECT body FROM known WHERE key = ?", [key])
        return None if found is None else str(found[0])

    def put(self, key: bytes, text: str) -> None:
        """Keep a text, in the place of another one of this key."""
        self._execute("INSERT OR REPLACE INTO known VALUES (?, ?)", [key, text])

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._end()
            self._connection = None

    def _execute(self, sql: str, parameters: list[Any]) -> Any:
        with self._lock:
            if self._connection is None:
                return None
            try:
                return self._connection.execute(sql, parameters).fetchone()
            except sqlite3.Error:  # another process holds it, or the disk is full
                return None


def _remove_unused(folder: Path, name: str) -> None:
    """Remove what other versions have left. A process that still uses it keeps it until its end."""
    for path in folder.glob(f"{name}-*.sqlite"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _UNUSED_AFTER_S:
                for part in ("", "-wal", "-shm"):
                    Path(f"{path}{part}").unlink(missing_ok=True)

"""Answers of one run, for another run over the same rows: equal requests are made once."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

_CHOSEN: Final = frozenset({"accept", "accept-language", "content-type"})
"""Headers that may decide what the answer is. Others show who calls, or differ for every request."""

_STATEMENTS: Final = (
    "PRAGMA synchronous = OFF",  # it is gone with its run
    "CREATE TABLE IF NOT EXISTS answers (key TEXT, about TEXT, body BLOB, used INTEGER DEFAULT 0)",
    "CREATE INDEX IF NOT EXISTS by_key ON answers (key, used)",
)


class Recording:
    """A file of answers. Threads share it; one process records, then another one replays.

    Each answer is replayed once, so that a request which is made twice is answered by two answers.

    Args:
        path: The file; made if it is missing.
        replays: False = answers are kept; True = answers that were kept are given out.

    Attributes:
        num_replayed: How many answers were given out.
    """

    def __init__(self, path: Path, *, replays: bool) -> None:
        self._replays = replays
        self._lock = threading.Lock()
        self._file = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        for statement in _STATEMENTS:
            self._file.execute(statement)
        self.num_replayed: int = 0

    def find(self, key: str) -> tuple[Any, bytes] | None:
        """Take an answer out; None = there is none, or none is left.

        Args:
            key: Made by `request_key` or `value_key`.

        Returns:
            What was kept: a JSON value, and bytes.
        """
        if not self._replays:
            return None
        with self._lock:
            select = "SELECT rowid, about, body FROM answers WHERE key = ? AND used = 0 LIMIT 1"
            row = self._file.execute(select, (key,)).fetchone()
            if row is None:
                return None
            self._file.execute("UPDATE answers SET used = 1 WHERE rowid = ?", (row[0],))
            self.num_replayed += 1
        return json.loads(row[1]), row[2]

    def keep(self, key: str, about: Any, body: bytes = b"") -> None:
        """Keep an answer: a JSON value, and bytes. While answers are replayed, nothing is kept."""
        if self._replays:
            return
        with self._lock, closing(self._file.cursor()) as cursor:
            insert = "INSERT INTO answers (key, about, body) VALUES (?, ?, ?)"
            cursor.execute(insert, (key, json.dumps(about), body))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()


def request_key(
    origin: str, method: str, target: str, headers: Mapping[str, str], body: bytes | None
) -> str:
    """What tells two requests apart: method, address, body, and what the answer is to be in.

    Args:
        origin: `https://host`.
        method: E.g. `GET`.
        target: Path and query.
        headers: Those that show who calls do not count.
        body: None = no body.
    """
    chosen = sorted((n.lower(), v) for n, v in headers.items() if n.lower() in _CHOSEN)
    return value_key([origin, method, target, chosen], body)


def value_key(value: Any, body: bytes | None = None) -> str:
    """A key of any JSON value, and bytes."""
    digest = hashlib.sha256(json.dumps(value, sort_keys=True).encode())
    digest.update(b"\0" if body is None else b"\1" + body)
    return digest.hexdigest()

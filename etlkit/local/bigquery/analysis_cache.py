"""What is known about statements, kept for later processes of the same user.

A process that only sends statements which were analyzed before never loads the analyzer.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
from pathlib import Path
from typing import Any, Final

from etlkit.local.bigquery.resolved_trees import Analysis
from etlkit.local.bigquery.sql_types import SqlType
from etlkit.local.bigquery.wasm_service import cache_folder, is_own

_MAX_ROWS: Final = 50_000
_TIMEOUT_S: Final = 2.0

Key = tuple[str, ...]


class AnalysisCache:
    """A table in the user's cache folder. Where it cannot be used, nothing is kept.

    Args:
        version: Changes with all that decides about a result.
    """

    def __init__(self, version: str) -> None:
        self._lock = threading.Lock()
        self._connection: Any = None
        try:
            folder = cache_folder()
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._open(folder / f"googlesql-{version}.sqlite")
        except (OSError, RuntimeError, sqlite3.Error):  # no home, a full or broken disk
            self._connection = None

    def _open(self, path: Path) -> None:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        if not is_own(path):
            return
        connection = sqlite3.connect(
            path, timeout=_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")  # what is lost is found again
        connection.execute("CREATE TABLE IF NOT EXISTS known (key BLOB PRIMARY KEY, body TEXT)")
        (rows,) = connection.execute("SELECT count(*) FROM known").fetchone()
        if rows > _MAX_ROWS:
            connection.execute("DELETE FROM known")
        self._connection = connection

    def get(self, key: Key) -> Analysis | None:
        """A result; None = it is not known."""
        found = self._execute("SELECT body FROM known WHERE key = ?", [_digest(key)])
        return None if found is None else _decoded(found[0])

    def put(self, key: Key, analysis: Analysis) -> None:
        """Keep a result."""
        body = json.dumps(_encoded(analysis))
        self._execute("INSERT OR REPLACE INTO known VALUES (?, ?)", [_digest(key), body])

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def _execute(self, sql: str, parameters: list[Any]) -> Any:
        with self._lock:
            if self._connection is None:
                return None
            try:
                return self._connection.execute(sql, parameters).fetchone()
            except sqlite3.Error:  # another process holds it, or the disk is full
                return None


def _digest(key: Key) -> bytes:
    return hashlib.sha256(json.dumps(key).encode()).digest()


def _encoded(analysis: Analysis) -> dict[str, Any]:
    return {
        "kind": analysis.kind,
        "columns": [(name, kind.text) for name, kind in analysis.columns],
        "reads": sorted(analysis.reads),
        "writes": sorted(analysis.writes),
        "columns_read": {name: list(each) for name, each in analysis.columns_read.items()},
        "functions": sorted(analysis.functions),
        "target": analysis.target,
        "num_unnamed": analysis.num_unnamed,
    }


def _decoded(text: str) -> Analysis:
    body = json.loads(text)
    return Analysis(
        body["kind"],
        tuple((name, SqlType.parse(kind)) for name, kind in body["columns"]),
        frozenset(body["reads"]),
        frozenset(body["writes"]),
        {name: tuple(each) for name, each in body["columns_read"].items()},
        frozenset(body["functions"]),
        tuple(body["target"]),
        body["num_unnamed"],
    )

"""What the local BigQuery knows beyond the emulator's catalog, kept in a table of our own.

Being in the same DuckDB file, it is written and lost together with the tables.
"""

from __future__ import annotations

import json
from typing import Any, Final

SCHEMA: Final = "_etlkit"
_TABLE: Final = f"{SCHEMA}.things"
_KEY: Final = "kind = ? AND project = ? AND dataset = ? AND name = ?"

Name = tuple[str, str, str]


def prepare(connection: Any) -> None:
    """Make the table if it is not there."""
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
    connection.execute(
        f"CREATE TABLE IF NOT EXISTS {_TABLE} (kind VARCHAR, project VARCHAR, dataset VARCHAR, "
        "name VARCHAR, body VARCHAR, PRIMARY KEY (kind, project, dataset, name))"
    )


class CatalogStore:
    """Object tables, models, remote functions: a kind, a name and a JSON body each."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def get(self, kind: str, name: Name) -> dict[str, Any] | None:
        """The body of an entry; None = there is no entry of this name."""
        found = self._connection.execute(
            f"SELECT body FROM {_TABLE} WHERE {_KEY}", [kind, *name]
        ).fetchone()
        return None if found is None else dict(json.loads(found[0]))

    def put(self, kind: str, name: Name, body: dict[str, Any]) -> None:
        """Add or replace an entry."""
        self._connection.execute(
            f"INSERT OR REPLACE INTO {_TABLE} VALUES (?, ?, ?, ?, ?)",
            [kind, *name, json.dumps(body)],
        )

    def drop(self, kind: str, name: Name) -> bool:
        """Remove an entry; False = there was none."""
        found = self._connection.execute(
            f"DELETE FROM {_TABLE} WHERE {_KEY} RETURNING name", [kind, *name]
        ).fetchall()
        return bool(found)

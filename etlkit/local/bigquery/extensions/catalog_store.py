"""What the local BigQuery stores in addition to the emulator's catalog.

It is a table in the same DuckDB file, so that it is written and lost together with the users' tables.
"""

from __future__ import annotations

import json
from typing import Any, Final

from etlkit.local.bigquery.patches.catalog_writes import put

SCHEMA: Final = "_etlkit"
_TABLE: Final = f"{SCHEMA}.things"
"""The table keeps this name, because existing local data has it."""

_KEY: Final = "kind = ? AND project = ? AND dataset = ? AND name = ?"

Name = tuple[str, str, str]


def prepare(connection: Any) -> None:
    """The start hook: create the table if it does not exist."""
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
    connection.execute(
        f"CREATE TABLE IF NOT EXISTS {_TABLE} (kind VARCHAR, project VARCHAR, dataset VARCHAR, "
        "name VARCHAR, body VARCHAR, PRIMARY KEY (kind, project, dataset, name))"
    )


class CatalogStore:
    """Entries for object tables, external tables and remote functions: kind, name and JSON body."""

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
        key = dict(zip(("kind", "project", "dataset", "name"), (kind, *name), strict=True))
        put(self._connection, _TABLE, key, {"body": json.dumps(body)})

    def drop(self, kind: str, name: Name) -> bool:
        """Remove an entry; False = there was none."""
        found = self._connection.execute(
            f"DELETE FROM {_TABLE} WHERE {_KEY} RETURNING name", [kind, *name]
        ).fetchall()
        return bool(found)

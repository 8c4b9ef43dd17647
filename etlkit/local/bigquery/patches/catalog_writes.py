"""How the rows of the catalog are written.

The emulator writes a row for each job and each change of a table with `INSERT OR REPLACE`, which takes
DuckDB several times as long as an UPDATE or an INSERT.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from bqemulator.storage.engine import CATALOG_SCHEMA

_REPLACE: Final = re.compile(
    rf'INSERT OR REPLACE INTO "{CATALOG_SCHEMA}"\."(?P<table>\w+)" \((?P<columns>[\w, ]+)\) VALUES '
)


def put(connection: Any, table: str, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Change the row of a key, or add it.

    Args:
        connection: To DuckDB.
        table: As SQL names it.
        key: The columns of its primary key.
        values: All other columns.
    """
    changes = ", ".join(f"{name} = ?" for name in values)
    where = " AND ".join(f"{name} = ?" for name in key)
    update = f"UPDATE {table} SET {changes} WHERE {where}"
    (changed,) = connection.execute(update, [*values.values(), *key.values()]).fetchone()
    if not changed:
        row = {**key, **values}
        marks = ", ".join("?" * len(row))
        insert = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})"
        connection.execute(insert, [*row.values()])


def replaced(connection: Any, sql: str, parameters: Sequence[Any] | None) -> bool:
    """Do what an `INSERT OR REPLACE` of the emulator does. Returns False for any other statement."""
    found = _REPLACE.match(sql)
    if found is None or parameters is None:
        return False
    row = dict(zip(found["columns"].split(", "), parameters, strict=True))
    key = {name: row.pop(name) for name in _key(connection, found["table"])}
    put(connection, f'"{CATALOG_SCHEMA}"."{found["table"]}"', key, row)
    return True


_keys: Final[dict[str, tuple[str, ...]]] = {}


def _key(connection: Any, table: str) -> tuple[str, ...]:
    """The columns of a table's primary key."""
    if table not in _keys:
        asked = (
            "SELECT constraint_column_names FROM duckdb_constraints() WHERE schema_name = ? "
            "AND table_name = ? AND constraint_type = 'PRIMARY KEY'"
        )
        (names,) = connection.execute(asked, [CATALOG_SCHEMA, table]).fetchone()
        _keys[table] = tuple(names)
    return _keys[table]

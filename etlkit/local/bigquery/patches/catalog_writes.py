"""How the rows of the catalog are written.

The emulator writes a row for each job and each change of a table with `INSERT OR REPLACE`, which takes
DuckDB several times as long as an UPDATE or an INSERT. A request may write the row of its job several
times, and a script that of each of its child jobs.

Here an INSERT alone adds a row, and the rows of jobs are written together when their request ends,
before it is answered. In between, the emulator reads jobs from its memory, as always.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final

from bqemulator.storage.engine import CATALOG_SCHEMA

from etlkit.local.bigquery.patches.work import Work

_REPLACE: Final = re.compile(
    rf'INSERT OR REPLACE INTO "{CATALOG_SCHEMA}"\."(?P<table>\w+)" \((?P<columns>[\w, ]+)\) VALUES '
)
_JOBS: Final = f'"{CATALOG_SCHEMA}"."jobs"'
_DELETE_JOB: Final = f"DELETE FROM {_JOBS} WHERE project_id = ? AND job_id = ?"
_MAX_ROWS: Final = 100
"""Rows of one INSERT."""

Key = tuple[Any, ...]


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
        _insert(connection, table, [{**key, **values}])


def _insert(connection: Any, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add rows of the same columns."""
    marks = ", ".join("?" * len(rows[0]))
    all_marks = ", ".join([f"({marks})"] * len(rows))
    insert = f"INSERT INTO {table} ({', '.join(rows[0])}) VALUES {all_marks}"
    connection.execute(insert, [*chain.from_iterable(row.values() for row in rows)])


class CatalogWriter:
    """Writes what the emulator writes with `INSERT OR REPLACE`. For one database."""

    def __init__(self) -> None:
        self._key_columns: dict[str, tuple[str, ...]] = {}
        # Also keys of rows that were deleted or rolled back. A row whose key is not here is new.
        self._known: dict[str, set[Key]] = {}

    def takes(
        self, connection: Any, sql: str, parameters: Sequence[Any] | None, work: Work | None
    ) -> bool:
        """Do what a statement of the emulator does. Returns False for one that is not about this.

        Args:
            connection: To DuckDB.
            sql: The statement.
            parameters: Its parameters.
            work: The request that it runs for, which keeps rows of jobs; None = they are written now.
        """
        if work is not None and sql == _DELETE_JOB and parameters is not None:
            key = tuple(parameters)
            work.job_rows.pop(key, None)
            return key not in self._of(connection, _JOBS)
        found = _REPLACE.match(sql)
        if found is None or parameters is None:
            return False
        table = f'"{CATALOG_SCHEMA}"."{found["table"]}"'
        row = dict(zip(found["columns"].split(", "), parameters, strict=True))
        key = self._key(connection, table, row)
        if table == _JOBS and work is not None:
            work.job_rows[key] = row
        else:
            self._write(connection, table, {key: row})
        return True

    def write_jobs(self, connection: Any, work: Work) -> None:
        """Write the rows of a request's jobs."""
        rows, work.job_rows = work.job_rows, {}
        self._write(connection, _JOBS, rows)

    def _write(self, connection: Any, table: str, rows: Mapping[Key, dict[str, Any]]) -> None:
        known = self._of(connection, table)
        new = [row for key, row in rows.items() if key not in known]
        for start in range(0, len(new), _MAX_ROWS):
            _insert(connection, table, new[start : start + _MAX_ROWS])
        for key in rows.keys() & known:
            columns = self._key_columns[table]
            values = {name: value for name, value in rows[key].items() if name not in columns}
            put(connection, table, dict(zip(columns, key, strict=True)), values)
        known.update(rows)

    def _key(self, connection: Any, table: str, row: Mapping[str, Any]) -> Key:
        self._of(connection, table)
        return tuple(row[name] for name in self._key_columns[table])

    def _of(self, connection: Any, table: str) -> set[Key]:
        """The known keys of a table."""
        if table not in self._known:
            asked = (
                "SELECT constraint_column_names FROM duckdb_constraints() WHERE schema_name = ? "
                "AND table_name = ? AND constraint_type = 'PRIMARY KEY'"
            )
            name = table.rsplit('"', 2)[1]
            (columns,) = connection.execute(asked, [CATALOG_SCHEMA, name]).fetchone()
            keys = connection.execute(f"SELECT {', '.join(columns)} FROM {table}").fetchall()
            self._key_columns[table] = tuple(columns)
            self._known[table] = set(keys)
        return self._known[table]

"""Statements that make and change tables. None of them carries rows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from etlkit.bigquery.names import TableName, literal
from etlkit.rows.columns import Column, quoted


def create_table(
    table: TableName, columns: Sequence[Column], clauses: str, *, replace: bool = False
) -> str:
    """Create an empty table with its whole definition; a repeat changes nothing.

    Args:
        table: The table.
        columns: With descriptions, if any.
        clauses: PARTITION BY, CLUSTER BY, OPTIONS.
        replace: Drop a table of that name first.
    """
    verb = "CREATE OR REPLACE TABLE" if replace else "CREATE TABLE IF NOT EXISTS"
    body = ",\n  ".join(column.definition for column in columns)
    return f"{verb} {table.sql} (\n  {body}\n)\n{clauses}"


def alter_columns(target: TableName, changes: Sequence[str]) -> list[str]:
    """One ALTER for all changes of a kind: BigQuery documents lists of one kind only.

    It takes 5 changes of a table's metadata in 10 seconds,
    https://cloud.google.com/bigquery/quotas#standard_tables

    Args:
        target: The table.
        changes: See `add_column`, `drop_column`, `set_type`, `drop_not_null`.
    """
    return [f"ALTER TABLE {target.sql}\n" + ",\n".join(same) for _, same in groupby(changes, _kind)]


def _kind(change: str) -> str:
    """What may stand in one list; each DROP NOT NULL has a list of its own."""
    if change.startswith("ALTER COLUMN"):
        return change if change.endswith(_DROP_NOT_NULL) else "ALTER COLUMN"
    return change.split(" ", 1)[0]


_DROP_NOT_NULL = "DROP NOT NULL"


def add_column(column: Column) -> str:
    """A change for `alter_columns`. New columns of a table are nullable."""
    return f"ADD COLUMN IF NOT EXISTS {quoted(column.name)} {column.parameterized_ddl}"


def drop_column(name: str) -> str:
    """A change for `alter_columns`."""
    return f"DROP COLUMN IF EXISTS {quoted(name)}"


def set_type(column: Column) -> str:
    """A change for `alter_columns`: a wider type."""
    return f"ALTER COLUMN {quoted(column.name)} SET DATA TYPE {column.parameterized_ddl}"


def drop_not_null(name: str) -> str:
    """A change for `alter_columns`."""
    return f"ALTER COLUMN {quoted(name)} {_DROP_NOT_NULL}"


def set_options(target: TableName, options: str) -> str:
    """Change description, labels and the like of a table that is there."""
    return f"ALTER TABLE {target.sql} SET OPTIONS({options})"


def swap_in(new: TableName, target: TableName) -> str:
    """Put a finished table in the place of another one.

    The name of the new table says whether this is still to be done: a repeat changes nothing, and a
    process that wakes up late cannot drop the table that is already in place.
    """
    return (
        f"IF EXISTS (\n  SELECT 1 FROM `{new.project}.{new.dataset}.INFORMATION_SCHEMA.TABLES`\n"
        f"  WHERE table_name = {literal(new.table)}\n) THEN\n"
        f"  DROP TABLE IF EXISTS {target.sql};\n"
        f"  ALTER TABLE {new.sql} RENAME TO {quoted(target.table)};\nEND IF"
    )

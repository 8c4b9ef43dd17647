"""The types of columns that the translation looks at.

Real BigQuery: `list[0]` is the first element of an array. The emulator: it took a REPEATED column for a
value of its elements' type. Then sqlglot left the index at 0 in some statements, where DuckDB counts
from 1, and the element was NULL.
"""

from __future__ import annotations

from typing import Any

from bqemulator.sql import catalog_schema as plain

from etlkit.local.bigquery.named_tables import named_tables
from etlkit.local.bigquery.patches.table import PATCHES
from etlkit.local.bigquery.rewrites.names import Name, in_project


def column_types(sql: str, *, project_id: str, catalog: Any) -> dict[str, Any]:
    """The DuckDB types of columns by table and column, for the tables that a statement names.

    Tables are named without their dataset. Those whose name stands for several are left out.
    """
    tables: dict[str, set[Name]] = {}
    for table in named_tables(sql) or ():
        name = in_project(table.full, project_id)
        if name is not None:
            tables.setdefault(name[2], set()).add(name)
    found = {}
    for short, full in tables.items():
        meta = catalog.get_table(*next(iter(full))) if len(full) == 1 else None
        columns = {} if meta is None else dict(_columns(meta))
        if columns:
            found[short] = columns
    return found


def _columns(meta: Any) -> Any:
    for field in meta.schema_.fields:
        kind = plain._safe_bq_to_duckdb(field.type)  # noqa: SLF001
        if kind is not None:
            yield field.name, f"{kind}[]" if field.mode == "REPEATED" else kind


def apply() -> None:
    """Let arrays be arrays."""
    PATCHES.replace("bqemulator.sql.inner_query:build_catalog_schema", column_types)

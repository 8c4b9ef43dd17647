"""The Arrow types in which BigQuery's Storage Read API sends the columns of DuckDB."""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa

from etlkit.local.bigquery.patches.types import quote, standard_type
from etlkit.rows.types import TYPES

_NESTED: Final = ("list", "array", "struct")

_INTERVAL: Final = pa.month_day_nano_interval()
"""The registry of types has no INTERVAL."""

_MARKED: Final = ("JSON", "GEOGRAPHY", "DATETIME")
"""Types that share an Arrow type with others, so that BigQuery marks their fields."""


def read_field(name: str, column: Any, required: bool = False) -> pa.Field:
    """The Arrow field of a column of this DuckDB type, with BigQuery's mark if it has one."""
    metadata = None
    if column.id not in _NESTED and standard_type(column) in _MARKED:
        mark = standard_type(column).lower()
        metadata = {"ARROW:extension:name": f"google:sqlType:{mark}"}
    return pa.field(name, _arrow_type(column), nullable=not required, metadata=metadata)


def _arrow_type(column: Any) -> pa.DataType:
    if column.id in {"list", "array"}:
        return pa.list_(read_field("item", column.children[0][1]))
    if column.id == "struct":
        return pa.struct([read_field(name, kind) for name, kind in column.children])
    standard = standard_type(column)
    return _INTERVAL if standard == "INTERVAL" else TYPES[standard].arrow(pa)


def read_expression(column: str, kind: Any) -> str:
    """DuckDB SQL that gives `column` so that Arrow can cast it to the type of `read_field`."""
    if kind.id in {"list", "array"}:
        child = kind.children[0][1]
        values = f"coalesce({column}, [])"
        if not _needs_work(child):
            return values
        return f"list_transform({values}, lambda x: {read_expression('x', child)})"
    if kind.id == "struct" and _needs_work(kind):
        fields = ", ".join(
            f"{quote(name)} := {read_expression(f'{column}.{quote(name)}', child)}"
            for name, child in kind.children
        )
        return f"CASE WHEN {column} IS NULL THEN NULL ELSE struct_pack({fields}) END"
    if kind.id == "geometry":
        return geography_text(column)
    return column


def geography_text(column: str) -> str:
    """WKT as BigQuery writes it: `POINT(1 2)`, where DuckDB writes `POINT (1 2)`."""
    return f"replace(ST_AsText({column}), ' (', '(')"


def _needs_work(kind: Any) -> bool:
    if kind.id in {"list", "array", "geometry"}:
        return True
    return kind.id == "struct" and any(_needs_work(child) for _, child in kind.children)

"""DuckDB columns in the Arrow types in which BigQuery's Storage Read API sends them."""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa

from etlkit.local.bigquery.patches.types import NUMERIC_SCALE, quote

_ARROW: Final = {
    "double": pa.float64(),
    "float": pa.float64(),
    "boolean": pa.bool_(),
    "varchar": pa.string(),
    "uuid": pa.string(),
    "geometry": pa.string(),
    "blob": pa.binary(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timestamp": pa.timestamp("us"),
    "timestamp with time zone": pa.timestamp("us", tz="UTC"),
    "interval": pa.month_day_nano_interval(),
}

_SQL_TYPE: Final = {"geometry": "geography", "timestamp": "datetime"}


def read_field(name: str, column: Any, required: bool = False) -> pa.Field:
    """The Arrow field of a column of this DuckDB type, with BigQuery's mark on it.

    JSON, GEOGRAPHY and DATETIME share an Arrow type with others, so BigQuery marks them.
    """
    mark = "json" if str(column) == "JSON" else _SQL_TYPE.get(column.id)
    metadata = {"ARROW:extension:name": f"google:sqlType:{mark}"} if mark else None
    return pa.field(name, _arrow_type(column), nullable=not required, metadata=metadata)


def _arrow_type(column: Any) -> pa.DataType:
    if column.id in {"list", "array"}:
        return pa.list_(read_field("item", column.children[0][1]))
    if column.id == "struct":
        return pa.struct([read_field(name, kind) for name, kind in column.children])
    if column.id == "decimal":
        is_numeric = dict(column.children)["scale"] <= NUMERIC_SCALE
        return pa.decimal128(38, 9) if is_numeric else pa.decimal256(76, 38)
    if column.id.endswith("int") or column.id.endswith("integer"):
        return pa.int64()
    return _ARROW.get(column.id, pa.string())


def read_expression(column: str, kind: Any) -> str:
    """DuckDB SQL that gives `column` in the form `read_field` promises, short of Arrow casts."""
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

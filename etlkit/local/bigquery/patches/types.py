"""Column types: what a column is in BigQuery, taken from DuckDB's own types.

Real BigQuery: `CREATE TABLE t AS SELECT` gives each column the type of its expression; NUMERIC has 9
digits after the point. The emulator: it looked at types through Arrow, where JSON is a string and
GEOGRAPHY is bytes; its NUMERIC columns kept 3 digits after the point and BIGNUMERIC 5.

What remains: DuckDB's decimals have 38 digits at most, so BIGNUMERIC keeps 20 before and 18 after the
point.
"""

from __future__ import annotations

from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from bqemulator.catalog.models import TableFieldSchema, TableSchema
from bqemulator.domain.errors import InvalidQueryError
from bqemulator.jobs import executor
from bqemulator.storage import arrow_bridge, type_map
from bqemulator.storage.sql_identifiers import quoted_table_ref
from bqemulator.types.range_type import detect_range_element
from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB

from etlkit.local.bigquery.patches.table import PATCHES
from etlkit.rows.types import ALIASES, REST_NAMES, STRUCT, TYPES

NUMERIC_SCALE: Final = TYPES["NUMERIC"].arrow(pa).scale
BIGNUMERIC: Final = "DECIMAL(38, 18)"

_INTEGERS: Final = (
    "bigint",
    "integer",
    "smallint",
    "tinyint",
    "hugeint",
    "ubigint",
    "uinteger",
    "usmallint",
    "utinyint",
)

_SCALARS: Final = {
    **dict.fromkeys(_INTEGERS, "INT64"),
    "double": "FLOAT64",
    "float": "FLOAT64",
    "boolean": "BOOL",
    "varchar": "STRING",
    "uuid": "STRING",
    "blob": "BYTES",
    "date": "DATE",
    "time": "TIME",
    "timestamp": "DATETIME",
    "timestamp_s": "DATETIME",
    "timestamp_ms": "DATETIME",
    "timestamp_ns": "DATETIME",
    "timestamp with time zone": "TIMESTAMP",
    "geometry": "GEOGRAPHY",
    "interval": "INTERVAL",
}
"""BigQuery's standard name of each DuckDB type. The registry of types has no INTERVAL."""

_STORED_AS: Final = {
    **dict.fromkeys(_INTEGERS, "BIGINT"),
    "float": "DOUBLE",
    "uuid": "VARCHAR",
    "timestamp_s": "TIMESTAMP",
    "timestamp_ms": "TIMESTAMP",
    "timestamp_ns": "TIMESTAMP",
}


def standard_type(column: Any) -> str:
    """BigQuery's standard name of a DuckDB type that is not an array or a struct.

    Args:
        column: A `DuckDBPyType`.
    """
    if str(column) == "JSON":
        return "JSON"
    if column.id == "decimal":
        scale = dict(column.children)["scale"]
        return "NUMERIC" if scale <= NUMERIC_SCALE else "BIGNUMERIC"
    return _SCALARS.get(column.id, "STRING")


def to_field(name: str, column: Any, mode: str = "NULLABLE") -> dict[str, Any]:
    """The field of a REST schema for a column of this DuckDB type.

    Args:
        name: The name of the column.
        column: A `DuckDBPyType`.
        mode: Its mode, unless the type is an array.
    """
    found = detect_range_element(str(column))
    if found is not None:
        element, repeated = found
        return {
            "name": name,
            "type": "RANGE",
            "mode": "REPEATED" if repeated else mode,
            "rangeElementType": {"type": element},
        }
    if column.id in {"list", "array"}:
        return to_field(name, column.children[0][1], "REPEATED") | {"mode": "REPEATED"}
    if column.id == "struct":
        fields = [to_field(child, kind) for child, kind in column.children]
        return {"name": name, "type": REST_NAMES[STRUCT], "mode": mode, "fields": fields}
    standard = standard_type(column)
    return {"name": name, "type": REST_NAMES.get(standard, standard), "mode": mode}


def stored_type(column: Any) -> str:
    """The DuckDB type that keeps every value which BigQuery's type allows."""
    if column.id in {"list", "array"}:
        return f"{stored_type(column.children[0][1])}[]"
    if column.id == "struct":
        fields = (f"{quote(name)} {stored_type(kind)}" for name, kind in column.children)
        return f"STRUCT({', '.join(fields)})"
    if column.id == "decimal" and dict(column.children)["scale"] <= NUMERIC_SCALE:
        return f"DECIMAL(38, {NUMERIC_SCALE})"
    return _STORED_AS.get(column.id, str(column))


def quote(name: str) -> str:
    """A DuckDB identifier."""
    return '"' + name.replace('"', '""') + '"'


def columns_of(engine: Any, table: str) -> list[tuple[str, Any, bool]]:
    """Name, DuckDB type and NOT NULL of each column of a table given by its quoted name."""
    described = engine.execute(f"SELECT * FROM {table} LIMIT 0").description
    required = {
        row[1]: bool(row[3]) for row in engine.execute(f"PRAGMA table_info({table})").fetchall()
    }
    return [(row[0], duckdb.type(str(row[1])), required.get(row[0], False)) for row in described]


def table_schema(engine: Any, table: str) -> TableSchema:
    """The BigQuery schema of a DuckDB table."""
    fields = [
        to_field(name, kind, "REQUIRED" if required else "NULLABLE")
        for name, kind, required in columns_of(engine, table)
    ]
    return TableSchema(fields=to_table_fields(fields))


def to_table_fields(fields: list[dict[str, Any]]) -> tuple[TableFieldSchema, ...]:
    """REST fields in the form in which the catalog keeps them."""
    from bqemulator.api.routes.tables import _parse_schema_fields

    return _parse_schema_fields(fields)


expected: Final[dict[str, dict[str, dict[str, Any]]]] = {}
"""REST fields that GoogleSQL's analyzer found, by the quoted name of a table that is to be made."""


def widen(engine: Any, table: str) -> None:
    """Give the columns of a new table BigQuery's types, with the width that they have there.

    `SELECT 1 AS n` is a 32-bit column for DuckDB; in BigQuery every integer has 64 bits.
    """
    fields = expected.pop(table, {})
    for name, kind, _ in columns_of(engine, table):
        field = fields.get(name)
        is_other = field is not None and to_field(name, kind)["type"] != field["type"]
        stored = duckdb.type(to_column(field) if field and is_other else stored_type(kind))
        if stored != kind:
            engine.execute(f"ALTER TABLE {table} ALTER COLUMN {quote(name)} TYPE {stored}")


def to_column(field: dict[str, Any]) -> str:
    """The DuckDB type of a REST field. The emulator's own does not quote the names of fields."""
    kind = str(field["type"]).upper()
    if ALIASES.get(kind, kind) == STRUCT:
        fields = (f"{quote(child['name'])} {to_column(child)}" for child in field["fields"])
        kind = f"STRUCT({', '.join(fields)})"
    else:
        (_, kind), *_ = _plain_columns([{**field, "mode": "NULLABLE"}])
        if field.get("precision") and ALIASES.get(field["type"], field["type"]) == "NUMERIC":
            kind = f"DECIMAL({field['precision']}, {field.get('scale') or 0})"
    return f"{kind}[]" if field.get("mode") == "REPEATED" else kind


def _columns(fields: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Columns of a table that is created over REST. The emulator's own ignores REQUIRED."""
    return [
        (field["name"], to_column(field) + (" NOT NULL" if field.get("mode") == "REQUIRED" else ""))
        for field in fields
    ]


def _introspect_schema(project_id: str, dataset_id: str, table_id: str, ctx: Any) -> TableSchema:
    return table_schema(ctx.engine, quoted_table_ref(project_id, dataset_id, table_id))


def _build_response_schema(arrow_schema: Any) -> list[dict[str, Any]]:
    """The schema of a query result, from the DuckDB types that the engine leaves on its fields."""
    fields = _plain_response_schema(arrow_schema)
    for index, field in enumerate(arrow_schema):
        known = (field.metadata or {}).get(b"bqemu.duckdb_type")
        if known is not None:
            fields[index] = to_field(fields[index]["name"], duckdb.type(known.decode()))
    return fields


def refuse_wide_integers(rows: Any) -> None:
    """Raise if an INT64 of a result has more than 64 bits: DuckDB adds BIGINTs up in 128 bits.

    Args:
        rows: An Arrow table as the engine gives it.

    Raises:
        InvalidQueryError: A sum is too large, as in BigQuery.
    """
    for index, field in enumerate(rows.schema):
        if (field.metadata or {}).get(b"bqemu.duckdb_type") == b"HUGEINT":
            bounds = pc.min_max(rows.column(index)).as_py()
            if bounds["min"] is not None and (bounds["min"] < _MIN or bounds["max"] > _MAX):
                raise InvalidQueryError("int64 overflow", location="query")


_MIN: Final = -(1 << 63)
_MAX: Final = (1 << 63) - 1

_plain_columns = type_map.bq_schema_to_duckdb_columns
_plain_wkt = arrow_bridge.wkb_to_wkt
_plain_response_schema = executor.build_response_schema


def _wkt(geography: bytes) -> str:
    """WKT as BigQuery writes it: `POINT(1 2)`, where DuckDB writes `POINT (1 2)`."""
    return _plain_wkt(geography).replace(" (", "(")


def apply() -> None:
    """Let catalog, results and generated SQL agree on types."""
    PATCHES.replace("bqemulator.catalog.ddl_sync:_introspect_schema", _introspect_schema)
    PATCHES.replace("bqemulator.jobs.executor:build_response_schema", _build_response_schema)
    PATCHES.replace("bqemulator.api.routes.jobs:build_response_schema", _build_response_schema)
    settings = {
        **DuckDB.Generator.TYPE_PARAM_SETTINGS,
        exp.DType.DECIMAL: ((38, NUMERIC_SCALE), (38, 38)),
        exp.DType.BIGDECIMAL: ((38, 18), (38, 38)),
    }
    PATCHES.replace("sqlglot.dialects.duckdb:DuckDB.Generator.TYPE_PARAM_SETTINGS", settings)
    PATCHES.replace("bqemulator.storage.type_map:_BQ_TO_DUCKDB[BIGNUMERIC]", BIGNUMERIC)
    PATCHES.replace("bqemulator.storage.type_map:bq_schema_to_duckdb_columns", _columns)
    PATCHES.replace("bqemulator.api.routes.tables:bq_schema_to_duckdb_columns", _columns)
    PATCHES.replace("bqemulator.storage.arrow_bridge:wkb_to_wkt", _wkt)

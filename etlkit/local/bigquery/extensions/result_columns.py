"""Give the columns of a result the names and types that GoogleSQL's analyzer found.

Real BigQuery: a column without a name is `f0_`; a product of two NUMERICs is a NUMERIC, and CEIL of an
INT64 is a FLOAT64. The emulator: DuckDB's names and types.
"""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from bqemulator.jobs import executor

from etlkit.local.bigquery import googlesql
from etlkit.local.bigquery.patches.types import BIGNUMERIC, NUMERIC_SCALE
from etlkit.local.bigquery.sql_types import SqlType

_KIND: Final = b"bqemu.duckdb_type"
"""Where the emulator looks for the type of a column beyond its Arrow type."""

_SCALARS: Final[dict[str, tuple[pa.DataType, str]]] = {
    "INT64": (pa.int64(), "BIGINT"),
    "FLOAT64": (pa.float64(), "DOUBLE"),
    "BOOL": (pa.bool_(), "BOOLEAN"),
    "STRING": (pa.string(), "VARCHAR"),
    "DATE": (pa.date32(), "DATE"),
    "TIME": (pa.time64("us"), "TIME"),
    "DATETIME": (pa.timestamp("us"), "TIMESTAMP"),
    "TIMESTAMP": (pa.timestamp("us", tz="UTC"), "TIMESTAMP WITH TIME ZONE"),
    "NUMERIC": (pa.decimal128(38, NUMERIC_SCALE), f"DECIMAL(38, {NUMERIC_SCALE})"),
    "BIGNUMERIC": (pa.decimal128(38, 18), BIGNUMERIC),
}
"""Arrow's and DuckDB's type of each type that a column can be converted to."""


def shape_job(job_id: str, found: googlesql.Analysis) -> None:
    """Give the stored result of a job its names and types."""
    result = executor.JOB_RESULTS.get(job_id)
    if result is None or found.kind != "SELECT":
        return
    shaped = shape(result, found)
    if shaped is not result:
        executor.JOB_RESULTS[job_id] = shaped
        executor.JOB_SCHEMAS[job_id] = executor.build_response_schema(shaped.schema)


def shape(rows: pa.Table, found: googlesql.Analysis) -> pa.Table:
    """The rows with the names and types of an analysis; columns that do not convert keep their type."""
    if len(found.columns) != rows.num_columns or found.kind != "SELECT":
        return rows
    known = executor.build_response_schema(rows.schema)
    columns, fields = [], []
    for at, (name, kind) in enumerate(found.columns):
        column, field = _column(rows.column(at), rows.schema.field(at), kind, known[at])
        columns.append(column)
        fields.append(field.with_name(name))
    schema = pa.schema(fields, rows.schema.metadata)
    return rows if schema.equals(rows.schema, True) else pa.table(columns, schema=schema)  # noqa: FBT003


def _column(
    values: pa.ChunkedArray, field: pa.Field, kind: SqlType, known: dict[str, Any]
) -> tuple[pa.ChunkedArray, pa.Field]:
    wanted = kind.as_api(field.name)
    if known["type"] == wanted["type"] or kind.name not in _SCALARS or known["mode"] == "REPEATED":
        return values, field
    arrow, duckdb = _SCALARS[kind.name]
    try:
        if pa.types.is_decimal(values.type) and pa.types.is_decimal(arrow):
            values = pc.round(values, arrow.scale, "half_towards_infinity")
        converted = values.cast(arrow)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return values, field
    metadata = {**(field.metadata or {}), _KIND: duckdb.encode()}
    return converted, pa.field(field.name, arrow, field.nullable, metadata)

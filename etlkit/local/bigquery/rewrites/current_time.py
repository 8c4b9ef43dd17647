"""The current date and time as functions of DuckDB.

Real BigQuery: `CURRENT_TIMESTAMP() AS current_timestamp` is a column of this name. The emulator: DuckDB
took the keyword CURRENT_TIMESTAMP for that column, and there was no CURRENT_DATETIME.
"""

from __future__ import annotations

from typing import Any

from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB

from etlkit.local.bigquery.patches.table import PATCHES

_Generator: Any = DuckDB.Generator


def _timestamp(writer: Any, node: exp.CurrentTimestamp) -> str:
    return str(_plain_timestamp(writer, node)) if node.this else "GET_CURRENT_TIMESTAMP()"


def _date(writer: Any, node: exp.CurrentDate) -> str:
    return str(_plain_date(writer, node)) if node.this else "TODAY()"


def _datetime(writer: Any, node: exp.Expr) -> str:
    zone = writer.sql(node, "this") or "'UTC'"
    return f"(GET_CURRENT_TIMESTAMP() AT TIME ZONE {zone})"


def _time(writer: Any, node: exp.CurrentTime) -> str:
    return f"CAST({_datetime(writer, node)} AS TIME)"


_plain_timestamp = _Generator.TRANSFORMS[exp.CurrentTimestamp]
_plain_date = _Generator.currentdate_sql


def apply() -> None:
    """Write functions that are no keywords."""
    PATCHES.replace(
        "sqlglot.dialects.duckdb:DuckDB.Generator.TRANSFORMS[CurrentTimestamp]",
        _timestamp,
        key=exp.CurrentTimestamp,
    )
    PATCHES.replace(
        "sqlglot.dialects.duckdb:DuckDB.Generator.TRANSFORMS[CurrentDatetime]",
        _datetime,
        key=exp.CurrentDatetime,
    )
    PATCHES.replace(
        "sqlglot.dialects.duckdb:DuckDB.Generator.TRANSFORMS[CurrentTime]",
        _time,
        key=exp.CurrentTime,
    )
    PATCHES.replace("sqlglot.dialects.duckdb:DuckDB.Generator.currentdate_sql", _date)
    PATCHES.forget("sqlglot.generator:_DISPATCH_CACHE", DuckDB.Generator)

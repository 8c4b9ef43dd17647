"""Names of tables with spaces, marks and letters of all languages.

Real BigQuery: they are allowed, https://cloud.google.com/bigquery/docs/tables#table_naming. The
emulator: names in DuckDB's SQL were limited to ASCII.
"""

from __future__ import annotations

from bqemulator.storage import sql_identifiers

from etlkit.local.bigquery.patches.table import PATCHES
from etlkit.local.bigquery.rules.names import is_table_name


def _validate(value: str, kind: str) -> str:
    """Allow the names of BigQuery's tables. None of them has a quote, so none ends an identifier."""
    return value if kind == "table" and is_table_name(value) else _plain_validate(value, kind)


_plain_validate = sql_identifiers._validate_sql_id  # noqa: SLF001


def apply() -> None:
    """Allow these names."""
    PATCHES.replace("bqemulator.storage.sql_identifiers:_validate_sql_id", _validate)

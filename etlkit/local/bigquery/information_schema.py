"""Columns of the views of INFORMATION_SCHEMA and of `__TABLES__`.

https://cloud.google.com/bigquery/docs/information-schema-intro
"""

from __future__ import annotations

from typing import Final

from etlkit.local.bigquery.sql_catalog import Table

_TABLE: Final = {"table_catalog": "STRING", "table_schema": "STRING", "table_name": "STRING"}

VIEWS: Final[dict[str, dict[str, str]]] = {
    "COLUMNS": {
        **_TABLE,
        "column_name": "STRING",
        "ordinal_position": "INT64",
        "is_nullable": "STRING",
        "data_type": "STRING",
        "is_generated": "STRING",
        "generation_expression": "STRING",
        "is_stored": "STRING",
        "is_hidden": "STRING",
        "is_updatable": "STRING",
        "is_system_defined": "STRING",
        "is_partitioning_column": "STRING",
        "clustering_ordinal_position": "INT64",
        "collation_name": "STRING",
        "column_default": "STRING",
        "rounding_mode": "STRING",
        "policy_tags": "ARRAY<STRING>",
    },
    "COLUMN_FIELD_PATHS": {
        **_TABLE,
        "column_name": "STRING",
        "field_path": "STRING",
        "data_type": "STRING",
        "description": "STRING",
        "collation_name": "STRING",
        "rounding_mode": "STRING",
        "policy_tags": "ARRAY<STRING>",
    },
    "TABLES": {
        **_TABLE,
        "table_type": "STRING",
        "managed_table_type": "STRING",
        "is_insertable_into": "STRING",
        "is_fine_grained_mutations_enabled": "STRING",
        "is_typed": "STRING",
        "is_change_history_enabled": "STRING",
        "creation_time": "TIMESTAMP",
        "base_table_catalog": "STRING",
        "base_table_schema": "STRING",
        "base_table_name": "STRING",
        "snapshot_time_ms": "TIMESTAMP",
        "ddl": "STRING",
        "default_collation_name": "STRING",
        "upsert_stream_apply_watermark": "TIMESTAMP",
    },
    "TABLE_OPTIONS": {
        **_TABLE,
        "option_name": "STRING",
        "option_type": "STRING",
        "option_value": "STRING",
    },
    "VIEWS": {
        **_TABLE,
        "view_definition": "STRING",
        "check_option": "STRING",
        "use_standard_sql": "STRING",
    },
    "SCHEMATA": {
        "catalog_name": "STRING",
        "schema_name": "STRING",
        "schema_owner": "STRING",
        "creation_time": "TIMESTAMP",
        "last_modified_time": "TIMESTAMP",
        "location": "STRING",
        "ddl": "STRING",
        "default_collation_name": "STRING",
        "sync_status": "JSON",
    },
    "PARTITIONS": {
        **_TABLE,
        "partition_id": "STRING",
        "total_rows": "INT64",
        "total_logical_bytes": "INT64",
        "total_billable_bytes": "INT64",
        "last_modified_time": "TIMESTAMP",
        "storage_tier": "STRING",
    },
}
"""Views whose columns are known here. A statement that names another one is not analyzed."""

TABLES_META: Final = {
    "project_id": "STRING",
    "dataset_id": "STRING",
    "table_id": "STRING",
    "creation_time": "INT64",
    "last_modified_time": "INT64",
    "row_count": "INT64",
    "size_bytes": "INT64",
    "type": "INT64",
}
"""`dataset.__TABLES__`."""


def find(path: tuple[str, ...]) -> Table | None:
    """The view that a whole path names; None = it is none that is known."""
    if path[-1].upper() == "__TABLES__":
        return Table.of(".".join(path), TABLES_META, kind="VIEW")
    if len(path) > 1 and path[-2].upper() == "INFORMATION_SCHEMA" and path[-1].upper() in VIEWS:
        return Table.of(".".join(path), VIEWS[path[-1].upper()], kind="VIEW")
    return None


def is_named(path: tuple[str, ...]) -> bool:
    """Whether a path names such a view, known or not."""
    return any(part.upper() in {"INFORMATION_SCHEMA", "__TABLES__"} for part in path)

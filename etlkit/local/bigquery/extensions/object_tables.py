"""`CREATE EXTERNAL TABLE … WITH CONNECTION … OPTIONS(object_metadata='SIMPLE', uris=[…])`.

Real BigQuery: an object table is read-only, shows the current state of the bucket (or that of its
metadata cache), and has the pseudo-column `data`. Here it is a DuckDB view over Python functions, so
everything that reads tables can read it. `object_columns` adds the pseudo-column to queries.

https://cloud.google.com/bigquery/docs/object-tables
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from bqemulator.storage.sql_identifiers import quoted_table_ref
from sqlglot import exp

from etlkit.errors import ConfigError
from etlkit.local.bigquery.extensions import api_errors, external, grammar, hooks, sql_functions
from etlkit.local.bigquery.extensions.objects import Objects, rows_sql
from etlkit.local.bigquery.extensions.signatures import Argument, Signature

if TYPE_CHECKING:
    from etlkit.local.bigquery.extensions.statement_context import StatementContext

    Name = tuple[str, str, str]

KIND: Final = "object_table"
_PAIR: Final = [
    {"name": "name", "type": "STRING", "mode": "NULLABLE"},
    {"name": "value", "type": "STRING", "mode": "NULLABLE"},
]
FIELDS: Final[list[dict[str, Any]]] = [
    {"name": "uri", "type": "STRING", "mode": "NULLABLE"},
    {"name": "generation", "type": "INTEGER", "mode": "NULLABLE"},
    {"name": "content_type", "type": "STRING", "mode": "NULLABLE"},
    {"name": "size", "type": "INTEGER", "mode": "NULLABLE"},
    {"name": "md5_hash", "type": "STRING", "mode": "NULLABLE"},
    {"name": "updated", "type": "TIMESTAMP", "mode": "NULLABLE"},
    {"name": "metadata", "type": "RECORD", "mode": "REPEATED", "fields": _PAIR},
]
"""https://cloud.google.com/bigquery/docs/object-table-introduction#object_table_schema"""

_OPTIONS: Final = {
    "uris",
    "object_metadata",
    "max_staleness",
    "metadata_cache_mode",
    "description",
    "friendly_name",
    "labels",
    "expiration_timestamp",
}
_CACHE_MODES: Final = ("AUTOMATIC", "MANUAL")
_STALENESS: Final = (timedelta(minutes=30), timedelta(days=7))


def is_object_table(name: Name, context: StatementContext) -> bool:
    """Whether an object table has this name."""
    meta = context.ctx.catalog.get_table(*name)
    is_external = meta is not None and meta.table_type == "EXTERNAL"
    return is_external and context.store.get(KIND, name) is not None


def spec_of(name: Name, context: StatementContext) -> dict[str, Any]:
    """The description of an object table for `objects.rows_sql`."""
    body = context.store.get(KIND, name) or {}
    spec: dict[str, Any] = {"uris": body["uris"]}
    if body.get("mode"):
        spec |= {"name": name, "mode": body["mode"], "staleness_s": body["staleness_s"]}
    return spec


_REFRESH: Final = Signature(
    "BQ.REFRESH_EXTERNAL_METADATA_CACHE",
    (
        Argument("table_name", ("STRING",)),
        Argument("subdirectory_uris", ("ARRAY<STRING>",), is_optional=True),
    ),
)


class ObjectTables:
    """The statements and the procedure for object tables."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def declare_procedure(self) -> None:
        """Declare the procedure that refreshes the metadata cache of an object table."""
        sql_functions.declare(sql_functions.Procedure(_REFRESH, self.refresh_cache))

    async def create(
        self, tree: exp.Expr, context: StatementContext
    ) -> hooks.StatementResult | None:
        """Handle `CREATE EXTERNAL TABLE` with `object_metadata`."""
        if not external.is_create(tree):
            return None
        options = grammar.options(tree)
        if "object_metadata" not in options:
            return None
        if isinstance(tree.this, exp.Schema):
            raise api_errors.invalid(
                "An object table has fixed columns: remove the list of columns"
            )
        name = grammar.name_of(tree.this, context.project)
        api_errors.require_dataset(context, name)
        operation = external.operation(tree, name, context)
        if operation != "SKIP":
            self.make(name, options, grammar.connection(tree), context)
        return hooks.StatementResult("CREATE_EXTERNAL_TABLE", operation, table=name)

    def refresh_cache(self, values: list[Any], context: StatementContext) -> None:
        """`CALL BQ.REFRESH_EXTERNAL_METADATA_CACHE('project.dataset.table')`.

        Folders of the bucket may follow; the whole table is refreshed anyway.
        """
        name = grammar.name_of(exp.to_table(f"`{values[0]}`", dialect="bigquery"), context.project)
        if not is_object_table(name, context):
            raise api_errors.not_found("Table", name)
        body = context.store.get(KIND, name) or {}
        if body.get("mode") != "MANUAL":
            raise api_errors.invalid(
                f"{'.'.join(name)} must have metadata_cache_mode MANUAL to be refreshed by a call"
            )
        self._objects.refresh(context.store, name, body["uris"])

    def make(
        self, name: Name, options: dict[str, Any], connection: str | None, context: StatementContext
    ) -> None:
        """Check the options and create or replace the table. A dry run only checks."""
        body = _body(options, connection, context)
        self._objects.matching(body["uris"])
        if context.is_dry:
            return
        shown = {key: body[key] for key in ("description", "friendly_name", "labels")}
        external.register(name, FIELDS, context, **shown)
        context.store.put(KIND, name, body)
        sql = rows_sql(spec_of(name, context))
        context.ctx.engine.execute(f"CREATE OR REPLACE VIEW {quoted_table_ref(*name)} AS {sql}")
        if body["mode"] == "AUTOMATIC":
            self._objects.refresh(context.store, name, body["uris"])


def resource(body: dict[str, Any], project: str) -> dict[str, Any]:
    """The fields of the REST resource that only object tables have."""
    connection = body["connection"]
    if connection.count(".") == 1:
        connection = f"{project}.{connection}"
    external_data: dict[str, Any] = {
        "sourceUris": body["uris"],
        "objectMetadata": "SIMPLE",
        "connectionId": connection,
    }
    if not body["mode"]:
        return {"externalDataConfiguration": external_data}
    external_data["metadataCacheMode"] = body["mode"]
    minutes, seconds = divmod(int(body["staleness_s"]), 60)
    staleness = f"0-0 0 {minutes // 60}:{minutes % 60}:{seconds}"
    return {"externalDataConfiguration": external_data, "maxStaleness": staleness}


def _body(
    options: dict[str, Any], connection: str | None, context: StatementContext
) -> dict[str, Any]:
    """Check the options of an object table, and return its entry in the store."""
    unknown = sorted(options.keys() - _OPTIONS)
    if unknown:
        raise api_errors.invalid(
            f"Unknown option: {unknown[0]}; an object table has {', '.join(sorted(_OPTIONS))}"
        )
    if str(options["object_metadata"]).upper() != "SIMPLE":
        raise api_errors.invalid(
            f"Invalid value '{options['object_metadata']}' for option object_metadata; "
            "it must be 'SIMPLE'"
        )
    if connection is None:
        raise api_errors.invalid(
            "An object table must have a connection: add WITH CONNECTION "
            "`PROJECT.LOCATION.CONNECTION` or WITH CONNECTION DEFAULT"
        )
    mode, staleness_s = _caching(options, context)
    return {
        "uris": _uris(options.get("uris"), context),
        "connection": connection,
        "mode": mode,
        "staleness_s": staleness_s,
        "description": options.get("description"),
        "friendly_name": options.get("friendly_name"),
        "labels": dict(options.get("labels") or ()),
    }


def _uris(given: Any, context: StatementContext) -> list[str]:
    uris = [given] if isinstance(given, str) else given
    if not isinstance(uris, list) or not uris or not all(isinstance(uri, str) for uri in uris):
        raise api_errors.invalid("An object table needs option uris: ['gs://BUCKET/*']")
    for uri in uris:
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        if not uri.startswith("gs://") or not name:
            raise api_errors.invalid(
                f"Invalid uri '{uri}' in option uris: an object table reads Cloud Storage, "
                "as in 'gs://BUCKET/*'"
            )
        if "*" in bucket or name.count("*") > 1:
            raise api_errors.invalid(
                f"Invalid uri '{uri}' in option uris: it may have one '*', after the bucket"
            )
        try:
            context.buckets.path(uri)
        except ConfigError as error:
            raise api_errors.invalid(f"Invalid uri '{uri}' in option uris: {error}") from error
    return uris


def _caching(options: dict[str, Any], context: StatementContext) -> tuple[str | None, float]:
    """Mode of the metadata cache and maximum staleness in seconds; None = there is no cache."""
    given = options.get("max_staleness")
    staleness_s = 0.0 if given is None else external.interval_s(given, context)
    mode = options.get("metadata_cache_mode")
    if mode is not None and str(mode).upper() not in _CACHE_MODES:
        raise api_errors.invalid(
            f"Invalid value '{mode}' for option metadata_cache_mode; it must be "
            f"{' or '.join(_CACHE_MODES)}"
        )
    if not staleness_s:
        if mode is not None:
            raise api_errors.invalid("Option metadata_cache_mode needs option max_staleness")
        return None, 0.0
    if mode is None:
        raise api_errors.invalid("Option max_staleness needs option metadata_cache_mode")
    least, most = _STALENESS
    if not least.total_seconds() <= staleness_s <= most.total_seconds():
        raise api_errors.invalid("Option max_staleness must be between 30 minutes and 7 days")
    return str(mode).upper(), staleness_s

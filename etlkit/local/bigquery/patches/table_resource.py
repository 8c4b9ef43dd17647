"""The table resource of the REST API: expiration, location, row counts, defaults, views, added columns.

Real BigQuery: `tables.get` shows the current number of rows, the location, the expiration and the
default values of columns; `tables.list` shows labels, partitions, clustering and expiration. An expired
table is deleted. `tables.patch` adds columns. The emulator: the number of rows was that at the table's
creation, the other fields were missing, and added columns only existed in the catalog. What still
differs: defaults are shown in DuckDB's SQL.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import bqemulator.api.routes.tables as routes
import bqemulator.server as emulator_server
import duckdb
from bqemulator.api import middleware
from bqemulator.catalog.models import RangePartitioning
from bqemulator.domain.errors import ResourceRef, resource_not_found
from bqemulator.storage.sql_identifiers import quoted_table_ref

from etlkit.local.bigquery.patches.catalog_cache import share, tables_of
from etlkit.local.bigquery.patches.locations import FoundByLocation, JobsWithLocation
from etlkit.local.bigquery.patches.single_connection import OneRequestApp
from etlkit.local.bigquery.patches.table import PATCHES
from etlkit.local.bigquery.patches.types import quote, to_column
from etlkit.local.bigquery.rules.missing_values import defaults_of
from etlkit.local.bigquery.rules.registry import Asked, ask

if TYPE_CHECKING:
    from collections.abc import Callable

    from bqemulator.catalog.models import TableMeta

_plain_create_app = emulator_server.create_app
_plain_to_rest = routes._table_to_rest  # noqa: SLF001
_plain_to_list_item = routes._table_to_list_item  # noqa: SLF001
_plain_from_rest = routes._rest_to_table_meta  # noqa: SLF001
_OBSERVERS = (
    middleware.AccessLogMiddleware,
    middleware.CorrelationIdMiddleware,
    middleware.MetricsMiddleware,
)
_LISTED = ("friendlyName", "labels", "timePartitioning", "clustering")
"""Fields of a table that `tables.list` has, too.

https://cloud.google.com/bigquery/docs/reference/rest/v2/tables/list
"""
_WITHOUT_ROWS = {"VIEW", "EXTERNAL"}
_NOW = {"get_current_timestamp()": "CURRENT_TIMESTAMP()", "today()": "CURRENT_DATE()"}
"""Functions that the local server has put in the place of BigQuery's."""


class TableResources:
    """Converts tables to and from REST. It also reads and changes the tables in DuckDB."""

    more: ClassVar[list[Callable[[TableMeta, Any], dict[str, Any]]]] = []
    """Each returns more fields of the resource, from the table and the emulator's `AppContext`."""

    columns: ClassVar[list[Callable[[TableMeta, list[dict[str, Any]], Any], None]]] = []
    """Each adds to the fields of the resource's schema."""

    updated: ClassVar[list[Callable[[TableMeta, dict[str, Any], Any], TableMeta]]] = []
    """Each gets the updated table and the body of the request, and returns the table to store."""

    def __init__(self, ctx: Any) -> None:
        self._ctx = ctx

    def to_rest(self, meta: TableMeta) -> dict[str, Any]:
        """The resource of a table."""
        body = _plain_to_rest(meta)
        dataset = self._ctx.catalog.get_dataset(meta.project_id, meta.dataset_id)
        body["location"] = dataset.location if dataset is not None else "US"
        body |= _expiration_to_rest(meta) | _partitioning_to_rest(meta)
        if meta.view_query is not None:
            body["view"] = {"query": meta.view_query, "useLegacySql": False}
        if meta.table_type not in _WITHOUT_ROWS:
            body["numRows"] = str(self._num_rows(meta))
            self._show_defaults(meta, body)
        for describe in self.more:
            body |= describe(meta, self._ctx)
        for describe_columns in self.columns:
            describe_columns(meta, body.get("schema", {}).get("fields", []), self._ctx)
        return body

    def from_rest(
        self,
        project_id: str,
        dataset_id: str,
        body: dict[str, Any],
        clock: Any,
        existing: TableMeta | None = None,
    ) -> TableMeta:
        """The table that `tables.insert`, `tables.patch` or `tables.update` stores."""
        labels = body.get("labels")
        if labels is not None and existing is not None:
            merged = {**existing.labels, **labels}
            body = {**body, "labels": {k: v for k, v in merged.items() if v is not None}}
        meta = _plain_from_rest(project_id, dataset_id, body, clock, existing)
        meta = _with_partitioning(meta, body)
        ask(Asked.LABELS, meta.labels)
        ask(Asked.DEFINITION, meta, None)
        if existing is None:
            return meta.model_copy(update={"expiration_time": _expiration(body)})
        kept = ("range_partitioning", "base_table", "snapshot_time", "num_rows")
        updates = {name: getattr(existing, name) for name in kept}
        ask(Asked.UPDATE, meta, existing)
        self._add_columns(meta, existing)
        at = _expiration(body) if "expirationTime" in body else existing.expiration_time
        meta = meta.model_copy(update={**updates, "expiration_time": at})
        for keep in self.updated:
            meta = keep(meta, body, self._ctx)
        return meta

    def prepare_request(self) -> None:
        """Update the catalog: store times of change, and drop expired tables."""
        self._ctx.snapshots.save_changes()
        self._drop_expired()

    def _drop_expired(self) -> None:
        now = self._ctx.clock.now()
        for meta in tables_of(self._ctx.catalog):
            if meta.expiration_time is not None and meta.expiration_time <= now:
                self._drop(meta)

    def _drop(self, meta: TableMeta) -> None:
        name = (meta.project_id, meta.dataset_id, meta.table_id)
        kind = "VIEW" if meta.table_type == "VIEW" else "TABLE"
        self._ctx.engine.execute(f"DROP {kind} IF EXISTS {quoted_table_ref(*name)}")
        self._ctx.catalog.delete_table(*name)
        self._ctx.snapshots.drop_snapshots_for_table(*name, include_user=False)

    def _show_defaults(self, meta: TableMeta, body: dict[str, Any]) -> None:
        name = (meta.project_id, meta.dataset_id, meta.table_id)
        defaults = defaults_of(self._ctx.engine, name)
        written = {field.name: field.default_value_expression for field in meta.schema_.fields}
        for field in body.get("schema", {}).get("fields", ()) if defaults else ():
            if field["name"] in defaults:
                text = written.get(field["name"]) or defaults[field["name"]]
                field["defaultValueExpression"] = _NOW.get(text.lower(), text)

    def _num_rows(self, meta: TableMeta) -> int:
        name = (meta.project_id, meta.dataset_id, meta.table_id)
        query = f"SELECT count(*) FROM {quoted_table_ref(*name)}"
        try:
            (count,) = self._ctx.engine.execute(query).fetchone()
        except duckdb.CatalogException as error:  # a statement is just making or dropping it
            raise resource_not_found(ResourceRef("table", *name)) from error
        return int(count)

    def _add_columns(self, meta: TableMeta, existing: TableMeta) -> None:
        known = {field.name.casefold() for field in existing.schema_.fields}
        table = quoted_table_ref(meta.project_id, meta.dataset_id, existing.table_id)
        name = (meta.project_id, meta.dataset_id, existing.table_id)
        for field in meta.schema_.fields:
            if field.name.casefold() not in known:
                self._ctx.engine.late_columns.added(name, [field.name])
                kind = to_column(routes._field_to_rest(field))  # noqa: SLF001
                self._ctx.engine.execute(
                    f"ALTER TABLE {table} ADD COLUMN {quote(field.name)} {kind}"
                )


def _to_list_item(meta: TableMeta) -> dict[str, Any]:
    """A table in a list of tables. Nothing is read of its rows."""
    body = _plain_to_rest(meta)
    ranges = _partitioning_to_rest(meta)
    return {
        **_plain_to_list_item(meta),
        **{name: body[name] for name in _LISTED if name in body},
        **{name: value for name, value in ranges.items() if name == "rangePartitioning"},
        **_expiration_to_rest(meta),
    }


def _expiration_to_rest(meta: TableMeta) -> dict[str, Any]:
    at = meta.expiration_time
    return {} if at is None else {"expirationTime": str(int(at.timestamp() * 1000))}


def _partitioning_to_rest(meta: TableMeta) -> dict[str, Any]:
    """The fields of a resource that the emulator leaves out."""
    fields: dict[str, Any] = {}
    if meta.time_partitioning is not None and meta.time_partitioning.require_partition_filter:
        fields["requirePartitionFilter"] = True
    ranges = meta.range_partitioning
    if ranges is not None:
        bounds = {name: str(getattr(ranges, name)) for name in ("start", "end", "interval")}
        fields["rangePartitioning"] = {"field": ranges.field, "range": bounds}
    return fields


def _with_partitioning(meta: TableMeta, body: dict[str, Any]) -> TableMeta:
    """The table with the fields about partitions that the emulator does not read.

    `requirePartitionFilter` is a field of the table; within `timePartitioning` it is deprecated.
    """
    updates: dict[str, Any] = {}
    required = body.get("requirePartitionFilter")
    if required is not None and meta.time_partitioning is not None:
        changed = {"require_partition_filter": bool(required)}
        updates["time_partitioning"] = meta.time_partitioning.model_copy(update=changed)
    ranges = body.get("rangePartitioning")
    if ranges:
        bounds = {name: int(ranges["range"][name]) for name in ("start", "end", "interval")}
        updates["range_partitioning"] = RangePartitioning(field=ranges["field"], **bounds)
    return meta.model_copy(update=updates)


def _expiration(body: dict[str, Any]) -> datetime | None:
    millis = body.get("expirationTime")
    return None if millis is None else datetime.fromtimestamp(int(millis) / 1000, UTC)


def _create_app(ctx: Any) -> FoundByLocation:
    from etlkit.local.bigquery.extensions.plain_reads import is_read

    resources = TableResources(ctx)
    PATCHES.replace("bqemulator.api.routes.tables:_table_to_rest", resources.to_rest)
    PATCHES.replace("bqemulator.api.routes.tables:_rest_to_table_meta", resources.from_rest)
    share(ctx.catalog)
    app = JobsWithLocation(_without_observers(_plain_create_app(ctx)))
    reads = partial(is_read, ctx=ctx)
    return FoundByLocation(OneRequestApp(app, ctx.engine, resources.prepare_request, reads))


def _without_observers(app: Any) -> Any:
    """The app without what counts and logs its requests: nobody sees that, and it takes a while."""
    app.user_middleware = [each for each in app.user_middleware if each.cls not in _OBSERVERS]
    return app


def apply() -> None:
    """Build the REST app with these resources."""
    PATCHES.replace("bqemulator.server:create_app", _create_app)
    PATCHES.replace("bqemulator.api.routes.tables:_table_to_list_item", _to_list_item)

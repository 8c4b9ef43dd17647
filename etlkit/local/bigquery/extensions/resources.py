"""External tables and views in the REST resource of tables.

Real BigQuery: `tables.insert` creates them, and `tables.delete` deletes them. The emulator created a
table without columns, and could not delete views.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bqemulator.api.routes.jobs as jobs_routes
import bqemulator.api.routes.tables as routes
from bqemulator.storage.sql_identifiers import quoted_table_ref
from fastapi import Request, Response

from etlkit.local.bigquery.extensions import (
    analysis,
    api_errors,
    external,
    external_data,
    object_tables,
    query_jobs,
    table_properties,
)
from etlkit.local.bigquery.extensions.statement_context import StatementContext
from etlkit.local.bigquery.patches.table import PATCHES
from etlkit.local.bigquery.patches.table_resource import TableResources

if TYPE_CHECKING:
    from etlkit.local.bigquery.extensions.object_tables import ObjectTables


def describe(meta: Any, ctx: Any) -> dict[str, Any]:
    """The fields of the REST resource that only external tables and materialized views have."""
    name = (meta.project_id, meta.dataset_id, meta.table_id)
    if meta.table_type == "MATERIALIZED_VIEW":
        view = ctx.catalog.get_materialized_view(*name)
        return {} if view is None else {"materializedView": {"query": view.view_query}}
    if meta.table_type != "EXTERNAL":
        return {}
    context = StatementContext(meta.project_id, ctx)
    body = context.store.get(object_tables.KIND, name)
    if body is not None:
        return object_tables.resource(body, meta.project_id)
    body = context.store.get(external_data.KIND, name)
    return {} if body is None else external_data.resource(body)


async def delete_table(
    project_id: str, dataset_id: str, table_id: str, ctx: routes._Ctx
) -> Response:
    """Handle `tables.delete`."""
    name = (project_id, dataset_id, table_id)
    meta = ctx.catalog.get_table(*name)
    if meta is None:
        raise api_errors.not_found("Table", name)
    if meta.table_type == "EXTERNAL":
        external.clear(name, StatementContext(project_id, ctx))
        return Response(status_code=204)
    if meta.table_type == "VIEW":
        ctx.engine.execute(f"DROP VIEW IF EXISTS {quoted_table_ref(*name)}")
        ctx.catalog.delete_table(*name)
        return Response(status_code=204)
    return await routes.delete_table(project_id, dataset_id, table_id, ctx)


async def execute_copy_job(project_id: str, job_id: str, config: dict[str, Any], ctx: Any) -> Any:
    """Run a copy job, unless its destination is a view or an external table."""
    target = config["copy"]["destinationTable"]
    name = (target.get("projectId", project_id), target["datasetId"], target["tableId"])
    meta = ctx.catalog.get_table(*name)
    if meta is not None and meta.table_type in {"EXTERNAL", "VIEW"}:
        raise external.wrong_type(name, meta)
    return await _plain_copy(project_id, job_id, config, ctx)


_plain_copy: Any = jobs_routes.execute_copy_job


def apply(tables: ObjectTables) -> None:
    """Let the routes of tables create, show and delete them."""

    async def insert_table(
        project_id: str, dataset_id: str, request: Request, ctx: routes._Ctx
    ) -> dict[str, Any]:
        """Handle `tables.insert`."""
        meta: Any
        body = await request.json()
        config, view = body.get("externalDataConfiguration"), body.get("view")
        materialized = body.get("materializedView")
        if config is None and view is None and materialized is None:
            await routes.insert_table(project_id, dataset_id, request, ctx)
            name = (project_id, dataset_id, body["tableReference"]["tableId"])
            meta = ctx.catalog.get_table(*name)
            table_properties.keep(meta, body, ctx)
            return dict(routes._table_to_rest(meta))  # noqa: SLF001
        name = (project_id, dataset_id, body["tableReference"]["tableId"])
        context = StatementContext(project_id, ctx)
        api_errors.require_dataset(context, name)
        if ctx.catalog.get_table(*name) is not None:
            raise api_errors.already_exists("Table", name)
        if config is None:
            kind, query = ("VIEW", view) if view else ("MATERIALIZED VIEW", materialized)
            analysis.check_job(query["query"], context, None)
            statement = f"CREATE {kind} `{'.'.join(name)}` AS {query['query']}"
            await query_jobs.execute_query_job(project_id, "", statement, None, ctx)
        elif config.get("objectMetadata"):
            tables.make(name, _options(config), config.get("connectionId"), context)
        else:
            fields = (config.get("schema") or body.get("schema") or {}).get("fields", [])
            external_data.make(name, config, fields, context)
        meta = ctx.catalog.get_table(*name)
        given = {"description": body.get("description"), "labels": body.get("labels") or {}}
        ctx.catalog.update_table(meta := meta.model_copy(update=given))
        return dict(routes._table_to_rest(meta))  # noqa: SLF001

    PATCHES.replace("bqemulator.api.routes.jobs:execute_copy_job", execute_copy_job)
    TableResources.more.append(describe)
    TableResources.updated.append(analysis.update_view)
    PATCHES.replace_route("bqemulator.api.routes.tables:delete_table", delete_table)
    PATCHES.replace_route("bqemulator.api.routes.tables:insert_table", insert_table)


def _options(config: dict[str, Any]) -> dict[str, Any]:
    """The options of the statement that creates the same object table."""
    options = {"uris": config.get("sourceUris"), "object_metadata": config["objectMetadata"]}
    if config.get("metadataCacheMode"):
        options["metadata_cache_mode"] = config["metadataCacheMode"]
    return options

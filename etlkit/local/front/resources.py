"""External tables in the REST resources of tables: how they are shown and deleted."""

from __future__ import annotations

from typing import Any

import bqemulator.api.routes.tables as routes
from bqemulator.storage.sql_identifiers import quoted_table_ref
from fastapi import Response

from etlkit.local.front import answers, external, object_tables
from etlkit.local.front.place import Place
from etlkit.local.mends.jobs import replace_route
from etlkit.local.mends.table_resource import TableResources


def describe(meta: Any, ctx: Any) -> dict[str, Any]:
    """What `tables.get` says of an external table beyond other tables."""
    if meta.table_type != "EXTERNAL":
        return {}
    name = (meta.project_id, meta.dataset_id, meta.table_id)
    place = Place(meta.project_id, ctx)
    body = place.things.get(object_tables.KIND, name)
    return {} if body is None else object_tables.resource(body, meta.project_id)


async def delete_table(
    project_id: str, dataset_id: str, table_id: str, ctx: routes._Ctx
) -> Response:
    """`tables.delete`; the emulator could not delete views."""
    name = (project_id, dataset_id, table_id)
    meta = ctx.catalog.get_table(*name)
    if meta is None:
        raise answers.not_found("Table", name)
    if meta.table_type == "EXTERNAL":
        external.clear(name, Place(project_id, ctx))
        return Response(status_code=204)
    if meta.table_type == "VIEW":
        ctx.engine.execute(f"DROP VIEW IF EXISTS {quoted_table_ref(*name)}")
        ctx.catalog.delete_table(*name)
        return Response(status_code=204)
    return await routes.delete_table(project_id, dataset_id, table_id, ctx)


def apply() -> None:
    """Show and delete external tables."""
    TableResources.more.append(describe)
    replace_route(routes.router, routes.delete_table, delete_table)

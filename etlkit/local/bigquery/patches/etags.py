"""Updates of resources that another client has changed in the meantime.

Real BigQuery: an update whose `If-Match` header is not the current etag is refused with 412. A table's
etag and time of change also change with its rows. The emulator: it ignored the header, and changes of
rows changed neither. https://cloud.google.com/bigquery/docs/reference/rest/v2/tables/patch
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bqemulator.api.routes import datasets, tables
from bqemulator.catalog.etag import generate_etag
from fastapi import Request  # noqa: TC002 - FastAPI reads it at run time

from etlkit.local.bigquery.patches.table import PATCHES
from etlkit.local.bigquery.rules.etags import stale_etag

if TYPE_CHECKING:
    from datetime import datetime

    from bqemulator.catalog.models import TableMeta


def changed(meta: TableMeta, at: datetime) -> TableMeta:
    """The table with a new etag and time of change."""
    etag = generate_etag(meta.etag, str(at))
    return meta.model_copy(update={"last_modified_time": at, "etag": etag})


async def patch_table(
    project_id: str, dataset_id: str, table_id: str, request: Request, ctx: tables._Ctx
) -> dict[str, Any]:
    """Handle `tables.patch`."""
    existing = ctx.catalog.get_table(project_id, dataset_id, table_id)
    _refuse_stale(request, existing, f"{project_id}:{dataset_id}.{table_id}")
    return await tables.patch_table(project_id, dataset_id, table_id, request, ctx)


async def update_table(
    project_id: str, dataset_id: str, table_id: str, request: Request, ctx: tables._Ctx
) -> dict[str, Any]:
    """Handle `tables.update`."""
    existing = ctx.catalog.get_table(project_id, dataset_id, table_id)
    _refuse_stale(request, existing, f"{project_id}:{dataset_id}.{table_id}")
    return await tables.update_table(project_id, dataset_id, table_id, request, ctx)


async def patch_dataset(
    project_id: str, dataset_id: str, request: Request, ctx: datasets._Ctx
) -> dict[str, Any]:
    """Handle `datasets.patch`."""
    existing = ctx.catalog.get_dataset(project_id, dataset_id)
    _refuse_stale(request, existing, f"{project_id}:{dataset_id}")
    return await datasets.patch_dataset(project_id, dataset_id, request, ctx)


async def update_dataset(
    project_id: str, dataset_id: str, request: Request, ctx: datasets._Ctx
) -> dict[str, Any]:
    """Handle `datasets.update`."""
    existing = ctx.catalog.get_dataset(project_id, dataset_id)
    _refuse_stale(request, existing, f"{project_id}:{dataset_id}")
    return await datasets.update_dataset(project_id, dataset_id, request, ctx)


def _refuse_stale(request: Request, existing: Any, name: str) -> None:
    etag = None if existing is None else existing.etag
    stale_etag(request.headers.get("if-match"), etag, name)


def apply() -> None:
    """Compare etags before each update."""
    PATCHES.replace_route("bqemulator.api.routes.tables:patch_table", patch_table)
    PATCHES.replace_route("bqemulator.api.routes.tables:update_table", update_table)
    PATCHES.replace_route("bqemulator.api.routes.datasets:patch_dataset", patch_dataset)
    PATCHES.replace_route("bqemulator.api.routes.datasets:update_dataset", update_dataset)

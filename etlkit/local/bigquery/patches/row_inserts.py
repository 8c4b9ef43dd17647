"""Rows over REST: `tabledata.insertAll`, and files that are sent with a load job.

Real BigQuery: insertAll matches columns by name, and reports unknown fields and bad values per row. A
file may have any content type. The emulator: it matched by position, dropped unknown fields, refused a
whole request for one bad value, and refused `*/*`, the content type of the official client.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import bqemulator.api.routes.tabledata as routes
import pyarrow as pa
from bqemulator.api.routes import upload
from bqemulator.domain.errors import InvalidQueryError, ResourceRef, resource_not_found
from bqemulator.storage.sql_identifiers import quoted_table_ref
from fastapi import Request  # noqa: TC002 - FastAPI reads it at run time

from etlkit.local.bigquery.patches.table import PATCHES
from etlkit.local.bigquery.patches.types import quote
from etlkit.local.bigquery.rules.appends import bad_rows

_INSERT = "etlkit_insert_all"


async def insert_all(
    project_id: str, dataset_id: str, table_id: str, request: Request, ctx: routes._Ctx
) -> dict[str, Any]:
    """Handle `tabledata.insertAll`: insert the rows, or report errors per row."""
    name = (project_id, dataset_id, table_id)
    meta = ctx.catalog.get_table(*name)
    if meta is None:
        raise resource_not_found(ResourceRef("table", *name))
    if meta.table_type in {"EXTERNAL", "VIEW"}:
        raise InvalidQueryError(f"Cannot add rows to a table of type {meta.table_type}.")
    body = await request.json()
    fields: Any = meta.schema_.fields
    raw_fields: Any = routes._fields_raw_from_schema(fields)  # noqa: SLF001
    schema = routes._build_arrow_schema(raw_fields)  # noqa: SLF001
    good: list[pa.Table] = []
    errors: dict[int, list[dict[str, str]]] = {}
    for index, row in enumerate(body.get("rows", ())):
        values, unknown = _by_name(row.get("json", {}), fields)
        if unknown and not body.get("ignoreUnknownValues"):
            errors[index] = [_error(field, f"no such field: {field}.") for field in unknown]
            continue
        converted, wrong = _convert(values, fields, schema)
        if wrong:
            errors[index] = wrong
        else:
            good.append(converted)
    if errors and not body.get("skipInvalidRows"):
        for index in range(len(body["rows"])):
            errors.setdefault(index, [_error("", "", reason="stopped")])
        good = []
    if good:
        _insert(name, pa.concat_tables(good), fields, ctx)
    listed = [{"index": index, "errors": those} for index, those in sorted(errors.items())]
    return {"kind": "bigquery#tableDataInsertAllResponse", "insertErrors": listed}


def _convert(
    values: dict[str, Any], fields: Sequence[Any], schema: pa.Schema
) -> tuple[pa.Table, list[dict[str, str]]]:
    """A row in Arrow, and what is wrong with it."""
    missing = [*_missing(values, fields)]
    if missing:
        texts = [(field, f"Missing required field: {field}.") for field in missing]
        return schema.empty_table(), [_error(field, text) for field, text in texts]
    try:
        converted = routes.bq_rows_to_arrow([{"json": values}], schema)
    except (ValueError, TypeError) as error:
        return schema.empty_table(), [_error("", f"Cannot convert the row's values: {error}")]
    return converted, [_error("", text) for text in bad_rows(converted, fields).values()]


def _by_name(row: dict[str, Any], fields: Sequence[Any]) -> tuple[dict[str, Any], list[str]]:
    """The values by the table's names of columns, and the fields that the table does not have."""
    known = {field.name.casefold(): field.name for field in fields}
    values = {known[key.casefold()]: row[key] for key in row if key.casefold() in known}
    return values, [key for key in row if key.casefold() not in known]


def _missing(values: dict[str, Any], fields: Sequence[Any]) -> Iterator[str]:
    for field in fields:
        if field.mode == "REQUIRED" and values.get(field.name) is None:
            yield field.name


def _error(location: str, message: str, *, reason: str = "invalid") -> dict[str, str]:
    return {"reason": reason, "location": location, "debugInfo": "", "message": message}


def _insert(name: tuple[str, str, str], rows: pa.Table, fields: Sequence[Any], ctx: Any) -> None:
    columns = ", ".join(quote(field.name) for field in fields)
    values = routes._build_insert_select(list(fields), _INSERT)  # noqa: SLF001
    connection = ctx.engine.connection
    connection.register(_INSERT, rows)
    try:
        connection.execute(
            f"INSERT INTO {quoted_table_ref(*name)} ({columns}) SELECT {values} FROM {_INSERT}"
        )
    finally:
        connection.unregister(_INSERT)
    ctx.snapshots.record_append(*name)


def apply() -> None:
    """Replace the route, and accept files of any content type."""
    PATCHES.replace_route("bqemulator.api.routes.tabledata:insert_all", insert_all)
    media_types = (*upload._PERMITTED_MEDIA_CONTENT_TYPES, "*/*")  # noqa: SLF001
    PATCHES.replace("bqemulator.api.routes.upload:_PERMITTED_MEDIA_CONTENT_TYPES", media_types)

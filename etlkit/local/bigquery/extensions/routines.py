"""Remote functions as routines of the emulator and in the REST resource of routines.

Real BigQuery: the body of an SQL function may call other functions, including remote ones. The emulator
looked for `dataset.function` in DuckDB, where the function has another name.
"""

from __future__ import annotations

from typing import Any

import bqemulator.api.routes.routines as routes
from bqemulator.sql.table_rewriter import rewrite_table_refs
from bqemulator.udf import sql_udf
from bqemulator.udf.runtime import UDFRegistry
from fastapi import Request  # noqa: TC002 - FastAPI reads it at run time

from etlkit.local.bigquery.extensions import api_errors
from etlkit.local.bigquery.extensions.remote_functions import (
    RemoteRuntime,
    check_options,
    check_type,
    is_remote,
)
from etlkit.local.bigquery.extensions.statement_context import StatementContext
from etlkit.local.bigquery.patches.table import PATCHES
from etlkit.local.server.endpoints import PROJECT


def _translate_body(sql: str, translator: Any) -> str:
    body = rewrite_table_refs(f"SELECT {_plain_translate(sql, translator)}", PROJECT)
    return body.removeprefix("SELECT ")


_plain_translate = sql_udf._translate_body  # noqa: SLF001


class RemoteRoutines:
    """Converts routines to and from REST, including remote functions."""

    def __init__(self, runtime: RemoteRuntime) -> None:
        self._runtime = runtime

    def to_rest(self, routine: Any) -> dict[str, Any]:
        """The resource of a routine."""
        body = _plain_to_rest(routine)
        name = (routine.project_id, routine.dataset_id, routine.routine_id)
        known = self._runtime.known.get(name)
        if known is None or not is_remote(routine):
            return body
        del body["definitionBody"], body["language"]
        connection = known["connection"]
        if connection.count(".") == 1:
            connection = f"{routine.project_id}.{connection}"
        options = {"endpoint": known["endpoint"], "connection": connection}
        if known["context"]:
            options["userDefinedContext"] = known["context"]
        if known["max_rows"]:
            options["maxBatchingRows"] = str(known["max_rows"])
        return body | {"remoteFunctionOptions": options}

    async def insert(
        self, project_id: str, dataset_id: str, request: Request, ctx: routes._Ctx
    ) -> dict[str, Any]:
        """Handle `routines.insert`, also for remote functions."""
        body = await request.json()
        given = body.get("remoteFunctionOptions")
        if given is None:
            return dict(await routes.insert_routine(project_id, dataset_id, request, ctx))
        name = (project_id, dataset_id, body["routineReference"]["routineId"])
        context = StatementContext(project_id, ctx)
        api_errors.require_dataset(context, name)
        if ctx.catalog.get_routine(*name) is not None:
            raise api_errors.already_exists("Routine", name)
        arguments = [
            (each.get("name", ""), check_type(each["dataType"]))
            for each in body.get("arguments", ())
        ]
        options = {
            "endpoint": given.get("endpoint"),
            "user_defined_context": [*given.get("userDefinedContext", {}).items()],
            "max_batching_rows": int(given.get("maxBatchingRows") or 0),
            "description": body.get("description"),
        }
        checked = check_options(options, given.get("connection", "DEFAULT"))
        returns = check_type(body["returnType"])
        return self.to_rest(
            self._runtime.create_or_replace(name, arguments, returns, checked, context)
        )


_plain_dispatch = UDFRegistry._dispatch  # noqa: SLF001
_plain_to_rest = routes._routine_to_rest  # noqa: SLF001


def apply(runtime: RemoteRuntime) -> None:
    """Add remote functions to the emulator's routines."""
    routines = RemoteRoutines(runtime)

    def dispatch(registry: UDFRegistry, routine: Any) -> Any:
        return runtime if is_remote(routine) else _plain_dispatch(registry, routine)

    PATCHES.replace("bqemulator.udf.runtime:UDFRegistry._dispatch", dispatch)
    PATCHES.replace("bqemulator.udf.sql_udf:_translate_body", _translate_body)
    PATCHES.replace("bqemulator.api.routes.routines:_routine_to_rest", routines.to_rest)
    PATCHES.replace_route("bqemulator.api.routes.routines:insert_routine", routines.insert)

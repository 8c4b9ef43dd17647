"""`CREATE TABLE … COPY table`.

Real BigQuery: the statement copies a table, with its partitioning and clustering. The emulator: it only
knew CLONE.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bqemulator.jobs import executor
from sqlglot import exp

from etlkit.local.bigquery.extensions import api_errors, external, grammar, hooks

if TYPE_CHECKING:
    from etlkit.local.bigquery.extensions.statement_context import StatementContext


async def copy_table(tree: exp.Expr, context: StatementContext) -> hooks.StatementResult | None:
    """Handle `CREATE TABLE … COPY` as a copy job."""
    clone = tree.args.get("clone") if isinstance(tree, exp.Create) else None
    if clone is None or not clone.args.get("copy"):
        return None
    name = grammar.name_of(tree.this, context.project)
    source = grammar.name_of(clone.this, context.project)
    api_errors.require_dataset(context, name)
    if context.ctx.catalog.get_table(*source) is None:
        raise api_errors.not_found("Table", source)
    operation = external.operation(tree, name, context)
    if operation != "SKIP" and not context.is_dry:
        config = {
            "sourceTable": _reference(source),
            "destinationTable": _reference(name),
            "writeDisposition": "WRITE_TRUNCATE" if operation == "REPLACE" else "WRITE_EMPTY",
        }
        await executor.execute_copy_job(context.project, "", {"copy": config}, context.ctx)
    return hooks.StatementResult("CREATE_TABLE", operation, table=name)


def _reference(name: tuple[str, str, str]) -> dict[str, str]:
    return dict(zip(("projectId", "datasetId", "tableId"), name, strict=True))

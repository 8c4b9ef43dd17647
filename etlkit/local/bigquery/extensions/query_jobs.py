"""Call the hooks for single statements, in jobs and in dry runs."""

from __future__ import annotations

from typing import Any

import bqemulator.api.routes.jobs as routes
import pyarrow as pa
from bqemulator.domain.errors import DomainError, InvalidQueryError
from bqemulator.jobs import executor
from sqlglot import exp

from etlkit.local.bigquery.extensions import (
    api_errors,
    declared_columns,
    execute,
    grammar,
    hooks,
)
from etlkit.local.bigquery.extensions.statement_context import Running, StatementContext
from etlkit.local.bigquery.patches.concurrency import mutated_tables
from etlkit.local.bigquery.patches.jobs import checked
from etlkit.local.bigquery.patches.messages import locate
from etlkit.local.bigquery.patches.scripts import is_lone_assert
from etlkit.local.bigquery.patches.table import PATCHES


async def execute_query_job(
    project_id: str,
    job_id: str,
    bq_sql: str,
    query_params: list[dict[str, Any]] | None,
    ctx: Any,
    **options: Any,
) -> Any:
    """Run a query job. A statement hook may execute it, otherwise the emulator does."""
    Running.project, Running.job_id = project_id, job_id
    Running.user = str(getattr(options.get("caller"), "principal", "")).removeprefix("user:")
    ctx.engine.concurrency.refuse_if_too_many()
    context = StatementContext(project_id, ctx, options.get("caller"))
    outcome = await _execute(bq_sql, context)
    declared = declared_columns.parts(bq_sql, grammar.parse(bq_sql)) if outcome is None else None
    if declared is not None:
        return await _create_and_fill(declared, job_id, query_params, context, options)
    if outcome is None:
        done = await _plain_execute(project_id, job_id, bq_sql, query_params, ctx, **options)
        ctx.engine.concurrency.mutated(mutated_tables(bq_sql, project_id))
        return _as_assert(done) if is_lone_assert(bq_sql) else done
    meta = executor._build_ddl_job_meta(  # noqa: SLF001
        project_id=project_id,
        job_id=job_id,
        bq_sql=bq_sql,
        statement_type=outcome.statement_type,
        arrow_table=pa.table({}),
        now=ctx.clock.now(),
        ctx=ctx,
    )
    meta.statistics["query"].update(outcome.statistics())
    return meta


async def _create_and_fill(
    parts: declared_columns.Parts,
    job_id: str,
    query_params: list[dict[str, Any]] | None,
    context: StatementContext,
    options: dict[str, Any],
) -> Any:
    """Run a `CREATE TABLE … AS` with declared columns."""
    project, ctx = context.project, context.ctx
    name = grammar.name_of(parts.name, project)
    is_kept = parts.keeps and ctx.catalog.get_table(*name) is not None
    if not is_kept:
        rows = await executor._run_single_sql(  # noqa: SLF001
            project, parts.query, query_params, ctx, caller=context.caller
        )
        parts.check(rows)
    meta = await _plain_execute(project, job_id, parts.create, None, ctx, **options)
    if not is_kept:
        await executor._run_single_sql(  # noqa: SLF001
            project, parts.insert, query_params, ctx, caller=context.caller
        )
        ctx.engine.concurrency.mutated(mutated_tables(parts.insert, project))
    meta.statistics["query"]["statementType"] = declared_columns.STATEMENT_TYPE
    return meta


def _as_assert(meta: Any) -> Any:
    """Report a single ASSERT as a statement; here it runs as a script."""
    query = {**meta.statistics["query"], "statementType": "ASSERT"}
    return meta.model_copy(update={"statistics": {"query": query}})


async def _execute(sql: str, context: StatementContext) -> hooks.StatementResult | None:
    tree = grammar.parse(sql)
    if tree is None:
        return None
    api_errors.forget()
    return await hooks.execute(tree, context)


def _writes(tree: Any) -> bool:
    """Whether a statement writes, and DuckDB can check it without running it."""
    if isinstance(tree, exp.Create):
        return tree.kind in {"TABLE", "VIEW"} and isinstance(tree.expression, exp.Query)
    return isinstance(tree, exp.Insert | exp.Update | exp.Delete | exp.Merge)


async def _run_single_sql(
    project_id: str,
    bq_sql: str,
    query_params: list[dict[str, Any]] | None,
    ctx: Any,
    *,
    caller: Any,
) -> Any:
    context = StatementContext(project_id, ctx, caller)
    try:
        tree = execute.involved_tree(bq_sql, context)
        if tree is None:
            api_errors.forget()
            return await _plain_run(project_id, bq_sql, query_params, ctx, caller=caller)
        named_sql, parameters = execute.with_names(bq_sql, query_params)
        if named_sql != bq_sql:
            tree = grammar.parse(named_sql)
        return await execute.run(tree, context, execute.job_parameters(parameters))
    except DomainError as error:
        known = api_errors.carried() or error
        if isinstance(known, InvalidQueryError):
            raise locate(known, bq_sql) from error
        raise known from error


async def _dry_run_response(**request: Any) -> dict[str, Any]:
    """Answer a dry run. A statement hook checks its statements, and writes nothing."""
    ctx = request["ctx"]
    context = StatementContext(request["project_id"], ctx, request["caller"])
    ctx.engine.is_dry = True
    try:
        outcome = await _execute(request["bq_sql"], context)
        if outcome is None and _writes(grammar.parse(request["bq_sql"])):
            # The emulator itself only classifies such a statement.
            await executor._run_single_sql(  # noqa: SLF001
                context.project,
                request["bq_sql"],
                request["query_params"],
                ctx,
                caller=context.caller,
            )
    finally:
        ctx.engine.is_dry = False
    if outcome is None:
        return dict(await _plain_dry_run(**request))
    return checked(request, outcome.statistics())


_plain_execute = executor.execute_query_job
_plain_run = executor._run_single_sql  # noqa: SLF001
_plain_dry_run: Any = None


def apply() -> None:
    """Call the hooks before the emulator's executor."""
    global _plain_dry_run  # noqa: PLW0603
    _plain_dry_run = routes._dry_run_response  # noqa: SLF001
    PATCHES.replace("bqemulator.jobs.executor:execute_query_job", execute_query_job)
    PATCHES.replace("bqemulator.api.routes.jobs:execute_query_job", execute_query_job)
    PATCHES.replace("bqemulator.jobs.executor:_run_single_sql", _run_single_sql)
    PATCHES.replace("bqemulator.api.routes.jobs:_dry_run_response", _dry_run_response)

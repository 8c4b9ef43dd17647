"""Call the hooks for single statements, in jobs and in dry runs."""

from __future__ import annotations

from typing import Any

import bqemulator.api.routes.jobs as routes
import pyarrow as pa
from bqemulator.domain.errors import DomainError, InvalidQueryError
from bqemulator.jobs import executor
from sqlglot import exp

from etlkit.local.bigquery.extensions import (
    analysis,
    api_errors,
    child_jobs,
    declared_columns,
    execute,
    grammar,
    hooks,
    result_columns,
)
from etlkit.local.bigquery.extensions.statement_context import Running, StatementContext
from etlkit.local.bigquery.patches import jobs
from etlkit.local.bigquery.patches.messages import locate
from etlkit.local.bigquery.patches.scripts import (
    SESSION,
    is_lone_assert,
    is_temp_table,
    split_functions,
)
from etlkit.local.bigquery.patches.table import PATCHES
from etlkit.local.bigquery.patches.work import check, current
from etlkit.local.bigquery.rewrites import system_variables
from etlkit.local.bigquery.rules.concurrency import mutated_tables, queue_length
from etlkit.local.bigquery.rules.registry import Asked, ask
from etlkit.local.bigquery.rules.writes import checked


async def execute_query_job(
    project_id: str,
    job_id: str,
    bq_sql: str,
    query_params: list[dict[str, Any]] | None,
    ctx: Any,
    **options: Any,
) -> Any:
    """Run a query job. A statement hook may execute it, otherwise the emulator does."""
    check()
    work = current()
    session: Any = SESSION.get()
    if work is None or work.is_exclusive:  # reads neither call functions of ours nor wait
        Running.project, Running.job_id = project_id, job_id
        Running.user = str(getattr(options.get("caller"), "principal", "")).removeprefix("user:")
        queue_length(ctx.engine.concurrency.at_work)
        if session is None:
            ctx.engine.concurrency.refuse_held(mutated_tables(bq_sql, project_id))
    ask(Asked.JOB, bq_sql)
    session_id = None if session is None else session.session_id
    system_variables.begin_job(project_id, job_id, session_id)
    context = StatementContext(project_id, ctx, options.get("caller"))
    # The statements of a session run as those of a script, which analyzes them.
    found = analysis.check_job(bq_sql, context, query_params) if session is None else None
    outcome = await _execute(bq_sql, context)
    tree = grammar.look(bq_sql) if session is None else None
    if is_temp_table(tree):
        raise api_errors.invalid("Use of CREATE TEMPORARY TABLE requires a script or session")
    declared = declared_columns.parts(bq_sql, tree) if outcome is None else None
    if declared is not None:
        with checked(tree, project_id, ctx):
            return await _create_and_fill(declared, job_id, query_params, context, options)
    if outcome is None:
        with checked(tree, project_id, ctx):
            done = await _plain_execute(project_id, job_id, bq_sql, query_params, ctx, **options)
        if found is not None:
            result_columns.shape_job(job_id, found)
        _check_result(job_id)
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


def _check_result(job_id: str) -> None:
    """Let the rules refuse the rows of a job."""
    rows = executor.JOB_RESULTS.get(job_id)
    if rows is None:
        return
    try:
        ask(Asked.RESULT, rows)
    except InvalidQueryError:
        executor.JOB_RESULTS.pop(job_id)
        raise


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
    found = analysis.check_job(request["bq_sql"], context, request["query_params"])
    ctx.engine.is_dry = True
    try:
        outcome = await _execute(request["bq_sql"], context)
        if outcome is None and _writes(grammar.look(request["bq_sql"])):
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
    if outcome is not None:
        return jobs.checked(request, outcome.statistics())
    if split_functions(request["bq_sql"])[0]:
        return await _described(request, context)
    answer = dict(await _plain_dry_run(**request))
    if found is None:
        return answer
    if found.kind == "SELECT":
        answer["schema"] = {"fields": [kind.as_api(name) for name, kind in found.columns]}
    if request["wire_shape"] != "query":
        jobs.references[request["job_id"]] = analysis.references(found)
    return answer


async def _described(request: dict[str, Any], context: StatementContext) -> dict[str, Any]:
    """The answer to a dry run of a query behind temporary functions: the columns of the query."""
    sql, ctx = request["bq_sql"], context.ctx
    child_jobs.RECORD.set(child_jobs.ScriptRecord(sql))
    ctx.engine.is_dry = True
    try:
        rows = await executor._run_query_body(  # noqa: SLF001
            project_id=context.project,
            bq_sql=sql,
            query_params=request["query_params"],
            ctx=ctx,
            is_scripted=True,
            effective_caller=context.caller,
        )
    finally:
        ctx.engine.is_dry = False
    answer = jobs.checked(request, {"statementType": "SELECT"})
    return {**answer, "schema": {"fields": executor.build_response_schema(rows.schema)}}


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

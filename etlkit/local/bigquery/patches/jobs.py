"""Jobs and their ids, dry runs, results.

Real BigQuery: a second job with the same id is refused with 409 and does not run. A dry run runs
nothing and leaves no job. Labels are part of the job. `jobs.query` and `jobs.getQueryResults` answer
with the error of a failed query. The emulator: it ran the second job too, ran SELECTs and scripts of
dry runs, dropped labels, kept all results in memory, and answered a failed query with no rows.

What remains: all jobs are in location US, a dry run estimates 0 bytes, and the results of the last
`MAX_RESULTS` jobs are kept until the server ends.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from typing import Any, Final
from uuid import uuid4

import bqemulator.api.routes.jobs as routes
import sqlglot
from bqemulator.domain.errors import (
    AlreadyExistsError,
    DomainError,
    ErrorDetail,
    InvalidQueryError,
)
from bqemulator.jobs import executor
from fastapi import Request  # noqa: TC002 - FastAPI reads it at run time
from sqlglot import exp

from etlkit.local.bigquery.patches.locations import LOCATIONS
from etlkit.local.bigquery.patches.table import PATCHES
from etlkit.local.bigquery.rules.concurrency import ResourcesExceededError
from etlkit.local.bigquery.rules.registry import Asked, ask
from etlkit.local.bigquery.rules.statements import NAMED

MAX_RESULTS: Final = 200
MAX_RESULT_BYTES: Final = 256 * 1024 * 1024

MAX_PAGE_ROWS: Final = 10_000

_OF_THE_JOB: Final = {"kind", "labels", "location", "maxResults", "requestId", "timeoutMs"}
"""Fields of a `jobs.query` request that do not belong to the configuration of its query."""

_ERRORS: Final = {
    kind.bq_reason: kind
    for kind in (*routes._SQL_EXECUTION_DOMAIN_ERRORS, ResourcesExceededError)  # noqa: SLF001
}

references: dict[str, list[dict[str, str]]] = {}
"""Tables that the statement of a dry run names, by the id of its job, until it is answered."""

_sizes: dict[str, int] = {}
"""Bytes of the results that are kept, by the ids of their jobs."""

_queries: OrderedDict[str, str] = OrderedDict()
"""Job ids by the ids of the requests that started them."""


async def insert_job(
    project_id: str, request: Request, ctx: routes._Ctx, caller: routes._Caller
) -> dict[str, Any]:
    """Handle `jobs.insert`: refuse an id that is already used."""
    body = await request.json()
    ask(Asked.LABELS, body.get("configuration", {}).get("labels") or {})
    job_id = body.get("jobReference", {}).get("jobId")
    if job_id and ctx.catalog.get_job(project_id, job_id) is not None:
        location = LOCATIONS.of(job_id)
        raise AlreadyExistsError(f"Already Exists: Job {project_id}:{location}.{job_id}")
    answer = await routes.insert_job(project_id, request, ctx, caller)
    _forget_old_results()
    job_id = answer["jobReference"]["jobId"]
    if body.get("configuration", {}).get("dryRun"):
        ctx.catalog.delete_job(project_id, job_id, not_found_ok=True)
        tables = references.pop(job_id, None)
        if tables is not None:
            answer["statistics"]["query"]["referencedTables"] = tables
        return answer
    job = ctx.catalog.get_job(project_id, job_id)
    if job is not None:
        configuration = {**body.get("configuration", {}), **answer["configuration"]}
        ctx.catalog.upsert_job(job.model_copy(update={"configuration": configuration}))
    return answer


async def query(
    project_id: str, request: Request, ctx: routes._Ctx, caller: routes._Caller
) -> dict[str, Any]:
    """Handle `jobs.query`. A request that is sent again does not run again.

    Raises:
        DomainError: The query failed. Its job has the same error.
    """
    body = await request.json()
    if body.get("dryRun") or not body.get("query", "").strip():
        return await routes.query(project_id, request, ctx, caller)
    ask(Asked.LABELS, body.get("labels") or {})
    request_id = body.get("requestId")
    job_id = _queries.get(request_id)
    if job_id is None or ctx.catalog.get_job(project_id, job_id) is None:
        job_id = f"job_{uuid4().hex}"
        await _run_query(project_id, job_id, body, ctx, caller)
        if request_id:
            _queries[request_id] = job_id
            while len(_queries) > MAX_RESULTS:
                _queries.popitem(last=False)
    answer = get_query_results(project_id, job_id, ctx, body.get("maxResults", MAX_PAGE_ROWS))
    job: Any = ctx.catalog.get_job(project_id, job_id)
    routes._attach_query_metadata(answer, job)  # noqa: SLF001
    session = {key: value for key, value in job.statistics.items() if key == "sessionInfo"}
    return {**answer, **session, "kind": "bigquery#queryResponse"}


async def _run_query(
    project_id: str, job_id: str, body: dict[str, Any], ctx: Any, caller: Any
) -> None:
    """Run the query of a request as a job, and keep the job, also if it failed."""
    query_config = {key: value for key, value in body.items() if key not in _OF_THE_JOB}
    labels = {"labels": body["labels"]} if body.get("labels") else {}
    config = {**labels, "query": query_config}
    job: Any = await routes._handle_query_job(  # noqa: SLF001
        project_id, job_id, config, dry_run=False, ctx=ctx, caller=caller, now=ctx.clock.now()
    )
    _forget_old_results()
    routes._merge_executor_config(config, job.configuration)  # noqa: SLF001
    ctx.catalog.upsert_job(job.model_copy(update={"configuration": config}))


def get_query_results(
    project_id: str,
    job_id: str,
    ctx: routes._Ctx,
    maxResults: int = MAX_PAGE_ROWS,  # noqa: N803
    startIndex: int = 0,  # noqa: N803
    pageToken: str | None = None,  # noqa: N803
) -> dict[str, Any]:
    """Handle `jobs.getQueryResults`.

    Raises:
        DomainError: The query failed.
    """
    job = ctx.catalog.get_job(project_id, job_id)
    if job is not None and job.error_result:
        raise error_of(job.error_result)
    answer = routes.get_query_results(
        project_id,
        job_id,
        ctx,
        maxResults=maxResults,
        startIndex=startIndex,
        pageToken=pageToken,
    )
    if maxResults == 0:  # an empty first page would be the answer of clients that take one page
        answer = {name: answer[name] for name in answer if name not in {"rows", "pageToken"}}
    reference = {**answer["jobReference"], "location": "US"}
    return {**answer, "jobReference": reference}


def list_jobs(
    project_id: str,
    ctx: routes._Ctx,
    maxResults: int = 100,  # noqa: N803
    stateFilter: str | None = None,  # noqa: N803
    parentJobId: str | None = None,  # noqa: N803
) -> dict[str, Any]:
    """Handle `jobs.list`: the jobs that are no children, or the children of one job."""
    answer: dict[str, Any] = routes.list_jobs(
        project_id, ctx, maxResults=sys.maxsize, stateFilter=stateFilter, parentJobId=None
    )
    answer["jobs"] = [
        each for each in answer["jobs"] if each["statistics"].get("parentJobId") == parentJobId
    ][:maxResults]
    answer["totalItems"] = len(answer["jobs"])
    for listed in answer["jobs"]:
        job: Any = ctx.catalog.get_job(project_id, listed["jobReference"]["jobId"])
        if job.error_result:
            listed["errorResult"] = job.error_result
            listed["status"] |= {"errorResult": job.error_result, "errors": [job.error_result]}
    return answer


def error_of(result: dict[str, Any]) -> DomainError:
    """The error of a request for the results of a job that ended in this `errorResult`."""
    kind: Any = _ERRORS.get(result["reason"], InvalidQueryError)
    message = result["message"]
    location = {"location": "q", "location_type": "parameter"}
    detail = ErrorDetail(
        reason=result["reason"],
        message=message,
        **(location if kind is InvalidQueryError else {}),
    )
    error: DomainError = kind(message, details=[detail])
    return error


def _forget_old_results() -> None:
    results = [*executor.JOB_RESULTS.items()]
    # Arrow counts all buffers for each `nbytes`: too dear for each result at each job.
    sizes = {job_id: _sizes.get(job_id) or rows.nbytes for job_id, rows in results}
    total = sum(sizes.values())
    while len(executor.JOB_RESULTS) > 1 and (
        len(executor.JOB_RESULTS) > MAX_RESULTS or total > MAX_RESULT_BYTES
    ):
        oldest = next(iter(executor.JOB_RESULTS))
        executor.JOB_RESULTS.pop(oldest)
        total -= sizes.pop(oldest, 0)
        executor.JOB_SCHEMAS.pop(oldest, None)
    _sizes.clear()
    _sizes.update(sizes)


async def _dry_run_response(**request: Any) -> dict[str, Any]:
    sql, ctx = request["bq_sql"], request["ctx"]
    statement = _single_statement(sql)
    if isinstance(statement, exp.Query):
        ctx.engine.is_dry = True
        try:
            return _name_columns(await _plain_dry_run(**request), statement)
        finally:
            ctx.engine.is_dry = False
    kind = routes.classify_statement_type(sql)
    is_described = kind in routes._DESTRUCTIVE_STATEMENT_TYPES  # noqa: SLF001
    if is_described and _single_statement(sql) is not None:
        return await _plain_dry_run(**request)
    return checked(request, {"statementType": "SCRIPT"})


def _name_columns(answer: dict[str, Any], query: exp.Query) -> dict[str, Any]:
    """Name the columns that have no name as BigQuery does: `f0_`, `f1_`, ….

    This is only done if each selected expression is one column; a star may be several.
    """
    fields = answer.get("schema", {}).get("fields", [])
    if len(fields) == len(query.selects) and not any(each.is_star for each in query.selects):
        pairs = zip(fields, query.selects, strict=True)
        unnamed = [field for field, each in pairs if not isinstance(each, NAMED)]
        for number, field in enumerate(unnamed):
            field["name"] = f"f{number}_"
    return answer


def checked(request: dict[str, Any], statistics: dict[str, Any]) -> dict[str, Any]:
    """The answer to a dry run of a statement that returns no rows."""
    reference = {"projectId": request["project_id"]}
    if request["wire_shape"] != "query":
        reference |= {"jobId": request["job_id"], "location": "US"}
    return {
        "kind": "bigquery#queryResponse",
        "jobReference": reference,
        "jobComplete": True,
        "totalBytesProcessed": "0",
        "schema": {"fields": []},
        "rows": [],
        "totalRows": "0",
        "cacheHit": False,
        **statistics,
    }


def _single_statement(sql: str) -> Any:
    """The tree of a single statement; None = the text has several."""
    executor._parse_script_or_raise(sql)  # noqa: SLF001
    try:
        trees = [tree for tree in sqlglot.parse(sql, read="bigquery") if tree is not None]
    except sqlglot.errors.SqlglotError:
        return exp.select()  # the emulator's dry run reports the error
    return trees[0] if len(trees) == 1 else None


_plain_dry_run = routes._dry_run_response  # noqa: SLF001


def apply() -> None:
    """Replace the routes of jobs."""
    PATCHES.replace_route("bqemulator.api.routes.jobs:insert_job", insert_job)
    PATCHES.replace_route("bqemulator.api.routes.jobs:query", query)
    PATCHES.replace_route("bqemulator.api.routes.jobs:get_query_results", get_query_results)
    PATCHES.replace_route("bqemulator.api.routes.jobs:list_jobs", list_jobs)
    PATCHES.replace("bqemulator.api.routes.jobs:_dry_run_response", _dry_run_response)

"""The child jobs of a script.

Real BigQuery: each statement of a script is a job of its own, and so is each expression that has a
query. `jobs.list(parentJobId=…)` lists them, the last one first, and `jobs.get` shows `numChildJobs`
and `parentJobId`. A query behind `CREATE TEMP FUNCTION` is no script. The emulator: scripts had no
children.

What remains: the last `MAX_CHILDREN` of a script are kept, and the rows of the last `MAX_RESULTS`.

https://cloud.google.com/bigquery/docs/multi-statement-queries#view_child_jobs
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import bqemulator.api.routes.jobs as routes
import pyarrow as pa
from bqemulator.catalog.etag import generate_etag
from bqemulator.catalog.models import JobMeta
from bqemulator.domain.errors import DomainError
from bqemulator.jobs import executor

MAX_CHILDREN: Final = 1000
MAX_RESULTS: Final = 50

_KINDS: Final = {
    "ASSERT": "ASSERT",
    "BEGIN": "BEGIN_TRANSACTION",
    "START": "BEGIN_TRANSACTION",
    "COMMIT": "COMMIT_TRANSACTION",
    "ROLLBACK": "ROLLBACK_TRANSACTION",
    "SET": "SET",
}
"""Types of statements that the emulator does not classify."""


@dataclass
class Statement:
    """One statement or expression that a script has run.

    Attributes:
        sql: Its text.
        kind: E.g. SELECT.
        begun: When it began.
        ended: When it ended.
        evaluation: STATEMENT or EXPRESSION.
        rows: Its result; None = it has none, or it is no longer kept.
        num_affected: The rows that DML has changed; None = it is not DML.
        error: Why it failed; None = it did not.
    """

    sql: str
    kind: str
    begun: datetime
    ended: datetime | None = None
    evaluation: str = "STATEMENT"
    rows: pa.Table | None = None
    num_affected: int | None = None
    error: DomainError | None = None


@dataclass
class ScriptRecord:
    """What the running job has run so far, see `RECORD`.

    Attributes:
        source: The text of the job.
        statements: The last ones.
        num_statements: How many there were.
        has_functions: Whether it has created a temporary function.
    """

    source: str = ""
    statements: deque[Statement] = field(default_factory=lambda: deque(maxlen=MAX_CHILDREN))
    num_statements: int = 0
    has_functions: bool = False

    def add(self, statement: Statement) -> None:
        """Add a statement that has ended, and forget rows of older ones."""
        self.statements.append(statement)
        self.num_statements += 1
        if len(self.statements) > MAX_RESULTS:
            self.statements[-MAX_RESULTS - 1].rows = None


RECORD: ContextVar[ScriptRecord] = ContextVar("RECORD")
"""Of the running job."""


def kind_of(sql: str) -> str:
    """The type of a statement, e.g. MERGE or COMMIT_TRANSACTION."""
    first = sql.split(maxsplit=1)[0].rstrip(";").upper() if sql.split() else ""
    return _KINDS.get(first) or str(executor.classify_statement_type(sql))


async def recorded(
    statement: Statement, run: Callable[[], Awaitable[pa.Table | None]], clock: Any
) -> None:
    """Run a statement, which gives its result, and record it."""
    try:
        rows = await run()
    except DomainError as error:
        statement.error = error
        raise
    else:
        if rows is not None and statement.kind in executor._COUNT_TRIMMED_STATEMENTS:  # noqa: SLF001
            statement.num_affected = executor._extract_dml_affected_rows(rows)  # noqa: SLF001
        elif statement.kind in {"SELECT", ""}:
            statement.rows = rows
    finally:
        statement.ended = clock.now()
        RECORD.get().add(statement)


def is_single_statement() -> bool:
    """Whether the job is one statement that had to run as a script, or a query with functions."""
    record = RECORD.get()
    return record.num_statements == 1 and (record.has_functions or not _is_several(record.source))


def _is_several(source: str) -> bool:
    return len(executor._parse_script_or_raise(source).statements) > 1  # noqa: SLF001


def as_statement(statistics: dict[str, Any]) -> dict[str, Any]:
    """The statistics of a job whose only statement ran as a script."""
    (statement,) = RECORD.get().statements
    query = {**statistics.get("query", {}), "statementType": statement.kind}
    if statement.num_affected is not None:
        query["numDmlAffectedRows"] = str(statement.num_affected)
    others = {key: value for key, value in statistics.items() if key != "scriptStatistics"}
    return {**others, "query": query}


def finish(job: JobMeta, ctx: Any) -> JobMeta:
    """Store the children of a job that has run, and return the job with their number."""
    record = RECORD.get()
    if not record.statements:
        return job
    if is_single_statement():
        return job.model_copy(update={"statistics": as_statement(job.statistics)})
    children = list(record.statements)
    for child in children[-MAX_RESULTS:]:
        child.rows = pa.table({}) if child.rows is None else child.rows
    prefix = f"script_job_{hashlib.md5(job.job_id.encode(), usedforsecurity=False).hexdigest()}"
    for number, child in enumerate(children, record.num_statements - len(children)):
        # Rows of jobs are written together, when the request ends.
        ctx.catalog.upsert_job(_child(f"{prefix}_{number}", child, job, record.source))
    statistics = {**job.statistics, "numChildJobs": str(record.num_statements)}
    return job.model_copy(update={"statistics": statistics})


def _child(job_id: str, statement: Statement, parent: JobMeta, source: str) -> JobMeta:
    rows = statement.rows
    if rows is not None:
        executor.JOB_RESULTS[job_id] = rows
        executor.JOB_SCHEMAS[job_id] = executor.build_response_schema(rows.schema)
    statistics = executor._build_query_statistics(  # noqa: SLF001
        total_rows=0 if rows is None else rows.num_rows,
        statement_type=statement.kind,
        num_dml_affected_rows=statement.num_affected,
    )
    statistics["parentJobId"] = parent.job_id
    statistics["scriptStatistics"] = {
        "evaluationKind": statement.evaluation,
        "stackFrames": _stack_frames(statement.sql, source),
    }
    error: Any = statement.error
    return JobMeta(
        project_id=parent.project_id,
        job_id=job_id,
        job_type="QUERY",
        state="DONE",
        configuration=executor._build_query_configuration(  # noqa: SLF001
            statement.sql, parent.project_id, job_id
        ),
        statistics=statistics,
        error_result=None if error is None else routes._domain_error_to_error_result(error),  # noqa: SLF001
        creation_time=statement.begun,
        start_time=statement.begun,
        end_time=statement.ended,
        etag=generate_etag(parent.project_id, job_id, str(statement.begun)),
    )


def _stack_frames(sql: str, source: str) -> list[dict[str, Any]]:
    """Where a statement is in its script; empty = it is dynamic, or of a procedure."""
    text = sql.strip()
    begin = source.find(text)
    if begin < 0:
        return []
    end = begin + len(text)
    return [
        {
            "startLine": source.count("\n", 0, begin) + 1,
            "startColumn": begin - source.rfind("\n", 0, begin),
            "endLine": source.count("\n", 0, end) + 1,
            "endColumn": end - source.rfind("\n", 0, end),
            "text": text,
        }
    ]

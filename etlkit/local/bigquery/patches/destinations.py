"""The destination table of a SELECT.

Real BigQuery: the rows of a query job are written to its `destinationTable`, depending on
`writeDisposition` and `createDisposition`, and the results of the job are that table. The emulator: it
ran the query and wrote nothing.

What remains: partitions cannot be addressed with `$`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import bqemulator.api.routes.jobs as routes
import sqlglot
from bqemulator.catalog.models import Clustering, TimePartitioning
from bqemulator.domain.errors import AlreadyExistsError, InvalidQueryError, NotFoundError
from bqemulator.jobs import executor
from bqemulator.storage.sql_identifiers import quoted_table_ref
from sqlglot import exp
from sqlglot.tokens import TokenType

from etlkit.local.bigquery.extensions import grammar
from etlkit.local.bigquery.patches.scripts import split_functions
from etlkit.local.bigquery.patches.table import PATCHES
from etlkit.local.bigquery.patches.types import quote, table_schema, to_column
from etlkit.local.bigquery.rules.statements import NAMED

_ANONYMOUS: Final = executor._ANONYMOUS_RESULTS_DATASET  # noqa: SLF001
_MORE_FIELDS: Final = "ALLOW_FIELD_ADDITION"


@dataclass(frozen=True)
class Destination:
    """The table to which the rows of a query are written.

    Attributes:
        name: Project, dataset and table.
        write: WRITE_EMPTY, WRITE_TRUNCATE or WRITE_APPEND.
        may_add: Whether columns that the table does not have are added.
    """

    name: tuple[str, str, str]
    write: str
    may_add: bool

    @property
    def text(self) -> str:
        """The name for messages."""
        return f"{self.name[0]}:{self.name[1]}.{self.name[2]}"

    @property
    def quoted(self) -> str:
        """The name for statements."""
        return f"`{self.name[0]}.{self.name[1]}.{self.name[2]}`"


def destination_of(config: dict[str, Any], project: str) -> Destination | None:
    """The destination that a query job names; None = BigQuery chooses an anonymous table."""
    target = config.get("destinationTable")
    if not target or target.get("datasetId") == _ANONYMOUS:
        return None
    if "$" in target["tableId"]:
        raise InvalidQueryError(
            f"The local BigQuery cannot write a partition by its name, {target['tableId']}: "
            "write the table, or delete and insert the partition's rows"
        )
    return Destination(
        name=(target.get("projectId") or project, target["datasetId"], target["tableId"]),
        write=config.get("writeDisposition") or "WRITE_EMPTY",
        may_add=_MORE_FIELDS in (config.get("schemaUpdateOptions") or ()),
    )


async def execute_or_fail(**job: Any) -> Any:
    """Run a query job. If it fails, the job has the error."""
    config, ctx = job["query_config"], job["ctx"]
    try:
        destination = destination_of(config, job["project_id"])
        if destination is None:
            return await _plain_execute(**job)
        functions, query = split_functions(job["bq_sql"])
        _refuse_others(query)
        statement = await _writing(destination, {**job, "bq_sql": query}, functions)
        await _run(statement, job)
        _keep_layout(destination, config, ctx)
        meta = await _run(f"SELECT * FROM {destination.quoted}", {**job, "query_params": None})
    except routes._SQL_EXECUTION_DOMAIN_ERRORS as error:  # noqa: SLF001
        return routes._failed_job_meta(  # noqa: SLF001
            project_id=job["project_id"],
            job_id=job["job_id"],
            job_type="QUERY",
            config=job["config"],
            error_result=routes._domain_error_to_error_result(error),  # noqa: SLF001
            now=ctx.clock.now(),
        )
    query = {"query": job["bq_sql"], "destinationTable": config["destinationTable"]}
    return meta.model_copy(update={"configuration": {"query": query}})


async def _run(sql: str, job: dict[str, Any]) -> Any:
    return await routes.execute_query_job(
        job["project_id"],
        job["job_id"],
        sql,
        job["query_params"],
        job["ctx"],
        caller=job["caller"],
    )


async def _writing(destination: Destination, job: dict[str, Any], functions: str) -> str:
    """The statement that writes the rows, behind the functions that it calls."""
    statement = await _writing_query(destination, job, functions)
    return functions + statement


async def _writing_query(destination: Destination, job: dict[str, Any], functions: str) -> str:
    ctx, query = job["ctx"], _without_semicolon(job["bq_sql"])
    project, dataset, _ = destination.name
    if ctx.catalog.get_dataset(project, dataset) is None:
        raise NotFoundError(f"Not found: Dataset {project}:{dataset} was not found in location US")
    table = ctx.catalog.get_table(*destination.name)
    query = _named(query)
    if table is None:
        return f"CREATE TABLE {destination.quoted} AS {query}\n"
    if table.table_type not in {"TABLE", "CLONE"}:
        raise InvalidQueryError(
            f"{destination.text} is not allowed for this operation because it is currently "
            f"a {table.table_type}."
        )
    if destination.write == "WRITE_TRUNCATE":
        return f"CREATE OR REPLACE TABLE {destination.quoted} AS {query}\n"
    if destination.write == "WRITE_EMPTY":
        physical = quoted_table_ref(*destination.name)
        (num_rows,) = ctx.engine.execute(f"SELECT count(*) FROM {physical}").fetchone()
        if num_rows:
            raise AlreadyExistsError(f"Already Exists: Table {destination.text}")
    fields = await _fields_of(functions + query, job)
    _match(fields, table, destination, ctx)
    names = ", ".join(f"`{field['name']}`" for field in fields)
    return f"INSERT INTO {destination.quoted} ({names}) {query}\n"


async def _fields_of(query: str, job: dict[str, Any]) -> list[dict[str, Any]]:
    """The columns that a query gives."""
    engine, job_id = job["ctx"].engine, job["job_id"]
    engine.is_dry = True
    try:
        await _run(query, job)
    finally:
        engine.is_dry = False
    executor.JOB_RESULTS.pop(job_id, None)
    return list(executor.JOB_SCHEMAS.pop(job_id))


def _match(fields: list[dict[str, Any]], table: Any, destination: Destination, ctx: Any) -> None:
    """Add the query's new columns to the table, or raise if they do not fit."""
    known = {field.name.casefold(): field for field in table.schema_.fields}
    refused = f"Invalid schema update. Provided Schema does not match Table {destination.text}."
    for field in fields:
        existing = known.get(field["name"].casefold())
        if existing is None and not destination.may_add:
            raise InvalidQueryError(f"{refused} Cannot add fields (field: {field['name']})")
        if existing is not None and existing.type != field["type"]:
            raise InvalidQueryError(
                f"{refused} Field {existing.name} has changed type from {existing.type} to "
                f"{field['type']}"
            )
    new = [field for field in fields if field["name"].casefold() not in known]
    if new:
        physical = quoted_table_ref(*destination.name)
        for field in new:
            column = f"{quote(field['name'])} {to_column(field)}"
            ctx.engine.execute(f"ALTER TABLE {physical} ADD COLUMN {column}")
        schema = table_schema(ctx.engine, physical)
        ctx.catalog.update_table(table.model_copy(update={"schema_": schema}))


def _keep_layout(destination: Destination, config: dict[str, Any], ctx: Any) -> None:
    """Store the partitioning and clustering of the job in the catalog."""
    updates: dict[str, Any] = {}
    if partitioning := config.get("timePartitioning"):
        expiration = partitioning.get("expirationMs")
        updates["time_partitioning"] = TimePartitioning(
            type=partitioning.get("type", "DAY"),
            field=partitioning.get("field"),
            expiration_ms=None if expiration is None else int(expiration),
        )
    if clustering := config.get("clustering"):
        updates["clustering"] = Clustering(fields=tuple(clustering["fields"]))
    table = ctx.catalog.get_table(*destination.name)
    if updates and table is not None:
        ctx.catalog.update_table(table.model_copy(update=updates))


def _refuse_others(sql: str) -> None:
    """Raise if a text is not one query: only queries have a destination."""
    try:
        trees = [tree for tree in sqlglot.parse(sql, read="bigquery") if tree is not None]
    except sqlglot.errors.SqlglotError:
        return  # running the query reports the error
    if len(trees) > 1:
        raise InvalidQueryError("configuration.query.destinationTable cannot be set for scripts")
    if trees and not isinstance(trees[0], exp.Query):
        is_dml = isinstance(trees[0], exp.Insert | exp.Update | exp.Delete | exp.Merge)
        kind = "DML" if is_dml else "DDL"
        raise InvalidQueryError(f"Cannot set destination table in jobs with {kind} statements")


def _named(query: str) -> str:
    """The query with BigQuery's names for columns that have none: `f0_`, `f1_`, …."""
    tree = grammar.parse(query)
    selects = tree.selects if isinstance(tree, exp.Select) else []
    unnamed = [each for each in selects if not isinstance(each, NAMED) and not each.is_star]
    for number, each in enumerate(unnamed):
        each.replace(exp.alias_(each.copy(), f"f{number}_"))
    return tree.sql(dialect="bigquery") if unnamed else query


def _without_semicolon(sql: str) -> str:
    tokens = sqlglot.tokenize(sql, read="bigquery")
    while tokens and tokens[-1].token_type is TokenType.SEMICOLON:
        sql = sql[: tokens.pop().start]
    return sql


_plain_execute: Any = routes._execute_query_or_failed_meta  # noqa: SLF001


def apply() -> None:
    """Write the rows of queries to their destinations."""
    PATCHES.replace("bqemulator.api.routes.jobs:_execute_query_or_failed_meta", execute_or_fail)

"""Run one query that hooks rewrite. The emulator runs all others unchanged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bqemulator.domain.errors import DomainError, InvalidQueryError
from bqemulator.jobs.error_mapper import translate_runtime_error
from bqemulator.sql.parameters import bind_parameters
from sqlglot import exp, parse_one

from etlkit.local.bigquery.extensions import api_errors, grammar, hooks
from etlkit.local.bigquery.extensions.statement_context import StatementContext
from etlkit.local.bigquery.extensions.subqueries import Scope
from etlkit.local.bigquery.patches.scripts import name_positions, positional
from etlkit.local.bigquery.patches.work import StoppedError, interruptible

Bind = Callable[[str], tuple[str, Any]]


async def run(tree: exp.Expr, context: StatementContext, bind: Bind) -> Any:
    """Run a statement and return its rows as an Arrow table.

    Raises:
        DomainError: With BigQuery's message. An error of a hook, or of a function that DuckDB called,
            is raised unchanged.
    """
    api_errors.forget()
    scope = Scope(context, bind)
    sql = ""
    try:
        with interruptible():  # hooks read sub-queries, too
            await scope.rewrite(tree)
            sql, parameters = await scope.lower(tree)
            return context.ctx.engine.fetch_arrow(sql, parameters)
    except Exception as error:
        raise _as_bigquery_error(error, sql) from error
    finally:
        scope.close()


def _as_bigquery_error(error: Exception, sql: str) -> Exception:
    if isinstance(error, StoppedError):
        return error
    carried = api_errors.carried()
    if carried is not None:
        return carried
    translated = translate_runtime_error(error, duckdb_sql=sql)
    if isinstance(translated, DomainError):
        return translated
    return InvalidQueryError(f"The statement failed: {error}")


def involved_tree(sql: str, context: StatementContext) -> exp.Expr | None:
    """The tree of a statement that query hooks rewrite; None = the emulator runs it unchanged."""
    tree = grammar.look(sql)
    return grammar.parse(sql) if tree is not None and hooks.is_involved(tree, context) else None


def with_names(
    sql: str, parameters: list[dict[str, Any]] | None
) -> tuple[str, list[dict[str, Any]] | None]:
    """Give positional parameters names, because a hook may move parts of the statement."""
    if not parameters or any(parameter.get("name") for parameter in parameters):
        return sql, parameters
    named = [{**each, "name": positional(number)} for number, each in enumerate(parameters)]
    return name_positions(sql), named


def job_parameters(parameters: list[dict[str, Any]] | None) -> Bind:
    """Return a function that binds the parameters of a job in DuckDB SQL."""

    def bind(sql: str) -> tuple[str, Any]:
        bound, values = bind_parameters(sql, parameters)
        return bound, values or None

    return bind


def script_parameters(values: dict[str, Any]) -> Bind:
    """Return a function that binds those numbered variables of a script that DuckDB SQL names."""

    def bind(sql: str) -> tuple[str, Any]:
        named = {node.name for node in parse_one(sql, read="duckdb").find_all(exp.Parameter)}
        named |= {node.name for node in parse_one(sql, read="duckdb").find_all(exp.Placeholder)}
        return sql, {name: values[name] for name in named if name in values} or None

    return bind

"""Requests that only read, and may run beside others.

Everything else waits for its turn on the main connection: statements that write, scripts, and queries
that call our functions (remote functions, `ML.*`, images), which have state of their own.
"""

from __future__ import annotations

from typing import Any, Final

from bqemulator.domain.errors import DomainError
from sqlglot import exp

from etlkit.local.bigquery.extensions import grammar, hooks
from etlkit.local.bigquery.extensions.statement_context import StatementContext
from etlkit.local.bigquery.patches.request import Request

_READABLE: Final = ("TABLE", "VIEW")
_NOT_PLAIN: Final = (
    "createSession",
    "connectionProperties",
    "destinationTable",
    "tableDefinitions",
    "useLegacySql",
    "userDefinedFunctionResources",
)
"""Fields of a query job that may make a SELECT more than a read."""


def is_read(request: Request, ctx: Any) -> bool:
    """Whether a request only reads tables that DuckDB can read by itself."""
    if request.method == "GET" or request.is_cancel:
        return True
    query = request.query
    if query is None or any(query.get(field) for field in _NOT_PLAIN):
        return False
    tree = grammar.look(query.get("query") or "")
    return isinstance(tree, exp.Query) and _is_plain(tree, StatementContext(request.project, ctx))


def _is_plain(tree: exp.Expr, context: StatementContext) -> bool:
    named = {table.alias.casefold() for table in tree.find_all(exp.CTE)}
    try:
        return (
            not hooks.is_involved(tree, context)
            and not any(isinstance(call.expression, exp.Func) for call in tree.find_all(exp.Dot))
            and all(
                _is_readable(table, context)
                for table in tree.find_all(exp.Table)
                if table.db or table.name.casefold() not in named
            )
        )
    except DomainError:  # the emulator refuses it, and says why
        return False


def _is_readable(table: exp.Table, context: StatementContext) -> bool:
    if isinstance(table.this, exp.Unnest):
        return True
    if not isinstance(table.this, exp.Identifier) or not table.db or table.args.get("version"):
        return False
    meta = context.ctx.catalog.get_table(*grammar.name_of(table, context.project))
    if meta is None or meta.table_type not in _READABLE:
        return False
    if meta.table_type == "TABLE":
        return True
    body = grammar.look(meta.view_query or "")
    return isinstance(body, exp.Query) and _is_plain(body, context)

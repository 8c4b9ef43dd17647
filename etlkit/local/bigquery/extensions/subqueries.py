"""One running statement: its sub-queries, and the relations that exist until it ends."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Final

import duckdb
import pyarrow as pa
from bqemulator.sql.inner_query import rewrite_and_translate_statement
from bqemulator.sql.table_rewriter import rewrite_table_refs
from bqemulator.sql.translator import SQLTranslator
from sqlglot import exp

if TYPE_CHECKING:
    from etlkit.local.bigquery.extensions.statement_context import StatementContext

    Bind = Callable[[str], tuple[str, Any]]
    QueryHook = Callable[[exp.Expr, "Scope"], Awaitable[bool]]

QUERIES: Final[list[QueryHook]] = []
"""Each hook changes the tree of a statement, in this order, and returns whether it did."""

_KIND: Final = b"bqemu.duckdb_type"
_numbers: Final = itertools.count(1)
_translator: Final = SQLTranslator()


class Scope:
    """The running statement, for query hooks.

    Attributes:
        context: The project, the emulator and the local folders.
    """

    def __init__(self, context: StatementContext, bind: Bind) -> None:
        """`bind` names the job's parameters in DuckDB SQL, and returns it with their values."""
        self.context = context
        self._bind = bind
        self._ends = ExitStack()

    async def rewrite(self, tree: exp.Expr) -> None:
        """Call every query hook with a tree."""
        for hook in QUERIES:
            await hook(tree, self)

    async def lower(self, tree: exp.Expr) -> tuple[str, Any]:
        """DuckDB SQL and its parameters for a tree that the hooks have rewritten."""
        translated = await rewrite_and_translate_statement(
            tree.sql(dialect="bigquery"),
            project_id=self.context.project,
            ctx=self.context.ctx,
            caller=self.context.caller,
            translator=_translator,
        )
        return self._bind(rewrite_table_refs(translated, self.context.project))

    def self_contained(self, node: exp.Expr) -> exp.Query:
        """A copy of a sub-query that can run separately, with the WITH tables that it needs.

        Args:
            node: A query, a query in parentheses, or a table, which stands for all of its rows.
        """
        query: Any = node.copy()
        if isinstance(query, exp.Table):
            query = exp.select("*").from_(query)
        elif isinstance(query, exp.Subquery) and not query.alias:
            query = query.unnest()
        visible = _needed(query, _visible_tables(node))
        if not visible:
            return query  # type: ignore[no-any-return]
        outer = exp.select("*").from_(query.subquery("etlkit_sub"))
        for table in visible:
            outer = outer.with_(table.args["alias"], as_=table.this.copy())
        return outer

    async def read(self, query: exp.Query, batch_rows: int = 64) -> pa.RecordBatchReader:
        """Run a sub-query with all hooks, and stream its rows.

        Nothing else may use DuckDB until the reader is drained. In a dry run there are no rows. The
        DuckDB type of a column is in its field's metadata, under `bqemu.duckdb_type`.

        Args:
            query: A copy that belongs to the caller, e.g. from `self_contained`; it is changed.
            batch_rows: The maximum number of rows in a batch.
        """
        await self.rewrite(query)
        sql, parameters = await self.lower(query)
        engine = self.context.ctx.engine
        if self.context.is_dry:
            sql = f"SELECT * FROM ({sql}\n) LIMIT 0"
        result = engine.execute(sql, parameters)
        kinds = {name: str(kind) for name, kind, *_ in result.description}
        reader = result.to_arrow_reader(batch_rows)
        schema = pa.schema(
            [field.with_metadata({_KIND: kinds[field.name]}) for field in reader.schema]
        )
        batches = (pa.RecordBatch.from_arrays(batch.columns, schema=schema) for batch in reader)
        return pa.RecordBatchReader.from_batches(schema, batches)

    def define(self, sql: str) -> exp.Table:
        """Create a relation from a query in DuckDB's SQL. It exists until the statement ends."""
        name = f"etlkit_rows_{next(_numbers)}"
        connection = self.context.ctx.engine.connection
        connection.execute(f"CREATE TEMP VIEW {name} AS {sql}")
        self._ends.callback(_drop_view, connection, name)
        return exp.to_table(name)

    def defer(self, callback: Callable[[], Any]) -> None:
        """Call this when the statement ends, also after an error."""
        self._ends.callback(callback)

    def close(self) -> None:
        """End the statement: call what was deferred, and drop its relations."""
        self._ends.close()


def _drop_view(connection: Any, name: str) -> None:
    # A failed transaction accepts no statement, and its rollback drops the view.
    with suppress(duckdb.TransactionException):
        connection.execute(f"DROP VIEW IF EXISTS temp.{name}")


def _visible_tables(node: exp.Expr) -> list[exp.CTE]:
    """The WITH tables around a node that it may name, outermost first."""
    visible: list[exp.CTE] = []
    child: Any = node
    parent: Any = node.parent
    while parent is not None:
        if isinstance(parent, exp.With):
            position = next(i for i, each in enumerate(parent.expressions) if each is child)
            visible = [*parent.expressions[:position], *visible]
            child, parent = parent.parent, parent.parent.parent if parent.parent else None
            continue
        with_ = parent.args.get("with_")
        if with_ is not None:
            visible = [*with_.expressions, *visible]
        child, parent = parent, parent.parent
    return visible


def _needed(query: exp.Expr, visible: list[exp.CTE]) -> list[exp.CTE]:
    """Those of the WITH tables that a query names, directly or through others."""
    names = set(_names(query))
    needed: list[exp.CTE] = []
    for table in reversed(visible):
        if table.alias.casefold() in names:
            names.discard(table.alias.casefold())
            names.update(_names(table.this))
            needed.append(table)
    return needed[::-1]


def _names(query: exp.Expr) -> Iterator[str]:
    return (table.name.casefold() for table in query.find_all(exp.Table) if not table.db)

"""The pseudo-column `data` of object tables, in every query that names it.

Real BigQuery: `data`, in any case and with any alias of the table, is the content of the object. It is
not part of `*` or of the schema. In a query that names it, the object table is replaced by a relation
with the object's file in a hidden column, and each `data` by a function of that column. So a file is
read only if its content is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlglot import exp

from etlkit.local.bigquery.extensions import api_errors, grammar
from etlkit.local.bigquery.extensions.object_tables import is_object_table, spec_of
from etlkit.local.bigquery.extensions.objects import DATA, PATH, rows_sql

if TYPE_CHECKING:
    from collections.abc import Iterator

    from etlkit.local.bigquery.extensions.statement_context import StatementContext
    from etlkit.local.bigquery.extensions.subqueries import Scope

_HIDDEN: Final = {"data", PATH}


def names_data(tree: exp.Expr, context: StatementContext) -> bool:
    """Whether a tree names an object table and a hidden column."""
    columns = (column.name.casefold() in _HIDDEN for column in tree.find_all(exp.Column))
    return any(columns) and any(_is_ours(table, context) for table in tree.find_all(exp.Table))


async def add_data(tree: exp.Expr, scope: Scope) -> bool:
    """The query hook: provide the hidden columns that a statement names."""
    context = scope.context
    if not names_data(tree, context):
        return False
    bound = [
        (column, source)
        for column in tree.find_all(exp.Column)
        if column.name.casefold() in _HIDDEN and (source := _source_of(column, context)) is not None
    ]
    replaced: dict[int, str] = {}
    for column, source in bound:
        if id(source) not in replaced:
            replaced[id(source)] = _show_path(source, scope)
        _replace(column, replaced[id(source)])
    return bool(bound)


def _replace(column: exp.Column, alias: str) -> None:
    path: exp.Expr = exp.column(PATH, table=alias)
    if column.name.casefold() != PATH:
        path = exp.Anonymous(this=DATA, expressions=[path])
    if isinstance(column.parent, exp.Select) and column.arg_key == "expressions":
        path = exp.alias_(path, column.name)
    column.replace(path)


def _show_path(table: exp.Table, scope: Scope) -> str:
    """Replace an object table by a relation that has the hidden column, and return its alias."""
    alias = table.alias_or_name
    name = grammar.name_of(table, scope.context.project)
    relation = scope.define(rows_sql(spec_of(name, scope.context), with_path=True))
    query = table.find_ancestor(exp.Select)
    if query is not None:
        _hide_from_stars(query, alias)
    for part in ("db", "catalog"):
        table.set(part, None)
    table.set("this", relation.this)
    table.set("alias", exp.TableAlias(this=exp.to_identifier(alias)))
    return alias


def _hide_from_stars(query: exp.Select, alias: str) -> None:
    for projection in query.expressions:
        star = projection.this if isinstance(projection, exp.Column) else projection
        if not isinstance(star, exp.Star):
            continue
        if isinstance(projection, exp.Column) and not _same(projection.table, alias):
            continue
        hidden = star.args.get("except_") or []
        if all(each.name != PATH for each in hidden):
            star.set("except_", [*hidden, exp.to_identifier(PATH)])


def _source_of(column: exp.Column, context: StatementContext) -> Any:
    """The object table that a hidden column belongs to; None = it is an ordinary column."""
    for query in _visible_queries(column):
        sources = [*_sources(query)]
        if column.table:
            named: list[Any] = [each for each in sources if _same(each.alias_or_name, column.table)]
            if named:
                return named[0] if _is_ours(named[0], context) else None
            continue
        if any(_provides(each, column.name, query, context) for each in sources):
            return None
        ours: list[Any] = [each for each in sources if _is_ours(each, context)]
        if len(ours) > 1:
            raise api_errors.invalid(f"Column name {column.name} is ambiguous")
        if ours:
            return ours[0]
    return None


def _visible_queries(column: exp.Column) -> Iterator[exp.Expr]:
    """The queries whose sources may have a column, innermost first."""
    child: Any = column
    is_source = False
    while (parent := child.parent) is not None:
        if isinstance(parent, exp.CTE):
            return
        if isinstance(parent, exp.Select | exp.Update | exp.Merge) and not is_source:
            yield parent
        if isinstance(child, exp.Subquery | exp.Table):
            # A query in FROM or JOIN does not see the tables beside it.
            is_joined = isinstance(parent, exp.Join | exp.Merge)
            is_source = isinstance(parent, exp.From) or (
                is_joined and child.arg_key in {"this", "using"}
            )
        elif isinstance(parent, exp.Select):
            is_source = False
        child = parent


def _sources(query: exp.Expr) -> Iterator[exp.Expr]:
    start = query.args.get("from_")
    if start is not None:
        yield start.this
    for join in query.args.get("joins") or ():
        yield join.this
    yield from query.args.get("laterals") or ()
    if query.args.get("using") is not None:
        yield query.args["using"]
    # The UPDATE within a MERGE has no table of its own.
    if isinstance(query, exp.Merge | exp.Update) and query.this is not None:
        yield query.this


def _provides(source: exp.Expr, name: str, query: exp.Expr, context: StatementContext) -> bool:
    """Whether a source has an ordinary column of a name, as far as the catalog knows."""
    if isinstance(source, exp.Unnest):
        return _same(source.alias, name) or any(_same(each.name, name) for each in _aliases(source))
    if isinstance(source, exp.Subquery):
        return isinstance(source.this, exp.Query) and _gives(source.this, name, context)
    if not isinstance(source, exp.Table) or not isinstance(source.this, exp.Identifier):
        return False
    if source.db:
        meta = context.ctx.catalog.get_table(*grammar.name_of(source, context.project))
        fields = meta.schema_.fields if meta is not None else ()
        return any(_same(field.name, name) for field in fields)
    table = _with_table(source.name, query)
    return table is not None and _gives(table, name, context)


def _gives(query: exp.Query, name: str, context: StatementContext) -> bool:
    """Whether a query has a result column of a name, directly or through a star."""
    if isinstance(query, exp.SetOperation):
        return _gives(query.left, name, context)  # type: ignore[arg-type]
    if isinstance(query, exp.Subquery):
        return isinstance(query.this, exp.Query) and _gives(query.this, name, context)
    if any(_same(each.alias_or_name, name) for each in query.selects):
        return True
    if not any(each.is_star for each in query.selects):
        return False
    return any(_provides(source, name, query, context) for source in _sources(query))


def _with_table(name: str, query: exp.Expr) -> exp.Query | None:
    """The query of the WITH table of a name that is visible in a query."""
    node: Any = query
    while node is not None:
        with_ = node.args.get("with_")
        for table in with_.expressions if with_ is not None else ():
            if _same(table.alias, name) and isinstance(table.this, exp.Query):
                # Within the query of a WITH table, its own name means another table.
                return None if table.this is query else table.this
        node = node.parent
    return None


def _aliases(source: exp.Expr) -> list[Any]:
    alias = source.args.get("alias")
    return list(alias.args.get("columns") or ()) if alias is not None else []


def _is_ours(table: exp.Expr, context: StatementContext) -> bool:
    if not isinstance(table, exp.Table) or not isinstance(table.this, exp.Identifier):
        return False
    return bool(table.db) and is_object_table(grammar.name_of(table, context.project), context)


def _same(one: str, other: str) -> bool:
    return one.casefold() == other.casefold()

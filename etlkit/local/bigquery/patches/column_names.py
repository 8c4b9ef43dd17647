"""Names of result columns.

Real BigQuery: a result, or a table created from one, cannot have two columns of the same name, in any
case: "Duplicate column names in the result are not supported". The emulator: DuckDB renamed the second
column (`n`, `N_1`).

What remains: a source of `*` that cannot run separately, e.g. a correlated one, is not checked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import duckdb
import sqlglot
from bqemulator.domain.errors import InvalidQueryError
from sqlglot import exp


def refuse_duplicates(connection: Any, sql: str, parameters: list[Any] | None) -> None:
    """Raise if two columns of a query, or of a table created from one, have the same name.

    Args:
        connection: DuckDB's connection.
        sql: One statement in DuckDB's SQL. Only queries and CREATE TABLE AS are checked.
        parameters: The parameters of the statement; None = it has none.

    Raises:
        InvalidQueryError: Two columns have the same name.
    """
    query = _query_of(sql)
    if query is None:
        return
    found = _duplicates(connection, query, parameters)
    if found:
        raise InvalidQueryError(
            "Duplicate column names in the result are not supported. "
            f"Found duplicate(s): {', '.join(found)}",
            location="query",
        )


def is_query(sql: str) -> bool:
    """Whether DuckDB SQL is a query; also True if sqlglot cannot parse it."""
    try:
        tree = sqlglot.parse_one(sql, read="duckdb")
    except sqlglot.errors.SqlglotError:
        return True
    return isinstance(tree, exp.Query)


def _query_of(sql: str) -> exp.Query | None:
    try:
        tree = sqlglot.parse_one(sql, read="duckdb")
    except sqlglot.errors.SqlglotError:
        return None  # DuckDB reports the error
    query = tree.expression if isinstance(tree, exp.Create) and tree.kind == "TABLE" else tree
    return query if isinstance(query, exp.Query) else None


def _duplicates(connection: Any, query: exp.Query, parameters: list[Any] | None) -> list[str]:
    # DuckDB keeps duplicate names of the outermost query, and renames those of inner queries.
    try:
        described = connection.execute(f"DESCRIBE {query.sql(dialect='duckdb')}", parameters)
        names = [str(row[0]) for row in described.fetchall()]
    except (duckdb.Error, TypeError):
        return []  # the statement itself fails, or the inner query cannot run separately
    found = _repeated(names)
    for source, left_out in _behind_stars(query):
        inner = _duplicates(connection, source, None)
        found += [name for name in inner if name.casefold() not in left_out]
    return list(dict.fromkeys(found))


def _repeated(names: list[str]) -> list[str]:
    folded = [name.casefold() for name in names]
    return [name for at, name in enumerate(names) if folded[at] in folded[:at]]


def _behind_stars(query: exp.Query) -> Iterator[tuple[exp.Query, set[str]]]:
    """The subqueries and CTEs whose columns `*` or `q.*` returns, and the names that it leaves out."""
    if isinstance(query, exp.Subquery):  # in parentheses
        yield query.this, set()
        return
    if isinstance(query, exp.SetOperation):  # names come from the first query
        yield _with_ctes(query.left, query), set()
        return
    if not isinstance(query, exp.Select):
        return
    sources = {source.alias_or_name: source for source in _sources(query)}
    for projection in query.expressions:
        if not projection.is_star:
            continue
        star = projection.find(exp.Star)
        left_out = {column.name.casefold() for column in star.args.get("except_") or ()}
        table = projection.table if isinstance(projection, exp.Column) else ""
        for name, source in sources.items():
            inner = _inner_query(source, query) if table in {"", name} else None
            if inner is not None:
                yield _with_ctes(inner, query), left_out


def _sources(query: exp.Select) -> Iterator[exp.Expression]:
    start = query.args.get("from_")
    if start is not None:
        yield start.this
    for join in query.args.get("joins") or ():
        yield join.this


def _inner_query(source: exp.Expression, query: exp.Select) -> exp.Query | None:
    if isinstance(source, exp.Subquery):
        return source.this if isinstance(source.this, exp.Query) else None
    for cte in query.ctes:
        if isinstance(source, exp.Table) and not source.db and cte.alias == source.name:
            return cte.this if isinstance(cte.this, exp.Query) else None
    return None


def _with_ctes(inner: exp.Query, query: exp.Query) -> exp.Query:
    """The inner query with the CTEs that it may name."""
    clause = query.args.get("with_")
    inner = inner.copy()
    if clause is not None and inner.args.get("with_") is None:
        inner.set("with_", clause.copy())
    return inner

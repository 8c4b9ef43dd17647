"""Pipe syntax: `FROM t |> WHERE a > 1 |> SET a = 2 |> AGGREGATE COUNT(*) GROUP BY b`.

Real BigQuery: each operator works on the table that the one before it gave, and aliases of tables stay
known until an operator makes a new table. sqlglot: it put operators into one SELECT that did not do the
same (`LIMIT 1` before `WHERE`), and had no SET, DROP, RENAME or CALL.

What remains: CALL, MATCH_RECOGNIZE and WITH between operators.
https://cloud.google.com/bigquery/docs/reference/standard-sql/pipe-syntax
"""

from __future__ import annotations

from typing import Any, Final

from sqlglot import exp
from sqlglot.dialects.bigquery import BigQuery
from sqlglot.tokens import TokenType

from etlkit.local.bigquery.patches.table import PATCHES

_Parser: Any = BigQuery.Parser

_LATE: Final = ("limit", "offset", "distinct")
"""Parts of a SELECT after which no other operator may be part of it."""

_SAME_TABLE: Final = frozenset({"LIMIT"})
_NAME_LISTS: Final = frozenset({"SET", "DROP", "RENAME"})


def _parse_query(parser: Any, query: Any) -> Any:
    """Read operators, each over a table of its own if it has to be."""
    if isinstance(query, exp.Subquery):
        query = exp.select("*").from_(query, copy=False)
    if not query.args.get("from_"):
        query = exp.select("*").from_(query.subquery(copy=False), copy=False)
    while parser._match(TokenType.PIPE_GT):  # noqa: SLF001
        word = parser._curr.text.upper()  # noqa: SLF001
        if word not in _SAME_TABLE or query.args.get("limit"):
            query = _on_its_own(parser, query, word)
        query = _changed(parser, query, word) if word in _NAME_LISTS else _one(parser, query)
        if query is None:
            return None
    return query


def _one(parser: Any, query: Any) -> Any:
    """Let sqlglot read one operator."""
    plain = parser.PIPE_SYNTAX_TRANSFORM_PARSERS.get(parser._curr.text.upper())  # noqa: SLF001
    if plain is not None:
        return plain(parser, query)
    start = parser._index  # noqa: SLF001
    parsed = parser._parse_pipe_syntax_set_operator(query)  # noqa: SLF001
    parsed = parsed or parser._parse_pipe_syntax_join(query)  # noqa: SLF001
    if not parsed:
        word = parser._curr.text  # noqa: SLF001
        parser._retreat(start)  # noqa: SLF001
        parser.raise_error(f"Unsupported pipe syntax operator: '{word}'.")
    return parsed


def _on_its_own(parser: Any, query: Any, word: str) -> Any:
    """The query as a table, unless the operator can be part of it."""
    if not isinstance(query, exp.Select):
        return parser._build_pipe_cte(query=query, expressions=[exp.Star()])  # noqa: SLF001
    is_late = any(query.args.get(part) for part in _LATE)
    is_filtered = query.args.get("where") is not None or query.args.get("order") is not None
    is_plain = [each.sql() for each in query.expressions] == ["*"]
    if not is_late and is_plain and (word not in ("JOIN", *_JOINS) or not is_filtered):
        return query
    alias = _only_alias(query)
    made = parser._build_pipe_cte(query=query, expressions=[exp.Star()])  # noqa: SLF001
    if alias:
        made.args["from_"].this.set("alias", exp.TableAlias(this=exp.to_identifier(alias)))
    return made


_JOINS: Final = ("LEFT", "RIGHT", "FULL", "INNER", "CROSS")


def _only_alias(query: exp.Select) -> str:
    """What the only table of a query is called; "" = there are several."""
    source = query.args["from_"].this
    return "" if query.args.get("joins") else str(source.alias_or_name)


def _changed(parser: Any, query: Any, word: str) -> Any:
    """SET, DROP and RENAME: the star with other columns."""
    parser._advance()  # noqa: SLF001
    if word == "DROP":
        names = parser._parse_csv(parser._parse_id_var)  # noqa: SLF001
        star = exp.Star(except_=names)
    elif word == "SET":
        pairs = parser._parse_csv(parser._parse_assignment)  # noqa: SLF001
        replaced = [
            exp.alias_(pair.expression, exp.to_identifier(pair.this.name, quoted=True))
            for pair in pairs
        ]
        star = exp.Star(replace=replaced)
    else:
        star = exp.Star(rename=parser._parse_csv(lambda: _renamed(parser)))  # noqa: SLF001
    query.set("expressions", [star])
    return _on_its_own(parser, query, word)


def _renamed(parser: Any) -> exp.Expr:
    old = parser._parse_id_var()  # noqa: SLF001
    parser._match(TokenType.ALIAS)  # noqa: SLF001
    return exp.alias_(exp.Column(this=old), parser._parse_id_var())  # noqa: SLF001


def apply() -> None:
    """Read pipe syntax so."""
    PATCHES.replace(
        "sqlglot.dialects.bigquery:BigQuery.Parser._parse_pipe_syntax_query", _parse_query
    )

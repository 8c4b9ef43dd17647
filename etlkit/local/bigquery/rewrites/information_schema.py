"""INFORMATION_SCHEMA views as queries.

Real BigQuery: the parts of their names may be quoted together or one by one, and a literal that has
such a name is a text. The emulator finds the names in the text of a statement: it did not know all
forms, and replaced them within literals too, so that a query kept as a value became another one.
"""

from __future__ import annotations

from typing import Any, Final

import sqlglot
from bqemulator.sql.rewriter import information_schema as views
from sqlglot.tokens import Token, TokenType

from etlkit.local.bigquery.sql_names import scan

_NAMES: Final = (TokenType.VAR, TokenType.IDENTIFIER)
_SCHEMA: Final = "INFORMATION_SCHEMA"
_EXPANSIONS: Final = (
    views.expand_information_schema_routines,
    views.expand_information_schema_materialized_views,
    views.expand_information_schema_row_access_policies,
    views.expand_information_schema_schemata,
    views.expand_information_schema_tables,
    views.expand_information_schema_columns,
    views.expand_information_schema_table_options,
    views.expand_information_schema_views,
    views.expand_information_schema_partitions,
)


def in_one_name(sql: str) -> str:
    """The text with each name of an INFORMATION_SCHEMA view in one pair of backticks."""
    if _SCHEMA not in sql.upper() or "`" not in sql:
        return sql
    try:
        tokens = sqlglot.tokenize(sql, read="bigquery")
    except sqlglot.errors.SqlglotError:
        return sql
    for path in reversed(_paths(tokens)):
        name = ".".join(token.text for token in path)
        if _SCHEMA in name.upper().split("."):
            sql = f"{sql[: path[0].start]}`{name}`{sql[path[-1].end + 1 :]}"
    return sql


def expand(sql: str, project: str, catalog: Any) -> str:
    """The text with each INFORMATION_SCHEMA view that it names as a query."""
    if _SCHEMA not in sql.upper():
        return sql
    return "".join(
        _query(text, project, catalog) if kind == "path" and _SCHEMA in text.upper() else text
        for kind, text in scan(sql).pieces
    )


def _query(name: str, project: str, catalog: Any) -> str:
    """A view as a query; a name that is none of them as it is."""
    for expand_one in _EXPANSIONS:
        query = str(expand_one(name, project, catalog))
        if query != name:
            return query  # it may have such names in its values: a view's text, a routine's
    return name


def _paths(tokens: list[Token]) -> list[list[Token]]:
    """The parts of each name in a text."""
    paths: list[list[Token]] = []
    goes_on = False
    for token in tokens:
        if token.token_type is TokenType.DOT:
            goes_on = bool(paths)
        elif goes_on:
            paths[-1].append(token)
            goes_on = False
        elif token.token_type in _NAMES:
            paths.append([token])
    return paths

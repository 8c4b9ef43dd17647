"""Names of INFORMATION_SCHEMA views, with backticks anywhere.

Real BigQuery: the parts of such a name may be quoted together or one by one. The emulator finds the
names by their text, and did not know all forms.
"""

from __future__ import annotations

from typing import Final

import sqlglot
from sqlglot.tokens import Token, TokenType

_NAMES: Final = (TokenType.VAR, TokenType.IDENTIFIER)
_SCHEMA: Final = "INFORMATION_SCHEMA"


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

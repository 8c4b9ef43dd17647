"""ALTER TABLE with several actions.

Real BigQuery: one statement adds, changes or drops several columns,
https://cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language#alter_table_add_column_statement
The emulator: DuckDB takes one action a statement and refused the rest.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import sqlglot
from bqemulator.domain.result import Err, Ok
from bqemulator.sql.translator import SQLTranslator
from sqlglot.tokens import TokenType

from etlkit.local.bigquery.patches.table import PATCHES

_ACTIONS = frozenset({"ADD", "ALTER", "DROP", "RENAME", "SET"})
_OPENING = frozenset({TokenType.L_PAREN, TokenType.LT, TokenType.L_BRACKET})
_CLOSING = frozenset({TokenType.R_PAREN, TokenType.GT, TokenType.R_BRACKET})


def one_action_each(sql: str) -> list[str]:
    """Split an ALTER TABLE of several actions into statements of one action; others stay."""
    if sql.lstrip()[:5].upper() != "ALTER":
        return [sql]
    try:
        tokens = sqlglot.tokenize(sql, read="bigquery")
    except sqlglot.errors.SqlglotError:
        return [sql]  # the translator says what is wrong with it
    starts: list[int] = []
    depth = 0
    for before, token in pairwise(tokens):
        depth += (before.token_type in _OPENING) - (before.token_type in _CLOSING)
        begins = not starts or before.token_type is TokenType.COMMA
        if begins and not depth and token.text.upper() in _ACTIONS:
            starts.append(token.start)
    if len(starts) < 2:
        return [sql]
    ends = [*starts[1:], len(sql)]
    return [
        sql[: starts[0]] + sql[start:end].rstrip().rstrip(",")
        for start, end in zip(starts, ends, strict=True)
    ]


def apply() -> None:
    """Translate each action by itself; DuckDB runs the statements one after the other."""
    plain = SQLTranslator.translate

    def translate(translator: SQLTranslator, bq_sql: str, **options: Any) -> Any:
        results = [plain(translator, each, **options) for each in one_action_each(bq_sql)]
        if len(results) == 1:
            return results[0]
        refused = next((result for result in results if isinstance(result, Err)), None)
        return refused or Ok(";\n".join(each.value for each in results if isinstance(each, Ok)))

    PATCHES.replace("bqemulator.sql.translator:SQLTranslator.translate", translate)

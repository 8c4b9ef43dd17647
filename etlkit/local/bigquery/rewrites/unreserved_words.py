"""Names that are keywords for sqlglot or DuckDB, but not for GoogleSQL: `SELECT * FROM dataset.out`.

Real BigQuery: every word that is not in its list of reserved keywords is a name without backticks,
https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical#reserved_keywords
The emulator: such names were syntax errors.

What remains: `alter`, `constraint`, `connect_by_root` and `partitioned_by` need backticks.
"""

from __future__ import annotations

from typing import Any, Final

from sqlglot.dialects.bigquery import BigQuery
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.tokens import TokenType

from etlkit.local.bigquery.patches.table import PATCHES

_Parser: Any = BigQuery.Parser

_TOKENS: Final = frozenset(
    {
        TokenType.DECLARE,
        TokenType.DESCRIBE,
        TokenType.DROP,
        TokenType.GLOB,
        TokenType.ILIKE,
        TokenType.INSERT,
        TokenType.MAP,
        TokenType.NOTNULL,
        TokenType.OUT,
        TokenType.RETURNING,
        TokenType.REVOKE,
        TokenType.RLIKE,
        TokenType.ROLLBACK,
        TokenType.UNCACHE,
        TokenType.XOR,
    }
)
_WORDS: Final = frozenset({token.name.lower() for token in _TOKENS} | {"character", "regexp"})


def apply() -> None:
    """Read these words as names, and quote them in DuckDB's SQL."""
    PATCHES.replace(
        "sqlglot.dialects.bigquery:BigQuery.Parser.ID_VAR_TOKENS", _Parser.ID_VAR_TOKENS | _TOKENS
    )
    PATCHES.replace(
        "sqlglot.dialects.duckdb:DuckDB.Generator.RESERVED_KEYWORDS",
        DuckDB.Generator.RESERVED_KEYWORDS | _WORDS,
    )

"""A text that sqlglot has parsed is not parsed again.

The emulator parses a statement about 40 times until it has run it: each of its steps starts from the
text. A copy of a tree takes a sixth of the time. Who gets a tree may change it, so each gets a copy.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from sqlglot.dialects.dialect import Dialect

from etlkit.local.bigquery.patches.table import PATCHES

if TYPE_CHECKING:
    from sqlglot import exp

_MAX_TEXTS: Final = 512
_MAX_CHARS: Final = 100_000
"""A longer text is parsed anew: its trees would fill the memory."""


@lru_cache(maxsize=_MAX_TEXTS)
def _parsed(kind: type[Dialect], sql: str) -> tuple[exp.Expr | None, ...]:
    return tuple(_plain_parse(kind(), sql))


def _parse(dialect: Dialect, sql: str, **options: Any) -> list[exp.Expr | None]:
    if options or dialect.settings or len(sql) > _MAX_CHARS:
        return _plain_parse(dialect, sql, **options)
    return [None if tree is None else tree.copy() for tree in _parsed(type(dialect), sql)]


_plain_parse: Final = Dialect.parse


def apply() -> None:
    """Remember trees. Called after everything that changes how sqlglot parses."""
    _parsed.cache_clear()
    PATCHES.replace("sqlglot.dialects.dialect:Dialect.parse", _parse)

"""SQL whose clock stands still: CURRENT_DATE and its kin as fixed values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from etlkit.errors import ConfigError
from etlkit.variables.sql_tokens import tokenize

if TYPE_CHECKING:
    from etlkit.variables.sql_tokens import Token

_MADE: Mapping[str, Callable[[str, str], str]] = {
    "CURRENT_TIMESTAMP": lambda moment, _zone: moment,
    "CURRENT_DATE": lambda moment, zone: f"DATE({moment}{zone})",
    "CURRENT_DATETIME": lambda moment, zone: f"DATETIME({moment}{zone})",
    "CURRENT_TIME": lambda moment, zone: f"TIME({moment}{zone})",
}
"""What stands for each function, given the moment and `, 'time zone'` or nothing.
Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/date_functions#current_date"""


def frozen(sql: str, now: datetime) -> str:
    """The SQL with a fixed moment in the place of CURRENT_TIMESTAMP, CURRENT_DATE, and so on.

    Texts that are executed as SQL, and functions that are there already, keep their own clock.

    Args:
        sql: One statement, or several.
        now: An aware time.

    Raises:
        ConfigError: `now` has no timezone, or a quote in the SQL is not closed.
    """
    if now.tzinfo is None:
        raise ConfigError(
            f"now={now!r} has no timezone: write e.g. datetime(2026, 1, 1, tzinfo=UTC)"
        )
    moment = f"TIMESTAMP '{now.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}+00'"
    tokens = tokenize(sql)
    parts, kept = [], 0
    for at, token in enumerate(tokens):
        if token.word not in _MADE or _is_part_of_name(tokens, at):
            continue
        last, zone = _arguments(sql, tokens, at)
        parts += [sql[kept : token.start], _MADE[token.word](moment, zone)]
        kept = last.end
    return "".join([*parts, sql[kept:]])


def _is_part_of_name(tokens: Sequence[Token], at: int) -> bool:
    return at > 0 and tokens[at - 1].text == "."


def _arguments(sql: str, tokens: Sequence[Token], at: int) -> tuple[Token, str]:
    """The last token of the call, and its argument with a comma before it."""
    if at + 1 == len(tokens) or tokens[at + 1].text != "(":
        return tokens[at], ""
    depth = 0
    for token in tokens[at + 1 :]:
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if depth == 0:
            inside = sql[tokens[at + 1].end : token.start].strip()
            return token, f", {inside}" if inside else ""
    return tokens[at], ""

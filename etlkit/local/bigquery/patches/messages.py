"""Error messages.

Real BigQuery: messages have the user's names of tables and columns, and a position in the user's SQL.
The emulator: for unknown columns and failed conversions it showed DuckDB's message with DuckDB's SQL,
and the position of a syntax error was that of the next word.
"""

from __future__ import annotations

import re
from typing import Final

import sqlglot
from bqemulator.domain.errors import DomainError, InvalidQueryError, NotFoundError
from bqemulator.jobs import error_mapper

from etlkit.local.bigquery.patches.table import PATCHES
from etlkit.local.bigquery.patches.work import CANCELLED, StoppedError
from etlkit.local.server.endpoints import PROJECT

# These look at DuckDB's and the emulator's messages, never at SQL.
_UNKNOWN_COLUMN: Final = re.compile(r'Referenced column "([^"]+)" not found')
_UNKNOWN_FIELD: Final = re.compile(r'Table "([^"]+)" does not have a column named "([^"]+)"')
_BAD_INTEGER: Final = re.compile(r"Could not convert string '([^']*)' to INT")
_RAISED: Final = re.compile(r"executing the UDF: ValueError: (.*?)\s*At:", re.DOTALL)
"""By a function of our own, which words it as BigQuery does."""

_OWN_ERROR: Final = re.compile(
    r"^Invalid Input Error: ((?!Type |Failed |Division |Can't |Values |Attempting ).*)$", re.DOTALL
)
"""By `ERROR('…')`, and by macros of our own."""

_NO_DATASET: Final = re.compile(
    rf'(?:schema "|Schema with name )({PROJECT})__([^"\s]+?)"? does not exist'
)
_QUALIFIED: Final = re.compile(r"^((?:Not found|Already Exists): Table [\w-]+)\.(?=[^.]+\.[^.])")
_PHYSICAL_NAME: Final = re.compile(r'"?(\w+?)__(\w+)"?\."?(\w+)"?')
_INTERRUPTED: Final = "INTERRUPT Error"
_WRAPPED: Final = "Query execution failed: "
_PLACED: Final = re.compile(r'^(Syntax error: .*?"([^"]+)") at \[\d+:\d+\]')
_UNDERLINE: Final = re.compile(r"\x1b\[\d*m")
"""How sqlglot shows a place on a terminal."""

_CAUSE: Final = re.compile(r"^(division by zero: .*?) \(Invalid Input Error: .*\)$", re.DOTALL)
"""How the emulator ends a message: with DuckDB's own."""

_UNPLACED: Final = re.compile(r"^(?:Unrecognized name: |Name )(\w+)")


def _translate(error: BaseException, *, duckdb_sql: str | None = None) -> DomainError:
    text = str(error)
    if (match := _NO_DATASET.search(text)) is not None:  # the emulator: access denied
        message = r"Not found: Dataset \1:\2 was not found in location US"
        return NotFoundError(match.expand(message))
    if _INTERRUPTED in text:
        return StoppedError(CANCELLED)
    if isinstance(error, StoppedError):
        return error
    if isinstance(error, DomainError):
        mapped = _plain_translate(error, duckdb_sql=duckdb_sql)
        return error if mapped.message.startswith(_WRAPPED) else mapped
    for pattern, message in (
        (_UNKNOWN_COLUMN, r"Unrecognized name: \1"),
        (_UNKNOWN_FIELD, r"Name \2 not found inside \1"),
        (_BAD_INTEGER, r"Bad int64 value: \1"),
        (_RAISED, r"\1"),
        (_OWN_ERROR, r"\1"),
    ):
        match = pattern.search(text)
        if match is not None:
            return InvalidQueryError(match.expand(message), location="query")
    mapped = _plain_translate(error, duckdb_sql=duckdb_sql)
    return _with_message(mapped, _without_internals(_CAUSE.sub(r"\1", mapped.message)))


def _without_internals(message: str) -> str:
    message = message.split("\n\nLINE ", maxsplit=1)[0]
    return _QUALIFIED.sub(r"\1:", _PHYSICAL_NAME.sub(r"\1.\2.\3", message))


def locate(error: InvalidQueryError, sql: str, source: str | None = None) -> InvalidQueryError:
    """Add or correct the position of an error, and take underlines away.

    Args:
        error: The error of the emulator.
        sql: The statement that failed.
        source: The script that has the statement; None = the statement is not part of a script.
    """
    _with_message(error, _UNDERLINE.sub("", error.message))
    placed, unplaced = _PLACED.match(error.message), _UNPLACED.match(error.message)
    if placed is None and (unplaced is None or " at [" in error.message):
        return error
    word = placed[2] if placed is not None else unplaced[1] if unplaced is not None else ""
    where = _place_of(word, sql, source or sql)
    if where is None:
        return error
    text = placed[1] if placed is not None else error.message
    _with_message(error, f"{text} at [{where}]")
    return error


def _place_of(word: str, sql: str, source: str) -> str | None:
    """Line and column of the first token that is `word`, in the user's text; None = not found."""
    begin = max(source.find(sql.strip()), 0)
    try:
        tokens = sqlglot.tokenize(source, read="bigquery")
    except sqlglot.errors.SqlglotError:
        return None
    for token in tokens:
        if token.start >= begin and token.text.casefold() == word.casefold():
            return _line_and_column(token.start, source)
    return None


def at_statement(error: InvalidQueryError, sql: str, source: str) -> InvalidQueryError:
    """Add the position of a statement in its script. Dynamic SQL has none."""
    begin = source.find(sql.strip())
    if begin >= 0:
        _with_message(error, f"{error.message} at [{_line_and_column(begin, source)}]")
    return error


def _line_and_column(index: int, source: str) -> str:
    line_start = source.rfind("\n", 0, index) + 1
    return f"{source.count(chr(10), 0, index) + 1}:{index - line_start + 1}"


def _with_message(error: DomainError, message: str) -> DomainError:
    error.message = message
    error.args = (message,)
    return error


_plain_translate = error_mapper.translate_runtime_error


def apply() -> None:
    """Let errors have the user's names. Their positions are added where statements run."""
    PATCHES.replace("bqemulator.jobs.error_mapper:translate_runtime_error", _translate)
    PATCHES.replace("bqemulator.jobs.executor:translate_runtime_error", _translate)

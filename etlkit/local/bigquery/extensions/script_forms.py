"""Statements of the procedural language that the emulator does not have.

Real BigQuery: DECLARE may leave the type to the default, REPEAT and CASE are statements, conditions may
have a CASE expression, and the body of a procedure any statement. The emulator: a DECLARE had a type,
REPEAT and CASE were SQL, a condition ended at the first THEN, and the body of a procedure at the first
END that was not that of a BEGIN.
https://cloud.google.com/bigquery/docs/reference/standard-sql/procedural-language

What remains: labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from bqemulator.scripting import ast
from bqemulator.scripting.parser import Parser

from etlkit.local.bigquery.patches.table import PATCHES

_AFTER_A_BRANCH: Final = ("WHEN", "ELSE", "END")


@dataclass(frozen=True, slots=True)
class RepeatStmt(ast.Statement):
    """`REPEAT … UNTIL condition END REPEAT`: the condition is asked after each round."""

    body: tuple[ast.Statement, ...]
    condition_expr: str


def _is_word(token: Any, *words: str) -> bool:
    return token.kind in ("KEYWORD", "IDENT") and token.raw_value.upper() in words


def _parse_statement(parser: Any) -> ast.Statement | None:
    token = parser._cursor.current  # noqa: SLF001
    if _is_word(token, "REPEAT"):
        return _repeat(parser)
    if _is_word(token, "CASE"):
        return _case(parser)
    return _plain_parse_statement(parser)  # type: ignore[no-any-return]


def _until(parser: Any, *words: str) -> tuple[ast.Statement, ...]:
    """The statements before one of these words."""
    found = []
    cursor = parser._cursor  # noqa: SLF001
    while not cursor.at_eof() and not _is_word(cursor.current, *words):
        statement = parser._parse_statement()  # noqa: SLF001
        if statement is not None:
            found.append(statement)
    return tuple(found)


def _repeat(parser: Any) -> RepeatStmt:
    cursor = parser._cursor  # noqa: SLF001
    cursor.advance()
    body = _until(parser, "UNTIL")
    cursor.advance()
    condition = parser._capture_expr_until((";",), stop_keywords=("END",))  # noqa: SLF001
    _end(parser)
    return RepeatStmt(body, condition)


def _case(parser: Any) -> ast.IfStmt:
    """A CASE statement is an IF with a branch for each WHEN."""
    cursor = parser._cursor  # noqa: SLF001
    cursor.advance()
    value = parser._capture_expr_until((), stop_keywords=("WHEN",))  # noqa: SLF001
    branches = []
    while cursor.match_keyword("WHEN"):
        cursor.advance()
        condition = parser._capture_expr_until((), stop_keywords=("THEN",))  # noqa: SLF001
        cursor.expect_keyword("THEN")
        if value:
            condition = f"({value}) = ({condition})"
        branches.append((condition, _until(parser, *_AFTER_A_BRANCH)))
    otherwise = None
    if cursor.match_keyword("ELSE"):
        cursor.advance()
        otherwise = _until(parser, "END")
    _end(parser)
    return ast.IfStmt(tuple(branches), otherwise)


def _end(parser: Any) -> None:
    """Read END and the word behind it."""
    parser._cursor.expect_keyword("END")  # noqa: SLF001
    parser._cursor.advance()  # noqa: SLF001
    parser._consume_optional_semicolon()  # noqa: SLF001


def _parse_declare(parser: Any) -> ast.DeclareStmt:
    """A DECLARE without a type has "" as its type."""
    cursor = parser._cursor  # noqa: SLF001
    at = 1
    while cursor.peek(at).kind == "IDENT" and cursor.peek(at + 1).value == ",":
        at += 2
    if not (cursor.peek(at + 1).kind == "KEYWORD" and cursor.peek(at + 1).value == "DEFAULT"):
        return _plain_parse_declare(parser)  # type: ignore[no-any-return]
    names = tuple(cursor.peek(number).value for number in range(1, at + 1, 2))
    for _ in range(at + 2):
        cursor.advance()
    default = parser._capture_expr_until((";",), stop_keywords=())  # noqa: SLF001
    parser._consume_optional_semicolon()  # noqa: SLF001
    return ast.DeclareStmt(names=names, type_name="", default_expr=default)


def _capture_expr_until(
    parser: Any, stop_puncts: tuple[str, ...], *, stop_keywords: tuple[str, ...]
) -> str:
    """The text of an expression; words between CASE and its END do not stop it."""
    cursor = parser._cursor  # noqa: SLF001
    start, depth, cases = cursor.pos, 0, 0
    while not cursor.at_eof():
        token = cursor.current
        is_word = token.kind == "KEYWORD" and token.value in stop_keywords
        is_mark = token.kind == "PUNCT" and token.value in stop_puncts
        is_close = token.kind == "PUNCT" and token.value in ")]"
        if depth == 0 and (is_close or (not cases and (is_word or is_mark))):
            break
        depth += 1 if token.kind == "PUNCT" and token.value in "([" else -1 if is_close else 0
        if _is_word(token, "CASE"):
            cases += 1
        elif cases and _is_word(token, "END"):
            cases -= 1
        cursor.advance()
    return str(cursor.slice(start, cursor.pos))


def _capture_balanced_block(parser: Any) -> str:
    """The body of a procedure between BEGIN and its END; a block if it handles exceptions."""
    cursor = parser._cursor  # noqa: SLF001
    start = cursor.pos
    _until(parser, "EXCEPTION", "END")
    if not cursor.match_keyword("EXCEPTION"):
        body = cursor.slice(start, cursor.pos)
        cursor.expect_keyword("END")
        return str(body)
    for word in ("EXCEPTION", "WHEN", "ERROR", "THEN"):
        if not _is_word(cursor.current, word):
            cursor.expect_keyword(word)
        cursor.advance()
    _until(parser, "END")
    cursor.expect_keyword("END")
    return f"BEGIN {cursor.slice(start, cursor.pos)};"


_plain_parse_statement: Any = Parser._parse_statement  # noqa: SLF001
_plain_parse_declare: Any = Parser._parse_declare  # noqa: SLF001


def apply() -> None:
    """Parse these forms."""
    PATCHES.replace("bqemulator.scripting.parser:Parser._parse_statement", _parse_statement)
    PATCHES.replace("bqemulator.scripting.parser:Parser._parse_declare", _parse_declare)
    PATCHES.replace("bqemulator.scripting.parser:Parser._capture_expr_until", _capture_expr_until)
    PATCHES.replace(
        "bqemulator.scripting.parser:Parser._capture_balanced_block", _capture_balanced_block
    )

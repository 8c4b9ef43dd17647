r"""Text: escapes of literals, LIKE, and functions that take positions and lengths.

Real BigQuery: `'\x41\u00e9'` is `Aé`; a backslash escapes in a pattern of LIKE; position 0 is
position 1; a negative length is an error; INSTR counts occurrences from the end if the position is
negative.
https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical#escape_sequences
https://cloud.google.com/bigquery/docs/reference/standard-sql/string_functions
DuckDB: it kept such escapes as they were written, and took lengths below 0.

What remains: most functions of BYTES other than the lengths, hashes and encodings.
"""

from __future__ import annotations

import re
from typing import Any, Final

import sqlglot
from sqlglot import exp
from sqlglot.tokens import TokenType

from etlkit.local.bigquery.patches.own_functions import OwnFunctions, call, fails

_ESCAPE: Final = re.compile(
    r"\\(?:[xX]([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2})|(.))", re.DOTALL
)
_RARE: Final = re.compile(r"\\[xXuU0-3abfv?\"'`]")
_NUL: Final = re.compile(r"\\(?:x00|X00|u0000|U00000000|000)")
"""DuckDB's SQL has no such character."""

_NAMED: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def _unescaped_literals(sql: str) -> str:
    """Write literals with rare escapes as the characters that they mean."""
    if _RARE.search(sql) is None:
        return sql
    try:
        tokens = sqlglot.tokenize(sql, read="bigquery")
    except sqlglot.errors.SqlglotError:
        return sql
    for token in reversed(tokens):
        text = sql[token.start : token.end + 1]
        if token.token_type is TokenType.STRING and _RARE.search(text) and not _NUL.search(text):
            sql = sql[: token.start] + _literal(text) + sql[token.end + 1 :]
    return sql


def _literal(text: str) -> str:
    quotes = 3 if text[:3] in {"'''", '"""'} else 1
    value = _ESCAPE.sub(_character, text[quotes:-quotes])
    plain = (
        value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
    )
    return f"'{plain}'"


def _character(match: re.Match[str]) -> str:
    octal, char = match[4], match[5]
    if char is not None:
        return _NAMED.get(char, char)
    if octal is not None:
        return chr(int(octal, 8))
    return chr(int(match[1] or match[2] or match[3], 16))


def _like(node: Any) -> exp.Expression | None:
    pattern = node.expression
    if not isinstance(pattern, exp.Literal) or "\\" not in pattern.name:
        return None
    return call("like", node.this, pattern)


def _substring(node: Any) -> exp.Expression | None:
    start, length = node.args.get("start"), node.args.get("length")
    if start is None:
        return None
    return call("substr", node.this, start, *([] if length is None else [length]))


def _counted(name: str) -> Any:
    return lambda node: call(name, node.this, node.expression)


def _repeat(node: Any) -> exp.Expression:
    return call("repeat", node.this, node.args["times"])


def _pad(node: Any) -> exp.Expression:
    name = "lpad" if node.args.get("is_left") else "rpad"
    fill = node.args.get("fill_pattern") or exp.Literal.string(" ")
    return call(name, node.this, node.expression, fill)


def _position(node: Any) -> exp.Expression | None:
    position, occurrence = node.args.get("position"), node.args.get("occurrence")
    if position is None and occurrence is None:
        return None
    one = exp.Literal.number(1)
    return call("instr", node.this, node.args["substr"], position or one, occurrence or one)


def _joined(node: Any) -> exp.Expression:
    return call("join", node.this, node.expression)


def _concatenated(node: Any) -> exp.Expression | None:
    first, *others = node.expressions
    if not others:
        return None
    joined: exp.Expression = first
    for other in others:
        joined = call("join", joined, other)
    return joined


def _extracted(node: Any) -> exp.Expression | None:
    """REGEXP_EXTRACT of a literal pattern: no match is NULL, and an empty match is none."""
    pattern = node.expression
    if node.args.get("position") is not None or node.args.get("occurrence") is not None:
        return None
    if not isinstance(pattern, exp.RawString | exp.Literal):
        return None
    num_groups = _num_groups(pattern.name)
    if num_groups is None:
        return None
    if num_groups > 1:
        return call("too_many_groups", node.this)
    return call("regexp_group" if num_groups else "regexp_match", node.this, pattern)


def _num_groups(pattern: str) -> int | None:
    """How many groups a pattern captures; None = Python cannot read it."""
    try:
        return re.compile(pattern).groups
    except (re.error, OverflowError):
        return None


def _instr(text: str, part: str, position: int, occurrence: int) -> int:
    if position == 0:
        raise ValueError("Position must be non-zero")
    if occurrence <= 0:
        raise ValueError("Occurrence must be positive")
    if not part or abs(position) > len(text):
        return 0
    found = position - 2 if position > 0 else len(text) + position + 1
    for _ in range(occurrence):
        if position > 0:
            found = text.find(part, found + 1)
        else:
            found = text.rfind(part, 0, found - 1 + len(part)) if found > 0 else -1
        if found < 0:
            return 0
    return found + 1


_GROUPS: Final = fails(
    "'Regular expressions passed into extraction functions must not have more than 1 capturing group'"
)
_NEGATIVE: Final = fails("'Third argument in SUBSTR() cannot be negative'")


def _length(name: str, message: str, of_bytes: str) -> str:
    failure = fails(f"'{message}'")
    return (
        f"{name}(x VARCHAR, n) AS CASE WHEN n < 0 THEN {failure} ELSE {name}(x, n) END, "
        f"(x BLOB, n) AS CASE WHEN n < 0 THEN CAST({failure} AS BLOB) ELSE {of_bytes} END"
    )


def _padded(name: str) -> str:
    size = fails("'Second argument (output size) for LPAD/RPAD cannot be negative'")
    empty = fails("'Third argument (pad pattern) for LPAD/RPAD cannot be empty'")
    return (
        f"{name}(x, n, fill) AS CASE WHEN n < 0 THEN {size} WHEN fill = '' THEN {empty} "
        f"ELSE {name}(x, CAST(n AS INTEGER), fill) END"
    )


_START: Final = "CASE WHEN p = 0 THEN 1 WHEN p < -length(x) THEN 1 ELSE p END"
_START_OF_BYTES: Final = (
    "CASE WHEN p = 0 THEN 1 WHEN p < -octet_length(x) THEN 1 "
    "WHEN p < 0 THEN octet_length(x) + p + 1 ELSE p END"
)

FUNCTIONS: Final = OwnFunctions(
    marks=r"\blike\b|substr|\b(?:left|right|lpad|rpad|repeat|instr|concat|regexp_extract|regexp_substr)\s*\(|\|\||\\[xXuU0-3abfv?\"'`]",
    tokens=_unescaped_literals,
    rewrites={
        exp.Like: _like,
        exp.Substring: _substring,
        exp.Left: _counted("left"),
        exp.Right: _counted("right"),
        exp.Repeat: _repeat,
        exp.Pad: _pad,
        exp.StrPosition: _position,
        exp.DPipe: _joined,
        exp.Concat: _concatenated,
        exp.RegexpExtract: _extracted,
    },
    functions=[("instr", _instr, ["VARCHAR", "VARCHAR", "BIGINT", "BIGINT"], "BIGINT")],
    macros=[
        (
            "join(a VARCHAR, b VARCHAR) AS CAST(a || b AS VARCHAR), "
            "(a BLOB, b BLOB) AS CAST(a || b AS BLOB), (a, b) AS a || b"
        ),
        "regexp_match(x, p) AS CASE WHEN regexp_matches(x, p) THEN regexp_extract(x, p) END",
        "regexp_group(x, p) AS nullif(regexp_extract(x, p, 1), '')",
        f"too_many_groups(x) AS CASE WHEN x IS NULL THEN x ELSE {_GROUPS} END",
        "like(x, p) AS x LIKE p ESCAPE '\\'",
        (
            f"substr(x VARCHAR, p) AS substring(x, {_START}), "
            f"(x BLOB, p) AS array_slice(x, {_START_OF_BYTES}, octet_length(x)), "
            f"(x VARCHAR, p, n) AS CASE WHEN n < 0 THEN {_NEGATIVE} "
            f"ELSE substring(x, {_START}, n) END, "
            f"(x BLOB, p, n) AS CASE WHEN n < 0 THEN CAST({_NEGATIVE} AS BLOB) "
            f"ELSE array_slice(x, {_START_OF_BYTES}, ({_START_OF_BYTES}) + n - 1) END"
        ),
        _length("left", "Second argument in LEFT() cannot be negative", "array_slice(x, 1, n)"),
        _length(
            "right",
            "Second argument in RIGHT() cannot be negative",
            "array_slice(x, greatest(octet_length(x) - n + 1, 1), octet_length(x))",
        ),
        _length(
            "repeat",
            "Second argument (repeat count) for REPEAT cannot be negative",
            "repeat(x, n)",
        ),
        _padded("lpad"),
        _padded("rpad"),
    ],
)
"""See the module."""

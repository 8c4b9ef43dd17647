"""Variables `$name$` in SQL: where they may stand, and in which form their values are expanded.

| Position | Expansion |
|---|---|
| by itself, as a value | a query parameter `@name` |
| a whole literal `'$name$'` | a query parameter too, so that no value can end the literal |
| a part of a literal `'x_$name$'` | the text, escaped |
| a part of a name `events_$name$`, in backticks, or marked `text=True` | the text, if it is a name |
| options, and statements that BigQuery stores (CREATE VIEW …) | a literal: parameters are not allowed |
| a comment | none: it stays as it is |
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any
from urllib.parse import quote

from etlkit.errors import ConfigError
from etlkit.variables.definitions import Value
from etlkit.variables.sql_tokens import Token, statements, tokenize
from etlkit.variables.values import refuse_unknown

_VARIABLE = re.compile(r"\$([^\W\d]\w*)\$")
_NAME = re.compile(r"\w+(?:-\w+)*(?:\.\w+(?:-\w+)*)*", re.ASCII)
_QUOTED_NAME = re.compile(r"[\w.:-]+")
_STORED = frozenset(
    {"VIEW", "FUNCTION", "PROCEDURE", "MODEL", "EXTERNAL", "SNAPSHOT", "SCHEMA", "POLICY"}
)
_NO_PARAMETERS = frozenset({"ALTER", "DROP", "UNDROP", "GRANT", "REVOKE", "LOAD"})
_BLOCKS = frozenset({"BEGIN", "THEN", "ELSE", "DO", "LOOP", "REPEAT"})
_BEFORE_LITERAL = frozenset(
    {"DATE", "DATETIME", "TIME", "TIMESTAMP", "NUMERIC", "BIGNUMERIC", "DECIMAL", "BIGDECIMAL"}
    | {"JSON", "INTERVAL", "FORMAT", ">"}
)
"""`DATE '…'` is one literal: a parameter cannot stand in for its second half."""

_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}
_QUOTES = {
    "'''": {"'": "\\x27"},  # sqlglot takes an escaped quote for part of the end
    '"""': {'"': "\\x22"},
    "'": {"'": "\\'"},
    '"': {'"': '\\"'},
}
"""The quotes of a literal, longest first, and what has to be escaped between them."""


@dataclass(frozen=True)
class Expanded:
    """SQL with its variables expanded.

    Attributes:
        sql: The SQL for BigQuery.
        parameters: Query parameters that it needs.
        used: Names of all variables in it.
        edits: Start and end of each place with a variable in the original text, and what stands there
            now; in order.
    """

    sql: str
    parameters: dict[str, Any]
    used: frozenset[str]
    edits: tuple[tuple[int, int, str], ...] = ()


def expand_sql(sql: str, values: Mapping[str, Value], *, as_literals: bool = False) -> Expanded:
    """Expand the variables of a statement or a script.

    Args:
        sql: GoogleSQL with `$name$`.
        values: By bare name.
        as_literals: Escaped literals instead of query parameters.

    Raises:
        ConfigError: An unknown variable, or a value that is not allowed where its variable stands.
    """
    if _VARIABLE.search(sql) is None:
        return Expanded(sql, {}, frozenset())
    expansion = _Expansion(sql, values)
    tokens = tokenize(sql)
    stored = as_literals or any(_makes(part, "PROCEDURE") for part in _segments(tokens))
    for part in _segments(tokens):
        expansion.read(part, literals_only=stored)
    return expansion.done()


def expand_name(text: str, values: Mapping[str, Value]) -> tuple[str, frozenset[str]]:
    """Expand the variables in the name of a table.

    Returns:
        The name, and the variables in it.

    Raises:
        ConfigError: An unknown variable, or a value that cannot be part of a name.
    """
    used = frozenset(_VARIABLE.findall(text))
    refuse_unknown(used, values)
    return _VARIABLE.sub(lambda m: _as_name(m[1], values[m[1]], quoted=True), text), used


def expand_address(url: str, values: Mapping[str, Value]) -> tuple[str, frozenset[str]]:
    """Expand the variables in an address; what a value has of its syntax is escaped.

    Returns:
        The address, and the variables in it.

    Raises:
        ConfigError: An unknown variable.
    """
    used = frozenset(_VARIABLE.findall(url))
    refuse_unknown(used, values)
    return _VARIABLE.sub(lambda m: quote(values[m[1]].text, safe=""), url), used


def without_variables(text: str) -> str:
    """A text with a letter in place of each variable, to judge the rest of it."""
    return _VARIABLE.sub("x", text)


def sql_literal(value: Any) -> str:
    """A value as a GoogleSQL literal, escaped.

    Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical#literals
    """
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int):
        return str(value) if value >= 0 else f"({value})"  # after a minus it would make a comment
    if isinstance(value, float):
        return f"CAST('{value!r}' AS FLOAT64)"
    if isinstance(value, (Decimal, date)):
        return f"{_kind(value)} '{value}'"
    return "'" + _escaped(str(value), "'") + "'"


def _kind(value: Decimal | date) -> str:
    if isinstance(value, datetime):
        return "DATETIME" if value.tzinfo is None else "TIMESTAMP"
    return "NUMERIC" if isinstance(value, Decimal) else "DATE"


class _Expansion:
    """The expansion of one text: edits are collected first and applied at the end."""

    def __init__(self, sql: str, values: Mapping[str, Value]) -> None:
        self._sql = sql
        self._values = values
        self._edits: list[tuple[int, int, str]] = []
        self._parameters: dict[str, Any] = {}
        self._used: set[str] = set()

    def read(self, tokens: list[Token], *, literals_only: bool) -> None:
        """Find the variables of one statement."""
        free = [not (literals_only or bound) for bound in _without_parameters(tokens)]
        for number, token in enumerate(tokens):
            names = _VARIABLE.findall(token.text)
            if not names:
                continue
            refuse_unknown(names, self._values)
            self._used |= set(names)
            if number in range(*_dynamic(tokens)):
                raise ConfigError(
                    f"line {token.line}: a variable cannot stand in the SQL of EXECUTE IMMEDIATE: "
                    "write @name there and give it with USING"
                )
            before = tokens[number - 1] if number else None
            self._edits.append((token.start, token.end, self._new(token, before, free[number])))

    def _new(self, token: Token, before: Token | None, free: bool) -> str:
        if token.kind == "IDENTIFIER":
            return self._filled(token.text, lambda n: _as_name(n, self._values[n], quoted=True))
        if token.text[-1] in "'\"":
            return self._literal(token, before, free)
        whole = _VARIABLE.fullmatch(token.text)
        if whole and not self._is_part_of_name(token) and not self._values[whole[1]].as_text:
            value = self._values[whole[1]].value
            return self._parameter(whole[1], value) if free else sql_literal(value)
        return self._filled(token.text, lambda n: _as_name(n, self._values[n], quoted=False))

    def _literal(self, token: Token, before: Token | None, free: bool) -> str:
        prefix = token.text[: min(token.text.find(q) for q in "'\"" if q in token.text)].lower()
        if before is not None and before.end == token.start and before.word in {"RB", "BR"}:
            prefix = before.text.lower()
        if "b" in prefix:
            raise ConfigError(f"line {token.line}: a variable cannot stand in bytes {token.text}")
        body = token.text[len(prefix) :]
        quote = next(q for q in _QUOTES if body.startswith(q))
        whole = _VARIABLE.fullmatch(body[len(quote) : -len(quote)])
        typed = before is not None and before.word in _BEFORE_LITERAL
        if whole and free and not typed and not self._values[whole[1]].as_text:
            value = self._values[whole[1]]
            name = whole[1]
            while not isinstance(value.value, str) and name in self._values:
                name += "_text"
            return self._parameter(name, value.text)
        if "r" in prefix:
            return self._filled(token.text, lambda n: _as_raw(n, self._values[n].text, token.line))
        return self._filled(token.text, lambda n: _escaped(self._values[n].text, quote))

    def _is_part_of_name(self, token: Token) -> bool:
        """Whether it is next to a name: `events_$date$`, `$dataset$.events`."""
        around = self._sql[max(token.start - 1, 0) : token.start], self._sql[token.end :][:1]
        return any(char == "." or char.isalnum() or char in {"_", "$"} for char in around if char)

    def _parameter(self, name: str, value: Any) -> str:
        self._parameters[name] = value
        return f"@{name}"

    @staticmethod
    def _filled(text: str, make: Any) -> str:
        return _VARIABLE.sub(lambda match: make(match[1]), text)

    def done(self) -> Expanded:
        """Apply the edits."""
        parts, position = [], 0
        for start, end, new in self._edits:
            parts += [self._sql[position:start], new]
            position = end
        parts.append(self._sql[position:])
        return Expanded("".join(parts), self._parameters, frozenset(self._used), tuple(self._edits))


def _segments(tokens: list[Token]) -> Iterator[list[Token]]:
    """The statements of a script, including those inside its blocks."""
    for part in statements(tokens):
        start = 0
        for number, (token, following) in enumerate(pairwise(part), 1):
            opens = token.word.split()[0] in _BLOCKS
            if opens and following.word in {"CREATE", "EXPORT", *_NO_PARAMETERS}:
                yield part[start:number]
                start = number
        yield part[start:]


def _makes(tokens: list[Token], *kinds: str) -> bool:
    """Whether it is a CREATE of one of these kinds."""
    return tokens[0].word == "CREATE" and any(t.word in kinds for t in tokens[1:7])


def _dynamic(tokens: list[Token]) -> tuple[int, int]:
    """The token range of the SQL in an EXECUTE IMMEDIATE."""
    words = [token.word for token in tokens]
    if "IMMEDIATE" not in words:
        return 0, 0
    start = words.index("IMMEDIATE")
    return start, words.index("USING", start) if "USING" in words[start:] else len(words)


def _without_parameters(tokens: list[Token]) -> Iterator[bool]:
    """Yield for each token whether BigQuery allows no query parameter in its position."""
    create = tokens[0].word == "CREATE"
    stored = tokens[0].word in _NO_PARAMETERS or _makes(tokens, *_STORED)
    depth = options = 0
    has_query = False
    for number, token in enumerate(tokens):
        if token.text == "(":
            depth += 1
            if number and tokens[number - 1].word == "OPTIONS" and not options:
                options = depth
        elif token.text == ")":
            options = 0 if options == depth else options
            depth -= 1
        elif create and depth == 0 and token.word == "AS":
            has_query = True
        yield stored or bool(options) or (create and not has_query)


def _as_name(name: str, value: Value, *, quoted: bool) -> str:
    pattern = _QUOTED_NAME if quoted else _NAME
    if pattern.fullmatch(value.text) is None:
        raise ConfigError(
            f"the value of ${name}$ cannot be part of a name here: {value.text!r}; a name has letters, "
            "digits, _ and single - and . inside"
        )
    return value.text


def _as_raw(name: str, text: str, line: int) -> str:
    if any(char in "'\"\\" or not char.isprintable() for char in text):
        raise ConfigError(
            f"line {line}: the value of ${name}$ would break out of the raw string around it: {text!r}"
        )
    return text


def _escaped(text: str, quote: str) -> str:
    """Escape a text for a literal with these quotes."""
    escapes = _ESCAPES | _QUOTES[quote]
    return "".join(escapes.get(char) or _printable(char) for char in text)


def _printable(char: str) -> str:
    if char.isprintable():
        return char
    code = ord(char)
    if 0xD800 <= code <= 0xDFFF:
        raise ConfigError(f"a value has half a character, U+{code:04X}, which is not text")
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"

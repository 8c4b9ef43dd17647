"""The parser of BigQuery's type texts, e.g. `ARRAY<STRUCT<a INT64, b STRING NOT NULL>>`.

Grammar: https://cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language#column_name_and_column_schema
(column_schema, without COLLATE, DEFAULT, OPTIONS and keys, which say nothing about rows).
Why it is not sqlglot's: docs/design/0012-type-registry.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

from etlkit.errors import ConfigError
from etlkit.rows.types import STRUCT, TYPES, standard_name

MAX_DEPTH = 15
"""Nested STRUCTs in one column, https://cloud.google.com/bigquery/quotas#table_limits."""

_TOKEN = re.compile(
    r"\s*(?:(?P<word>[A-Za-z_]\w*)|(?P<quoted>`(?:[^`\\]|\\.)+`)|(?P<mark>[<>(),]|\d+))",
    re.ASCII,
)


class TypeNode(NamedTuple):
    """One parsed type: a standard name, a mode as in `Column.mode`, a STRUCT's fields, parameters."""

    type: str
    mode: str
    fields: tuple[tuple[str, TypeNode], ...]
    parameters: tuple[int, ...] = ()


class _Token(NamedTuple):
    text: str
    start: int
    kind: str


def parse_type(column: str, text: str) -> TypeNode:
    """Parse one column's type text.

    Args:
        column: The column's name, for messages.
        text: E.g. `STRING NOT NULL`, `NUMERIC(10, 2)`.

    Raises:
        ConfigError: The text is not a type; says at which character.
    """
    return _Parser(column, text, _tokens(column, text)).whole()


def _tokens(column: str, text: str) -> list[_Token]:
    tokens = []
    position = 0
    end = len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            _fail(column, text, position, "a type name, a field name or one of < > ( ) ,")
        kind = match.lastgroup or "mark"
        word = match[kind]
        if kind == "quoted":
            word = re.sub(r"\\(.)", r"\1", word[1:-1])
        tokens.append(_Token(word, match.start(kind), kind))
        position = match.end()
    return tokens


def _fail(column: str, text: str, position: int, expected: str) -> NoReturn:
    raise ConfigError(
        f"column {column!r}: expected {expected} at character {position + 1} of {text!r}; "
        "a type looks like STRING, INT64 NOT NULL or ARRAY<STRUCT<a INT64, b STRING>>"
    )


@dataclass(slots=True)
class _Parser:
    """Recursive descent, one method per rule of the grammar."""

    column: str
    text: str
    tokens: list[_Token]
    position: int = 0

    def whole(self) -> TypeNode:
        node = self.schema(self.column, depth=0)
        if self.position < len(self.tokens):
            self.fail("the end of the type")
        return node

    def schema(self, path: str, depth: int) -> TypeNode:
        """`type [NOT NULL]`."""
        start = self.position
        node = self.array(path, depth) if self.accept("ARRAY") else self.element(path, depth)
        if not self.accept("NOT"):
            return node
        if node.mode == "REPEATED":
            self.position = start
            self.fail(
                f"{path!r} without NOT NULL (BigQuery stores empty arrays, but never NULL ones)"
            )
        self.expect("NULL")
        return node._replace(mode="REQUIRED")

    def array(self, path: str, depth: int) -> TypeNode:
        """`ARRAY<type [NOT NULL]>`; elements are never NULL in BigQuery, with or without it."""
        self.expect("<")
        start = self.position
        if self.accept("ARRAY"):
            self.position = start
            self.fail(
                "a type that is not an ARRAY (BigQuery has no ARRAY of ARRAYs; wrap it in a STRUCT)"
            )
        node = self.schema(path, depth)
        self.expect(">")
        return node._replace(mode="REPEATED")

    def element(self, path: str, depth: int) -> TypeNode:
        """A STRUCT or a scalar, with its parameters."""
        kind = standard_name(self.name("a type"), path)
        if kind == STRUCT:
            return TypeNode(STRUCT, "NULLABLE", self.fields(path, depth + 1))
        parameters: tuple[int, ...] = ()
        if TYPES[kind].max_parameters and self.accept("("):
            parameters = self.parameters(TYPES[kind].max_parameters)
        return TypeNode(kind, "NULLABLE", (), parameters)

    def parameters(self, at_most: int) -> tuple[int, ...]:
        """`number, …)`."""
        numbers = [self.integer()]
        while len(numbers) < at_most and self.accept(","):
            numbers.append(self.integer())
        self.expect(")")
        return tuple(numbers)

    def fields(self, path: str, depth: int) -> tuple[tuple[str, TypeNode], ...]:
        """`<name type, …>`."""
        if depth > MAX_DEPTH:
            self.fail(f"at most {MAX_DEPTH} nested STRUCTs")
        self.expect("<")
        fields = []
        while True:
            name = self.name("a field name")
            fields.append((name, self.schema(f"{path}.{name}", depth)))
            if not self.accept(","):
                break
        self.expect(">")
        return tuple(fields)

    def name(self, expected: str) -> str:
        token = self.peek()
        if token is None or token.kind == "mark":
            self.fail(expected)
        self.position += 1
        return token.text

    def integer(self) -> int:
        token = self.peek()
        if token is None or not token.text.isdecimal():
            self.fail("a number")
        self.position += 1
        return int(token.text)

    def expect(self, text: str) -> None:
        if not self.accept(text):
            self.fail(repr(text))

    def accept(self, text: str) -> bool:
        token = self.peek()
        found = token is not None and token.kind != "quoted" and token.text.upper() == text
        self.position += found
        return found

    def peek(self) -> _Token | None:
        return self.tokens[self.position] if self.position < len(self.tokens) else None

    def fail(self, expected: str) -> NoReturn:
        token = self.peek()
        _fail(self.column, self.text, len(self.text) if token is None else token.start, expected)

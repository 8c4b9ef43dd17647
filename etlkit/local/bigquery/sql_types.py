"""BigQuery's types as GoogleSQL knows them, from DDL texts and from schemas of the REST API.

`etlkit.rows.types` knows only what a row can carry. Queries also have INTERVAL, RANGE and columns
without a name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NoReturn

from etlkit.errors import ConfigError

ALIASES: Final = {
    "BIGINT": "INT64",
    "BYTEINT": "INT64",
    "INT": "INT64",
    "INTEGER": "INT64",
    "SMALLINT": "INT64",
    "TINYINT": "INT64",
    "FLOAT": "FLOAT64",
    "DECIMAL": "NUMERIC",
    "BIGDECIMAL": "BIGNUMERIC",
    "BOOLEAN": "BOOL",
    "RECORD": "STRUCT",
}
"""Other names, of DDL and of the REST API.

https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types
"""

SCALARS: Final = frozenset(
    {
        *("BIGNUMERIC", "BOOL", "BYTES", "DATE", "DATETIME", "FLOAT64", "GEOGRAPHY", "INT64"),
        *("INTERVAL", "JSON", "NUMERIC", "STRING", "TIME", "TIMESTAMP"),
    }
)

_REST_NAMES: Final = {
    "INT64": "INTEGER",
    "FLOAT64": "FLOAT",
    "BOOL": "BOOLEAN",
    "STRUCT": "RECORD",
}

_TOKEN: Final = re.compile(r"\s*(?:(?P<word>\w+)|`(?P<quoted>[^`]+)`|(?P<mark>[<>(),]))\s*")
_PLAIN_NAME: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)


@dataclass(frozen=True, slots=True)
class SqlType:
    """A type.

    Attributes:
        name: One of `SCALARS`, or STRUCT, ARRAY, RANGE.
        fields: Of a STRUCT: names and types; a field may have no name ("").
        element: Of an ARRAY or a RANGE.
        parameters: Length, or precision and scale.
        is_required: NOT NULL.
    """

    name: str
    fields: tuple[tuple[str, SqlType], ...] = ()
    element: SqlType | None = None
    parameters: tuple[int, ...] = ()
    is_required: bool = False

    @classmethod
    def parse(cls, text: str) -> SqlType:
        """Parse a DDL text, e.g. `ARRAY<STRUCT<a INT64, b NUMERIC(10, 2)>>`.

        Raises:
            ConfigError: The text is not a type.
        """
        return _parse(text)

    @classmethod
    def from_api(cls, field: Mapping[str, Any]) -> SqlType:
        """The type of a field of a schema, as `tables.get` and `bq show --schema` write it.

        https://cloud.google.com/bigquery/docs/reference/rest/v2/tables#TableFieldSchema
        """
        name = str(field.get("type") or "STRING").upper()
        name = ALIASES.get(name, name)
        mode = str(field.get("mode") or "NULLABLE").upper()
        element = None
        if name == "RANGE":
            element = cls(str(field["rangeElementType"]["type"]).upper())
        inner = tuple((str(each["name"]), cls.from_api(each)) for each in field.get("fields") or ())
        known = cls(name, inner, element, _parameters(field), mode == "REQUIRED")
        return cls("ARRAY", element=known) if mode == "REPEATED" else known

    @classmethod
    def from_parameter(cls, kind: Mapping[str, Any]) -> SqlType:
        """The type of a query parameter.

        https://cloud.google.com/bigquery/docs/reference/rest/v2/QueryParameter#QueryParameterType
        """
        name = str(kind.get("type") or "STRING").upper()
        name = ALIASES.get(name, name)
        if name == "ARRAY":
            return cls("ARRAY", element=cls.from_parameter(kind["arrayType"]))
        if name == "RANGE":
            return cls("RANGE", element=cls.from_parameter(kind["rangeElementType"]))
        fields = kind.get("structTypes") or ()
        return cls(
            name, tuple((str(f.get("name") or ""), cls.from_parameter(f["type"])) for f in fields)
        )

    def as_api(self, name: str) -> dict[str, Any]:
        """A field of a schema of the REST API."""
        mode = "REQUIRED" if self.is_required else "NULLABLE"
        own: SqlType = self
        if self.name == "ARRAY" and self.element is not None:
            own, mode = self.element, "REPEATED"
        field: dict[str, Any] = {"name": name, "type": _REST_NAMES.get(own.name, own.name)}
        field["mode"] = mode
        if own.fields:
            named = [inner or f"_field_{at}" for at, (inner, _) in enumerate(own.fields, 1)]
            field["fields"] = [
                kind.as_api(inner) for inner, (_, kind) in zip(named, own.fields, strict=True)
            ]
        if own.name == "RANGE" and own.element is not None:
            field["rangeElementType"] = {"type": own.element.name}
        return field

    def without_parameters(self) -> SqlType:
        """The type without lengths, precisions and NOT NULL, as results of queries have it."""
        fields = tuple((name, kind.without_parameters()) for name, kind in self.fields)
        element = self.element and self.element.without_parameters()
        return SqlType(self.name, fields, element)

    @property
    def text(self) -> str:
        """The DDL text, without NOT NULL."""
        if self.element is not None:
            return f"{self.name}<{self.element.text}>"
        if self.name == "STRUCT":
            return f"STRUCT<{', '.join(f'{_quoted(n)} {t.text}'.strip() for n, t in self.fields)}>"
        if self.parameters:
            return f"{self.name}({', '.join(map(str, self.parameters))})"
        return self.name

    def __str__(self) -> str:
        return self.text


def _quoted(name: str) -> str:
    return name if not name or _PLAIN_NAME.fullmatch(name) else f"`{name}`"


def _parameters(field: Mapping[str, Any]) -> tuple[int, ...]:
    if field.get("maxLength"):
        return (int(field["maxLength"]),)
    if not field.get("precision"):
        return ()
    scale = field.get("scale")
    return (int(field["precision"]), *([int(scale)] if scale else []))


@lru_cache(maxsize=4096)
def _parse(text: str) -> SqlType:
    tokens: list[tuple[str, str]] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ConfigError(
                f"{text!r} is not a type of BigQuery: see its character {position + 1}"
            )
        tokens.append((match.lastgroup or "", match[match.lastgroup or 0]))
        position = match.end()
    parser = _Parser(text, tokens)
    kind = parser.type()
    if parser.position < len(tokens):
        parser.fail()
    return kind


class _Parser:
    """Recursive descent over the tokens of a type."""

    def __init__(self, text: str, tokens: Sequence[tuple[str, str]]) -> None:
        self.text, self.tokens, self.position = text, tokens, 0

    def type(self) -> SqlType:
        """`name [(numbers)] [<inner>] [NOT NULL]`."""
        name = self.take("word").upper()
        name = ALIASES.get(name, name)
        kind = self.nested(name) if name in {"ARRAY", "RANGE", "STRUCT"} else self.scalar(name)
        if self.peek()[1].upper() == "NOT":
            self.position += 2
            kind = SqlType(kind.name, kind.fields, kind.element, kind.parameters, is_required=True)
        return kind

    def scalar(self, name: str) -> SqlType:
        if name not in SCALARS:
            self.fail()
        numbers: list[int] = []
        if self.accept("("):
            while not self.accept(")"):
                numbers.append(int(self.take("word")))
                self.accept(",")
        return SqlType(name, parameters=tuple(numbers))

    def nested(self, name: str) -> SqlType:
        if not self.accept("<"):
            self.fail()
        if name != "STRUCT":
            element = self.type()
            self.close()
            return SqlType(name, element=element)
        fields = []
        while not self.accept(">"):
            fields.append(self.field())
            self.accept(",")
        return SqlType(name, tuple(fields))

    def field(self) -> tuple[str, SqlType]:
        following = (
            self.tokens[self.position + 1][1] if self.position + 1 < len(self.tokens) else ""
        )
        if self.peek()[0] == "word" and following in {",", ">", "<", "("}:
            return "", self.type()
        kind, name = self.peek()
        if kind not in {"word", "quoted"}:
            self.fail()
        self.position += 1
        return name, self.type()

    def close(self) -> None:
        if not self.accept(">"):
            self.fail()

    def accept(self, mark: str) -> bool:
        found = self.peek() == ("mark", mark)
        self.position += found
        return found

    def take(self, kind: str) -> str:
        found, text = self.peek()
        if found != kind:
            self.fail()
        self.position += 1
        return text

    def peek(self) -> tuple[str, str]:
        return self.tokens[self.position] if self.position < len(self.tokens) else ("", "")

    def fail(self) -> NoReturn:
        raise ConfigError(f"{self.text!r} is not a type of BigQuery")

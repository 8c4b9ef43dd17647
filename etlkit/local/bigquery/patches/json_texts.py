"""JSON of structs and arrays as BigQuery writes it, made of DuckDB's.

Real BigQuery: a TIMESTAMP is `2024-01-02T03:04:05.600Z`, a NUMERIC has no zeros at its end, BYTES are
in base64, and TO_JSON_STRING quotes numbers that a FLOAT64 cannot hold. DuckDB:
`2024-01-02 03:04:05.6+00`, nine digits behind the point, bytes with escapes, and no quotes.
https://cloud.google.com/bigquery/docs/reference/standard-sql/json_functions#json_encodings
"""

from __future__ import annotations

import base64
import json
import re
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

WRITTEN: Final = "TIMESTAMP|DECIMAL|DOUBLE|BLOB|BIGINT"
"""Types, as DuckDB names them, of which a struct or an array is written anew."""

_TOKEN: Final = re.compile(r'"(?:[^"]|"")*"|[A-Za-z_][A-Za-z0-9_]*|\d+|[(),]|\[\d*\]')
_ESCAPED: Final = re.compile(rb"\\x([0-9A-Fa-f]{2})")
_FRACTION: Final = re.compile(r"\.(\d+)")
_EXACT: Final = 1 << 53
_BEHIND_A_TYPE: Final = frozenset({",", ")", "(", "WITH"})

Kind = tuple[str, Any]
"""`("STRUCT", ((name, kind), …))`, `("LIST", kind)`, or a name and None."""


class _Members(list[tuple[str, Any]]):
    """The members of an object, also where several have the same name, or none."""


class _Number(float):
    """A number with its digits."""

    def __init__(self, text: str) -> None:
        self.text = text


def written(text: str, kind: str, is_quoted: bool) -> str:
    """JSON as BigQuery writes it.

    Args:
        text: DuckDB's JSON of a value.
        kind: DuckDB's name of the value's type.
        is_quoted: Whether numbers that a FLOAT64 cannot hold are strings.
    """
    value = _parsed(text)
    return _value(value, _kind(kind), is_quoted)


def on_lines(text: str) -> str:
    """JSON with a line for each member and element."""
    value = _parsed(text)
    return _indented(value, "")


def _parsed(text: str) -> Any:
    return json.loads(text, parse_float=_Number, parse_int=_Number, object_pairs_hook=_Members)


def _indented(value: Any, before: str) -> str:
    if not isinstance(value, list) or not value:
        return _value(value, ("", None), is_quoted=False)
    inner = before + "  "
    if isinstance(value, _Members):
        lines = [f"{_quoted(name)}: {_indented(each, inner)}" for name, each in value]
    else:
        lines = [_indented(each, inner) for each in value]
    opening, closing = "{}" if isinstance(value, _Members) else "[]"
    return f"{opening}\n{inner}" + f",\n{inner}".join(lines) + f"\n{before}{closing}"


def _value(value: Any, kind: Kind, is_quoted: bool) -> str:
    name, inner = kind
    if isinstance(value, _Members):
        kinds = [kind for _, kind in inner] if name == "STRUCT" else [("", None)] * len(value)
        members = (
            f"{_quoted(key)}:{_value(each, kind, is_quoted)}"
            for (key, each), kind in zip(value, kinds, strict=True)
        )
        return f"{{{','.join(members)}}}"
    if isinstance(value, list):
        element = inner if name == "LIST" else ("", None)
        return f"[{','.join(_value(each, element, is_quoted) for each in value)}]"
    if isinstance(value, _Number):
        return _number(value, name, is_quoted)
    if isinstance(value, str):
        return _quoted(_text(value, name))
    return json.dumps(value)


def _number(value: _Number, name: str, is_quoted: bool) -> str:
    if name == "DOUBLE":
        return repr(float(value)).removesuffix(".0")
    if name == "DECIMAL":
        digits = f"{Decimal(value.text):f}"
        text = digits.rstrip("0").rstrip(".") if "." in digits else digits
        is_exact = "." not in text and abs(int(text)) <= _EXACT
        return f'"{text}"' if is_quoted and not is_exact else text
    if name == "BIGINT" and is_quoted and abs(int(value.text)) > _EXACT:
        return f'"{value.text}"'
    return value.text


def _text(value: str, name: str) -> str:
    if name == "BLOB":
        raw = _ESCAPED.sub(lambda match: bytes([int(match[1], 16)]), value.encode())
        return base64.b64encode(raw).decode()
    if name.startswith("TIMESTAMP"):
        moment = _FRACTION.sub(lambda match: f".{_padded(match[1])}", value.replace(" ", "T"))
        return f"{moment.removesuffix('+00')}Z" if name != "TIMESTAMP" else moment
    return value


def _padded(fraction: str) -> str:
    return fraction.ljust(3 if len(fraction) <= 3 else 6, "0")


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


@lru_cache(maxsize=256)
def _kind(text: str) -> Kind:
    return _read(["", *reversed(_TOKEN.findall(text))])


def _read(tokens: list[str]) -> Kind:
    """Take a type from the end of the tokens, of which the next one is the last."""
    name = tokens.pop()
    kind: Kind = (name, None)
    if name == "STRUCT" and tokens[-1] == "(":
        fields = []
        while tokens.pop() != ")":
            fields.append((_field_name(tokens), _read(tokens)))
        kind = "STRUCT", tuple(fields)
    elif tokens[-1] == "(":
        while tokens.pop() != ")":
            pass
    if tokens[-1] == "WITH":
        del tokens[-3:]
        kind = f"{name} WITH TIME ZONE", None
    while tokens[-1].startswith("["):
        tokens.pop()
        kind = "LIST", kind
    return kind


def _field_name(tokens: list[str]) -> str:
    """Take the name of a field; empty = it has none, as those of `STRUCT(1, 'a')`."""
    if tokens[-2] in _BEHIND_A_TYPE or tokens[-2].startswith("["):
        return ""
    name = tokens.pop()
    return name[1:-1].replace('""', '"') if name[0] == '"' else name

"""FORMAT.

Real BigQuery: the specifiers of https://cloud.google.com/bigquery/docs/reference/standard-sql/string_functions#format_string
The emulator: it handed the pattern to DuckDB, whose `%s` gave `{}`.

What remains: `%t` and `%T` of arrays and structs.
"""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from typing import Any, Final

from sqlglot import exp

from etlkit.local.bigquery.patches.own_functions import OwnFunctions, call

_SPECIFIER: Final = re.compile(r"%([-+ #0']*)(\*|\d+)?(?:\.(\*|\d+))?([a-zA-Z%])")
_TYPED: Final = {
    "DATE": "DATE",
    "TIME": "TIME",
    "TIMESTAMP": "DATETIME",
    "TIMESTAMP WITH TIME ZONE": "TIMESTAMP",
    "JSON": "JSON",
}


def _format(pattern: str | None, arguments: list[str | None], kinds: list[str]) -> str | None:
    """The text.

    Args:
        pattern: With specifiers.
        arguments: Values as DuckDB writes them.
        kinds: DuckDB's types of the arguments.
    """
    if pattern is None:
        return None
    rest = list(zip(arguments, kinds, strict=True))
    text, position = "", 0
    for match in _SPECIFIER.finditer(pattern):
        text += pattern[position : match.start()]
        position = match.end()
        if match[4] == "%":
            text += "%"
            continue
        width = _number(match[2], rest)
        precision = _number(match[3], rest)
        if not rest:
            raise ValueError(f'Too few arguments to FORMAT for pattern "{pattern}"')
        shown = _one(match[1], width, precision, match[4], *rest.pop(0))
        if shown is None:
            return None
        text += shown
    return text + pattern[position:]


def _number(written: str | None, rest: list[tuple[str | None, str]]) -> int | None:
    if written == "*":
        return int(rest.pop(0)[0] or 0)
    return None if written is None else int(written)


def _one(
    flags: str, width: int | None, precision: int | None, letter: str, value: str | None, kind: str
) -> str | None:
    if letter in "tT":
        return _padded(_literal(value, kind, is_typed=letter == "T"), flags, width)
    if value is None:
        return None
    if letter in "pP":
        made = json.loads(value)
        style: Any = {"separators": (",", ":")} if letter == "p" else {"indent": 2}
        return _padded(json.dumps(made, ensure_ascii=False, **style), flags, width)
    if letter == "s":
        return _padded(value if precision is None else value[:precision], flags, width)
    return _numeric(flags, width, precision, letter, value, kind)


def _numeric(
    flags: str, width: int | None, precision: int | None, letter: str, value: str, kind: str
) -> str:
    is_whole = letter in "dioxX"
    number: Any = int(value) if is_whole else Decimal(value) if "DECIMAL" in kind else float(value)
    if not is_whole and not math.isfinite(number):
        return _padded(str(number), flags.replace("0", ""), width)
    grouped = "'" in flags
    plain = flags.replace("'", "")
    letter = "d" if letter == "i" else letter
    if isinstance(number, Decimal):
        shown = f"{number:{',' if grouped else ''}.{6 if precision is None else precision}{letter}}"
        return _padded(shown, flags, width)
    if grouped:
        shown = (
            f"{number:,}" if is_whole else f"{number:,.{6 if precision is None else precision}f}"
        )
        return _padded(shown, flags, width)
    spec = f"%{plain}{'' if width is None else width}"
    spec += ("" if precision is None else f".{precision}") + letter
    return str(spec % number)


def _padded(text: str, flags: str, width: int | None) -> str:
    if width is None:
        return text
    return text.ljust(width) if "-" in flags else text.rjust(width)


def _literal(value: str | None, kind: str, *, is_typed: bool) -> str:
    if value is None:
        return "NULL"
    if kind == "DOUBLE":
        return _float(float(value), is_typed=is_typed)
    if kind == "VARCHAR":
        return json.dumps(value, ensure_ascii=False) if is_typed else value
    if kind.startswith("DECIMAL"):
        shown = f"{Decimal(value).normalize() + 0:f}"
        name = "NUMERIC" if kind.endswith(",9)") else "BIGNUMERIC"
        return f'{name} "{shown}"' if is_typed else shown
    if kind in _TYPED and is_typed:
        quoted = json.dumps(value, ensure_ascii=False) if kind == "JSON" else f'"{value}"'
        return f"{_TYPED[kind]} {quoted}"
    return value


def _float(number: float, *, is_typed: bool) -> str:
    if not math.isfinite(number):
        return f'CAST("{number}" AS FLOAT64)' if is_typed else str(number)
    shown = f"{number:.15g}" if float(f"{number:.15g}") == number else f"{number:.17g}"
    return shown if "." in shown or "e" in shown else f"{shown}.0"


def _called(node: Any) -> exp.Expression:
    values = [call("written", each) for each in node.expressions]
    kinds = [exp.Anonymous(this="typeof", expressions=[each.copy()]) for each in node.expressions]
    return call(
        "format",
        node.this,
        exp.Anonymous(this="list_value", expressions=values),
        exp.Anonymous(this="list_value", expressions=kinds),
    )


FUNCTIONS: Final = OwnFunctions(
    marks=r"\bformat\s*\(",
    rewrites={exp.Format: _called},
    functions=[("format", _format, ["VARCHAR", "VARCHAR[]", "VARCHAR[]"], "VARCHAR")],
    macros=[
        (
            "written(x) AS CASE WHEN typeof(x) = 'BLOB' THEN decode(CAST(x AS BLOB)) "
            "ELSE CAST(x AS VARCHAR) END"
        )
    ],
)
"""See the module."""

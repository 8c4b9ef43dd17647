"""Arithmetic and mathematics.

Real BigQuery: a division by zero, an overflow, and a result that is no number are errors. Shifts are
logical, and 0 from 64 bits on.
https://cloud.google.com/bigquery/docs/reference/standard-sql/mathematical_functions
DuckDB: `MOD(1, 0)` is NULL, `EXP(1000)` infinite, `-1 >> 1` -1, and `1 << 63` an error.

What remains: FLOAT64 sums and products that overflow are infinite; NaN is equal to itself and greater
than all numbers; functions of NUMERIC are computed in FLOAT64.
"""

from __future__ import annotations

import re
from typing import Any, Final

from sqlglot import exp

from etlkit.local.bigquery.patches.own_functions import OwnFunctions, call, fails

_WORD: Final = (1 << 64) - 1
_SIGN: Final = 1 << 63


def _shifted(value: int, offset: int, *, is_left: bool) -> int:
    if offset < 0:
        raise ValueError("Bitwise shift by negative offset.")
    if offset > 63:
        return 0
    word = value & _WORD
    result = word << offset & _WORD if is_left else word >> offset
    return result - (1 << 64) if result & _SIGN else result


def _shift_left(value: int, offset: int) -> int:
    return _shifted(value, offset, is_left=True)


def _shift_right(value: int, offset: int) -> int:
    return _shifted(value, offset, is_left=False)


_NUMERIC: Final = re.compile(
    r"\s*(?P<sign>[+-]?)\s*(?P<whole>[\d,]*)(?P<rest>(?:\.\d*)?(?:[eE][+-]?\d+)?)\s*(?P<after>[+-]?)\s*"
)


def _numeric_text(text: str) -> str:
    """What PARSE_NUMERIC takes, as what CAST takes: without commas, and with the sign in front."""
    match = _NUMERIC.fullmatch(text)
    is_number = match is not None and any(each.isdigit() for each in match["whole"] + match["rest"])
    if match is None or not is_number or (match["sign"] and match["after"]):
        raise ValueError(f"Invalid input to PARSE_NUMERIC: {text}")
    whole = match["whole"].replace(",", "") or "0"
    return f"{match['sign'] or match['after']}{whole}{match['rest']}"


def _parsed(kind: str) -> Any:
    return lambda node: call(f"to_{kind}", call("numeric_text", node.this))


def _two(name: str) -> Any:
    return lambda node: call(name, node.this, node.expression)


def _one(name: str) -> Any:
    return lambda node: call(name, node.this)


def _divided(node: Any) -> exp.Expression | None:
    """NULL / 0 is NULL; the emulator looks at the divisor only."""
    if isinstance(node.expression, exp.Literal) and float(node.expression.name):
        return None
    condition = exp.Is(this=exp.paren(node.this.copy()), expression=exp.Null())
    return exp.paren(
        exp.Case(
            ifs=[exp.If(this=condition, true=exp.Null())],
            default=exp.Div(
                this=exp.paren(node.this.copy()), expression=exp.paren(node.expression.copy())
            ),
        )
    )


def _counted(node: Any) -> exp.Expression | None:
    """COUNTIF over a window, which the emulator writes in a form that takes no OVER."""
    if not isinstance(node.parent, exp.Window):
        return None
    case = exp.Case(ifs=[exp.If(this=node.this.copy(), true=exp.Literal.number(1))])
    return exp.Count(this=case)


def _power(node: Any) -> exp.Expression:
    return call("power", node.this, node.expression)


_FUNCTIONS: Final = {
    "exp": (exp.Exp, "exp(x)"),
    "sinh": (exp.Sinh, "sinh(x)"),
    "cosh": (exp.Cosh, "cosh(x)"),
    "acosh": (exp.Acosh, "acosh(x)"),
    "csch": (exp.Csch, "1.0 / sinh(x)"),
    "coth": (exp.Coth, "1.0 / tanh(x)"),
}
_CIRCULAR: Final = {
    "sin": (exp.Sin, "sin(x)"),
    "cos": (exp.Cos, "cos(x)"),
    "tan": (exp.Tan, "tan(x)"),
    "asin": (exp.Asin, "asin(x)"),
    "acos": (exp.Acos, "acos(x)"),
    "atanh": (exp.Atanh, "atanh(x)"),
    "csc": (exp.Csc, "1.0 / sin(x)"),
    "sec": (exp.Sec, "1.0 / cos(x)"),
    "cot": (exp.Cot, "1.0 / tan(x)"),
}


def _checked(name: str, formula: str) -> str:
    """A finite number must not give an infinite one, or none."""
    called = f"'Floating point error in function: {name.upper()}(' || CAST(x AS VARCHAR) || ')'"
    return (
        f"CASE WHEN isfinite(CAST(x AS DOUBLE)) AND NOT isfinite(CAST({formula} AS DOUBLE)) "
        f"THEN CAST({fails(called)} AS DOUBLE) ELSE CAST({formula} AS DOUBLE) END"
    )


_POWER: Final = fails("'Floating point error in function: POW'")
_ZERO: Final = fails("'Division by zero'")

FUNCTIONS: Final = OwnFunctions(
    marks=r"\b(?:mod|div|pow|power|exp|sin|cos|tan|asin|acos|sinh|cosh|acosh|atanh|csc|sec|cot|csch|coth|parse_numeric|parse_bignumeric)\s*\(|<<|>>|/|countif",
    rewrites={
        exp.Mod: _two("mod"),
        exp.IntDiv: _two("div"),
        exp.BitwiseLeftShift: _two("shift_left"),
        exp.BitwiseRightShift: _two("shift_right"),
        exp.Div: _divided,
        exp.Pow: _power,
        exp.CountIf: _counted,
        exp.ParseNumeric: _parsed("numeric"),
        exp.ParseBignumeric: _parsed("bignumeric"),
        **{kind: _one(name) for name, (kind, _) in (_FUNCTIONS | _CIRCULAR).items()},
    },
    functions=[
        ("shift_left", _shift_left, ["BIGINT", "BIGINT"], "BIGINT"),
        ("shift_right", _shift_right, ["BIGINT", "BIGINT"], "BIGINT"),
        ("numeric_text", _numeric_text, ["VARCHAR"], "VARCHAR"),
    ],
    macros=[
        f"mod(a, b) AS CASE WHEN b = 0 AND a IS NOT NULL THEN CAST({_ZERO} AS BIGINT) ELSE a % b END",
        f"div(a, b) AS CASE WHEN b = 0 AND a IS NOT NULL THEN CAST({_ZERO} AS BIGINT) ELSE a // b END",
        *(f"{name}(x) AS {_checked(name, formula)}" for name, (_, formula) in _FUNCTIONS.items()),
        *(
            f"{name}(x) AS CASE WHEN isinf(CAST(x AS DOUBLE)) THEN CAST('nan' AS DOUBLE) "
            f"ELSE {_checked(name, formula)} END"
            for name, (_, formula) in _CIRCULAR.items()
        ),
        (
            "power(x, y) AS CASE WHEN isfinite(CAST(x AS DOUBLE)) AND isfinite(CAST(y AS DOUBLE)) "
            f"AND NOT isfinite(pow(x, y)) THEN CAST({_POWER} AS DOUBLE) ELSE pow(x, y) END"
        ),
    ],
)
"""See the module."""

"""JSON: values of scalars, types, texts that are no JSON.

Real BigQuery: a text that is no JSON, or no array, gives NULL; JSON_TYPE has BigQuery's names; `INT64(JSON
'1.5')` and `STRING(JSON '1')` are errors; TO_JSON_STRING writes timestamps with T and Z, and BYTES in base64.
https://cloud.google.com/bigquery/docs/reference/standard-sql/json_functions
The emulator: an error, DuckDB's names (`ubigint`), rounded and converted values, DuckDB's text.

What remains: fields of a JSON value with a dot (`j.a.b`), and the text of timestamps, bytes and NUMERICs
within structs and arrays.
"""

from __future__ import annotations

import json
from typing import Any, Final

from sqlglot import exp

from etlkit.local.bigquery.patches.own_functions import PREFIX, OwnFunctions, call

_ROUND_TRIP: Final = "cannot round-trip through string representation"


def _exact_float(text: str) -> float:
    """A number that keeps its digits; GoogleSQL refuses others, unless it may round."""
    value = float(text)
    if value in {float("inf"), float("-inf")}:
        raise ValueError(f"Invalid input to PARSE_JSON: number overflow parsing '{text}'")
    return value


def _exact_int(text: str) -> int:
    value = int(text)
    if not -(1 << 63) <= value < 1 << 64:
        raise ValueError(f"Invalid input to PARSE_JSON: Input number: {text} {_ROUND_TRIP}")
    return value


def _rounded_int(text: str) -> int | float:
    value = int(text)
    return value if -(1 << 63) <= value < 1 << 64 else float(text)


def _no_constant(text: str) -> Any:
    raise ValueError(f"Invalid input to PARSE_JSON: invalid literal {text!r}")


def _first_of_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of members with the same name GoogleSQL keeps the first."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        found.setdefault(name, value)
    return found


def _parse(text: str, mode: str) -> str:
    try:
        value = json.loads(
            text,
            parse_float=_exact_float,
            parse_int=_rounded_int if mode == "round" else _exact_int,
            parse_constant=_no_constant,
            object_pairs_hook=_first_of_each,
        )
    except json.JSONDecodeError as error:
        raise ValueError(f"Invalid input to PARSE_JSON: {error}") from error
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _sorted(text: str) -> str:
    """Members in the order of their names, as BigQuery stores them."""
    return json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def _parsed(node: Any) -> exp.Expression | None:
    expressions = node.expressions
    mode: Any = exp.Literal.string("exact")
    for each in expressions:
        if isinstance(each, exp.Kwarg | exp.PropertyEQ):
            mode = each.expression
    return call("parse_json", node.this, mode)


def _named(node: Any) -> exp.Expression | None:
    """Functions that sqlglot does not know."""
    name = node.name.upper()
    if name in _SCALARS and len(node.expressions) == 1:
        return call(f"json_{name.lower()}", node.expressions[0])
    return None


_SCALARS: Final = frozenset({"INT64", "FLOAT64", "BOOL"})


def _one(name: str) -> Any:
    return lambda node: call(name, node.this)


def _scalar(kind: str, test: str, article: str, value: str) -> str:
    message = f"'The provided JSON input is not {article}'"
    return (
        f"CASE WHEN x IS NULL THEN NULL WHEN {test} THEN {value} "
        f"ELSE CAST({PREFIX}error({message}) AS {kind}) END"
    )


_TYPE: Final = (
    "CASE json_type(x) WHEN 'VARCHAR' THEN 'string' WHEN 'BOOLEAN' THEN 'boolean' "
    "WHEN 'OBJECT' THEN 'object' WHEN 'ARRAY' THEN 'array' WHEN 'NULL' THEN 'null' "
    "WHEN NULL THEN NULL ELSE 'number' END"
)
_JSON: Final = "CAST(x AS JSON)"

FUNCTIONS: Final = OwnFunctions(
    marks=r"parse_json|json_type|\b(?:int64|float64|bool)\s*\(",
    rewrites={
        exp.ParseJSON: _parsed,
        exp.JSONType: _one("json_type"),
        exp.Anonymous: _named,
        exp.Int64: _one("json_int64"),
        exp.Float64: _one("json_float64"),
        exp.JSONBool: _one("json_bool"),
    },
    functions=[
        ("parse_json_text", _parse, ["VARCHAR", "VARCHAR"], "VARCHAR"),
        ("sorted_json", _sorted, ["VARCHAR"], "VARCHAR"),
    ],
    macros=[
        f"parse_json(x, mode) AS CAST({PREFIX}parse_json_text(x, mode) AS JSON)",
        f"json_type(x) AS {_TYPE}",
        "json_int64(x) AS "
        + _scalar(
            "BIGINT",
            "json_type(x) IN ('UBIGINT', 'BIGINT') OR (json_type(x) = 'DOUBLE' "
            "AND CAST(x AS DOUBLE) = floor(CAST(x AS DOUBLE)))",
            "an integer",
            "CAST(CAST(x AS VARCHAR) AS BIGINT)",
        ),
        "json_float64(x) AS "
        + _scalar(
            "DOUBLE",
            "json_type(x) IN ('UBIGINT', 'BIGINT', 'DOUBLE')",
            "a number",
            "CAST(CAST(x AS VARCHAR) AS DOUBLE)",
        ),
        "json_bool(x) AS "
        + _scalar("BOOLEAN", "json_type(x) = 'BOOLEAN'", "a boolean", "CAST(CAST(x AS VARCHAR) AS BOOLEAN)"),
    ],
)
"""See the module."""

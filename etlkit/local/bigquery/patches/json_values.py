"""JSON: values of scalars, types, texts that are no JSON.

Real BigQuery: a text that is no JSON, or no array, gives NULL; JSON_TYPE has BigQuery's names;
`INT64(JSON '1.5')` and `STRING(JSON '1')` are errors; TO_JSON_STRING writes timestamps with T and Z,
and BYTES in base64; members are in the order of their names.
https://cloud.google.com/bigquery/docs/reference/standard-sql/json_functions
The emulator: an error, DuckDB's names (`ubigint`), rounded and converted values, DuckDB's text.

Within structs and arrays, too: DuckDB's JSON of them is written anew by its type.

What remains: fields of a JSON literal with a dot.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from sqlglot import exp

from etlkit.local.bigquery.patches import json_texts
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
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


_STEP: Final = re.compile(r'\.([A-Za-z_]\w*)|\."((?:[^"\\]|\\.)*)"|\[(\d+)\]')


def _steps(path: str) -> list[str | int]:
    """The names and indexes of a path."""
    steps: list[str | int] = []
    position = 1
    while position < len(path):
        match = _STEP.match(path, position)
        if match is None:
            raise ValueError(f"Invalid JSONPath: {path}")
        steps.append(int(match[3]) if match[3] else match[1] or match[2])
        position = match.end()
    return steps


def _reach(value: Any, steps: list[str | int]) -> Any:
    """What is at a path; `_NOTHING` = there is none."""
    for step in steps:
        kind = list if isinstance(step, int) else dict
        if not isinstance(value, kind):
            return _NOTHING
        inside = step < len(value) if isinstance(step, int) else step in value
        if not inside:
            return _NOTHING
        value = value[step]
    return value


_NOTHING: Final = object()


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _removed(text: str, path: str) -> str:
    value = json.loads(text)
    *parents, last = _steps(path) or [""]
    parent = _reach(value, parents)
    if parent is not _NOTHING and _reach(parent, [last]) is not _NOTHING:
        del parent[last]
    return _dumped(value)


def _appended(text: str, path: str, element: str) -> str:
    value = json.loads(text)
    found = _reach(value, _steps(path))
    if isinstance(found, list):
        found.append(json.loads(element))
    return _dumped(value)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(each) for name, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_without_nulls(each) for each in value if each is not None]
    return value


def _stripped(text: str) -> str:
    return _dumped(_without_nulls(json.loads(text)))


def _remove(node: Any) -> exp.Expression:
    value: exp.Expression = node.this
    for path in node.expressions:
        value = call("json_removed", value, path)
    return value


def _append(node: Any) -> exp.Expression | None:
    if len(node.expressions) != 2:
        return None
    path, element = node.expressions
    return call("json_appended", node.this, path, element)


def _strip(node: Any) -> exp.Expression | None:
    plain = {"this"} == {name for name, value in node.args.items() if value}
    return call("json_stripped", node.this) if plain else None


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
    if name in _WRITERS and len(node.expressions) == 2:
        return _with_option(name, *node.expressions)
    if name in _SCALARS and len(node.expressions) == 1:
        return call(f"json_{name.lower()}", node.expressions[0])
    if name.removeprefix(PREFIX.upper()).lower() not in _BY_PATH.values():
        return None
    value, *rest = node.expressions
    path: Any = rest[0] if rest else exp.Literal.string("$")
    if isinstance(path, exp.Literal):
        path = exp.Literal.string(_LEGACY.sub(r'."\1"', path.name))
    return call(name.removeprefix(PREFIX.upper()).lower(), value, path)


_WRITERS: Final = (f"{PREFIX}TO_JSON".upper(), f"{PREFIX}TO_JSON_STRING".upper())


def _with_option(name: str, value: Any, option: Any) -> exp.Expression:
    """`TO_JSON_STRING(x, TRUE)` on several lines; `TO_JSON(x, stringify_wide_numbers => TRUE)`."""
    if name == _WRITERS[1]:
        text = call("to_json_string", value)
        return exp.If(this=option.copy(), true=call("json_lines", text), false=text.copy())
    if isinstance(option, exp.Kwarg | exp.PropertyEQ):
        option = option.expression
    # JSON of the same type in both branches: CAST would be PARSE_JSON.
    return call("to_json_wide", value, option)


_LEGACY: Final = re.compile(r"\['((?:[^'\\]|\\.)*)'\]")
"""`['a b']`, where the newer functions write `."a b"`."""

_BY_PATH: Final = {
    "JSON_QUERY": "json_at",
    "JSON_EXTRACT": "json_at",
    "JSON_VALUE": "json_scalar_at",
    "JSON_EXTRACT_SCALAR": "json_scalar_at",
    "JSON_QUERY_ARRAY": "json_array_at",
    "JSON_EXTRACT_ARRAY": "json_array_at",
    "JSON_VALUE_ARRAY": "json_scalars_at",
    "JSON_EXTRACT_STRING_ARRAY": "json_scalars_at",
}

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
    "CASE WHEN x IS NOT NULL THEN CASE json_type(x) "
    "WHEN 'VARCHAR' THEN 'string' WHEN 'BOOLEAN' THEN 'boolean' "
    "WHEN 'OBJECT' THEN 'object' WHEN 'ARRAY' THEN 'array' WHEN 'NULL' THEN 'null' "
    "ELSE 'number' END END"
)

_SCALAR: Final = "json_type(x, p) NOT IN ('OBJECT', 'ARRAY', 'NULL')"
_SHOWN: Final = (
    f"CASE WHEN x IS NULL THEN 'null' WHEN typeof(x) = 'DOUBLE' THEN {PREFIX}json_float({{text}}) "
    "WHEN typeof(x) LIKE 'DECIMAL%)' THEN {number} "
    "WHEN typeof(x) = 'BIGINT' AND abs(TRY_CAST({text} AS HUGEINT)) > 9007199254740992 THEN {wide} "
    "WHEN typeof(x) = 'TIMESTAMP WITH TIME ZONE' "
    f"""THEN '"' || replace({PREFIX}json_time({{text}}), '+00', 'Z') || '"' """
    f"""WHEN typeof(x) = 'TIMESTAMP' THEN '"' || {PREFIX}json_time({{text}}) || '"' """
    """WHEN typeof(x) = 'BLOB' THEN '"' || to_base64(CAST({text} AS BLOB)) || '"' """
    f"WHEN {PREFIX}has_json_texts(typeof(x)) "
    f"THEN {PREFIX}json_text(CAST(to_json(x) AS VARCHAR), typeof(x), {{is_quoted}}) "
    "ELSE CAST(to_json(x) AS VARCHAR) END"
)
_TEXT: Final = "CAST(x AS VARCHAR)"
_DIGITS: Final = rf"regexp_replace({_TEXT}, '\.?0+$', '')"
_QUOTED_DIGITS: Final = (
    f"CASE WHEN {_DIGITS} LIKE '%.%' OR abs(CAST({_DIGITS} AS DOUBLE)) > 9007199254740992 "
    f"""THEN '"' || {_DIGITS} || '"' ELSE {_DIGITS} END"""
)
_QUOTED: Final = f"""'"' || {_TEXT} || '"'"""

FUNCTIONS: Final = OwnFunctions(
    marks=r"parse_json|json_type|json_remove|json_array_append|json_strip|\bjson\s*'|\b(?:int64|float64|bool)\s*\(",
    names=_BY_PATH | {"TO_JSON": "to_json", "TO_JSON_STRING": "to_json_string"},
    rewrites={
        exp.ParseJSON: _parsed,
        exp.JSONType: _one("json_type"),
        exp.JSONRemove: _remove,
        exp.JSONArrayAppend: _append,
        exp.JSONStripNulls: _strip,
        exp.Anonymous: _named,
        exp.Int64: _one("json_int64"),
        exp.Float64: _one("json_float64"),
        exp.JSONBool: _one("json_bool"),
    },
    functions=[
        ("parse_json_text", _parse, ["VARCHAR", "VARCHAR"], "VARCHAR"),
        ("removed", _removed, ["VARCHAR", "VARCHAR"], "VARCHAR"),
        ("appended", _appended, ["VARCHAR", "VARCHAR", "VARCHAR"], "VARCHAR"),
        ("stripped", _stripped, ["VARCHAR"], "VARCHAR"),
        ("json_text", json_texts.written, ["VARCHAR", "VARCHAR", "BOOLEAN"], "VARCHAR"),
        ("json_lines", json_texts.on_lines, ["VARCHAR"], "VARCHAR"),
    ],
    macros=[
        f"parse_json(x, mode) AS CAST({PREFIX}parse_json_text(x, mode) AS JSON)",
        f"json_type(x) AS {_TYPE}",
        f"json_removed(x, p) AS CAST({PREFIX}removed(x, p) AS JSON)",
        f"json_appended(x, p, e) AS CAST({PREFIX}appended(x, p, to_json(e)) AS JSON)",
        f"json_stripped(x) AS CAST({PREFIX}stripped(x) AS JSON)",
        (
            "json_at(x JSON, p) AS json_extract(x, p), (x VARCHAR, p) AS CASE WHEN json_valid(x) "
            "THEN nullif(CAST(json_extract(x, p) AS VARCHAR), 'null') END"
        ),
        (
            f"json_scalar_at(x JSON, p) AS CASE WHEN {_SCALAR} THEN json_extract_string(x, p) END, "
            f"(x VARCHAR, p) AS CASE WHEN json_valid(x) AND {_SCALAR} "
            "THEN json_extract_string(x, p) END"
        ),
        (
            "json_array_at(x JSON, p) AS CASE WHEN json_type(x, p) = 'ARRAY' "
            "THEN json_extract(x, p || '[*]') END, "
            "(x VARCHAR, p) AS CASE WHEN json_valid(x) AND json_type(x, p) = 'ARRAY' "
            "THEN CAST(json_extract(x, p || '[*]') AS VARCHAR[]) END"
        ),
        (
            "json_scalars_at(x JSON, p) AS CASE WHEN json_type(x, p) = 'ARRAY' "
            "THEN json_extract_string(x, p || '[*]') END, "
            "(x VARCHAR, p) AS CASE WHEN json_valid(x) AND json_type(x, p) = 'ARRAY' "
            "THEN json_extract_string(x, p || '[*]') END"
        ),
        (
            """json_float(t) AS CASE WHEN t IN ('nan', 'inf', '-inf') """
            """THEN '"' || CASE t WHEN 'nan' THEN 'NaN' WHEN 'inf' THEN 'Infinity' """
            """ELSE '-Infinity' END """
            f"""|| '"' ELSE {PREFIX}float_text(CAST(t AS DOUBLE)) END"""
        ),
        (
            "json_fraction(t, f) AS CASE WHEN f = '' THEN t ELSE replace(t, '.' || f, "
            "'.' || rpad(f, CASE WHEN length(f) <= 3 THEN 3 ELSE 6 END, '0')) END"
        ),
        (
            f"json_time(t) AS {PREFIX}json_fraction("
            r"replace(t, ' ', 'T'), regexp_extract(t, '\.(\d+)', 1))"
        ),
        (
            "has_json_texts(kind) AS (kind LIKE 'STRUCT(%' OR kind LIKE '%[]') AND "
            f"regexp_matches(kind, '{json_texts.WRITTEN}')"
        ),
        "to_json_string(x) AS "
        + _SHOWN.format(text=_TEXT, number=_QUOTED_DIGITS, wide=_QUOTED, is_quoted="TRUE"),
        "to_json(x) AS CAST("
        + _SHOWN.format(text=_TEXT, number=_DIGITS, wide=_TEXT, is_quoted="FALSE")
        + " AS JSON)",
        (
            f"to_json_wide(x, is_quoted) AS CASE WHEN is_quoted "
            f"THEN CAST({PREFIX}to_json_string(x) AS JSON) ELSE {PREFIX}to_json(x) END"
        ),
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
        + _scalar(
            "BOOLEAN",
            "json_type(x) = 'BOOLEAN'",
            "a boolean",
            "CAST(CAST(x AS VARCHAR) AS BOOLEAN)",
        ),
        "json_string(x) AS "
        + _scalar("VARCHAR", "json_type(x) = 'VARCHAR'", "a string", "json_extract_string(x, '$')"),
        (
            f"string_of(x) AS CASE WHEN typeof(x) = 'JSON' "
            f"THEN {PREFIX}json_string(CAST({_TEXT} AS JSON)) ELSE {_TEXT} END"
        ),
    ],
)
"""See the module."""

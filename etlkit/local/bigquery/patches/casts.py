"""Casts between types.

Real BigQuery: FLOAT64 to INT64 rounds half away from zero; STRING to BOOL, INT64, DATE and TIME takes
only what the page of conversions lists; BYTES to STRING are UTF-8; numbers become the shortest text
(`CAST(1.0 AS STRING)` is `1`).
https://cloud.google.com/bigquery/docs/reference/standard-sql/conversion_functions
DuckDB: rounds half to even, takes `yes`, `1.5` and `10:20`, escapes bytes, and keeps zeros.

What remains: `CAST(… FORMAT …)`, and INTERVAL from and to text.
"""

from __future__ import annotations

from typing import Any, Final

from sqlglot import exp

from etlkit.local.bigquery.patches.own_functions import PREFIX, OwnFunctions, call, fails

_TARGETS: Final = {
    exp.DType.BIGINT: "to_int64",
    exp.DType.TEXT: "to_string",
    exp.DType.BINARY: "to_bytes",
    exp.DType.BOOLEAN: "to_bool",
    exp.DType.DECIMAL: "to_numeric",
    exp.DType.BIGDECIMAL: "to_bignumeric",
    exp.DType.DATE: "to_date",
    exp.DType.TIME: "to_time",
}
_LITERALS: Final = frozenset(
    {exp.DType.DATE, exp.DType.TIME, exp.DType.DECIMAL, exp.DType.BIGDECIMAL}
)
"""`DATE '2024-02-29'` is a cast for sqlglot, too."""

_DOUBLE: Final = "TRY_CAST(x AS DOUBLE)"
_TEXT: Final = "CAST(x AS VARCHAR)"


def _cast(node: Any) -> exp.Expression | None:
    target = node.to
    name = _TARGETS.get(target.this)
    if name is None or target.expressions or node.args.get("format") is not None:
        return None
    is_literal = isinstance(node.this, exp.Literal) and node.this.is_string
    if isinstance(node.this, exp.Null) or (is_literal and target.this in _LITERALS):
        return None
    if not isinstance(node, exp.TryCast):
        return call(name, node.this)
    if node.find(exp.Query):  # DuckDB's TRY takes no subquery
        return None
    return call("try", call(name, node.this))


def _safe(node: Any) -> exp.Expression | None:
    """`SAFE.F(x)`. The emulator's own TRY is lost when another rewrite writes BigQuery's SQL again."""
    return None if node.find(exp.Query) else call("try", node.this)


def _of_text(pattern: str, kind: str, name: str) -> str:
    """A text that must have a form."""
    bad = fails(f"'Bad {name} value: ' || {_TEXT}")
    return (
        f"CASE WHEN typeof(x) <> 'VARCHAR' OR x IS NULL THEN CAST(x AS {kind}) "
        f"WHEN regexp_full_match({_TEXT}, '{pattern}') THEN CAST({_TEXT} AS {kind}) "
        f"ELSE CAST({bad} AS {kind}) END"
    )


def _hexadecimal(text: str) -> int:
    return int(text.strip(), 16)


_BAD_INT64: Final = fails(f"'Bad int64 value: ' || {_TEXT}")
_INT64: Final = (
    f"CASE WHEN typeof(x) = 'DOUBLE' THEN CAST(round({_DOUBLE}) AS BIGINT) "
    "WHEN typeof(x) <> 'VARCHAR' OR x IS NULL THEN CAST(x AS BIGINT) "
    rf"WHEN regexp_full_match({_TEXT}, '\s*[+-]?[0-9]+\s*') THEN CAST({_TEXT} AS BIGINT) "
    rf"WHEN regexp_full_match({_TEXT}, '\s*[+-]?0[xX][0-9a-fA-F]+\s*') "
    f"THEN {PREFIX}hexadecimal({_TEXT}) "
    f"ELSE CAST({_BAD_INT64} AS BIGINT) END"
)

FLOAT_TEXT: Final = (
    "CASE WHEN isnan(f) THEN 'NaN' WHEN isinf(f) THEN CASE WHEN f > 0 THEN 'inf' ELSE '-inf' END "
    "WHEN CAST(printf('%.15g', f) AS DOUBLE) = f THEN printf('%.15g', f + 0.0) "
    "ELSE printf('%.17g', f) END"
)
"""15 digits if they give the same value again, otherwise 17, as GoogleSQL writes a double."""

_STRING: Final = (
    f"CASE WHEN typeof(x) = 'DOUBLE' THEN {PREFIX}float_text({_DOUBLE}) "
    "WHEN typeof(x) = 'BLOB' THEN decode(CAST(x AS BLOB)) "
    rf"WHEN typeof(x) LIKE 'DECIMAL%' THEN regexp_replace({_TEXT}, '\.?0+$', '') "
    f"WHEN typeof(x) = 'INTERVAL' THEN {PREFIX}interval_text(TRY_CAST(x AS INTERVAL)) "
    f"ELSE {_TEXT} END"
)

_INTERVAL: Final = (
    "CASE WHEN datepart('year', i) * 12 + datepart('month', i) < 0 THEN '-' ELSE '' END "
    "|| abs(datepart('year', i)) || '-' || abs(datepart('month', i)) || ' ' || datepart('day', i) "
    "|| ' ' || CASE WHEN epoch_us(i - to_months(CAST(datepart('year', i) * 12 "
    "+ datepart('month', i) AS INTEGER)) - to_days(CAST(datepart('day', i) AS INTEGER))) < 0 "
    "THEN '-' ELSE '' END || abs(datepart('hour', i)) || ':' || abs(datepart('minute', i)) || ':' "
    r"|| regexp_replace(printf('%d.%06d', abs(datepart('second', i)), "
    r"abs(datepart('microsecond', i)) % 1000000), '\.?0+$', '')"
)

FUNCTIONS: Final = OwnFunctions(
    marks=r"cast\s*\(|safe\s*\.",
    rewrites={exp.Cast: _cast, exp.TryCast: _cast, exp.SafeFunc: _safe},
    functions=[("hexadecimal", _hexadecimal, ["VARCHAR"], "BIGINT")],
    macros=[
        "try(x) AS TRY(x)",
        f"to_int64(x) AS {_INT64}",
        f"float_text(f) AS {FLOAT_TEXT}",
        f"interval_text(i) AS {_INTERVAL}",
        f"to_string(x) AS {_STRING}",
        f"to_bytes(x) AS CASE WHEN typeof(x) = 'BLOB' THEN CAST(x AS BLOB) ELSE encode({_TEXT}) END",
        "to_bool(x) AS " + _of_text(r"(?i)\s*(true|false)\s*", "BOOLEAN", "bool"),
        "to_date(x) AS " + _of_text(r"\s*\d{4}-\d{1,2}-\d{1,2}\s*", "DATE", "date"),
        "to_time(x) AS CASE WHEN typeof(x) = 'TIMESTAMP WITH TIME ZONE' "
        "THEN CAST(TRY_CAST(x AS TIMESTAMP) AS TIME) ELSE "
        + _of_text(r"\s*([01]?\d|2[0-3]):\d{1,2}:\d{1,2}(\.\d{0,6})?\s*", "TIME", "time")
        + " END",
        (
            f"to_numeric(x) AS CASE WHEN typeof(x) = 'DOUBLE' "
            f"THEN CAST(printf('%.9f', {_DOUBLE}) AS DECIMAL(38, 9)) ELSE CAST(x AS DECIMAL(38, 9)) END"
        ),
        (
            f"to_bignumeric(x) AS CASE WHEN typeof(x) = 'DOUBLE' "
            f"THEN CAST(printf('%.18f', {_DOUBLE}) AS DECIMAL(38, 18)) "
            "ELSE CAST(x AS DECIMAL(38, 18)) END"
        ),
    ],
)
"""See the module."""

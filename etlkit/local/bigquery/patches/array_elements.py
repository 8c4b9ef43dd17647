"""Elements of arrays, and functions of arrays.

Real BigQuery: an index outside of an array is an error, unless it is a SAFE_ one, and negative ones are
outside; a NULL argument makes ARRAY_CONCAT NULL.
https://cloud.google.com/bigquery/docs/reference/standard-sql/array_functions
DuckDB: NULL, and it counts negative indexes from the end.

What remains: `j[0]` of a JSON value.
"""

from __future__ import annotations

from typing import Any, Final

from sqlglot import exp

from etlkit.local.bigquery.patches.own_functions import PREFIX, OwnFunctions, call, fails


def _element(node: Any) -> exp.Expression | None:
    if len(node.expressions) != 1 or isinstance(node.expressions[0], exp.Slice):
        return None
    (index,) = node.expressions
    if isinstance(index, exp.Literal) and index.is_string:
        return call("field", node.this, index)
    offset = exp.Literal.number(node.args.get("offset") or 0)
    name = "element_or_null" if node.args.get("safe") else "element"
    return call(name, node.this, index, offset)


def _generated(node: Any) -> exp.Expression | None:
    step = node.args.get("step") or exp.Literal.number(1)
    return call("series", node.args["start"], node.args["end"], step)


def _joined(node: Any) -> exp.Expression:
    null = node.args.get("null")
    return call("joined", node.this, node.expression, *([] if null is None else [null]))


def _concatenated(node: Any) -> exp.Expression | None:
    if not node.expressions:
        return None
    arrays = [node.this, *node.expressions]
    tests = [exp.Is(this=exp.paren(each.copy()), expression=exp.Null()) for each in arrays]
    return exp.paren(
        exp.Case(ifs=[exp.If(this=exp.or_(*tests), true=exp.Null())], default=node.copy())
    )


def _named_tuples(node: Any) -> exp.Expression | None:
    """In `[STRUCT(1 AS a), (2)]` the later ones have the names of the first."""
    first, *others = node.expressions or [None]
    if not isinstance(first, exp.Struct) or not any(isinstance(each, exp.Tuple) for each in others):
        return None
    names = [each.this if isinstance(each, exp.PropertyEQ) else None for each in first.expressions]
    if None in names:
        return None
    made: exp.Expression = node.copy()
    made.set("expressions", [first.copy(), *(_named(each, names) for each in others)])
    return made


def _named(element: Any, names: list[Any]) -> exp.Expression:
    if not isinstance(element, exp.Tuple) or len(element.expressions) != len(names):
        kept: exp.Expression = element.copy()
        return kept
    pairs = zip(names, element.expressions, strict=True)
    fields = [exp.PropertyEQ(this=name.copy(), expression=each.copy()) for name, each in pairs]
    return exp.Struct(expressions=fields)


_OUTSIDE: Final = fails("'Array index ' || i || ' is out of bounds'")
_STEP: Final = fails("'Sequence step cannot be 0.'")

FUNCTIONS: Final = OwnFunctions(
    marks=r"\[|generate_array|array_to_string|array_concat",
    names={
        "ARRAY_SLICE": "slice",
        "ARRAY_IS_DISTINCT": "is_distinct",
        "ARRAY_INCLUDES": "includes",
        "NULLIFZERO": "null_if_zero",
        "ZEROIFNULL": "zero_if_null",
    },
    rewrites={
        exp.Bracket: _element,
        exp.Array: _named_tuples,
        exp.GenerateSeries: _generated,
        exp.ArrayToString: _joined,
        exp.ArrayConcat: _concatenated,
    },
    macros=[
        (
            "element(x, i, first) AS CASE WHEN i < first OR i >= len(x) + first "
            f"THEN x[CAST({_OUTSIDE} AS BIGINT)] ELSE x[i - first + 1] END"
        ),
        "element_or_null(x, i, first) AS CASE WHEN i >= first THEN x[i - first + 1] END",
        "place(x, i) AS CASE WHEN i < 0 THEN len(x) + i ELSE i END",
        (
            f"slice(x, first, last) AS x[greatest({PREFIX}place(x, first), 0) + 1 "
            f": {PREFIX}place(x, last) + 1]"
        ),
        "is_distinct(x) AS list_unique(x) + least(len(list_filter(x, e -> e IS NULL)), 1) = len(x)",
        "includes(x, e) AS list_contains(x, e)",
        "null_if_zero(x) AS nullif(x, 0)",
        "zero_if_null(x) AS COALESCE(x, 0)",
        """field(x, name) AS json_extract(x, '$."' || name || '"')""",
        (
            "series(a BIGINT, b BIGINT, step BIGINT) AS CASE WHEN step = 0 AND a IS NOT NULL "
            f"THEN [CAST({_STEP} AS BIGINT)] ELSE generate_series(a, b, step) END, "
            f"(a DOUBLE, b DOUBLE, step DOUBLE) AS CASE WHEN step = 0 THEN [CAST({_STEP} AS DOUBLE)] "
            "ELSE list_transform(range(0, greatest(0, CAST(floor((b - a) / step) AS BIGINT) + 1)), "
            "n -> a + n * step) END"
        ),
        (
            "joined(x, s) AS CASE WHEN s IS NOT NULL THEN array_to_string(x, s) END, "
            "(x, s, other) AS CASE WHEN s IS NOT NULL AND other IS NOT NULL "
            "THEN array_to_string(list_transform(x, e -> COALESCE(e, other)), s) END"
        ),
    ],
)
"""See the module."""

"""`APPROX_TOP_COUNT`.

Real BigQuery: an array of structs with `value` and `count`. The emulator: an array of the values.
https://cloud.google.com/bigquery/docs/reference/standard-sql/approximate_aggregate_functions

What remains: NULL is not counted, and APPROX_TOP_SUM.
"""

from __future__ import annotations

from typing import Any, Final

from sqlglot import exp

from etlkit.local.bigquery.patches.own_functions import OwnFunctions, call


def _counted(node: Any) -> exp.Expression:
    return call("top_count", node.this, node.expression)


FUNCTIONS: Final = OwnFunctions(
    marks="approx_top_count",
    rewrites={exp.ApproxTopK: _counted},
    macros=[
        (
            "top_count(x, k) AS list_transform(list_sort(list_transform(map_entries(histogram(x)), "
            "lambda e: {'n': -CAST(e.value AS BIGINT), 'v': e.key}))[1:k], "
            "lambda e: {'value': e.v, 'count': -e.n})"
        ),
    ],
)
"""See the module."""

"""`ARRAY_AGG(… IGNORE NULLS)` with DISTINCT or with LIMIT.

Real BigQuery: nulls are left out before repeats are, and before the limit counts. The emulator turns
IGNORE NULLS into a filter, whose condition it took from `DISTINCT x` as a whole, and which it left
behind the function that does the limit.
"""

from __future__ import annotations

from typing import Any

from sqlglot import exp

from etlkit.local.bigquery.patches.table import PATCHES


def _rewrite_ignore_nulls(tree: Any) -> bool:
    """Replace each of them by a filtered ARRAY_AGG; whether there was one."""
    found = [node for node in tree.find_all(exp.IgnoreNulls) if isinstance(node.this, exp.ArrayAgg)]
    for node in found:
        argument = node.this.this
        limit = argument.expression if isinstance(argument, exp.Limit) else None
        argument = argument if limit is None else argument.this
        is_null = exp.Is(this=_value(argument).copy(), expression=exp.Null())
        filtered: Any = exp.Filter(
            this=exp.ArrayAgg(this=argument.copy()),
            expression=exp.Where(this=exp.Not(this=is_null)),
        )
        if limit is not None:
            filtered = exp.Anonymous(
                this="ARRAY_SLICE", expressions=[filtered, exp.Literal.number(1), limit.copy()]
            )
        node.replace(filtered)
    return bool(found)


def _value(argument: Any) -> Any:
    """What is collected, without DISTINCT and ORDER BY."""
    while isinstance(argument, exp.Order | exp.Distinct):
        is_distinct = isinstance(argument, exp.Distinct)
        argument = argument.expressions[0] if is_distinct else argument.this
    return argument


def apply() -> None:
    """Filter by the value."""
    PATCHES.replace(
        "bqemulator.sql.rewriter.aggregate_variants:_rewrite_ignore_nulls", _rewrite_ignore_nulls
    )

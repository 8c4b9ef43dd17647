"""The names of the columns that PIVOT creates.

Real BigQuery: the alias of the aggregate comes first (`total_Q1`), and a number follows an underscore
(`_2020`). DuckDB: the value comes first, and a number alone is a name.

https://cloud.google.com/bigquery/docs/reference/standard-sql/query-syntax#rules_pivot_column
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlglot import exp

if TYPE_CHECKING:
    from etlkit.local.bigquery.extensions.statement_context import StatementContext
    from etlkit.local.bigquery.extensions.subqueries import Scope


def has_pivots(tree: exp.Expr, context: StatementContext) -> bool:
    """Whether a tree pivots rows to columns."""
    del context
    return any(not pivot.args.get("unpivot") for pivot in tree.find_all(exp.Pivot))


async def name_columns(tree: exp.Expr, scope: Scope) -> bool:
    """The query hook: name the columns of each PIVOT as BigQuery does."""
    del scope
    pivots = [each for each in tree.find_all(exp.Pivot) if not each.args.get("unpivot")]
    for pivot in pivots:
        _name(pivot)
    return bool(pivots)


def _name(pivot: exp.Pivot) -> None:
    (values,) = pivot.args["fields"]
    names = [_value_name(value) for value in values.expressions]
    aggregates = pivot.expressions
    for value, name in zip(list(values.expressions), names, strict=True):
        plain = value.this if isinstance(value, exp.PivotAlias) else value
        first = aggregates[0].alias if len(aggregates) == 1 else ""
        alias = exp.to_identifier(f"{first}_{name}" if first else name, quoted=True)
        value.replace(exp.PivotAlias(this=plain.copy(), alias=alias))
    if len(aggregates) == 1:
        if aggregates[0].alias:
            aggregates[0].replace(aggregates[0].this)
        return
    renamed = [
        exp.alias_(exp.column(f"{name}_{each.alias}", quoted=True), f"{each.alias}_{name}")
        for name in names
        for each in aggregates
    ]
    source: Any = pivot.parent
    alias = pivot.args.get("alias")
    pivot.set("alias", None)
    query = exp.select(exp.Star(rename=renamed)).from_(source.copy())
    source.replace(exp.Subquery(this=query, alias=alias))


def _value_name(value: exp.Expr) -> str:
    """The part of a column's name that stands for a value."""
    if isinstance(value, exp.PivotAlias):
        return str(value.args["alias"].name)
    if isinstance(value, exp.Neg):
        return f"minus_{value.this.name}"
    if isinstance(value, exp.Literal) and not value.is_string:
        return f"_{value.name}".replace(".", "_point_")
    if isinstance(value, exp.Cast):  # DATE '2024-01-02'
        return f"_{value.this.name}".replace("-", "_")
    return value.name or value.sql(dialect="bigquery").upper()

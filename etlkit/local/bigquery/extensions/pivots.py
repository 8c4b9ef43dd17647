"""The columns that PIVOT and UNPIVOT create.

Real BigQuery: in names of PIVOT, the alias of the aggregate comes first (`total_Q1`), and a number
follows an underscore (`_2020`). UNPIVOT puts the values before the names, and a label may be a number.
DuckDB: the value comes first, a number alone is a name, names come before values, and labels are text.

https://cloud.google.com/bigquery/docs/reference/standard-sql/query-syntax#rules_pivot_column
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlglot import exp

if TYPE_CHECKING:
    from etlkit.local.bigquery.extensions.statement_context import StatementContext
    from etlkit.local.bigquery.extensions.subqueries import Scope


def has_pivots(tree: exp.Expr, context: StatementContext) -> bool:
    """Whether a tree pivots rows to columns, or back."""
    del context
    return tree.find(exp.Pivot) is not None


async def name_columns(tree: exp.Expr, scope: Scope) -> bool:
    """The query hook: name and order the columns as BigQuery does."""
    del scope
    pivots = list(tree.find_all(exp.Pivot))
    for pivot in pivots:
        if pivot.args.get("unpivot"):
            _order(pivot)
        else:
            _name(pivot)
    return bool(pivots)


def _order(unpivot: exp.Pivot) -> None:
    """Put the columns of an UNPIVOT last: values, then names."""
    (labels,) = unpivot.args["fields"]
    value = unpivot.expressions[0]
    values = value.expressions if isinstance(value, exp.Tuple) else unpivot.expressions
    names = [each.name for each in (*values, labels.this)]
    columns: list[exp.Expr] = [exp.column(name, quoted=True) for name in names]
    aliases = [
        each.args["alias"] for each in labels.expressions if isinstance(each, exp.PivotAlias)
    ]
    if aliases and not any(getattr(alias, "is_string", True) for alias in aliases):
        number = exp.cast(columns[-1], exp.DType.BIGINT)
        columns[-1] = exp.alias_(number, names[-1], quoted=True)
    star = exp.Star(except_=[exp.to_identifier(name, quoted=True) for name in names])
    _select_from(unpivot, [star, *columns])


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
    _select_from(pivot, [exp.Star(rename=renamed)])


def _select_from(pivot: exp.Pivot, columns: list[exp.Expr]) -> None:
    """Put the relation of a pivot in a sub-query that selects these columns."""
    source: Any = pivot.parent
    alias = pivot.args.get("alias")
    pivot.set("alias", None)
    query = exp.select(*columns).from_(source.copy())
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

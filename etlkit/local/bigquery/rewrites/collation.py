"""Collation: `COLLATE 'und:ci'` of columns, of tables and in expressions.

Real BigQuery: strings of this collation are compared, grouped and sorted without regard to case. The
emulator: a column with a collation was a syntax error, that of a table was ignored, and `COLLATE(x, …)`
changed the value to lower case.

What remains: the collation of a dataset is only kept, and DuckDB folds the case of more characters.
"""

from __future__ import annotations

from typing import Any, Final

from sqlglot import exp

from etlkit.local.bigquery.rewrites.names import Names

_IGNORES_CASE: Final = "und:ci"
_IN_DUCKDB: Final = "NOCASE"


def rewrite(tree: exp.Expr, names: Names) -> bool:
    """Use DuckDB's collation instead."""
    del names
    changed = _of_columns(tree) if isinstance(tree, exp.Create | exp.Alter) else False
    for call in list(tree.find_all(exp.Collate)):
        if isinstance(call.expression, exp.Literal) and call.expression.name == _IGNORES_CASE:
            call.set("expression", exp.var(_IN_DUCKDB))
            call.replace(exp.Paren(this=call.copy()))
            changed = True
    return changed


def _of_columns(tree: exp.Expr) -> bool:
    default: Any = tree.find(exp.CollateProperty)
    changed = default is not None
    for column in tree.find_all(exp.ColumnDef):
        own = next((c for c in column.constraints if _is_collation(c)), None)
        collation = own.kind.this.name if own is not None else ""
        if own is None and default is not None and column.args["kind"].is_type(exp.DType.TEXT):
            collation = default.this.name
        if own is not None:
            own.pop()
            changed = True
        if collation == _IGNORES_CASE:
            kind = exp.CollateColumnConstraint(this=exp.var(_IN_DUCKDB))
            column.append("constraints", exp.ColumnConstraint(kind=kind))
    if default is not None:
        default.pop()
    return changed


def _is_collation(constraint: exp.ColumnConstraint) -> bool:
    return isinstance(constraint.kind, exp.CollateColumnConstraint)

"""`SELECT AS STRUCT` and `SELECT AS VALUE` as whole statements, and `_SESSION` in names.

Real BigQuery: the fields of the struct are the columns of the result. `_SESSION.t` is the temporary
table `t`. The emulator: the result was one column with the struct, and `_SESSION` a dataset.

What remains: the value must be a struct that the statement spells out.
"""

from __future__ import annotations

from typing import Any

from sqlglot import exp

from etlkit.local.bigquery.rewrites.names import Names


def rewrite(tree: exp.Expr, names: Names) -> bool:
    """Select the fields, and leave `_SESSION` out of the names of temporary tables."""
    del names
    return _select_fields(tree) | _without_session(tree)


def _without_session(tree: exp.Expr) -> bool:
    tables = [table for table in tree.find_all(exp.Table) if table.db.upper() == "_SESSION"]
    for table in tables:
        table.set("db", None)
    return bool(tables)


def _select_fields(tree: exp.Expr) -> bool:
    query: Any = tree.expression if isinstance(tree, exp.Create) else tree
    if not isinstance(query, exp.Select) or not query.args.get("kind"):
        return False
    if query.args["kind"] == "STRUCT":
        query.set("kind", None)
        return True
    (value,) = query.expressions[:1] or [None]
    fields = value.unalias().expressions if value is not None else []
    if not isinstance(value and value.unalias(), exp.Struct) or not fields:
        return False
    if not all(isinstance(field, exp.PropertyEQ) for field in fields):
        return False
    query.set("kind", None)
    query.set("expressions", [exp.alias_(field.expression, field.this.copy()) for field in fields])
    return True

"""What UPDATE and MERGE set: fields of structs, and `DEFAULT`.

Real BigQuery: `SET s.a = 1` sets a field and keeps the others, `SET n = DEFAULT` sets what INSERT
would. DuckDB: it sets whole columns to values only.
https://cloud.google.com/bigquery/docs/reference/standard-sql/dml-syntax#update_statement
"""

from __future__ import annotations

from typing import Any

import sqlglot
from sqlglot import exp

from etlkit.local.bigquery.rewrites.names import Names

Assigned = dict[tuple[str, ...], Any]
"""Values by the names of the fields on the way to them."""


def rewrite(tree: exp.Expr, names: Names) -> bool:
    """Set whole columns to values."""
    if not isinstance(tree, exp.Update | exp.Merge):
        return False
    meta = names.meta(tree.this)
    if meta is None:
        return False
    columns = {field.name.casefold(): field for field in meta.schema_.fields}
    updates: Any = [tree] if isinstance(tree, exp.Update) else list(tree.find_all(exp.Update))
    changed = [_rewrite_one(each, columns, tree.this.alias_or_name) for each in updates]
    return any(changed)


def _rewrite_one(update: exp.Update, columns: dict[str, Any], table: str) -> bool:
    kept: list[exp.Expr] = []
    fields: dict[str, Assigned] = {}
    changed = False
    for each in update.expressions:
        value = each.expression if isinstance(each, exp.EQ) else None
        if value is None or not isinstance(each.this, exp.Column | exp.Dot):
            kept.append(each)
            continue
        path = _path(each.this)
        if len(path) > 1 and path[0].casefold() == table.casefold():
            path = path[1:]
        if _is_default(value):
            changed = True
            value = _default(columns.get(path[0].casefold())) if len(path) == 1 else exp.null()
            each.expression.replace(value)
        if len(path) > 1 and path[0].casefold() in columns:
            changed = True
            fields.setdefault(path[0].casefold(), {})[tuple(path[1:])] = value
        else:
            kept.append(each)
    for name, assigned in fields.items():
        column = columns[name]
        old = exp.column(exp.to_identifier(column.name, quoted=True))
        kept.append(exp.EQ(this=old, expression=_struct(column, [table, column.name], assigned)))
    if changed:
        update.set("expressions", kept)
    return changed


def _path(node: Any) -> list[str]:
    if isinstance(node, exp.Dot):
        return [*_path(node.this), node.expression.name]
    return [part.name for part in node.parts]


def _is_default(value: exp.Expr) -> bool:
    name = value.this if isinstance(value, exp.Column) and not value.table else None
    return isinstance(name, exp.Identifier) and not name.quoted and name.name.upper() == "DEFAULT"


def _default(column: Any) -> exp.Expr:
    if column is None or not column.default_value_expression:
        return exp.null()
    return sqlglot.parse_one(column.default_value_expression, read="bigquery")


def _struct(column: Any, place: list[str], assigned: Assigned) -> exp.Expr:
    """The column's struct with other values of some fields."""
    fields = []
    for field in column.fields:
        inner = {
            path[1:]: value
            for path, value in assigned.items()
            if path[0].casefold() == field.name.casefold()
        }
        here = [*place, field.name]
        value = inner.get(())
        if value is None:
            value = _struct(field, here, inner) if inner else _field(here)
        name = exp.to_identifier(field.name, quoted=True)
        fields.append(exp.PropertyEQ(this=name, expression=value.copy()))
    return exp.Struct(expressions=fields)


def _field(place: list[str]) -> exp.Expr:
    table, column, *fields = (exp.to_identifier(name, quoted=True) for name in place)
    node: exp.Expr = exp.Column(this=column, table=table)
    for field in fields:
        node = exp.Dot(this=node, expression=field)
    return node

"""Keys and lengths in the DDL of tables.

Real BigQuery: primary and foreign keys are never enforced, and `BYTES(n)` has a length. The emulator:
DuckDB does not parse NOT ENFORCED, enforces the keys that it parses, and its BLOB has no length.

The catalog keeps keys and lengths, see `table_fields`.
"""

from __future__ import annotations

from typing import Any, Final

from sqlglot import exp

from etlkit.local.bigquery.rewrites.names import Names

_KEYS: Final = (exp.PrimaryKey, exp.ForeignKey, exp.Constraint)
_COLUMN_KEYS: Final = (exp.PrimaryKeyColumnConstraint, exp.Reference)


def rewrite(tree: exp.Expr, names: Names) -> bool:
    """Take keys and the lengths of BYTES out of CREATE TABLE and ALTER TABLE."""
    del names
    if isinstance(tree, exp.Alter):
        return _without_keys(tree) | _without_lengths(tree)
    if not isinstance(tree, exp.Create) or tree.kind != "TABLE":
        return False
    changed = _without_lengths(tree)
    if isinstance(tree.this, exp.Schema):
        changed |= _without_table_keys(tree.this)
        for column in tree.this.find_all(exp.ColumnDef):
            changed |= _without_column_keys(column)
    return changed


def changes_keys(action: Any) -> bool:
    """Whether an action of ALTER TABLE adds or drops a key."""
    if isinstance(action, exp.AddConstraint):
        return True
    if isinstance(action, exp.Drop):
        return bool(action.kind == "CONSTRAINT")
    return isinstance(action, exp.Command) and "PRIMARY KEY" in action.sql().upper()


def _without_keys(alter: exp.Alter) -> bool:
    """Replace an ALTER TABLE of keys by a statement without an effect."""
    if not any(changes_keys(action) for action in alter.args["actions"]):
        return False
    # An empty list of options: the emulator replaces it by a query.
    options = exp.Properties(expressions=[exp.Property(this=exp.var("labels"), value=exp.Array())])
    alter.set("actions", [exp.AlterSet(expressions=[options])])
    return True


def _without_table_keys(schema: exp.Schema) -> bool:
    kept = [each for each in schema.expressions if not isinstance(each, _KEYS)]
    changed = len(kept) < len(schema.expressions)
    schema.set("expressions", kept)
    return changed


def _without_column_keys(column: exp.ColumnDef) -> bool:
    kept = [each for each in column.constraints if not isinstance(each.kind, _COLUMN_KEYS)]
    changed = len(kept) < len(column.constraints)
    column.set("constraints", kept)
    return changed


def _without_lengths(tree: exp.Expr) -> bool:
    found = [
        kind
        for kind in tree.find_all(exp.DataType)
        if kind.is_type(exp.DType.BINARY) and kind.expressions
    ]
    for kind in found:
        kind.set("expressions", None)
    return bool(found)

"""`MERGE … INSERT ROW`, and DELETE without FROM.

Real BigQuery: ROW inserts all columns of the source, in their order. FROM is optional in DELETE. The
emulator: both were syntax errors.
"""

from __future__ import annotations

from sqlglot import exp

from etlkit.local.bigquery.rewrites.names import Names


def rewrite(tree: exp.Expr, names: Names) -> bool:
    """Write them as DuckDB does."""
    del names
    if isinstance(tree, exp.Delete):
        return _name_target(tree)
    return isinstance(tree, exp.Merge) and _insert_all_columns(tree)


def _name_target(delete: exp.Delete) -> bool:
    tables = delete.args.get("tables")
    if delete.this or not tables or len(tables) != 1:
        return False
    delete.set("this", tables[0])
    delete.set("tables", None)
    return True


def _insert_all_columns(merge: exp.Merge) -> bool:
    found = False
    for insert in merge.find_all(exp.Insert):
        if isinstance(insert.this, exp.Var) and insert.this.name.upper() == "ROW":
            insert.set("this", exp.Star())
            found = True
    return found

"""`SELECT AS STRUCT` and `SELECT AS VALUE` as whole statements, and `_SESSION` in names.

Real BigQuery: the fields of the struct are the columns of the result. `_SESSION.t` is the temporary
table `t`. The emulator: the result was one column with the struct, and `_SESSION` a dataset.

What remains: the value must be a struct that the statement spells out.
"""

from __future__ import annotations

from typing import Any, Final

from sqlglot import exp

from etlkit.local.bigquery.rewrites.names import Names

_SHOWING: Final = (
    exp.Alias,
    exp.AnyValue,
    exp.Array,
    exp.ArrayAgg,
    exp.Bracket,
    exp.Dot,
    exp.HavingMax,
    exp.IgnoreNulls,
    exp.JSONFormat,
    exp.Limit,
    exp.Order,
    exp.Paren,
    exp.PropertyEQ,
    exp.Struct,
)


def rewrite(tree: exp.Expr, names: Names) -> bool:
    """Select the fields, and leave `_SESSION` out of the names of temporary tables."""
    del names
    changed = _select_fields(tree) | _without_session(tree) | _name_fields(tree)
    return changed | _name_columns(tree) | _name_selected_fields(tree)


def _name_selected_fields(tree: exp.Expr) -> bool:
    """`SELECT s.a … ORDER BY a`: the name of a selected field is that of a result column."""
    changed = False
    for select in tree.find_all(exp.Select):
        clauses = [select.args.get(name) for name in ("group", "having", "qualify", "order")]
        named = {
            column.name.casefold()
            for clause in clauses
            if clause is not None
            for column in clause.find_all(exp.Column)
            if not column.table
        }
        read = {
            source.alias_or_name.casefold()
            for source in select.find_all(exp.Table, exp.Subquery, exp.Unnest)
        }
        for each in list(select.expressions) if named else ():
            is_path = isinstance(each, exp.Dot) or len(getattr(each, "parts", ())) > 1
            if is_path and len(each.parts) == 2 and each.parts[0].name.casefold() in read:
                continue  # a column of a table, which DuckDB finds
            if is_path and not each.is_star and each.output_name.casefold() in named:
                each.replace(exp.alias_(each.copy(), each.output_name, quoted=True))
                changed = True
    return changed


def _name_columns(tree: exp.Expr) -> bool:
    """Name the columns of functions that the analyzer lacks: it names those of all others."""
    if not isinstance(tree, exp.Select) or tree.find(exp.ArgMax, exp.ArgMin) is None:
        return False
    shown = [
        each
        for each in tree.expressions
        if not each.is_star and not isinstance(each, exp.Alias | exp.Column | exp.Dot)
    ]
    for number, each in enumerate(shown):
        each.replace(exp.alias_(each.copy(), f"f{number}_"))
    return bool(shown)


def _name_fields(tree: exp.Expr) -> bool:
    """Name the fields of structs as BigQuery does: by their columns, or `_field_1`, `_field_2`, ….

    In DML, comparisons, set operations and the like, the positions of fields count in BigQuery. DuckDB
    would go by the names.
    """
    if not isinstance(tree, exp.Query | exp.Create):
        return False
    changed = False
    for struct in tree.find_all(exp.Struct):
        if not _is_shown(struct) or _is_combined(struct):
            continue
        for number, value in enumerate(struct.expressions, 1):
            if not isinstance(value, exp.PropertyEQ):
                name = value.name if isinstance(value, exp.Column | exp.Dot) else f"_field_{number}"
                value.replace(exp.PropertyEQ(this=exp.to_identifier(name), expression=value.copy()))
                changed = True
    return changed


def _is_shown(struct: exp.Expr) -> bool:
    """Whether a struct becomes a value of the result without being compared or combined."""
    node = struct
    while not isinstance(node.parent, exp.Select):
        parent = node.parent
        if not isinstance(parent, _SHOWING):
            return False
        if isinstance(parent, exp.Array) and node is not parent.expressions[0]:
            return False  # it gets the names of the first element
        node = parent
    return node.arg_key == "expressions"


def _is_combined(struct: exp.Expr) -> bool:
    """Whether it is a value of a query that is an operand of a set operation."""
    around = struct.find_ancestor(exp.SetOperation, exp.Subquery, exp.CTE)
    return isinstance(around, exp.SetOperation)


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

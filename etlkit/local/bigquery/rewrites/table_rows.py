"""Rows of tables as values: `SELECT t FROM t`, `(SELECT AS STRUCT t.* EXCEPT (a))`.

Real BigQuery: the name of a table, or its alias, is a STRUCT of the row, also if the table has a column
of this name. `t.*` may name a table of a query further out, and ORDER BY a field of a result column.
DuckDB: the column wins, `t.*` stands for columns of the same query only, and there are no such fields.

What remains: tables whose columns the statement does not show, e.g. those of UNNEST.
https://cloud.google.com/bigquery/docs/reference/standard-sql/query-syntax#range_variables
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from sqlglot import exp

from etlkit.local.bigquery.rewrites.names import Names

_BY_ALIAS: Final = ("order", "group", "having", "qualify")
"""Clauses in which a name may be that of a result column."""


def rewrite(tree: exp.Expr, names: Names) -> bool:
    """Spell out the columns of such rows, and read those of `SELECT AS STRUCT * EXCEPT (a) FROM …`."""
    stars = [_spell_star(star, names) for star in list(tree.find_all(exp.Column)) if _is_far(star)]
    fields = [_spell_field(column) for column in list(tree.find_all(exp.Column))]
    rows = [_spell_row(column, names) for column in list(tree.find_all(exp.Column))]
    read = [_read_rows(select) for select in list(tree.find_all(exp.Select))]
    return any(stars) or any(fields) or any(rows) or any(read)


def _read_rows(select: exp.Select) -> bool:
    if select.args.get("kind") != "STRUCT" or select.parent is None:
        return False
    stars = [
        star for each in select.expressions if each.is_star for star in each.find_all(exp.Star)
    ]
    is_plain = not any(star.args.get("except_") or star.args.get("replace") for star in stars)
    if not stars or (is_plain and len(select.expressions) == 1):
        return False
    inner = select.copy()
    inner.set("kind", None)
    rows = exp.select(exp.column("etlkit_row")).from_(inner.subquery("etlkit_row"))
    select.replace(rows)
    return True


def depends_on_tables(tree: exp.Expr) -> bool:
    """Whether it depends on the columns of tables if a name stands for a row."""
    read = {table.alias_or_name.casefold() for table in tree.find_all(exp.Table)}
    return any(
        isinstance(each.this, exp.Star) or each.name.casefold() in read
        for each in tree.find_all(exp.Column)
        if isinstance(each.this, exp.Star) or not each.table
    )


def _is_far(column: exp.Column) -> bool:
    """Whether it is `t.*` in a query that reads no `t`."""
    select = column.parent
    return (
        isinstance(column.this, exp.Star)
        and bool(column.table)
        and isinstance(select, exp.Select)
        and _source(select, column.table) is None
    )


def _spell_star(column: exp.Column, names: Names) -> bool:
    for select in _enclosing(column):
        source = _source(select, column.table)
        if source is not None:
            break
    else:
        return False
    found = _columns(source, names)
    if found is None or column.parent is None:
        return False
    star: Any = column.this
    left_out = {each.name.casefold() for each in star.args.get("except_") or ()}
    replaced = {each.alias.casefold(): each for each in star.args.get("replace") or ()}
    fields: list[exp.Expr] = [
        replaced[name.casefold()].copy()
        if name.casefold() in replaced
        else exp.alias_(exp.column(name, table=column.table), name, quoted=True)
        for name in found
        if name.casefold() not in left_out
    ]
    place = column.parent.expressions.index(column)
    shown = column.parent.expressions
    column.parent.set("expressions", [*shown[:place], *fields, *shown[place + 1 :]])
    return True


def _spell_field(column: exp.Column) -> bool:
    """`ORDER BY s.a`, where `s` is a result column."""
    select = next(_enclosing(column), None)
    if select is None or len(column.parts) < 2 or not _is_in(column, select, ("order",)):
        return False
    name, *path = column.parts
    shown = [each for each in select.expressions if isinstance(each, exp.Alias)]
    found = [each for each in shown if each.alias.casefold() == name.name.casefold()]
    if not found or _source(select, name.name) is not None:
        return False
    node: exp.Expr = exp.paren(found[0].this.copy())
    for part in path:
        node = exp.Dot(this=node, expression=part.copy())
    column.replace(node)
    return True


def _spell_row(column: exp.Column, names: Names) -> bool:
    name = column.name.casefold()
    if (
        column.table
        or isinstance(column.this, exp.Star)
        or not isinstance(column.this, exp.Identifier)
    ):
        return False
    for select in _enclosing(column):
        if _is_result_column(column, select):
            return False
        source = _source(select, name)
        columns = [_columns(each, names) for each in _sources(select)]
        if source is None and not any(_has(each, name) for each in columns):
            continue
        found = _columns(source, names) if source is not None else None
        if found is None or not _has(found, name):
            return False
        fields = [
            exp.PropertyEQ(
                this=exp.to_identifier(each, quoted=True),
                expression=exp.column(
                    exp.to_identifier(each, quoted=True), table=exp.to_identifier(column.name)
                ),
            )
            for each in found
        ]
        struct: exp.Expr = exp.Struct(expressions=fields)
        if isinstance(column.parent, exp.Select) and column.arg_key == "expressions":
            struct = exp.alias_(struct, column.name, quoted=True)
        column.replace(struct)
        return True
    return False


def _has(columns: list[str] | None, name: str) -> bool:
    return columns is not None and name in {each.casefold() for each in columns}


def _is_result_column(column: exp.Column, select: exp.Select) -> bool:
    """Whether a name in ORDER BY and the like is the alias of a result column."""
    shown = {each.alias.casefold() for each in select.expressions if each.alias}
    return column.name.casefold() in shown and _is_in(column, select, _BY_ALIAS)


def _is_in(column: exp.Column, select: exp.Select, clauses: tuple[str, ...]) -> bool:
    """Whether it is in one of these clauses of a query."""
    node: exp.Expr = column
    while node.parent is not None and node.parent is not select:
        node = node.parent
    return node.arg_key in clauses


def _enclosing(node: exp.Expr) -> Iterator[exp.Select]:
    """The queries around a node, from the inside; not those that only define what it reads."""
    select = node.find_ancestor(exp.Select, exp.CTE)
    while isinstance(select, exp.Select):
        yield select
        select = select.find_ancestor(exp.Select, exp.CTE)


def _sources(select: exp.Select) -> list[exp.Expr]:
    first = select.args.get("from_")
    joined = [join.this for join in select.args.get("joins") or ()]
    return [*([first.this] if first is not None else []), *joined]


def _source(select: exp.Select, name: str) -> exp.Expr | None:
    for each in _sources(select):
        if each.alias_or_name.casefold() == name.casefold():
            return each
    return None


def _columns(source: exp.Expr, names: Names) -> list[str] | None:
    """The names of a source's columns; None = the statement does not show them."""
    if isinstance(source, exp.Subquery):
        return _result(source.this, names)
    if not isinstance(source, exp.Table) or source.args.get("pivots"):
        return None
    if not source.db:
        cte = _common_table(source)
        return None if cte is None else _result(cte.this, names)
    meta = names.meta(source)
    return [field.name for field in meta.schema_.fields] if meta is not None else None


def _common_table(source: exp.Table) -> exp.CTE | None:
    node = source.parent
    while node is not None:
        with_ = node.args.get("with_")
        for cte in with_.expressions if with_ is not None else ():
            if cte.alias.casefold() == source.name.casefold() and source not in cte.find_all(
                exp.Table
            ):
                return cte  # type: ignore[no-any-return]
        node = node.parent
    return None


def _result(query: Any, names: Names) -> list[str] | None:
    while isinstance(query, exp.SetOperation | exp.Subquery):
        query = query.this
    if not isinstance(query, exp.Select) or query.args.get("kind"):
        return None
    found: list[str] = []
    for each in query.expressions:
        if not each.is_star:
            found.append(each.output_name)
            continue
        star = each.this if isinstance(each, exp.Column) else each
        read = _sources(query)
        if isinstance(each, exp.Column):
            source = _source(query, each.table)
            read = [] if source is None else [source]
        columns = [_columns(source, names) for source in read]
        if (
            not columns
            or None in columns
            or any(join.args.get("using") for join in query.args.get("joins") or ())
        ):
            return None
        left_out = {name.name.casefold() for name in star.args.get("except_") or ()}
        found += [
            name for some in columns for name in some or () if name.casefold() not in left_out
        ]
    return found if all(found) else None

"""Wildcard tables: ``FROM `dataset.events_*` ``.

Real BigQuery: the table that was created last gives the columns; others have NULL where they lack one.
`_TABLE_SUFFIX` is a pseudo column, which `*` does not include. The emulator: `*` included it, all
tables needed the same columns, and it looked for conditions on it in the text, in any query.

https://cloud.google.com/bigquery/docs/querying-wildcard-tables
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bqemulator.domain.errors import InvalidQueryError, NotFoundError
from sqlglot import exp

from etlkit.local.bigquery.rewrites.names import Name, Names

if TYPE_CHECKING:
    from bqemulator.catalog.models import TableMeta

SUFFIX: Final = "_TABLE_SUFFIX"


def rewrite(tree: exp.Expr, names: Names) -> bool:
    """Replace each wildcard table by a union of the tables that match.

    Raises:
        NotFoundError: No table matches.
        InvalidQueryError: A view matches.
    """
    found = False
    for table in list(tree.find_all(exp.Table)):
        name = names.of(table)
        if name is None or not name[2].endswith("*"):
            continue
        found = True
        alias = table.args.get("alias") or exp.TableAlias(
            this=exp.to_identifier(name[2].removesuffix("*"), quoted=True)
        )
        union = _union(_matching(name, names), len(name[2]) - 1)
        select = table.find_ancestor(exp.Select)
        table.replace(exp.Subquery(this=union, alias=alias, joins=table.args.get("joins")))
        if select is not None:
            _leave_out_suffix(select, alias.name)
    return found


def _matching(name: Name, names: Names) -> list[TableMeta]:
    """The tables that match, the one that was created last in front."""
    project, dataset, pattern = name
    prefix = pattern.removesuffix("*")
    found = [
        meta
        for meta in names.catalog.list_tables(project, dataset)
        if meta.table_id.startswith(prefix)
    ]
    views = [meta.table_id for meta in found if meta.table_type == "VIEW"]
    if views:
        raise InvalidQueryError(
            "Views cannot be queried through prefix. Matched views are: "
            + ", ".join(f"{project}:{dataset}.{view}" for view in views),
            location="query",
        )
    if not found:
        raise NotFoundError(f"Not found: {project}:{dataset}.{pattern} does not match any table.")
    return sorted(found, key=lambda meta: (meta.creation_time, meta.table_id), reverse=True)


def _union(tables: list[TableMeta], num_prefix: int) -> Any:
    fields = tables[0].schema_.fields
    selects = []
    for meta in tables:
        known = {field.name.casefold() for field in meta.schema_.fields}
        columns: list[Any] = [
            exp.column(field.name, quoted=True)
            if field.name.casefold() in known
            else exp.alias_(exp.Null(), field.name, quoted=True)
            for field in fields
        ]
        columns.append(exp.alias_(exp.Literal.string(meta.table_id[num_prefix:]), SUFFIX))
        name = exp.table_(meta.table_id, meta.dataset_id, meta.project_id, quoted=True)
        selects.append(exp.select(*columns).from_(name))
    union: Any = selects[0]
    for select in selects[1:]:
        union = exp.union(union, select, distinct=False, copy=False)
    return union


def _leave_out_suffix(select: exp.Select, alias: str) -> None:
    """Leave the pseudo column out of `*` and `alias.*`."""
    for projection in select.expressions:
        star = projection.this if isinstance(projection, exp.Column) else projection
        table = projection.table if isinstance(projection, exp.Column) else ""
        if isinstance(star, exp.Star) and table.casefold() in {"", alias.casefold()}:
            left_out = star.args.get("except_") or []
            if SUFFIX.casefold() not in {each.name.casefold() for each in left_out}:
                star.set("except_", [*left_out, exp.to_identifier(SUFFIX)])

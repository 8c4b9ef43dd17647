"""`dataset.__TABLES__` and `dataset.__TABLES_SUMMARY__`.

Real BigQuery: they list the tables of a dataset, the first one with their numbers of rows. The
emulator: it did not have them.

What remains: the size of a table is that of the catalog, which is mostly 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bqemulator.domain.errors import NotFoundError
from sqlglot import exp

from etlkit.local.bigquery.rewrites.names import Names

if TYPE_CHECKING:
    from bqemulator.catalog.models import TableMeta

_LISTS: Final = {"__TABLES__", "__TABLES_SUMMARY__"}
_KINDS: Final = {"VIEW": 2, "EXTERNAL": 3, "MATERIALIZED_VIEW": 4}
"""The numbers of types; a table is 1."""


def rewrite(tree: exp.Expr, names: Names) -> bool:
    """Replace each list by a query of constants.

    Raises:
        NotFoundError: The dataset does not exist.
    """
    lists = [table for table in tree.find_all(exp.Table) if table.name.upper() in _LISTS]
    for table in lists:
        name = names.of(table)
        if name is None:
            continue
        project, dataset, kind = name
        if names.catalog.get_dataset(project, dataset) is None:
            raise NotFoundError(
                f"Not found: Dataset {project}:{dataset} was not found in location US"
            )
        found = names.catalog.list_tables(project, dataset)
        alias = table.args.get("alias") or exp.TableAlias(this=exp.to_identifier(kind))
        query = _query([_row(meta, kind.upper()) for meta in found], kind.upper())
        table.replace(exp.Subquery(this=query, alias=alias, joins=table.args.get("joins")))
    return bool(lists)


def _row(meta: TableMeta, kind: str) -> dict[str, Any]:
    row: dict[str, Any] = {
        "project_id": exp.Literal.string(meta.project_id),
        "dataset_id": exp.Literal.string(meta.dataset_id),
        "table_id": exp.Literal.string(meta.table_id),
        "creation_time": _millis(meta.creation_time),
    }
    if kind == "__TABLES__":
        row["last_modified_time"] = _millis(meta.last_modified_time)
        row["row_count"] = _row_count(meta)
        row["size_bytes"] = exp.Literal.number(meta.num_bytes)
    row["type"] = exp.Literal.number(_KINDS.get(meta.table_type, 1))
    return row


def _millis(instant: Any) -> exp.Expr:
    return exp.Literal.number(int(instant.timestamp() * 1000))


def _row_count(meta: TableMeta) -> exp.Expr:
    if meta.table_type in _KINDS:
        return exp.Literal.number(0)
    table = exp.table_(meta.table_id, meta.dataset_id, meta.project_id, quoted=True)
    return exp.Subquery(this=exp.select(exp.Count(this=exp.Star())).from_(table))


def _query(rows: list[dict[str, Any]], kind: str) -> Any:
    selects = [
        exp.select(*(exp.alias_(value, name) for name, value in row.items())) for row in rows
    ]
    if not selects:
        nothing = dict.fromkeys(("project_id", "dataset_id", "table_id"), exp.DType.TEXT)
        nothing |= {"creation_time": exp.DType.BIGINT}
        if kind == "__TABLES__":
            numbers = ("last_modified_time", "row_count", "size_bytes")
            nothing |= dict.fromkeys(numbers, exp.DType.BIGINT)
        nothing |= {"type": exp.DType.BIGINT}
        columns = [exp.alias_(exp.cast(exp.Null(), what), name) for name, what in nothing.items()]
        return exp.select(*columns).limit(0)
    union: Any = selects[0]
    for select in selects[1:]:
        union = exp.union(union, select, distinct=False, copy=False)
    return union

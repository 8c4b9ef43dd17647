"""The filter that statements need on a table with `require_partition_filter`.

What remains: a subquery may take its filter from the query around it where BigQuery would not push it
down, and a table that is partitioned by ranges of integers cannot require a filter.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from sqlglot import exp

from etlkit.local.bigquery.extensions import api_errors, grammar
from etlkit.local.bigquery.rules.concurrency import is_mutating
from etlkit.local.bigquery.rules.partitioning import table_of, target_of
from etlkit.local.bigquery.rules.registry import Asked, rule

if TYPE_CHECKING:
    from bqemulator.catalog.models import TableMeta

    from etlkit.local.bigquery.extensions.statement_context import StatementContext

_LOAD_TIME: Final = ("_PARTITION_LOAD_TIME", "_PARTITIONDATE", "_PARTITIONTIME")
"""Of a table that is partitioned by the time of loading, in the order of BigQuery's message."""


@rule(
    Asked.STATEMENT,
    "A table with `require_partition_filter` is read, updated, merged into and deleted from with a "
    "filter on its partitioning column, through views too, and not truncated.",
    "querying-partitioned-tables#require_a_partition_filter_in_queries",
)
def required_filter(tree: exp.Expr, context: StatementContext) -> None:
    """Ask for a filter on the partitioning column of each table that requires one."""
    if isinstance(tree, exp.Create) and tree.kind == "VIEW":
        return
    for meta, columns in _unfiltered(tree, context):
        raise api_errors.invalid(_refusal(meta, columns))


@rule(
    Asked.READ,
    "A read session of such a table has a row restriction on its partitioning column.",
    "reference/storage/rpc/google.cloud.bigquery.storage.v1#tablereadoptions",
)
def required_restriction(meta: TableMeta, restriction: str) -> None:
    """Ask for the filter in `row_restriction`."""
    columns = _required_columns(meta)
    tree = grammar.parse(f"SELECT * FROM t WHERE {restriction or 'TRUE'}")
    if columns and not _is_filtered(tree.find(exp.Table) if tree else exp.Table(), columns):
        raise api_errors.invalid(_refusal(meta, columns))


def _unfiltered(
    tree: exp.Expr, context: StatementContext
) -> Iterator[tuple[TableMeta, tuple[str, ...]]]:
    """The tables that a statement reads or changes without the filter that they require."""
    for table in tree.find_all(exp.Table):
        meta = table_of(table, context)
        if meta is None or _is_only_named(table, tree):
            continue
        body = grammar.parse(meta.view_query) if meta.view_query else None
        if body is not None:
            for each, columns in _unfiltered(body, context):
                if not _is_filtered(table, _shown(columns, body)):
                    yield each, columns
        columns = _required_columns(meta)
        if columns and not _is_filtered(table, columns):
            yield meta, columns


def _required_columns(meta: TableMeta) -> tuple[str, ...]:
    """The columns of which one must be filtered; none = the table requires no filter."""
    partitioning = meta.time_partitioning
    if partitioning is None or not partitioning.require_partition_filter:
        return ()
    return _LOAD_TIME if partitioning.field is None else (partitioning.field,)


def _shown(columns: tuple[str, ...], view: exp.Expr) -> tuple[str, ...]:
    """The names under which the query of a view shows columns."""
    wanted = {column.casefold() for column in columns}
    aliases = [
        selected.alias
        for selected in getattr(view, "selects", ())
        if isinstance(selected, exp.Alias) and selected.this.name.casefold() in wanted
    ]
    return (*columns, *aliases)


def _refusal(meta: TableMeta, columns: tuple[str, ...]) -> str:
    named = ", ".join(f"'{column}'" for column in columns)
    return (
        f"Cannot query over table '{meta.project_id}.{meta.dataset_id}.{meta.table_id}' "
        f"without a filter over column(s) {named} that can be used for partition elimination"
    )


def _is_only_named(table: exp.Table, tree: exp.Expr) -> bool:
    """Whether a statement names a table without reading or changing rows of it."""
    if isinstance(table.parent, exp.Clone | exp.LikeProperty):
        return True
    return table is target_of(tree) and not is_mutating(tree)


def _is_filtered(table: exp.Table, columns: tuple[str, ...]) -> bool:
    """Whether a condition of the query around a table, or of one further out, is on these columns."""
    wanted = {column.casefold() for column in columns}
    alias: str | None = table.alias_or_name.casefold()
    node: Any = table.parent
    while node is not None:
        if any(_restricts(condition, wanted, alias) for condition in _conditions(node)):
            return True
        if isinstance(node, exp.Select):
            alias = None  # outside, the column belongs to a subquery of any name
        node = node.parent
    return False


def _conditions(node: exp.Expr) -> Iterator[exp.Expr]:
    where = node.args.get("where")
    if isinstance(where, exp.Where):
        yield where.this
    conditions = [
        node.args.get("on"),
        *(join.args.get("on") for join in node.args.get("joins") or ()),
    ]
    yield from (condition for condition in conditions if isinstance(condition, exp.Expr))


def _restricts(condition: exp.Expr, columns: set[str], alias: str | None) -> bool:
    """Whether a condition can rule out partitions by itself."""
    condition = condition.unnest()
    if isinstance(condition, exp.And):
        return any(_restricts(part, columns, alias) for part in (condition.left, condition.right))
    if isinstance(condition, exp.Or):
        return all(_restricts(part, columns, alias) for part in (condition.left, condition.right))
    if condition.find(exp.Query) is not None:
        return False
    named = [*condition.find_all(exp.Column)]
    ours = [column for column in named if _is_one_of(column, columns, alias)]
    return bool(ours) and not any(column.table for column in named if column not in ours)


def _is_one_of(column: exp.Column, columns: set[str], alias: str | None) -> bool:
    is_ours = alias is None or not column.table or column.table.casefold() == alias
    return is_ours and column.name.casefold() in columns

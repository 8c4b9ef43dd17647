"""What BigQuery refuses of statements on partitioned and clustered tables.

Real BigQuery: a table cannot be replaced by one with another partitioning or clustering; a table with
`require_partition_filter` is only read, updated, merged into and deleted from with a filter on its
partitioning column, and is not truncated. The emulator: it had neither rule.

What remains: views of such a table and expressions of scripts may read it without a filter, and a
subquery may take its filter from the query around it where BigQuery would not push it down.

https://cloud.google.com/bigquery/docs/querying-partitioned-tables
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from sqlglot import exp

from etlkit.local.bigquery.extensions import api_errors, grammar
from etlkit.local.bigquery.patches.concurrency import is_mutating
from etlkit.local.bigquery.patches.partitioning import clustering_of, partitioning_of, range_of

if TYPE_CHECKING:
    from bqemulator.catalog.models import RangePartitioning, TableMeta, TimePartitioning

    from etlkit.local.bigquery.extensions.statement_context import StatementContext

_LOAD_TIME: Final = ("_PARTITION_LOAD_TIME", "_PARTITIONDATE", "_PARTITIONTIME")
"""Of a table that is partitioned by the time of loading, in the order of BigQuery's message."""


async def refuse_other_partitioning(tree: exp.Expr, context: StatementContext) -> None:
    """Let CREATE OR REPLACE TABLE change neither partitioning nor clustering.

    Raises:
        InvalidQueryError: It would.
    """
    if not (isinstance(tree, exp.Create) and tree.kind == "TABLE" and tree.args.get("replace")):
        return
    existing = _table(_target(tree), context)
    if existing is None or existing.table_type != "TABLE":
        return
    before = _spec(existing.time_partitioning, existing.range_partitioning, existing.clustering)
    after = _declared(tree, context)
    if after != before:
        raise api_errors.invalid(
            "Cannot replace a table with a different partitioning spec. Instead, DROP the table, "
            f"and then recreate it. New partitioning spec is {after} and existing spec is {before}"
        )


async def require_filter(tree: exp.Expr, context: StatementContext) -> None:
    """Ask for a filter on the partitioning column of each table that requires one.

    Raises:
        InvalidQueryError: There is no filter.
    """
    if isinstance(tree, exp.Create) and tree.kind == "VIEW":
        return
    for table in tree.find_all(exp.Table):
        meta = _table(table, context)
        partitioning = None if meta is None else meta.time_partitioning
        if meta is None or partitioning is None or not partitioning.require_partition_filter:
            continue
        columns = _LOAD_TIME if partitioning.field is None else (partitioning.field,)
        if not _is_only_named(table, tree) and not _is_filtered(table, columns):
            named = ", ".join(f"'{column}'" for column in columns)
            raise api_errors.invalid(
                f"Cannot query over table '{meta.project_id}.{meta.dataset_id}.{meta.table_id}' "
                f"without a filter over column(s) {named} that can be used for partition elimination"
            )


def _target(tree: exp.Expr) -> Any:
    return tree.this.this if isinstance(tree.this, exp.Schema) else tree.this


def _table(target: Any, context: StatementContext) -> TableMeta | None:
    if not isinstance(target, exp.Table) or not target.db or not target.name:
        return None
    found: TableMeta | None = context.ctx.catalog.get_table(
        *grammar.name_of(target, context.project)
    )
    return found


def _declared(tree: exp.Create, context: StatementContext) -> str:
    """The spec of a statement; LIKE, COPY and CLONE take what they do not declare from a table."""
    properties = tree.args.get("properties") or exp.Properties()
    time, ranges, clustering = (
        partitioning_of(properties),
        range_of(properties),
        clustering_of(properties),
    )
    like = tree.args.get("clone") or properties.find(exp.LikeProperty)
    source = None if like is None else _table(like.this, context)
    if source is not None:
        if time is None and ranges is None:
            time, ranges = source.time_partitioning, source.range_partitioning
        clustering = clustering or source.clustering
    return _spec(time, ranges, clustering)


def _spec(time: TimePartitioning | None, ranges: RangePartitioning | None, clustering: Any) -> str:
    """A spec as BigQuery writes it."""
    parts = []
    if time is not None:
        field = "" if time.field is None else f",field:{time.field}"
        parts.append(f"interval(type:{time.type.lower()}{field})")
    if ranges is not None:
        parts.append(
            f"range(type:integer,field:{ranges.field},start:{ranges.start},end:{ranges.end},"
            f"interval:{ranges.interval})"
        )
    if clustering is not None:
        parts.append(f"clustering({','.join(clustering.fields)})")
    return " ".join(parts) or "none"


def _is_only_named(table: exp.Table, tree: exp.Expr) -> bool:
    """Whether a statement names a table without reading or changing rows of it."""
    if isinstance(table.parent, exp.Clone | exp.LikeProperty):
        return True
    return table is _target(tree) and not is_mutating(tree)


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

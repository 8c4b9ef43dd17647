"""How a table may be partitioned, and that it stays so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlglot import exp

from etlkit.local.bigquery.extensions import api_errors, grammar
from etlkit.local.bigquery.patches.partitioning import clustering_of, partitioning_of, range_of
from etlkit.local.bigquery.rules.registry import Asked, rule
from etlkit.rows.types import ALIASES

if TYPE_CHECKING:
    from bqemulator.catalog.models import (
        RangePartitioning,
        TableFieldSchema,
        TableMeta,
        TimePartitioning,
    )

    from etlkit.local.bigquery.extensions.statement_context import StatementContext

MAX_RANGES: Final = 10_000

_UNITS: Final = {
    "DATE": ("DAY", "MONTH", "YEAR"),
    "DATETIME": ("HOUR", "DAY", "MONTH", "YEAR"),
    "TIMESTAMP": ("HOUR", "DAY", "MONTH", "YEAR"),
}
_EXPRESSIONS: Final = (
    "PARTITION BY expression must be DATE(<timestamp_column>), DATE(<datetime_column>), "
    "DATETIME_TRUNC(<datetime_column>, DAY/HOUR/MONTH/YEAR), a DATE column, "
    "TIMESTAMP_TRUNC(<timestamp_column>, DAY/HOUR/MONTH/YEAR), "
    "DATE_TRUNC(<date_column>, MONTH/YEAR), or RANGE_BUCKET(<int64_column>, "
    "GENERATE_ARRAY(<int64_value>, <int64_value>[, <int64_value>]))"
)


@rule(
    Asked.DEFINITION,
    "Partitions are of a DATE, DATETIME or TIMESTAMP column, by units that it has: hours need a time.",
    "partitioned-tables#date_timestamp_partitioned_tables",
)
def time_column(meta: TableMeta, tree: exp.Create | None) -> None:
    """Refuse partitions by time of a column that cannot have them."""
    partitioning = meta.time_partitioning
    if partitioning is None or partitioning.field is None:
        return
    field = column_of(meta, partitioning.field)
    kind = "" if field is None else standard(field)
    if field is None:
        raise api_errors.invalid(
            "The field specified for partitioning cannot be found in the schema"
        )
    is_bare = tree is not None and _is_bare(tree) and kind != "DATE"
    if is_bare or (tree is not None and partitioning.type not in _UNITS.get(kind, ())):
        raise api_errors.invalid(_EXPRESSIONS)
    if kind not in _UNITS:
        raise api_errors.invalid(
            "The field specified for partitioning can only be of type TIMESTAMP, DATE or DATETIME. "
            f"The type found is: {field.type}."
        )
    if partitioning.type not in _UNITS[kind]:
        raise api_errors.invalid(
            f"The field {field.name} of type {kind} cannot be partitioned by {partitioning.type}"
        )


@rule(
    Asked.DEFINITION,
    "Ranges are of an INT64 column, and a table has at most 10,000 of them.",
    "partitioned-tables#integer_range",
)
def ranges(meta: TableMeta, tree: exp.Create | None) -> None:  # noqa: ARG001 - as its kin
    """Refuse partitions by ranges that are too many, or of another column."""
    wanted = meta.range_partitioning
    if wanted is None:
        return
    field = column_of(meta, wanted.field)
    if field is None:
        raise api_errors.invalid(
            "The field specified for partitioning cannot be found in the schema"
        )
    if standard(field) != "INT64":
        raise api_errors.invalid(_EXPRESSIONS)
    if wanted.interval <= 0 or wanted.end <= wanted.start:
        raise api_errors.invalid(
            "The range of a partitioning must end after its start, and its interval be positive"
        )
    count = -(-(wanted.end - wanted.start) // wanted.interval)
    if count > MAX_RANGES:
        raise api_errors.invalid(
            f"A partitioned table has at most {MAX_RANGES} ranges, but the specification of "
            f"{wanted.field} has {count}"
        )


@rule(
    Asked.STATEMENT,
    "CREATE OR REPLACE TABLE keeps partitioning and clustering; to change them, drop the table.",
    "reference/standard-sql/data-definition-language#create_table_statement",
)
def same_layout(tree: exp.Expr, context: StatementContext) -> None:
    """Let CREATE OR REPLACE TABLE change neither partitioning nor clustering."""
    if not (isinstance(tree, exp.Create) and tree.kind == "TABLE" and tree.args.get("replace")):
        return
    existing = table_of(target_of(tree), context)
    if existing is None or existing.table_type != "TABLE":
        return
    before = _spec(existing.time_partitioning, existing.range_partitioning, existing.clustering)
    after = _declared(tree, context)
    if after != before:
        raise api_errors.invalid(
            "Cannot replace a table with a different partitioning spec. Instead, DROP the table, "
            f"and then recreate it. New partitioning spec is {after} and existing spec is {before}"
        )


@rule(
    Asked.UPDATE,
    "An update of a table over REST cannot change its partitioning.",
    "managing-partitioned-tables",
)
def same_partitioning(meta: TableMeta, existing: TableMeta) -> None:
    """Refuse an update to other partitions; expiration and the required filter may change."""
    before = _spec(existing.time_partitioning, existing.range_partitioning, None)
    if _spec(meta.time_partitioning, meta.range_partitioning, None) != before:
        raise api_errors.invalid("Cannot change partitioning spec for a partitioned table.")


def column_of(meta: TableMeta, name: str) -> TableFieldSchema | None:
    """The top-level column of this name."""
    for field in meta.schema_.fields:
        if field.name.casefold() == name.casefold():
            return field
    return None


def standard(field: TableFieldSchema) -> str:
    """The name that GoogleSQL has for the type of a column; `ARRAY` if it is repeated."""
    return "ARRAY" if field.mode == "REPEATED" else ALIASES.get(field.type, field.type)


def target_of(tree: exp.Expr) -> Any:
    """What a CREATE, an ALTER or DML names first."""
    return tree.this.this if isinstance(tree.this, exp.Schema) else tree.this


def table_of(target: Any, context: StatementContext) -> TableMeta | None:
    """The table that a node names; None = it is none, or is not there."""
    if not isinstance(target, exp.Table) or not target.db or not target.name:
        return None
    found: TableMeta | None = context.ctx.catalog.get_table(
        *grammar.name_of(target, context.project)
    )
    return found


def _is_bare(tree: exp.Create) -> bool:
    clause = tree.find(exp.PartitionedByProperty)
    return clause is not None and isinstance(clause.this, exp.Identifier | exp.Column)


def _declared(tree: exp.Create, context: StatementContext) -> str:
    """The spec of a statement; LIKE, COPY and CLONE take what they do not declare from a table."""
    properties = tree.args.get("properties") or exp.Properties()
    time, ranged, clustering = (
        partitioning_of(properties),
        range_of(properties),
        clustering_of(properties),
    )
    like = tree.args.get("clone") or properties.find(exp.LikeProperty)
    source = None if like is None else table_of(like.this, context)
    if source is not None:
        if time is None and ranged is None:
            time, ranged = source.time_partitioning, source.range_partitioning
        clustering = clustering or source.clustering
    return _spec(time, ranged, clustering)


def _spec(time: TimePartitioning | None, ranged: RangePartitioning | None, clustering: Any) -> str:
    """A spec as BigQuery writes it."""
    parts = []
    if time is not None:
        field = "" if time.field is None else f",field:{time.field}"
        parts.append(f"interval(type:{time.type.lower()}{field})")
    if ranged is not None:
        parts.append(
            f"range(type:integer,field:{ranged.field},start:{ranged.start},end:{ranged.end},"
            f"interval:{ranged.interval})"
        )
    if clustering is not None:
        parts.append(f"clustering({','.join(clustering.fields)})")
    return " ".join(parts) or "none"

"""PARTITION BY and column descriptions of a CREATE TABLE.

Real BigQuery: `tables.get` shows column, unit, expiration and the required filter for every form of
PARTITION BY, and the descriptions of the columns. The emulator: it only knew a bare column, always by
day.

What remains: a table that is partitioned by ranges of integers cannot require a filter, because the
emulator's catalog cannot store that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bqemulator.catalog.models import Clustering, RangePartitioning, TableMeta, TimePartitioning
from sqlglot import exp

_LOAD_TIME = {"_PARTITIONDATE", "_PARTITIONTIME"}
_DAY_MS = 86_400_000


def partitioning_of(properties: exp.Properties) -> TimePartitioning | None:
    """The time partitioning that a statement declares; None = it declares none."""
    clause = properties.find(exp.PartitionedByProperty)
    if clause is None or clause.find(exp.RangeBucket) is not None:
        return None
    column = clause.this if isinstance(clause.this, exp.Identifier) else clause.find(exp.Identifier)
    if column is None:
        return None
    unit = clause.this.args.get("unit")
    options = {
        option.name.lower(): option.args["value"]
        for option in properties.expressions
        if type(option) is exp.Property
    }
    kind: Any = "DAY" if unit is None else unit.name.upper()
    field = None if column.name.upper() in _LOAD_TIME else column.name
    return with_options(TimePartitioning(type=kind, field=field), options)


def with_options(
    partitioning: TimePartitioning, options: Mapping[str, exp.Expr]
) -> TimePartitioning:
    """The partitioning with the options about partitions of an OPTIONS list."""
    updates: dict[str, Any] = {}
    days, required = (
        options.get(name) for name in ("partition_expiration_days", "require_partition_filter")
    )
    if days is not None:
        is_set = not isinstance(days, exp.Null)
        updates["expiration_ms"] = int(float(days.name) * _DAY_MS) if is_set else None
    if required is not None:
        updates["require_partition_filter"] = required.this is True
    return partitioning.model_copy(update=updates)


def range_of(properties: exp.Properties) -> RangePartitioning | None:
    """The partitioning by ranges of integers that a statement declares; None = it declares none."""
    clause = properties.find(exp.PartitionedByProperty)
    buckets = None if clause is None else clause.find(exp.RangeBucket)
    series = None if buckets is None else buckets.find(exp.GenerateSeries)
    if buckets is None or series is None:
        return None
    bounds = [series.args.get(name) for name in ("start", "end", "step")]
    start, end, step = (1 if bound is None else int(bound.sql("bigquery")) for bound in bounds)
    return RangePartitioning(field=buckets.this.name, start=start, end=end, interval=step)


def clustering_of(properties: exp.Properties) -> Clustering | None:
    """The clustering that a statement declares; None = it declares none."""
    cluster = properties.find(exp.ClusterProperty)
    if cluster is None:
        return None
    return Clustering(fields=tuple(column.name for column in cluster.expressions))


def described(meta: TableMeta, create: exp.Create) -> TableMeta:
    """The table with the descriptions and the defaults in its list of columns."""
    texts, defaults = {}, {}
    for column in create.this.find_all(exp.ColumnDef):
        for default in column.find_all(exp.DefaultColumnConstraint):
            defaults[column.name] = default.this.sql(dialect="bigquery")
        for option in column.find_all(exp.Property):
            if option.name.lower() == "description":
                texts[column.name] = option.args["value"].name
    if not texts and not defaults:
        return meta
    fields = tuple(
        field.model_copy(
            update={
                "description": texts.get(field.name, field.description),
                "default_value_expression": defaults.get(
                    field.name, field.default_value_expression
                ),
            }
        )
        for field in meta.schema_.fields
    )
    schema = meta.schema_.model_copy(update={"fields": fields})
    return meta.model_copy(update={"schema_": schema})

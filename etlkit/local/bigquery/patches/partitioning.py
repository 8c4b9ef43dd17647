"""PARTITION BY and column descriptions of a CREATE TABLE.

Real BigQuery: `tables.get` tells column, unit, expiration and the required filter, whatever form
PARTITION BY has, and the descriptions of the columns. The emulator: it knew a bare column alone,
always by day. Integer ranges are accepted and not kept: its catalog has no place for them.
"""

from __future__ import annotations

from typing import Any

from bqemulator.catalog.models import TableMeta, TimePartitioning
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
    days = options.get("partition_expiration_days")
    required = options.get("require_partition_filter")
    kind: Any = "DAY" if unit is None else unit.name.upper()
    return TimePartitioning(
        type=kind,
        field=None if column.name.upper() in _LOAD_TIME else column.name,
        expiration_ms=None if days is None else int(float(days.name) * _DAY_MS),
        require_partition_filter=bool(required is not None and required.this),
    )


def described(meta: TableMeta, create: exp.Create) -> TableMeta:
    """The table with the descriptions that its column list gives."""
    texts = {}
    for column in create.this.find_all(exp.ColumnDef):
        for option in column.find_all(exp.Property):
            if option.name.lower() == "description":
                texts[column.name] = option.args["value"].name
    if not texts:
        return meta
    fields = tuple(
        field.model_copy(update={"description": texts.get(field.name, field.description)})
        for field in meta.schema_.fields
    )
    schema = meta.schema_.model_copy(update={"fields": fields})
    return meta.model_copy(update={"schema_": schema})

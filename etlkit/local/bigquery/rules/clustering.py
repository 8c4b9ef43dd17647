"""By which columns a table may be clustered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from etlkit.local.bigquery.extensions import api_errors
from etlkit.local.bigquery.rules.partitioning import column_of, standard
from etlkit.local.bigquery.rules.registry import Asked, rule

if TYPE_CHECKING:
    from bqemulator.catalog.models import TableMeta
    from sqlglot import exp

MAX_COLUMNS: Final = 4

_TYPES: Final = {
    "BIGNUMERIC",
    "BOOL",
    "DATE",
    "DATETIME",
    "GEOGRAPHY",
    "INT64",
    "NUMERIC",
    "RANGE",
    "STRING",
    "TIMESTAMP",
}


@rule(
    Asked.DEFINITION,
    "A table is clustered by at most 4 columns.",
    "clustered-tables#limitations",
)
def clustering_count(meta: TableMeta, tree: exp.Create | None) -> None:  # noqa: ARG001
    """Refuse a fifth column."""
    if meta.clustering is not None and len(meta.clustering.fields) > MAX_COLUMNS:
        raise api_errors.invalid(
            f"The maximum number of clustering columns is {MAX_COLUMNS}, but "
            f"{len(meta.clustering.fields)} are specified: {', '.join(meta.clustering.fields)}"
        )


@rule(
    Asked.DEFINITION,
    "Clustering columns are top-level, not repeated, and of a type that has an order and equality.",
    "clustered-tables#cluster_column_types",
)
def clustering_types(meta: TableMeta, tree: exp.Create | None) -> None:  # noqa: ARG001
    """Refuse columns of other types, such as FLOAT64, JSON and arrays."""
    for name in () if meta.clustering is None else meta.clustering.fields:
        field = column_of(meta, name)
        if field is None:
            raise api_errors.invalid(
                f"The field specified for clustering cannot be found in the schema: {name}"
            )
        kind = standard(field)
        if kind not in _TYPES:
            raise api_errors.invalid(
                f"Field {field.name} has type {kind}, which is not supported for clustering."
            )

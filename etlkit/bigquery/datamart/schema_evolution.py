"""Schema evolution: what a datamart does when its query has other columns than its table."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from etlkit.errors import SinkError

if TYPE_CHECKING:
    from etlkit.api.datamart import Datamart
    from etlkit.api.policies import OnSchemaChange
    from etlkit.bigquery.publish.target import KnownTarget
    from etlkit.rows.columns import Column

log: logging.Logger = logging.getLogger("etlkit.bigquery")


def policy(job: Datamart) -> OnSchemaChange:
    """The `on_schema_change` of transfers that means the same."""
    if job.schema_evolution == "detect_only":
        return "drop_columns"
    if job.schema_evolution == "auto_add_column" or _takes_any(job):
        return "add_columns"
    return "fail"


def _takes_any(job: Datamart) -> bool:
    return job.write_disposition == "truncate" and job.schema_evolution is None


def check_columns(job: Datamart, target: KnownTarget, columns: tuple[Column, ...]) -> list[str]:
    """Compare the query's columns with the table's before anything is paid for.

    Returns:
        Warnings: columns that are left out.

    Raises:
        SinkError: A column is gone, has another type, or is new where that is not allowed.
    """
    if not target.columns or _takes_any(job):
        return []
    given = {column.name: column for column in columns}
    there = {column.name: column for column in target.columns}
    own = job.validity_columns.names if job.write_disposition == "scd_type_2" else ()
    if lacking := [name for name in own if name not in there]:
        raise SinkError(
            f"{target.name} has no column {', '.join(lacking)}: it was not made by scd_type_2. "
            "Choose another destination, or add the columns",
            stage="open",
        )
    differences = []
    for name, column in there.items():
        if name in own:
            continue
        if name not in given:
            differences.append(f"{name} is gone from the query")
        elif given[name].ddl != column.ddl:
            differences.append(f"{name} is {column.ddl}, the query has {given[name].ddl}")
    new = [f"{column.name} {column.ddl}" for column in columns if column.name not in there]
    if new and policy(job) == "fail":
        differences.append(f"the query has new: {', '.join(new)}")
    if differences:
        raise SinkError(
            f"{target.name} has other columns than the query: {'; '.join(differences)}. Change the "
            "query or the table; schema_evolution='auto_add_column' or 'detect_only' takes new "
            "columns, and no choice takes lost ones or other types",
            stage="open",
        )
    if new and job.schema_evolution == "detect_only":
        return [f"{target.name} has no column {', '.join(new)}: left out (schema_evolution)"]
    return []

"""How many partitions a job may write, and a table may have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from etlkit.local.bigquery.extensions import api_errors
from etlkit.local.bigquery.patches.types import quote
from etlkit.local.bigquery.rules.registry import Asked, rule

if TYPE_CHECKING:
    from bqemulator.catalog.models import TableMeta

    from etlkit.local.bigquery.rules.writes import Written

MAX_OF_A_JOB: Final = 4_000
MAX_OF_A_TABLE: Final = 10_000

_SOURCE: Final = "https://cloud.google.com/bigquery/quotas#partitioned_tables"

_FIRST_UNCOMMITTED: Final = 1 << 54
"""DuckDB numbers the rows of an open transaction from about 2^55 on, and others from 0."""


@rule(Asked.WRITTEN, "A job writes rows of at most 4,000 partitions.", _SOURCE)
def partitions_of_a_job(written: Written) -> None:
    """Count the partitions of the rows that a statement or a load has added."""
    where = "" if written.is_new else f"WHERE rowid >= {_FIRST_UNCOMMITTED}"
    if (count := _count(written, where, MAX_OF_A_JOB)) > MAX_OF_A_JOB:
        raise api_errors.invalid(
            f"Too many partitions produced by query, allowed {MAX_OF_A_JOB}, query produces at least "
            f"{count} partitions"
        )


@rule(Asked.WRITTEN, "A table has at most 10,000 partitions.", _SOURCE)
def partitions_of_a_table(written: Written) -> None:
    """Count all partitions of a table."""
    if (count := _count(written, "", MAX_OF_A_TABLE)) > MAX_OF_A_TABLE:
        meta = written.meta
        raise api_errors.invalid(
            f"Too many partitions in table {meta.project_id}:{meta.dataset_id}.{meta.table_id}, "
            f"allowed {MAX_OF_A_TABLE}, there would be {count}"
        )


def _count(written: Written, where: str, allowed: int) -> int:
    """The number of partitions; 0 = there are not even more rows than partitions are allowed."""
    partition = _partition(written.meta)
    if partition is None:
        return 0
    (rows,) = written.engine.execute(f"SELECT count(*) FROM {written.table}").fetchone()
    if rows <= allowed:
        return 0
    sql = f"SELECT count(*) FROM (SELECT DISTINCT {partition} FROM {written.table} {where})"
    (count,) = written.engine.execute(sql).fetchone()
    return int(count)


def _partition(meta: TableMeta) -> str | None:
    """The partition of a row, in DuckDB's SQL; None = all new rows are in one."""
    time, ranges = meta.time_partitioning, meta.range_partitioning
    if time is not None and time.field is not None:
        return f"date_trunc('{time.type.lower()}', {quote(time.field)})"
    if ranges is None:
        return None
    column = quote(ranges.field)
    return (
        f"CASE WHEN {column} >= {ranges.start} AND {column} < {ranges.end} "
        f"THEN ({column} - {ranges.start}) // {ranges.interval} END"
    )

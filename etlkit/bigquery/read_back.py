"""The rows of a target or of a run's staging tables, as one table in Arrow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from etlkit.bigquery.client import REQUEST_S, Connection, connect
from etlkit.bigquery.google_errors import errors_as
from etlkit.bigquery.names import TableName, parse_table, work_dataset
from etlkit.bigquery.publish.staging import Staging
from etlkit.errors import ConfigError, SourceError

if TYPE_CHECKING:
    import pyarrow as pa

    from etlkit.api.run import Run


def read_table(run: Run, table: str, max_bytes: int) -> pa.Table:
    """All rows of a table, which costs nothing.

    Args:
        run: For its settings.
        table: `dataset.table` or `project.dataset.table`.
        max_bytes: More are refused.

    Raises:
        ConfigError: There are more bytes.
        SourceError: There is no such table, or it cannot be read.
    """
    connection = connect(run)
    name = parse_table(table, connection.project)
    with errors_as(SourceError, "read", f"reading {name} failed"):
        found = connection.find_table(name)
        if found is None:
            raise SourceError(f"there is no table {name}", stage="read")
        _refuse_many_bytes(found.num_bytes or 0, f"{name} has", max_bytes)
        rows = connection.client.list_rows(found, retry=connection.retry(), timeout=REQUEST_S)
        return _collected(rows, f"{name} has", max_bytes)


def read_job(run: Run, job_id: str, max_bytes: int) -> pa.Table:
    """All rows that a query job gave, for 24 hours.

    Args:
        run: For its settings.
        job_id: The job.
        max_bytes: More are refused, where BigQuery says how many there are.

    Raises:
        ConfigError: There are more bytes.
        SourceError: There is no such job, or its rows are gone.
    """
    connection = connect(run)
    with errors_as(SourceError, "read", f"reading the rows of job {job_id} failed"):
        job: Any = connection.client.get_job(
            job_id, location=connection.location, timeout=REQUEST_S
        )
        kept = job.destination
        if kept is not None:
            name = TableName(kept.project, kept.dataset_id, kept.table_id)
            found = connection.find_table(name)
            num_bytes = 0 if found is None else found.num_bytes or 0
            _refuse_many_bytes(num_bytes, f"job {job_id} gave", max_bytes)
        rows = job.result(retry=connection.retry(), job_retry=None)
        return _collected(rows, f"job {job_id} gave", max_bytes)


def read_staged(run: Run, dataset: str, max_bytes: int) -> pa.Table:
    """The rows that a run has staged, each once.

    Args:
        run: The run, one attempt later than its last.
        dataset: The work dataset.
        max_bytes: More are refused.

    Raises:
        ConfigError: There are more bytes.
        SourceError: Nothing is staged, or it cannot be read.
    """
    connection = connect(run)
    with errors_as(SourceError, "read", f"reading the staged rows of run {run.run_id} failed"):
        staging = Staging(connection, run, work_dataset(dataset, connection.project))
        staging.find()
        if not staging.tables:
            raise SourceError(f"run {run.run_id} has no staged rows", stage="read")
        _refuse_many_bytes(
            _bytes_of(connection, staging), f"run {run.run_id} has staged", max_bytes
        )
        job = connection.query(staging.rows(staging.columns), "read_back")
        rows = job.result(retry=connection.retry(), job_retry=None)
        return _collected(rows, f"run {run.run_id} has staged", max_bytes)


def _bytes_of(connection: Connection, staging: Staging) -> int:
    tables = [connection.find_table(name) for name in staging.names]
    return sum(table.num_bytes or 0 for table in tables if table is not None)


def _collected(rows: Any, what: str, max_bytes: int) -> pa.Table:
    """The rows in memory. BigQuery does not say of every table how large it is, so they are weighed."""
    import pyarrow as pa

    batches, num_bytes = [], 0
    for batch in rows.to_arrow_iterable():
        num_bytes += batch.nbytes
        _refuse_many_bytes(num_bytes, f"{what} at least", max_bytes)
        batches.append(batch)
    if not batches:
        return rows.to_arrow(create_bqstorage_client=False)
    return pa.Table.from_batches(batches)


def _refuse_many_bytes(num_bytes: int, what: str, max_bytes: int) -> None:
    if num_bytes > max_bytes:
        raise ConfigError(
            f"{what} {num_bytes:,} bytes: more than max_bytes={max_bytes:,}. Read it with a query, or "
            "raise max_bytes"
        )

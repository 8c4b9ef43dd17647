"""The ledger's table: its columns, and how it is made or brought up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from etlkit.bigquery.names import TableName
from etlkit.rows.columns import Column

if TYPE_CHECKING:
    from etlkit.bigquery.client import Connection

LEDGER = "runs"
"""Name of the ledger's table in the work dataset."""

COLUMNS = (
    Column("run_id", "STRING", "REQUIRED", description="Sorts by start time"),
    Column("job", "STRING", "REQUIRED", description="Name of the job"),
    Column(
        "state",
        "STRING",
        "REQUIRED",
        description="starting, running, published, failed, interrupted",
    ),
    Column("mode", "STRING", description="How the sink publishes"),
    Column("target", "STRING", description="project.dataset.table"),
    Column("read", "INT64", description="Source rows read"),
    Column("written", "INT64", description="Source rows that became target rows"),
    Column("skipped", "INT64", description="Source rows left out"),
    Column("rejected", "INT64", description="Source rows put aside with their error"),
    Column("rows_published", "INT64", description="Target rows, counted after fan-out"),
    Column("error", "STRING", description="Why it failed; null = it did not"),
    Column("attempt", "INT64", description="1, and one more at every resume"),
    Column("fingerprint", "STRING", description="Of code and query"),
    Column("variables", "JSON", description="Query parameters"),
    Column("retry_of", "STRING", description="The run whose rejected rows this one retries"),
    Column("owner", "STRING", description="Token of the attempt that may publish"),
    Column("host", "STRING", description="Where the attempt runs"),
    Column("pid", "INT64", description="Its process"),
    Column("pid_started", "STRING", description="Tells a process from a later one of that number"),
    Column("etlkit_version", "STRING"),
    Column("started_at", "TIMESTAMP", "REQUIRED"),
    Column("updated_at", "TIMESTAMP", "REQUIRED", description="A sign of life while running"),
    Column("finished_at", "TIMESTAMP", description="Null = it runs, or was killed"),
)


def make_ledger(connection: Connection, name: TableName) -> None:
    """Make the ledger if it is missing, and add columns that an earlier version did not have."""
    from google.cloud import bigquery

    from etlkit.bigquery.schema_fields import to_schema_fields

    fields = to_schema_fields(COLUMNS)
    wanted = bigquery.Table(str(name), schema=fields)
    wanted.description = "etlkit: one row per run"
    table = connection.client.create_table(wanted, exists_ok=True, retry=connection.retry())
    missing = {field.name for field in fields} - {field.name for field in table.schema}
    for column in COLUMNS:
        if column.name in missing:
            connection.query(
                f"ALTER TABLE {name.sql} ADD COLUMN IF NOT EXISTS {column.name} {column.ddl}",
                f"ledger_add_{column.name}",
            )


def ledger_rows(
    connection: Connection, ledger: TableName, where: str, value: str, purpose: str
) -> list[Any]:
    """Ledger rows by start time.

    Args:
        connection: To read with.
        ledger: The table.
        where: A condition over the ledger's columns and `@value`.
        value: Its value.
        purpose: See `Connection.query`.
    """
    job = connection.query(
        f"SELECT * FROM {ledger.sql} WHERE {where} ORDER BY run_id",
        purpose,
        parameters=[ledger_parameter("value", value)],
    )
    return list(job.result(retry=connection.retry()))


def ledger_parameter(name: str, value: Any) -> Any:
    """A query parameter for one of the ledger's columns."""
    from google.cloud import bigquery

    kinds = {str: "STRING", int: "INT64", type(None): "STRING"}
    return bigquery.ScalarQueryParameter(name, kinds.get(type(value), "TIMESTAMP"), value)

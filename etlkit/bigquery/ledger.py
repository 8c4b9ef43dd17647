"""The ledger: one row per run in `<work>.runs`. How a run is found again, and its history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from etlkit._version import __version__
from etlkit.bigquery.names import TableName
from etlkit.columns import Column

if TYPE_CHECKING:
    from etlkit.bigquery.client import Connection
    from etlkit.context import Run

COLUMNS = (
    Column("run_id", "STRING", "REQUIRED", description="Sorts by start time"),
    Column("job", "STRING", "REQUIRED", description="Name of the job"),
    Column("state", "STRING", "REQUIRED", description="running, published, failed, interrupted"),
    Column("mode", "STRING", description="How the sink publishes"),
    Column("target", "STRING", description="project.dataset.table"),
    Column("read", "INT64", description="Source rows read"),
    Column("written", "INT64", description="Source rows that became target rows"),
    Column("skipped", "INT64", description="Source rows left out"),
    Column("rejected", "INT64", description="Source rows put aside with their error"),
    Column("rows_published", "INT64", description="Target rows, counted after fan-out"),
    Column("error", "STRING", description="Why it failed; null = it did not"),
    Column("etlkit_version", "STRING"),
    Column("started_at", "TIMESTAMP", "REQUIRED"),
    Column("updated_at", "TIMESTAMP", "REQUIRED"),
    Column("finished_at", "TIMESTAMP", description="Null = it still runs, or was killed"),
)

_MAX_ERROR_CHARS = 2000


class Ledger:
    """The ledger of one work dataset, from the point of view of one run.

    Args:
        connection: The run's connection.
        run: The run whose row this is.
        dataset: Project and dataset of the work tables.
    """

    def __init__(self, connection: Connection, run: Run, dataset: tuple[str, str]) -> None:
        self._connection = connection
        self._run = run
        self.table = TableName(*dataset, "runs")

    def start(self, target: str, mode: str) -> None:
        """Make the dataset and the ledger if need be, and write this run's row."""
        from google.cloud import bigquery

        from etlkit.bigquery.types import to_schema_fields

        self._connection.make_dataset(self.table.dataset_id)
        table = bigquery.Table(str(self.table), schema=to_schema_fields(COLUMNS))
        table.description = "etlkit: one row per run"
        self._connection.client.create_table(table, exists_ok=True, retry=self._connection.retry())
        values = {
            "run_id": self._run.run_id,
            "job": self._run.job,
            "state": "running",
            "mode": mode,
            "target": target,
            "etlkit_version": __version__,
            "started_at": self._run.started_at,
            "updated_at": self._run.started_at,
        }
        names, marks = ", ".join(values), ", ".join(f"@{name}" for name in values)
        self._connection.query(
            f"INSERT INTO {self.table.sql} ({names}) VALUES ({marks})",
            "ledger_start",
            parameters=[_parameter(*item) for item in values.items()],
        )

    def fail(self, state: str, error: str) -> None:
        """Record why the run ended; one that is published stays so."""
        values = {"run_id": self._run.run_id, "state": state, "error": error[:_MAX_ERROR_CHARS]}
        self._connection.query(
            f"UPDATE {self.table.sql} SET state = @state, error = @error, "
            "updated_at = CURRENT_TIMESTAMP(), finished_at = CURRENT_TIMESTAMP() "
            "WHERE run_id = @run_id AND state != 'published'",
            "ledger_fail",
            parameters=[_parameter(*item) for item in values.items()],
        )

    def is_published(self, purpose: str) -> bool:
        """Whether the ledger says that this run is published."""
        sql = f"SELECT state FROM {self.table.sql} WHERE run_id = '{self._run.run_id}'"
        return [row["state"] for row in self._connection.rows(sql, purpose)] == ["published"]


def _parameter(name: str, value: Any) -> Any:
    from google.cloud import bigquery

    kind = "STRING" if isinstance(value, str) else "TIMESTAMP"
    return bigquery.ScalarQueryParameter(name, kind, value)

"""`RowLineage`: what a run adds to the lineage of rows when it publishes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from etlkit.bigquery.lineage import sql as lineage_sql
from etlkit.bigquery.rejects_source import RejectsReader
from etlkit.bigquery.source import BigQueryReader
from etlkit.bigquery.table_definition import plain_table

if TYPE_CHECKING:
    from google.cloud import bigquery

    from etlkit.api.run import Run
    from etlkit.api.source import SourceReader
    from etlkit.bigquery.client import Connection
    from etlkit.bigquery.names import TableName
    from etlkit.bigquery.publish.staging import Staging

KEEP_DAYS = 90
"""For how many days lineage is kept, unless somebody changes the table."""

_DAY_MS = 24 * 3600 * 1000


class RowLineage:
    """The lineage of the rows of one run.

    The table is only added to, in the transaction that publishes the run. It is partitioned by day, so
    that BigQuery deletes what is too old by itself, and clustered by run and row.

    Args:
        connection: The run's connection.
        run: The attempt.
        dataset: Project and dataset of the work tables.
        reader: The source.
        price: Of a billing unit; None = none is declared.
    """

    def __init__(
        self,
        connection: Connection,
        run: Run,
        dataset: tuple[str, str],
        reader: SourceReader,
        price: float | None,
    ) -> None:
        self._connection = connection
        self._run = run
        self._reader = reader
        self._price = price
        self.name: TableName = lineage_sql.lineage_table(dataset)

    def statements(self, staging: Staging, taken: TableName | None) -> list[str]:
        """DML that adds the lineage of the run's rows, for the transaction that publishes it.

        Args:
            staging: The rows, and the calls that were counted.
            taken: The staging table of results of earlier runs, which says who made them; None = there
                is none.
        """
        if not staging.tables:
            return []
        self._connection.make_table(self._definition())
        reader = self._reader
        rows = lineage_sql.LineageRows(
            run_id=self._run.run_id,
            staged=staging.staged,
            frozen=reader.frozen if isinstance(reader, BigQueryReader) else None,
            source=None if isinstance(reader, RejectsReader) else tuple(reader.columns),
            calls=staging.calls,
            taken=taken,
            price=self._price,
        )
        return [lineage_sql.record(self.name, rows)]

    def _definition(self) -> bigquery.Table:
        from google.cloud import bigquery

        table = plain_table(self.name, lineage_sql.LINEAGE_TABLE_COLUMNS)
        table.description = "etlkit: where target rows come from, for jobs with lineage=True"
        table.time_partitioning = bigquery.TimePartitioning(
            field=lineage_sql.RECORDED_AT, expiration_ms=KEEP_DAYS * _DAY_MS
        )
        table.clustering_fields = ["run_id", "row_id"]
        return table

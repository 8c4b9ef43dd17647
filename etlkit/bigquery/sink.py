"""`BigQuerySink`: where settled rows go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from etlkit.api.run import new_run_id
from etlkit.bigquery.sink_options import SinkOptions
from etlkit.bigquery.source import work_dataset
from etlkit.errors import SinkError

if TYPE_CHECKING:
    from etlkit.api.job import TransferJob
    from etlkit.api.run import Run, RunRecord, RunRequest
    from etlkit.api.sink import SinkWriter
    from etlkit.api.source import Source, SourceReader
    from etlkit.variables.definitions import Value


@dataclass(frozen=True)
class BigQuerySink(SinkOptions):
    """A BigQuery table. Rows are staged in the work dataset and become visible all at once.

    Its attributes are those of `SinkOptions`: `table`, `mode`, `merge_keys`,
    `merge_update_columns`, `before_load`, `definition`, `create_dataset`, `work_dataset`.
    """

    def expand(self, values: Mapping[str, Value]) -> tuple[BigQuerySink, frozenset[str]]:
        """Expand custom variables in `table` and `before_load`.

        Returns:
            The sink, and the variables that stood there.

        Raises:
            ConfigError: An unknown variable, or a value that cannot be part of a name.
        """
        from etlkit.variables.substitution import expand_name, expand_sql

        table, used = expand_name(self.table, values)
        before = self.before_load
        if before is not None and "$" in before:
            expanded = expand_sql(before, values, as_literals=True)
            before, used = expanded.sql, used | expanded.used
        return replace(self, table=table, before_load=before), used

    def find_run(self, request: RunRequest) -> RunRecord:
        """See `etlkit.api.sink.Sink.find_run`."""
        from etlkit.bigquery.client import Connection, errors_as
        from etlkit.bigquery.names import TableName, parse_table
        from etlkit.bigquery.runs.find_run import find_run
        from etlkit.bigquery.runs.ledger_table import LEDGER

        prefix = f"etlkit_find_{new_run_id(datetime.now(UTC))}"
        connection = Connection(request.settings, job_prefix=prefix)
        try:
            target = parse_table(self.table, connection.project)
            dataset = work_dataset(self.work_dataset, connection.project)
            with errors_as(SinkError, "open", "reading the ledger failed"):
                return find_run(
                    connection, TableName(*dataset, LEDGER), request, str(target), self.mode
                )
        finally:
            connection.close()

    def open(self, job: TransferJob, run: Run, reader: SourceReader) -> SinkWriter:
        """See `etlkit.api.sink.Sink.open`."""
        from etlkit.bigquery.client import connect
        from etlkit.bigquery.publish.staged_writer import BigQueryWriter

        if self.mode == "append_direct":
            from etlkit.bigquery.publish.direct_writer import DirectWriter

            return DirectWriter(self, job, run, connect(run), reader.details)
        return BigQueryWriter(self, job, run, connect(run), reader.details)

    def rejected_rows(self, source: Source, run_id: str, only: str | None) -> Source:
        """See `etlkit.api.sink.Sink.rejected_rows`."""
        from etlkit.bigquery.rejects_source import RejectsSource

        return RejectsSource(source, self, run_id, only)

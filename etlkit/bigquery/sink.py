"""`BigQuerySink`: where settled rows go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from etlkit.bigquery.sink_options import SinkOptions

if TYPE_CHECKING:
    from etlkit.api.run import Run
    from etlkit.api.sink import SinkWriter
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

    def open(self, run: Run) -> SinkWriter:
        """See `etlkit.api.sink.Sink`."""
        from etlkit.bigquery.client import connect
        from etlkit.bigquery.publish.staged_writer import BigQueryWriter

        if self.mode == "append_direct":
            from etlkit.bigquery.publish.direct_writer import DirectWriter

            return DirectWriter(self, run, connect(run))
        return BigQueryWriter(self, run, connect(run))

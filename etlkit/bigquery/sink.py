"""`BigQuerySink`: where settled rows go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from etlkit.bigquery.options import SinkOptions

if TYPE_CHECKING:
    from etlkit.context import Run
    from etlkit.sink import SinkWriter


@dataclass(frozen=True)
class BigQuerySink(SinkOptions):
    """A BigQuery table. Rows are staged in the work dataset and become visible all at once.

    Its attributes are those of `SinkOptions`: `table`, `mode`, `merge_keys`,
    `merge_update_columns`, `before_load`, `definition`, `create_dataset`, `work_dataset`.
    """

    def open(self, run: Run) -> SinkWriter:
        """See `etlkit.sink.Sink`."""
        from etlkit.bigquery.client import connect
        from etlkit.bigquery.writer import BigQueryWriter

        if self.mode == "append_direct":
            from etlkit.bigquery.direct import DirectWriter

            return DirectWriter(self, run, connect(run))
        return BigQueryWriter(self, run, connect(run))

"""Rejected rows as a source: only these rows run again, with the present code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from etlkit.api.source import ROW_ID
from etlkit.bigquery.client import connect
from etlkit.bigquery.names import parse_table
from etlkit.bigquery.publish.rejects import rejects_table
from etlkit.bigquery.source import BigQueryReader, BigQuerySource
from etlkit.errors import SourceError

if TYPE_CHECKING:
    import pyarrow as pa

    from etlkit.api.job_options import JobOptions
    from etlkit.api.run import Run
    from etlkit.api.source import Source
    from etlkit.rows.columns import Column
    from etlkit.variables.definitions import Value


@dataclass(frozen=True)
class RejectsSource:
    """The rows that one run of a job rejected.

    Attributes:
        source: The job's own source, of any kind; it defines the columns.
        target: The sink's table; the rejected rows are beside it.
        work_dataset: The sink's.
        run_id: The run that rejected them.
        only: Class of error; None = all.
    """

    source: Source
    target: str
    work_dataset: str
    run_id: str
    only: str | None = None

    @property
    def fingerprint(self) -> str:
        """See `etlkit.api.source.Source.fingerprint`."""
        return repr(("rejects", self.run_id, self.only, self.source.fingerprint))

    def expand(self, values: Mapping[str, Value]) -> tuple[RejectsSource, frozenset[str]]:  # noqa: ARG002
        """See `etlkit.api.source.Source.expand`; the job is expanded before this source is made."""
        return self, frozenset()

    def open(self, job: JobOptions, run: Run) -> RejectsReader:
        """See `etlkit.api.source.Source.open`."""
        return RejectsReader(self, job, run)


class RejectsReader(BigQueryReader):
    """See `etlkit.api.source.SourceReader`; the rows keep the ids they had."""

    def __init__(self, rejects: RejectsSource, job: JobOptions, run: Run) -> None:
        self._rejects = rejects
        self._job = job
        source = rejects.source
        if not isinstance(source, BigQuerySource):  # only its work dataset is used
            source = BigQuerySource("rejected rows", work_dataset=rejects.work_dataset)
        super().__init__(source, run, connect(run))
        target = parse_table(rejects.target, self._connection.project)
        self._rejects_table = rejects_table(target)

    def _check(self) -> tuple[Column, ...]:
        if isinstance(self._rejects.source, BigQuerySource):
            return super()._check()
        reader = self._rejects.source.open(self._job, self._run)
        reader.close(succeeded=True)
        return reader.columns

    def _snapshot(self) -> None:
        from google.cloud import bigquery

        from etlkit.bigquery.sql.rejects import snapshot_rejects

        values = {"run_id": self._rejects.run_id}
        values |= {} if self._rejects.only is None else {"only": self._rejects.only}
        self._connection.query(
            snapshot_rejects(
                self.frozen, self._rejects_table, self._run.limit, only="only" in values
            ),
            "snapshot",
            parameters=[bigquery.ScalarQueryParameter(k, "STRING", v) for k, v in values.items()],
        )
        table = self._connection.find_table(self.frozen)
        if table is None or not table.num_rows:
            of = "" if self._rejects.only is None else f" of class {self._rejects.only}"
            raise SourceError(
                f"run {self._rejects.run_id} has no rejected rows{of} in {self._rejects_table}; see "
                f"SELECT run_id, error_class, COUNT(*) FROM {self._rejects_table} GROUP BY 1, 2"
            )

    def _conform(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        import pyarrow as pa

        from etlkit.rows.batches import RowEncoder
        from etlkit.rows.json_rows import row_from_json

        texts = batch.column("source_row").to_pylist()
        rows = [row_from_json(json.loads(text), self.columns) for text in texts]
        data = RowEncoder(self.columns).encode(rows)
        ids = batch.column(ROW_ID).cast(pa.string())
        return pa.RecordBatch.from_arrays(
            [ids, *data.columns], schema=pa.schema([pa.field(ROW_ID, pa.string()), *data.schema])
        )

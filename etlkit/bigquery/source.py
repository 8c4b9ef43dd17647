"""`BigQuerySource`: the rows of a query, frozen with an id each, read in Arrow."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from etlkit.bigquery.client import Connection, connect, errors_as
from etlkit.bigquery.names import TableName
from etlkit.errors import ConfigError, SourceError
from etlkit.source import ROW_ID

if TYPE_CHECKING:
    import pyarrow as pa

    from etlkit.columns import Column
    from etlkit.context import Run

log = logging.getLogger("etlkit.bigquery")

WORK_DATASET = "etlkit_work"
_SNAPSHOT_HINTS = {
    403: "Check that the names are right and that the account may read the tables and create "
    "tables in the work dataset.",
    404: "Check project, dataset and table names, and --location.",
}


@dataclass(frozen=True)
class BigQuerySource:
    """The rows of a GoogleSQL query.

    A run first freezes them in a table of the work dataset (`src_<run id>`, gone after success, else
    after 7 days), so the query is billed once and every retry sees the same rows.

    Attributes:
        query: One SELECT; `@name` for parameters.
        parameters: Parameter values: Python values, whose types are inferred, or the client
            library's `ScalarQueryParameter` and kin.
        maximum_bytes_billed: BigQuery refuses the query rather than bill more; None = no bound.
        work_dataset: Where the frozen rows live, `dataset` or `project.dataset`; made if missing.
    """

    query: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    maximum_bytes_billed: int | None = None
    work_dataset: str = WORK_DATASET

    def __post_init__(self) -> None:
        """Refuse an empty query before any I/O."""
        if not isinstance(self.query, str) or not self.query.strip():
            raise ConfigError("BigQuerySource needs a query, e.g. 'SELECT uri FROM dataset.table'")

    def open(self, run: Run) -> BigQueryReader:
        """See `etlkit.source.Source`: a dry run checks the query and costs nothing."""
        return BigQueryReader(self, run, connect(run))


class BigQueryReader:
    """See `etlkit.source.SourceReader`."""

    def __init__(self, source: BigQuerySource, run: Run, connection: Connection) -> None:
        self._source = source
        self._run = run
        self._connection = connection
        self._parameters = [_parameter(*item) for item in source.parameters.items()]
        dataset = work_dataset(source.work_dataset, connection.project)
        self._table = TableName(*dataset, f"src_{run.run_id}")
        self._frozen = False
        self.num_rows: int | None = None
        self.columns = self._check()

    def _check(self) -> tuple[Column, ...]:
        """Dry-run the query as the user wrote it: positions in BigQuery's messages are theirs."""
        from google.cloud import bigquery

        from etlkit.bigquery.types import from_schema_fields
        from etlkit.columns import check_names

        config = bigquery.QueryJobConfig(dry_run=True, labels=self._connection.labels())
        config.query_parameters = self._parameters
        with errors_as(SourceError, "open", "the source query was refused", _SNAPSHOT_HINTS):
            job = self._connection.client.query(
                self._source.query,
                job_config=config,
                location=self._connection.location,
                retry=self._connection.retry(),
            )
            schema = job.schema
        log.debug("the source query processes %s bytes", job.total_bytes_processed)
        self._connection.location = self._connection.location or job.location
        columns = from_schema_fields(schema or ())
        if not columns:
            raise SourceError("the source query gives no columns: write one SELECT", stage="open")
        check_names(columns)
        return columns

    def freeze(self) -> None:
        """See `etlkit.source.SourceReader.freeze`."""
        from etlkit.bigquery import sql

        with errors_as(SourceError, "snapshot", "freezing the source rows failed", _SNAPSHOT_HINTS):
            self._connection.make_dataset(self._table.dataset_id)
            self._connection.query(
                sql.snapshot(self._table, self._source.query, self._run.limit),
                "snapshot",
                parameters=self._parameters,
                maximum_bytes_billed=self._source.maximum_bytes_billed,
            )
            table = self._connection.client.get_table(str(self._table))
        self.num_rows = table.num_rows
        self._frozen = True

    def batches(self) -> Iterator[pa.RecordBatch]:
        """See `etlkit.source.SourceReader.batches`."""
        return self._read_snapshot() if self._frozen else self._read_query()

    def _read_snapshot(self) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa
        from google.cloud.bigquery_storage_v1 import types

        client = self._connection.reader()
        wanted = types.ReadSession(table=self._table.path, data_format=types.DataFormat.ARROW)
        with errors_as(SourceError, "read", "reading the frozen rows failed"):
            session = client.create_read_session(
                parent=f"projects/{self._connection.project}",
                read_session=wanted,
                max_stream_count=1,  # one stream keeps the order of the rows
            )
            schema = pa.ipc.read_schema(pa.py_buffer(session.arrow_schema.serialized_schema))
            for stream in session.streams:
                for message in client.read_rows(stream.name):
                    payload = pa.py_buffer(message.arrow_record_batch.serialized_record_batch)
                    yield self._conform(pa.ipc.read_record_batch(payload, schema))

    def _read_query(self) -> Iterator[pa.RecordBatch]:
        """Read a handful of rows for a preview, over REST: there is no table to read from."""
        from etlkit.bigquery import sql

        with errors_as(SourceError, "read", "reading the source rows failed", _SNAPSHOT_HINTS):
            job = self._connection.query(
                sql.source_rows(self._source.query, self._run.limit),
                "preview",
                parameters=self._parameters,
                maximum_bytes_billed=self._source.maximum_bytes_billed,
            )
            rows = job.result().to_arrow(create_bqstorage_client=False)
        for batch in rows.combine_chunks().to_batches():
            yield self._conform(batch)

    def _conform(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        from etlkit.bigquery.types import conform
        from etlkit.columns import Column

        return conform(batch, (Column(ROW_ID, "STRING"), *self.columns))

    def close(self, *, succeeded: bool) -> None:
        """Drop the frozen rows after success; else they stay for a resume and expire."""
        if self._frozen and succeeded:
            self._connection.drop_work_table(self._table)


def work_dataset(name: str, project: str) -> tuple[str, str]:
    """Split `dataset` or `project.dataset`.

    Raises:
        ConfigError: It is neither.
    """
    owner, _, dataset = name.rpartition(".")
    if not dataset.isidentifier():
        raise ConfigError(f"work_dataset={name!r}: write dataset or project.dataset")
    return owner or project, dataset


def _parameter(name: str, value: Any) -> Any:
    from google.cloud import bigquery
    from google.cloud.bigquery.query import _AbstractQueryParameter

    if isinstance(value, _AbstractQueryParameter):
        return value
    if isinstance(value, (list, tuple)):
        kind = _parameter_type(name, value[0]) if value else "STRING"
        return bigquery.ArrayQueryParameter(name, kind, list(value))
    return bigquery.ScalarQueryParameter(name, _parameter_type(name, value), value)


def _parameter_type(name: str, value: Any) -> str:
    from etlkit.infer import infer_columns

    return infer_columns([{name: value}], {})[0].type

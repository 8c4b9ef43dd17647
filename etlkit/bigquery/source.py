"""`BigQuerySource`: the rows of a query, frozen with an id each, read in Arrow."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from etlkit.api.source import ROW_ID
from etlkit.bigquery.client import Connection, connect
from etlkit.bigquery.google_errors import errors_as
from etlkit.bigquery.modes import TargetOptions
from etlkit.bigquery.names import TableName, parse_table, work_dataset
from etlkit.bigquery.parameters import query_parameters
from etlkit.bigquery.publish.opening import look_ahead
from etlkit.bigquery.sql import frozen_rows, user_sql
from etlkit.bigquery.sql.expiration import EXPIRE_DAYS
from etlkit.errors import ConfigError, SourceError

if TYPE_CHECKING:
    import pyarrow as pa

    from etlkit.api.job_options import JobOptions
    from etlkit.api.outcomes import Recovered
    from etlkit.api.run import Run
    from etlkit.rows.columns import Column
    from etlkit.rows.row import Row
    from etlkit.variables.definitions import Value

log: logging.Logger = logging.getLogger("etlkit.bigquery")

WORK_DATASET = "etlkit_work"
_SNAPSHOT_HINTS = {
    403: "Check that the names are right and that the account may read the tables and create "
    "tables in the work dataset.",
    404: "Check project, dataset and table names, and --location.",
}


_ORDERED = re.compile(r"\border\s+by\b", re.IGNORECASE)

_STREAM_BYTES = 64 * 1024 * 1024
_MAX_STREAMS = 4
"""A table is read in one stream for this many bytes each, and in this many at most. Each takes a thread
and the window of its connection; a transform in Python takes rows more slowly than they come."""

_MADE_UP_NAME = re.compile(r"f\d+_")


@dataclass(frozen=True)
class BigQuerySource:
    """The rows of a GoogleSQL query.

    A run first freezes them in a table of the work dataset (`src_<run id>`, gone after success, else
    after 7 days), so the query is billed once and every retry sees the same rows.

    Attributes:
        query: One SELECT, `CREATE TEMP FUNCTION` statements before it; `@name` for parameters.
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

    @property
    def fingerprint(self) -> str:
        """See `etlkit.api.source.Source.fingerprint`."""
        return repr((self.query, sorted((k, repr(v)) for k, v in self.parameters.items())))

    def expand(self, values: Mapping[str, Value]) -> tuple[BigQuerySource, frozenset[str]]:
        """Expand custom variables in the query.

        Returns:
            The source, and the variables that stood in its query.

        Raises:
            ConfigError: An unknown variable, or one that is a parameter already.
        """
        from etlkit.variables.substitution import expand_sql

        if "$" not in self.query:
            return self, frozenset()
        found = expand_sql(self.query, values)
        if twice := sorted(set(found.parameters) & set(self.parameters)):
            raise ConfigError(
                f"{', '.join(twice)} is a variable and a query parameter: rename one of the two"
            )
        parameters = {**self.parameters, **found.parameters}
        return replace(self, query=found.sql, parameters=parameters), found.used

    def open(self, job: JobOptions, run: Run) -> BigQueryReader:
        """See `etlkit.api.source.Source`: a dry run checks the query and costs nothing.

        It runs where the target is, if that is known: a run is in one location.
        """
        return BigQueryReader(self, run, self.connect(job, run))

    def connect(self, job: JobOptions, run: Run) -> Connection:
        """The run's connection, where the target is."""
        connection = connect(run)
        sink = getattr(job, "sink", None)  # a `TransferJob` has one
        if connection.location is None and isinstance(sink, TargetOptions):
            target = parse_table(sink.table, connection.project)
            with errors_as(SourceError, "open", f"looking for the dataset of {target} failed"):
                dataset = connection.find_dataset(target.dataset_id)
            connection.location = None if dataset is None else dataset.location
        if isinstance(sink, TargetOptions):
            look_ahead(sink, job, run, connection)
        return connection


class BigQueryReader:
    """See `etlkit.api.source.SourceReader`."""

    def __init__(self, source: BigQuerySource, run: Run, connection: Connection) -> None:
        self._source = source
        self._run = run
        self._connection = connection
        self._parameters = query_parameters(source.parameters)
        self._dataset = work_dataset(source.work_dataset, connection.project)
        self._rests = self._fetches = 0
        self._table: TableName | None = None
        self.details: dict[str, Any] = {
            name: _plain(value) for name, value in source.parameters.items()
        }
        self._frozen_bytes = 0
        self.num_rows: int | None = None
        self.num_bytes: int | None = None
        self.tables: tuple[str, ...] = ()
        self.columns: tuple[Column, ...] = self._check()

    @property
    def frozen(self) -> TableName:
        """The table of the run's frozen rows."""
        return TableName(*self._dataset, f"src_{self._run.run_id}")

    @property
    def rows_left(self) -> TableName:
        """The table with the rows that have no outcome yet, after `freeze`."""
        return self._table or self.frozen

    @property
    def _is_shared(self) -> bool:
        return self._run.num_workers is not None

    @property
    def _rest(self) -> TableName:
        # Workers of other tasks may still read that of an earlier attempt.
        number = "" if self._run.scheduler_task is None else f"_{self._run.attempt}"
        return TableName(*self._dataset, f"src_{self._run.run_id}_rest{number}")

    @property
    def _all_rests(self) -> list[TableName]:
        """Those that any attempt may have left."""
        plain = f"src_{self._run.run_id}_rest"
        if not self._is_shared:
            return [TableName(*self._dataset, plain)]
        numbers = range(1, self._run.attempt + 1)
        return [
            TableName(*self._dataset, each) for each in (plain, *(f"{plain}_{n}" for n in numbers))
        ]

    def _check(self) -> tuple[Column, ...]:
        """Dry-run the query as the user wrote it: positions in BigQuery's messages are theirs."""
        from etlkit.bigquery.schema_fields import from_schema_fields
        from etlkit.rows.columns import check_names

        with errors_as(SourceError, "open", "the source query was refused", self._hints()):
            job = self._connection.dry_run(user_sql.up_to_end(self._source.query), self._parameters)
            self._connection.location = self._connection.location or job.location
            columns = from_schema_fields(job.schema or ())
            self._refuse_unnamed(columns)
        self.num_bytes = job.total_bytes_processed
        self.tables = tuple(
            f"{t.project}.{t.dataset_id}.{t.table_id}" for t in job.referenced_tables
        )
        log.debug("the source query processes %s bytes", self.num_bytes)
        if not columns:
            raise SourceError("the source query gives no columns: write one SELECT", stage="open")
        check_names(columns)
        return columns

    def _hints(self) -> dict[int, str]:
        location = self._connection.location
        if location is None:
            return _SNAPSHOT_HINTS
        where = f"The query runs in {location}, where the target or --location says."
        return {**_SNAPSHOT_HINTS, 404: f"{_SNAPSHOT_HINTS[404]} {where}"}

    def _refuse_unnamed(self, columns: Sequence[Column]) -> None:
        """Raise if a column has no name, which BigQuery takes in a query but not in a table.

        A dry run calls such columns `f0_`, `f1_`, …. SQL cannot read them by these names.
        """
        from google.api_core.exceptions import BadRequest

        names = [column.name for column in columns if _MADE_UP_NAME.fullmatch(column.name)]
        if not names:
            return
        try:
            text = user_sql.named_columns(self._source.query, names)
            self._connection.dry_run(text, self._parameters)
        except BadRequest as error:
            numbers = [n for n, column in enumerate(columns, 1) if column.name in names]
            raise SourceError(
                f"column {', '.join(map(str, numbers))} of the source query has no name: name your "
                "columns, e.g. COUNT(*) AS num_rows",
                stage="open",
            ) from error

    def freeze(self, recovered: Recovered | None = None) -> None:
        """See `etlkit.api.source.SourceReader.freeze`."""
        finished = 0 if recovered is None else recovered.counts.finished
        with errors_as(SourceError, "snapshot", "freezing the source rows failed", _SNAPSHOT_HINTS):
            if finished and self._connection.find_table(self.frozen) is None:
                raise SourceError(
                    f"the frozen rows of run {self._run.run_id} are gone ({self.frozen}); they "
                    f"are kept for {EXPIRE_DAYS} days. Start a new run"
                )
            if self._table is None:
                self._connection.make_dataset(self.frozen.dataset_id)
                self._snapshot()
            self._table = self.frozen
            if recovered is not None and finished:
                self._leave_out(recovered)
            frozen = self._connection.find_table(self._table)
            self.num_rows = None if frozen is None else frozen.num_rows
            self._frozen_bytes = 0 if frozen is None else frozen.num_bytes or 0

    def _snapshot(self) -> None:
        self._connection.query(
            frozen_rows.snapshot(
                self.frozen, self._source.query, self._run.limit, with_shards=self._is_shared
            ),
            "snapshot",
            parameters=self._parameters,
            maximum_bytes_billed=self._source.maximum_bytes_billed,
        )

    def _leave_out(self, recovered: Recovered) -> None:
        """Copy the rows without an outcome to a table of their own, and read from it."""
        if recovered.query is None:
            raise SourceError("the sink cannot say in SQL which rows it has; resume needs that")
        self._rests += 1
        self._connection.query(
            frozen_rows.rest(self._rest, self.frozen, recovered.query, with_shards=self._is_shared),
            f"rest_{self._rests}",
        )
        self._table = self._rest

    def batches(self) -> Iterator[pa.RecordBatch]:
        """See `etlkit.api.source.SourceReader.batches`."""
        return self._read_query() if self._table is None else self._read_table(self._table)

    def batches_in_any_order(self) -> Iterator[pa.RecordBatch]:
        """See `etlkit.api.source.ReadsSideBySide`: in several streams if the rows are many.

        A query with an ORDER BY, wherever it stands in it, is read in one stream.
        """
        if self._table is None or _ORDERED.search(self._source.query):
            return self.batches()
        streams = 1 + self._frozen_bytes // _STREAM_BYTES
        return self._read_table(self._table, max_streams=min(streams, _MAX_STREAMS))

    def _read_table(self, table: TableName, max_streams: int = 1) -> Iterator[pa.RecordBatch]:
        from etlkit.bigquery.storage.read_rows import read_table

        with errors_as(SourceError, "read", "reading the frozen rows failed"):
            for batch in read_table(self._connection, table, max_streams=max_streams):
                yield self._conform(batch)

    def _read_query(self) -> Iterator[pa.RecordBatch]:
        """Read a few rows for a preview, over REST: there is no table to read from."""
        with errors_as(SourceError, "read", "reading the source rows failed", _SNAPSHOT_HINTS):
            job = self._connection.query(
                frozen_rows.source_rows(self._source.query, self._run.limit),
                "preview",
                parameters=self._parameters,
                maximum_bytes_billed=self._source.maximum_bytes_billed,
            )
            rows = job.result().to_arrow(create_bqstorage_client=False)
        for batch in rows.combine_chunks().to_batches():
            yield self._conform(batch)

    def _conform(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        from etlkit.rows.casts import conform
        from etlkit.rows.columns import Column

        return conform(batch, (Column(ROW_ID, "STRING"), *self.columns))

    def fetch(self, row_ids: Sequence[str]) -> Mapping[str, Row]:
        """See `etlkit.api.source.SourceReader.fetch`."""
        self._fetches += 1
        purpose = f"fetch_{self._fetches}"
        return fetch_rows(self._connection, self.frozen, self.columns, row_ids, purpose)

    def close(self, *, succeeded: bool) -> None:
        """Drop the frozen rows after success; else they stay for a resume and expire."""
        if self._table is not None and succeeded:
            may_have_rest = self._rests or self._run.attempt > 1
            names = [self.frozen, *self._all_rests] if may_have_rest else [self.frozen]
            self._connection.drop_beside(names)


def fetch_rows(
    connection: Connection,
    frozen: TableName,
    columns: tuple[Column, ...],
    row_ids: Sequence[str],
    purpose: str,
) -> Mapping[str, Row]:
    """Read a few frozen rows again, by id.

    Args:
        connection: To read with.
        frozen: The frozen rows.
        columns: Of the rows.
        row_ids: Which.
        purpose: Unique in the attempt.

    Raises:
        SourceError: They cannot be read.
    """
    from google.cloud import bigquery

    from etlkit.rows.batches import RowDecoder
    from etlkit.rows.casts import conform
    from etlkit.rows.columns import Column

    with errors_as(SourceError, "read", "reading rows again failed"):
        job = connection.query(
            frozen_rows.rows_by_id(frozen),
            purpose,
            parameters=[bigquery.ArrayQueryParameter("ids", "STRING", list(row_ids))],
        )
        table = job.result().to_arrow(create_bqstorage_client=False)
    decoder = RowDecoder(columns)
    found: dict[str, Row] = {}
    for batch in table.to_batches():
        rows = conform(batch, (Column(ROW_ID, "STRING"), *columns))
        found |= zip(rows.column(ROW_ID).to_pylist(), decoder.decode(rows).rows, strict=True)
    return found


def _plain(value: Any) -> Any:
    return getattr(value, "value", getattr(value, "values", value))

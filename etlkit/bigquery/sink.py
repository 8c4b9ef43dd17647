"""`BigQuerySink`: settled rows staged in Arrow, audited, published in one step."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from etlkit.bigquery.client import Connection, connect, errors_as
from etlkit.bigquery.names import check_table, parse_table
from etlkit.bigquery.source import WORK_DATASET, work_dataset
from etlkit.errors import ConfigError, SinkError

if TYPE_CHECKING:
    import pyarrow as pa

    from etlkit.bigquery.staging import Staging
    from etlkit.columns import Column
    from etlkit.context import Run
    from etlkit.settle import Counts

log = logging.getLogger("etlkit.bigquery")

Mode = Literal["append", "replace"]


@dataclass(frozen=True)
class BigQuerySink:
    """A BigQuery table. Rows are staged in the work dataset and become visible all at once.

    Attributes:
        table: `dataset.table` or `project.dataset.table`; created when it is missing.
        mode: `append` adds the rows; `replace` makes them the table's only rows: descriptions,
            policy tags and partitioning stay, unless the columns change.
        create_dataset: Create the target's dataset when it is missing.
        work_dataset: Where staged rows and the ledger live, `dataset` or `project.dataset`; made
            if missing, in the same location as the target.
    """

    table: str
    mode: Mode = "append"
    create_dataset: bool = False
    work_dataset: str = WORK_DATASET

    def __post_init__(self) -> None:
        """Refuse what can be seen to be wrong without any I/O."""
        check_table(self.table)
        if self.mode not in get_args(Mode):
            raise ConfigError(
                f"mode={self.mode!r}: it is one of "
                + ", ".join(repr(value) for value in get_args(Mode))
            )

    def open(self, run: Run) -> BigQueryWriter:
        """See `etlkit.sink.Sink`."""
        return BigQueryWriter(self, run, connect(run))


class BigQueryWriter:
    """See `etlkit.sink.SinkWriter`."""

    def __init__(self, sink: BigQuerySink, run: Run, connection: Connection) -> None:
        from etlkit.bigquery.ledger import Ledger
        from etlkit.bigquery.staging import Staging

        self._sink = sink
        self._run = run
        self._connection = connection
        dataset = work_dataset(sink.work_dataset, connection.project)
        self._table = parse_table(sink.table, connection.project)
        self._ledger = Ledger(connection, run, dataset)
        self._staging: Staging = Staging(connection, run, dataset)
        self.target = str(self._table)
        with errors_as(SinkError, "open", f"opening the target {self.target} failed"):
            self.known_columns = self._check_target()
            self._ledger.start(self.target, sink.mode)

    def _check_target(self) -> tuple[Column, ...]:
        from etlkit.bigquery.types import from_schema_fields

        dataset = self._connection.find_dataset(self._table.dataset_id)
        if dataset is None:
            if not self._sink.create_dataset:
                raise SinkError(
                    f"dataset {self._table.dataset_id} does not exist: create it, or let the job "
                    f"do it with BigQuerySink({self._sink.table!r}, create_dataset=True)",
                    stage="open",
                )
            self._connection.make_dataset(self._table.dataset_id)
            return ()
        here = self._connection.location
        if here and dataset.location and dataset.location.lower() != here.lower():
            raise SinkError(
                f"dataset {self._table.dataset_id} is in {dataset.location}, the source rows are in "
                f"{here}: BigQuery cannot query across locations; copy one of the two first",
                stage="open",
            )
        table = self._connection.find_table(self._table)
        return () if table is None else from_schema_fields(table.schema)

    def begin(self, columns: tuple[Column, ...]) -> None:
        """See `etlkit.sink.SinkWriter.begin`."""
        if self._sink.mode == "append" and self.known_columns:
            _refuse_mismatch(self.target, columns, self.known_columns)
        with errors_as(SinkError, "stage", "creating the staging table failed"):
            self._staging.begin(columns)

    def write(self, batch: pa.RecordBatch) -> None:
        """See `etlkit.sink.SinkWriter.write`."""
        self._staging.append(batch)

    def flush(self) -> None:
        """See `etlkit.sink.SinkWriter.flush`."""
        self._staging.flush()

    def commit(self, counts: Counts) -> int:
        """See `etlkit.sink.SinkWriter.commit`."""
        from etlkit.bigquery.publish import audit, publish

        self._staging.close()
        with errors_as(SinkError, "audit", "the audit of the staged rows could not run"):
            audit(self._connection, self._staging, counts)
        with errors_as(SinkError, "publish", f"publishing to {self.target} failed"):
            publish(
                self._connection,
                self._staging,
                self._ledger,
                self._run,
                self._table,
                known=self.known_columns,
                replace=self._sink.mode == "replace",
                counts=counts,
            )
        self._staging.drop()
        return counts.parts

    def abort(self, error: BaseException) -> None:
        """See `etlkit.sink.SinkWriter.abort`."""
        state = "failed" if isinstance(error, Exception) else "interrupted"
        try:
            self._staging.close()
            self._ledger.fail(state, str(error) or type(error).__name__)
        except Exception as second:  # the first error is the one to report
            log.warning("the ledger could not be told that the run %s: %s", state, second)


def _refuse_mismatch(target: str, columns: tuple[Column, ...], known: tuple[Column, ...]) -> None:
    """Find before more rows are paid for what the final INSERT would refuse."""
    there = {column.name: column for column in known}
    extra = [column for column in columns if column.name not in there]
    if extra:
        adding = ", ".join(f"ADD COLUMN {column.name} {column.ddl}" for column in extra)
        raise SinkError(
            f"{target} has no column {', '.join(c.name for c in extra)}: add it (ALTER TABLE … "
            f"{adding}), leave it out of the rows, or use mode='replace'",
            stage="stage",
        )
    for column in columns:
        if there[column.name].ddl != column.ddl:
            raise SinkError(
                f"{target}: column {column.name} is {there[column.name].ddl}, the rows have "
                f"{column.ddl}: convert it in the transform and declare it in output_schema",
                stage="stage",
            )
    given = {column.name for column in columns}
    missing = [c.name for c in known if c.mode == "REQUIRED" and c.name not in given]
    if missing:
        raise SinkError(
            f"{target}: the rows have no value for required column {', '.join(missing)}",
            stage="stage",
        )

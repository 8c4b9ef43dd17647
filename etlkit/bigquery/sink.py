"""`BigQuerySink`: settled rows staged in Arrow, audited, published in one step."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

from etlkit.bigquery.client import Connection, connect, errors_as
from etlkit.bigquery.names import check_table
from etlkit.bigquery.source import WORK_DATASET, work_dataset
from etlkit.bigquery.table import Definition
from etlkit.errors import ConfigError, SinkError

if TYPE_CHECKING:
    import pyarrow as pa

    from etlkit.columns import Column
    from etlkit.context import Run
    from etlkit.settle import Counts, Earlier, Refused, Rejected
    from etlkit.sink import SinkWriter

log = logging.getLogger("etlkit.bigquery")

Mode = Literal["append", "append_direct", "replace", "delete_in_advance", "merge"]


@dataclass(frozen=True)
class BigQuerySink:
    """A BigQuery table. Rows are staged in the work dataset and become visible all at once.

    Attributes:
        table: `dataset.table` or `project.dataset.table`; created when it is missing.
        mode: `append` adds the rows. `replace` makes them the table's only rows: descriptions,
            policy tags and partitioning stay while the columns do. `merge` updates rows that are
            there by `merge_keys` and adds the others. `delete_in_advance` makes the table anew with
            the job's definition, in one statement. `append_direct` writes straight into the table:
            at least once, visible at once, no checks, no resume.
        merge_keys: Columns that name a row; nulls are equal to each other.
        merge_update_columns: Columns that `merge` updates; None = all but the keys.
        before_load: DML that runs in the same transaction before the rows, if the table exists.
        definition: Partitioning, clustering, description, labels and column descriptions; used
            when the table is made, and compared with a table that is there already.
        create_dataset: Create the target's dataset when it is missing.
        work_dataset: Where staged rows and the ledger live, `dataset` or `project.dataset`; made
            if missing, in the same location as the target.
    """

    table: str
    mode: Mode = "append"
    merge_keys: tuple[str, ...] = ()
    merge_update_columns: tuple[str, ...] | None = None
    before_load: str | None = None
    definition: Definition = field(default_factory=Definition)
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
        if isinstance(self.merge_keys, str):
            raise ConfigError(f"merge_keys is a str; write ({self.merge_keys!r},)")
        if (self.mode == "merge") != bool(self.merge_keys):
            raise ConfigError("mode='merge' needs merge_keys, and no other mode takes them")
        if self.merge_update_columns is not None and self.mode != "merge":
            raise ConfigError("merge_update_columns goes with mode='merge'")
        if self.before_load is not None and self.mode in {"append_direct", "delete_in_advance"}:
            raise ConfigError(f"before_load does not go with mode={self.mode!r}")

    def open(self, run: Run) -> SinkWriter:
        """See `etlkit.sink.Sink`."""
        if self.mode == "append_direct":
            from etlkit.bigquery.direct import DirectWriter

            return DirectWriter(self, run, connect(run))
        return BigQueryWriter(self, run, connect(run))


class BigQueryWriter:
    """See `etlkit.sink.SinkWriter`."""

    def __init__(self, sink: BigQuerySink, run: Run, connection: Connection) -> None:
        from etlkit.bigquery.ledger import Ledger
        from etlkit.bigquery.staging import Staging
        from etlkit.bigquery.target import Target

        self._sink = sink
        self._run = run
        self._connection = connection
        dataset = work_dataset(sink.work_dataset, connection.project)
        self._ledger = Ledger(connection, run, dataset)
        with errors_as(SinkError, "open", f"opening the target {sink.table} failed"):
            self._target = Target(sink, run, connection)
            self.target = str(self._target.name)
            self._ledger.open(self.target, sink.mode)
            self._staging = Staging(connection, run, dataset)
            if run.attempt > 1:
                self._staging.find()

    @property
    def known_columns(self) -> tuple[Column, ...]:
        """See `etlkit.sink.SinkWriter.known_columns`; what an earlier attempt staged comes first."""
        known = {column.name: column for column in self._target.columns}
        known |= {column.name: column for column in self._staging.columns}
        return tuple(known.values())

    def recover(self) -> Earlier:
        """See `etlkit.sink.SinkWriter.recover`."""
        with errors_as(SinkError, "snapshot", "counting what is staged already failed"):
            return self._staging.recover()

    def begin(self, columns: tuple[Column, ...]) -> None:
        """See `etlkit.sink.SinkWriter.begin`."""
        self._target.plan(columns)
        with errors_as(SinkError, "stage", "creating the staging table failed"):
            self._staging.begin(columns)

    def write(self, batch: pa.RecordBatch) -> None:
        """See `etlkit.sink.SinkWriter.write`."""
        self._staging.append(batch)

    def reject(self, rows: Sequence[Rejected]) -> None:
        """See `etlkit.sink.SinkWriter.reject`."""
        with errors_as(SinkError, "stage", "creating the table of rejected rows failed"):
            self._staging.reject(rows)

    def refused(self) -> Sequence[Refused]:
        """See `etlkit.sink.SinkWriter.refused`."""
        return self._staging.refused()

    def flush(self) -> None:
        """See `etlkit.sink.SinkWriter.flush`."""
        self._staging.flush()

    def commit(self, counts: Counts) -> int:
        """See `etlkit.sink.SinkWriter.commit`."""
        from etlkit.bigquery.audit import audit
        from etlkit.bigquery.publish import Publisher

        self._staging.close()
        with errors_as(SinkError, "audit", "the audit of the staged rows could not run"):
            audit(self._connection, self._staging, self._run.checks, counts)
        self._ledger.stop_heartbeat()
        with errors_as(SinkError, "publish", f"publishing to {self.target} failed"):
            Publisher(
                self._sink, self._run, self._connection, self._target, self._staging, self._ledger
            ).publish(counts)
        self._staging.drop()
        return counts.parts

    def abort(self, error: BaseException, /) -> None:
        """See `etlkit.sink.SinkWriter.abort`."""
        state = "failed" if isinstance(error, Exception) else "interrupted"
        try:
            self._staging.close()
            self._ledger.end(state, str(error) or type(error).__name__)
        except Exception as second:  # the first error is the one to report
            log.warning("the ledger could not be told that the run %s: %s", state, second)

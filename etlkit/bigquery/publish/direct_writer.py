"""`append_direct`: rows go straight into the target, at least once, with a warning."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from etlkit.api.outcomes import Recovered
from etlkit.api.sink import PARTS
from etlkit.bigquery.client import Connection
from etlkit.bigquery.google_errors import errors_as
from etlkit.bigquery.publish.opening import open_target
from etlkit.bigquery.sql import ddl
from etlkit.bigquery.storage.append_rows import Appender
from etlkit.errors import ConfigError, SinkError

if TYPE_CHECKING:
    import pyarrow as pa

    from etlkit.api.job_options import JobOptions
    from etlkit.api.outcomes import Counts, RefusedRow, RejectedRow
    from etlkit.api.run import Run
    from etlkit.bigquery.modes import TargetOptions
    from etlkit.rows.columns import Column

log: logging.Logger = logging.getLogger("etlkit.bigquery")


class DirectWriter:
    """See `etlkit.api.sink.SinkWriter`; rows are visible as soon as they are acknowledged."""

    keeps_order = False  # a table has no order
    keeps_rows = False  # nothing is staged that a resume could take over

    def __init__(
        self,
        options: TargetOptions,
        job: JobOptions,
        run: Run,
        connection: Connection,
        details: Mapping[str, Any],
    ) -> None:
        if job.checks:
            raise ConfigError("mode='append_direct' has no staged rows that checks could look at")
        if job.on_row_error == "reject":
            raise ConfigError("on_row_error='reject' does not go with mode='append_direct'")
        log.warning(
            "mode append_direct: rows go straight to %s, at least once; a failed run leaves some of "
            "them there, and it cannot be resumed",
            options.table,
        )
        self._connection = connection
        self._options = options
        self._appender: Appender | None = None
        self._changes = 0
        self._columns: tuple[Column, ...] = ()
        self._target, self._owner = open_target(options, job, run, connection, details)
        self.target: str = str(self._target.name)

    @property
    def known_columns(self) -> tuple[Column, ...]:
        """See `etlkit.api.sink.SinkWriter.known_columns`."""
        return self._target.columns

    def recover(self) -> Recovered:
        """See `etlkit.api.sink.SinkWriter.recover`: rows in the target have no ids."""
        return Recovered()

    def begin(self, columns: tuple[Column, ...]) -> None:
        """See `etlkit.api.sink.SinkWriter.begin`: makes a missing table, adds missing columns."""
        if self._appender is not None:
            self.flush()
            self._appender.close()
            self._appender = None
        self._target.check_fit(columns)
        self._columns = self._target.published(columns)
        with errors_as(SinkError, "stage", "preparing the target failed"):
            name = self._target.name
            if self._target.table is None and columns:
                definition = self._options.definition
                described = definition.described(columns)
                clauses = definition.clauses(described, self._connection.labels)
                text = ddl.create_table(name, described, clauses)
                self._connection.query(text, "create_target")
            changes = self._target.evolution(columns).before
            for text in ddl.alter_columns(name, changes):
                self._changes += 1
                self._connection.query(text, f"alter_columns_{self._changes}")
            self._target.look()

    def write(self, batch: pa.RecordBatch) -> None:
        """See `etlkit.api.sink.SinkWriter.write`."""
        import pyarrow as pa
        import pyarrow.compute as pc

        rows = batch.filter(pc.greater(batch.column(PARTS), pa.scalar(0, pa.int64())))
        rows = rows.select([column.name for column in self._columns])
        if not rows.num_rows:
            return
        if self._appender is None:
            client = self._connection.writer()
            self._appender = Appender(
                client,
                self._target.name,
                rows.schema,
                fills_defaults=True,
                is_altered=bool(self._changes),
            )
        self._appender.append(rows)

    def reject(self, rows: Sequence[RejectedRow]) -> None:
        """See `etlkit.api.sink.SinkWriter.reject`: there is no publish step for them."""
        raise ConfigError(
            f"on_row_error='reject' does not go with mode='append_direct' ({len(rows)} rows failed)"
        )

    def refused(self) -> Sequence[RefusedRow]:
        """See `etlkit.api.sink.SinkWriter.refused`: rows have no ids here; a bad one ends the run."""
        return ()

    def flush(self) -> None:
        """See `etlkit.api.sink.SinkWriter.flush`."""
        if self._appender is not None:
            self._appender.flush()

    def commit(self, counts: Counts) -> int:
        """See `etlkit.api.sink.SinkWriter.commit`: only the ledger is still to be written."""
        self.flush()
        if self._appender is not None:
            self._appender.close()
        with errors_as(SinkError, "publish", "recording the run in the ledger failed"):
            self._owner.publish([], counts)
        self._owner.finish()
        return counts.parts

    def is_ready(self) -> bool:
        """See `etlkit.api.sink.SinkWriter.is_ready`."""
        self._owner.check()
        return self._appender is None or self._appender.is_ready()

    def abort(self, error: BaseException, /) -> None:
        """See `etlkit.api.sink.SinkWriter.abort`: rows that were written stay."""
        try:
            if self._appender is not None:
                self._appender.close()
            self._owner.end(error)
        except Exception as second:  # the first error is the one to report
            log.warning("the ledger could not record that the run failed: %s", second)

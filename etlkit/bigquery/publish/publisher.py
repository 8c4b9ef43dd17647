"""Publish: the end of a run, where repeats are removed and the target changes at once."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from etlkit.api.source import ROW_ID
from etlkit.bigquery import sql
from etlkit.bigquery.client import google_message
from etlkit.bigquery.names import TableName
from etlkit.bigquery.publish.staging import REJECT_COLUMNS
from etlkit.errors import RunStateError, SinkError
from etlkit.rows.columns import Column

if TYPE_CHECKING:
    from etlkit.api.outcomes import Counts
    from etlkit.api.run import Run
    from etlkit.bigquery.client import Connection
    from etlkit.bigquery.publish.target import Target
    from etlkit.bigquery.runs.ledger import Ledger
    from etlkit.bigquery.sink_options import SinkOptions

log = logging.getLogger("etlkit.bigquery")

_ATTEMPTS = 6
_SHOWN_KEYS = 5

REJECTS_COLUMNS = (
    Column("run_id", "STRING", "REQUIRED", description="The run that rejected the row"),
    Column("row_id", "STRING", "REQUIRED", description="The row's id in that run"),
    *REJECT_COLUMNS,
)


class Staged(Protocol):
    """Rows that stand in work tables, ready to be published."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that the rows have."""

    @property
    def names(self) -> Sequence[TableName]:
        """The work tables."""

    @property
    def rejects(self) -> TableName | None:
        """The work table of rejected rows; None = no row was rejected."""

    @property
    def makes_empty_table(self) -> bool:
        """Whether a missing target is made although there are no rows."""

    def rows(self, columns: Sequence[Column], /) -> str:
        """A SELECT of the rows, each once."""


class Publisher:
    """Makes the staged rows visible in one atomic step. Sent twice, it changes nothing more.

    A target that exists and fits: one transaction with the ledger's word. One that is missing or is
    made anew: one `CREATE [OR REPLACE] TABLE … AS`, recognised by its label, then the ledger.
    """

    def __init__(
        self,
        sink: SinkOptions,
        run: Run,
        connection: Connection,
        target: Target,
        staging: Staged,
        ledger: Ledger,
    ) -> None:
        self._sink = sink
        self._run = run
        self._connection = connection
        self._target = target
        self._staging = staging
        self._ledger = ledger
        self._columns = target.published(staging.columns)
        self._rows = staging.rows(self._columns)
        self._keys = sink.merge_keys

    def publish(self, counts: Counts) -> None:
        """Publish rows, rejected rows and the ledger's word.

        Raises:
            SinkError: Merge keys repeat among the rows, or BigQuery refused.
            RunStateError: Another process took the run over in the meantime.
        """
        self._refuse_repeated_keys()
        statements: list[str] = []
        if counts.parts and not self._columns:
            raise SinkError("the rows have no column that the target has; nothing was published")
        made = self._is_made() or (self._must_create(counts) and self._create())
        if not made and self._target.columns and self._columns:
            self._add_columns()
            statements = self._statements()
        statements += self._reject_statements()
        statements += self._retry_statements()
        numbers = {
            "read": counts.read,
            "written": counts.written,
            "skipped": counts.skipped,
            "rejected": counts.rejected,
            "rows_published": counts.parts,
        }
        ledger = self._ledger
        ledger.stop_heartbeat()  # both update the run's row; until here the run shows that it lives
        self._transact(
            sql.transaction(ledger.table, self._run.run_id, ledger.owner, statements, numbers)
        )

    def _is_made(self) -> bool:
        """Whether an earlier attempt made the table with these rows, but could not say so."""
        mine = self._connection.labels["etlkit_run"]
        return self._run.attempt > 1 and self._target.made_by == mine

    def _must_create(self, counts: Counts) -> bool:
        if not self._columns:
            return False
        if not self._target.columns:
            anyhow = self._target.is_made_anew or self._staging.makes_empty_table
            return anyhow or counts.parts > 0
        if self._run.retry_of is not None:
            return False  # the retried rows come on top of those that the run has published
        if self._sink.mode == "delete_in_advance":
            return True
        return self._sink.mode == "replace" and not self._target.fits(self._columns)

    def _statements(self) -> list[str]:
        name, rows = self._target.name, self._rows
        before = [] if self._sink.before_load is None else [_statement(self._sink.before_load)]
        if self._sink.mode == "merge":
            keys, update = self._sink.merge_keys, self._sink.merge_update_columns
            parts = self._target.definition.partitioning
            by = parts.column if parts is not None and parts.require_filter else None
            return [*before, sql.merge(name, self._columns, rows, keys, update, by)]
        if self._sink.mode == "replace" and self._run.retry_of is None:
            before = [*before, sql.truncate(name)]
        return [*before, sql.insert(name, self._columns, rows)]

    def _add_columns(self) -> None:
        for number, text in enumerate(
            sql.add_columns(self._target.name, self._target.added(self._columns)), 1
        ):
            self._connection.query(text, f"add_column_{number}")

    def _refuse_repeated_keys(self) -> None:
        keys = self._keys
        if not keys or not self._columns:
            return
        text = sql.repeated_keys(self._rows, keys, _SHOWN_KEYS)
        repeated = self._connection.rows(text, "merge_keys")
        if repeated:
            shown = "; ".join(
                ", ".join(f"{key} = {row[key]!r}" for key in keys) + f" ({row['times']} rows)"
                for row in repeated
            )
            raise SinkError(
                f"merge keys {', '.join(keys)} repeat among the rows: {shown}. Nothing was "
                "published; make the source query or the transform give each key once"
            )

    def _create(self) -> bool:
        """Make the table with its rows.

        Returns:
            False: the rows are still to be added, because another run has made the table a moment
            ago, or because partitions by load time cannot be made with rows in them.
        """
        from google.api_core.exceptions import Conflict

        target, definition = self._target, self._target.definition
        columns = definition.described(self._columns)
        labels = dict(self._connection.labels)
        rows: str | None = self._rows
        if definition.by_load_time:
            rows = None
            labels.pop("etlkit_run")  # the label says that the rows are in
        text = sql.create_target(
            target.name,
            columns,
            definition.clauses(columns, labels),
            rows,
            replace=target.is_made_anew,
        )
        try:
            self._connection.query(text, "publish_create")
        except Conflict:
            target.look_again(self._columns)
            return target.made_by == self._connection.labels["etlkit_run"]
        log.debug("created %s", target.name)
        if rows is None:
            target.columns = self._columns
        return rows is not None

    def _reject_statements(self) -> list[str]:
        rejects = self._staging.rejects
        if rejects is None:
            return []
        table = rejects_table(self._target.name)
        self._connection.query(
            sql.create_target(table, REJECTS_COLUMNS, "", None, replace=False).replace(
                "CREATE TABLE", "CREATE TABLE IF NOT EXISTS", 1
            ),
            "rejects_table",
        )
        names = ", ".join(column.name for column in REJECT_COLUMNS)
        insert = (
            f"INSERT INTO {table.sql} (run_id, row_id, {names})\n"
            f"SELECT '{self._run.run_id}', {ROW_ID}, {names} FROM {rejects.sql}\n"
            "WHERE TRUE\n"
            f"QUALIFY ROW_NUMBER() OVER (PARTITION BY {ROW_ID} ORDER BY rejected_at) = 1"
        )
        return [insert]

    def _retry_statements(self) -> list[str]:
        if self._run.retry_of is None:
            return []
        settled = sql.settled_ids(self._staging.names, self._staging.rejects)
        table = rejects_table(self._target.name)
        return [sql.forget_rejects(table, self._run.retry_of, settled)] if settled else []

    def _transact(self, text: str) -> None:
        """Run the transaction; BigQuery aborts it when another one touches the same tables."""
        from google.api_core.exceptions import GoogleAPICallError

        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._connection.query(text, f"publish_{attempt}")
            except GoogleAPICallError as error:
                if self._ledger.is_published(f"check_{attempt}"):
                    return
                if "concurrent update" not in google_message(error) or attempt == _ATTEMPTS:
                    raise
                log.info("publish attempt %d met a concurrent update, trying again", attempt)
                threading.Event().wait(random.uniform(0.5, 2.0) * 2**attempt)  # noqa: S311
            else:
                break
        if not self._ledger.is_published("check"):
            raise RunStateError(
                f"run {self._run.run_id} was taken over by another process; this one published "
                "nothing",
                stage="publish",
            )


def rejects_table(target: TableName) -> TableName:
    """Where a target's rejected rows stand."""
    return TableName(target.project, target.dataset, f"{target.table}_rejects")


def _statement(text: str) -> str:
    return text.strip().rstrip(";") + "\n"  # it may end with a comment

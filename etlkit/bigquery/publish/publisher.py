"""Publish: the end of a run, where repeats are removed and the target changes at once."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from etlkit.bigquery.google_errors import google_message
from etlkit.bigquery.modes import MODES, Evolution, ExistingTable, Mode, Rows, TargetOptions
from etlkit.bigquery.names import TableName, literal, swap_name
from etlkit.bigquery.publish.rejects import reject_statements, rejects_table
from etlkit.bigquery.runs.finish import run_cleanup
from etlkit.bigquery.sql import ddl, dml
from etlkit.bigquery.sql.staging import Staged
from etlkit.errors import SinkError
from etlkit.rows.columns import quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from etlkit.api.outcomes import Counts
    from etlkit.api.run import Run
    from etlkit.bigquery.client import Connection
    from etlkit.bigquery.publish.target import Target
    from etlkit.bigquery.runs.run_owner import RunOwner
    from etlkit.rows.columns import Column

log: logging.Logger = logging.getLogger("etlkit.bigquery")

_SHOWN_KEYS = 5


class StagedRows(Protocol):
    """Rows in work tables, ready to be published."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that the rows have."""

    @property
    def names(self) -> Sequence[TableName]:
        """The work tables."""

    @property
    def staged(self) -> Staged:
        """The work tables with what became of each source row; empty for rows without ids."""

    @property
    def makes_empty_table(self) -> bool:
        """Whether a missing target is created although there are no rows."""

    def rows(self, columns: Sequence[Column], /) -> str:
        """A SELECT of the rows, each once."""

    def unrepeated_rows(self, columns: Sequence[Column], counts: Counts, /) -> str | None:
        """A cheaper SELECT of as many rows as `counts` has, which the publish checks; None = none."""


class Publisher:
    """Makes the staged rows visible in one atomic step. Sent twice, it changes nothing more.

    Rows never travel in DDL, which cannot be fenced. A missing target is created empty first; the
    rows, the rejected rows and the ledger's event are one transaction that first changes the run's
    guard; columns that go away are dropped afterwards.

    Args:
        options: What the job says about its target.
        run: The attempt.
        connection: Its connection.
        target: The table.
        staging: The rows.
        owner: This attempt's hold on the run.
        mode: How to publish; None = the mode of `options`.
    """

    def __init__(
        self,
        options: TargetOptions,
        run: Run,
        connection: Connection,
        target: Target,
        staging: StagedRows,
        owner: RunOwner,
        *,
        mode: Mode | None = None,
    ) -> None:
        self._options = options
        self._run = run
        self._connection = connection
        self._target = target
        self._staging = staging
        self._owner = owner
        self._mode = mode or MODES[options.mode]

    def publish(self, counts: Counts, beside: Sequence[str] = ()) -> None:
        """Publish rows, rejected rows and the ledger's event.

        Args:
            counts: How the source rows ended.
            beside: More DML for the same transaction.

        Raises:
            SinkError: Merge keys repeat among the rows, or BigQuery refused.
            RunTakenOverError: Another process has taken the run over.
        """
        columns = self._target.published(self._staging.columns)
        if counts.parts and not columns:
            raise SinkError("the rows have no column that the target has; nothing was published")
        self._refuse_repeated_keys(columns)
        cleanup: list[str] = []
        table = self._prepare(columns, counts, cleanup)
        rejects = rejects_table(self._target.name)
        rejected = reject_statements(self._connection, self._run, self._staging.staged, rejects)
        after = [*rejected, *beside]
        text = ";\n".join(cleanup) or None
        if table is None or not columns:
            self._owner.publish(after, counts, text)
        else:
            self._publish_rows(table, columns, after, counts, text)
        if text is not None:
            run_cleanup(self._connection, self._run.run_id, text)

    def _publish_rows(
        self,
        table: ExistingTable,
        columns: tuple[Column, ...],
        after: Sequence[str],
        counts: Counts,
        cleanup: str | None,
    ) -> None:
        """Publish as the audit has counted, or with every repeat left out.

        A row that was sent again may arrive after the audit. Then the transaction adds more rows than
        were counted, and is undone.
        """
        on_top = self._run.retry_of is not None
        rows = Rows(self._staging.rows(columns), columns, on_top)
        purpose = "publish"
        select = self._staging.unrepeated_rows(columns, counts) if self._mode.adds_rows else None
        if select is not None:
            counted = replace(rows, select=select, exactly=counts.parts)
            statements = self._mode.statements(self._options, table, counted)
            try:
                self._owner.publish([*statements, *after], counts, cleanup)
            except Exception as error:
                if dml.REPEATED not in google_message(error):
                    raise
                log.info("rows were staged again after the audit; repeats are left out")
                purpose = "publish_again"
            else:
                return
        statements = self._mode.statements(self._options, table, rows)
        self._owner.publish([*statements, *after], counts, cleanup, purpose=purpose)

    def _prepare(
        self, columns: tuple[Column, ...], counts: Counts, cleanup: list[str]
    ) -> ExistingTable | None:
        """Make sure that there is a table which takes the rows; None = none is needed.

        Args:
            columns: Of the rows.
            counts: How many there are.
            cleanup: Takes the statements to run after publishing.
        """
        on_top = self._run.retry_of is not None
        if columns and self._target.must_drop and not on_top:
            return self._prepare_new_table(columns, cleanup)
        if columns and self._target.table is None:
            anyhow = self._mode.replaces or self._staging.makes_empty_table
            if not (anyhow or counts.parts):
                return None
            self._create(self._target.name, columns)
            self._target.look()
        table = self._target.table
        if table is None or not columns:
            return table
        evolution = Evolution() if on_top and self._mode.replaces else None
        evolution = evolution or self._target.evolution(columns)
        if changes := ddl.alter_columns(table.name, evolution.before):
            self._connection.query(";\n".join(changes), "alter_columns")
        if not on_top:
            cleanup += ddl.alter_columns(table.name, evolution.after)
            cleanup += self._redefine(table)
        return table

    def _prepare_new_table(self, columns: tuple[Column, ...], cleanup: list[str]) -> ExistingTable:
        """Fill a table beside the target, which takes its place when it is complete."""
        target = self._target.name
        new = swap_name(target, self._run.run_id)
        self._create(new, columns)
        cleanup.append(ddl.swap_in(new, target))
        return ExistingTable(new, columns, self._options.definition)

    def _create(self, name: TableName, columns: tuple[Column, ...]) -> None:
        definition = self._options.definition
        described = definition.described(columns)
        clauses = definition.clauses(described, self._connection.labels)
        text = ddl.create_table(name, described, clauses)
        self._connection.query(text, "create_target")

    def _redefine(self, table: ExistingTable) -> list[str]:
        """Give a table that `delete_in_advance` keeps the job's description, labels and options."""
        if self._mode.name != "delete_in_advance":
            return []
        options = self._options.definition.option_text()
        texts = [ddl.set_options(table.name, options)] if options else []
        described = self._options.definition.column_descriptions
        changes = [
            f"ALTER COLUMN {quoted(name)} SET OPTIONS(description = {literal(text)})"
            for name, text in described.items()
        ]
        return [*texts, *ddl.alter_columns(table.name, changes)]

    def _refuse_repeated_keys(self, columns: tuple[Column, ...]) -> None:
        keys = self._mode.keys(self._options)
        if not keys or not columns:
            return
        text = dml.repeated_keys(self._staging.rows(columns), keys, _SHOWN_KEYS)
        repeated = self._connection.select(text)
        if repeated:
            shown = "; ".join(
                ", ".join(f"{key} = {row[key]!r}" for key in keys) + f" ({row['times']} rows)"
                for row in repeated
            )
            raise SinkError(
                f"merge keys {', '.join(keys)} repeat among the rows: {shown}. Nothing was "
                "published; make the source query or the transform give each key once"
            )

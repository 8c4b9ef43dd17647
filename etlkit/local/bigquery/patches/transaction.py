"""A multi-statement transaction, based on DuckDB's transactions.

Real BigQuery: all changes of a transaction appear at COMMIT, or none, even if the server is killed. The
emulator: it copied tables and restored the copies, so an error or a kill could leave some changes.

What remains: if an `EXCEPTION` handler catches an error that happened while rows were processed, DuckDB
has already aborted the transaction, and it is rolled back. In BigQuery it would continue.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import duckdb
from bqemulator.domain.errors import InvalidQueryError

from etlkit.local.bigquery.patches.catalog_cache import entries_of
from etlkit.local.bigquery.rules.concurrency import conflicting_transaction

if TYPE_CHECKING:
    from etlkit.local.bigquery.rules.concurrency import Name


class Transaction:
    """From BEGIN to COMMIT or ROLLBACK.

    Attributes:
        changed: The tables that DML has written to.
        id: For messages.
        is_implicit: True = of a single statement or load; False = the user's, from BEGIN on.
        is_lost: True = an error has ended it; only ROLLBACK is left.
    """

    def __init__(self, ctx: Any, *, is_implicit: bool = False) -> None:
        self._ctx = ctx
        self.is_implicit = is_implicit
        self._catalog = entries_of(ctx.catalog)
        self.changed: set[Name] = set()
        self._mutated: set[Name] = set()
        self.id: str = str(uuid4())
        self.is_lost: bool = False
        ctx.engine.execute("BEGIN TRANSACTION")
        ctx.engine.transaction = self

    def commit(self) -> None:
        """Make all changes visible at once."""
        self.refuse_if_lost()
        self._ctx.engine.transaction = None
        self._ctx.engine.execute("COMMIT")
        self._ctx.engine.concurrency.mutated(self._mutated)
        for table in sorted(self.changed):
            self._ctx.snapshots.record_change(*table)

    def mutate(self, tables: Iterable[Name]) -> None:
        """Check for conflicts before a statement updates or deletes rows of tables.

        Raises:
            InvalidQueryError: Another request has changed one of them since the transaction began. The
                transaction is rolled back.
        """
        self._refuse_conflicts(tables)

    def _refuse_conflicts(self, tables: Iterable[Name], since: int | None = None) -> None:
        for table in tables:
            try:
                conflicting_transaction(self._ctx.engine.concurrency, table, self.id, since)
            except InvalidQueryError:
                self.lose()
                raise
            self._mutated.add(table)

    def rollback(self) -> None:
        """Undo all changes, also those in the emulator's cache of its catalog."""
        self._ctx.engine.transaction = None
        if not self.is_lost:
            self._undo()

    def check_after_error(self) -> None:
        """Find out whether DuckDB has aborted the transaction after an error."""
        if self.is_lost:
            return
        try:
            self._ctx.engine.execute("SELECT 1")
        except duckdb.Error:
            self.lose()

    def lose(self) -> None:
        """Undo all changes; only ROLLBACK is left."""
        if not self.is_lost:
            self._undo()
            self.is_lost = True

    def refuse_if_lost(self) -> None:
        """Raise if the transaction was rolled back, so that nothing is written outside of it."""
        if self.is_lost:
            raise InvalidQueryError(
                "The transaction was rolled back after an error that was caught; "
                "only ROLLBACK TRANSACTION can follow"
            )

    def _undo(self) -> None:
        self._ctx.engine.execute("ROLLBACK")
        cache = self._ctx.catalog._cache  # noqa: SLF001
        for name, entries in self._catalog.items():
            setattr(cache, name, entries)

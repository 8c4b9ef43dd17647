"""Statements and transactions that change the same table at the same time.

UPDATE, DELETE, MERGE and TRUNCATE conflict per table. Of two transactions that run at
the same time and mutate the same table, the later one is aborted. A single statement waits, and at most
20 statements wait for a table. INSERTs, appends and SELECTs never conflict.

Here a request counts as running from the moment it arrives. If a table was mutated between the arrival
of a request and the moment its transaction mutates the same table, BigQuery would see a conflict.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import sqlglot
from bqemulator.domain.errors import InvalidQueryError
from bqemulator.jobs import executor
from sqlglot import exp

from etlkit.local.bigquery.rules.registry import Asked, rule

Name = tuple[str, str, str]

MAX_WAITING: Final = 20
"""Mutating statements that may wait for one table."""

_MUTATING: Final = ("UPDATE", "DELETE", "MERGE", "TRUNCATE")


class ResourcesExceededError(InvalidQueryError):
    """400 `resourcesExceeded`."""

    bq_reason = "resourcesExceeded"


@dataclass(frozen=True)
class Arrival:
    """A request that has arrived.

    Attributes:
        number: Arrivals and changes are numbered in the order in which they happen.
        tables: What its single statement mutates, if it had to wait.
        is_refused: True = too many statements wait already.
    """

    number: int
    tables: tuple[Name, ...] = ()
    is_refused: bool = False


class Concurrency:
    """Knows which tables were mutated since a request arrived."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._mutations: dict[Name, int] = {}
        self._waiting: Counter[Name] = Counter()
        self._held: set[Name] = set()
        self._at_work = Arrival(0)

    def arrive(self, tables: tuple[Name, ...] = ()) -> Arrival:
        """Note a request. `leave_queue` and `begin` follow.

        Args:
            tables: What its single statement mutates, if it has to wait for other requests.
        """
        if any(self._waiting[table] >= MAX_WAITING for table in tables):
            return Arrival(next(self._numbers), tables, is_refused=True)
        self._waiting.update(tables)
        return Arrival(next(self._numbers), tables)

    def leave_queue(self, arrival: Arrival) -> None:
        """Stop counting the request as waiting: it begins, or its client has gone."""
        if not arrival.is_refused:
            self._waiting -= Counter(arrival.tables)

    def begin(self, arrival: Arrival) -> None:
        """Note that the request has the connection."""
        self._at_work = arrival

    @property
    def at_work(self) -> Arrival:
        """The request that has the connection."""
        return self._at_work

    def now(self) -> int:
        """The number of the request at work, for `is_conflict`."""
        return self._at_work.number

    def is_conflict(self, table: Name, since: int | None = None) -> bool:
        """Whether others have mutated a table, or an open transaction has.

        Args:
            table: The table.
            since: Changes after this count; None = after the request at work arrived.
        """
        since = self._at_work.number if since is None else since
        return table in self._held or self._mutations.get(table, 0) > since

    def hold(self, tables: Iterable[Name]) -> None:
        """A transaction that stays open between requests has mutated these tables."""
        self._held.update(tables)

    def release(self, tables: Iterable[Name]) -> None:
        """Such a transaction has ended."""
        self._held.difference_update(tables)

    def refuse_held(self, tables: Iterable[Name]) -> None:
        """Refuse a statement outside of transactions that mutates a table that is held.

        Raises:
            InvalidQueryError: In BigQuery, it would wait for the end of the transaction.
        """
        for project, dataset, name in tables:
            if (project, dataset, name) in self._held:
                raise InvalidQueryError(
                    "Could not serialize access to table "
                    f"{project}:{dataset}.{name} due to concurrent update",
                    location="query",
                )

    def mutated(self, tables: Iterable[Name]) -> None:
        """A statement or transaction that mutated these tables is committed."""
        for table in tables:
            self._mutations[table] = next(self._numbers)


@rule(
    Asked.CONFLICT,
    "At most 20 UPDATE, DELETE, MERGE and TRUNCATE statements wait for a table.",
    "data-manipulation-language#update_delete_merge_dml_concurrency",
)
def queue_length(arrival: Arrival) -> None:
    """Refuse a single statement if too many were waiting before it.

    Raises:
        ResourcesExceededError: More than `MAX_WAITING` were waiting.
    """
    if arrival.is_refused:
        project, dataset, table = arrival.tables[0]
        raise ResourcesExceededError(
            "Resources exceeded during query execution: Too many DML statements outstanding "
            f"against table {project}:{dataset}.{table}, limit is {MAX_WAITING}."
        )


@rule(
    Asked.CONFLICT,
    "Of two transactions that mutate a table at the same time, the later one is cancelled.",
    "transactions#transaction_concurrency",
)
def conflicting_transaction(
    concurrency: Concurrency, table: Name, transaction_id: str, since: int | None = None
) -> None:
    """Refuse a statement of a transaction on a table that others have mutated in the meantime."""
    if concurrency.is_conflict(table, since):
        project, dataset, name = table
        raise InvalidQueryError(
            "Transaction is aborted due to concurrent update against table "
            f"{project}:{dataset}.{name}. Transaction ID: {transaction_id}",
            location="query",
        )


def is_mutating(tree: Any) -> bool:
    """Whether a statement is DML that conflicts: all DML but INSERT."""
    return executor._is_dml(tree) and not isinstance(tree, exp.Insert)  # noqa: SLF001


@lru_cache(maxsize=256)
def mutated_tables(sql: str, project: str) -> tuple[Name, ...]:
    """The tables that a single statement mutates; empty for scripts and all other statements."""
    words = sql.upper()
    if not any(word in words for word in _MUTATING):
        return ()
    try:
        trees = [tree for tree in sqlglot.parse(sql, read="bigquery") if tree is not None]
    except sqlglot.errors.SqlglotError:
        return ()
    if len(trees) != 1 or not is_mutating(trees[0]):
        return ()
    targets = executor._dml_target_tables(trees[0], project)  # noqa: SLF001
    return tuple((target[0], target[1], target[2]) for target in targets)

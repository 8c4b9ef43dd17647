"""The guard of a run: a one-row table that says who may publish it, and whose lease is running.

Two things are kept apart. The *row* (owner, attempt, state) is changed by DML and is the fence: a
publish changes it first, in its transaction. The *metadata* (labels, description, time of the last
change) is changed by `tables.patch` with an etag, which is a compare-and-swap that costs nothing and
never meets a transaction: it is the lease.

Only attempts at the same run ever touch its guard.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from etlkit.bigquery.client import NO_RETRY, PARENT_LABEL
from etlkit.bigquery.names import TableName
from etlkit.bigquery.runs.process_identity import ProcessIdentity
from etlkit.bigquery.sql import guard as guard_sql
from etlkit.bigquery.table_definition import work_table
from etlkit.errors import RunStateError, RunTakenOverError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from google.cloud import bigquery

    from etlkit.bigquery.client import Connection

LEASE_S = 60.0
"""An attempt that did not renew its lease for this long may be taken over. By BigQuery's clock."""

RENEW_REQUEST_S = 10.0
"""Socket timeout of a renewal, so that a dead connection does not use up the lease."""

_MAX_SWAPS = 3
"""How often a change is tried, if renewals come in between."""

_OWNER = "etlkit_owner"
_ATTEMPT = "etlkit_attempt"
_STATE = "etlkit_state"
_RENEWALS = "etlkit_renewals"


@dataclass(frozen=True)
class LeaseLabels:
    """What the labels of a guard tell of its lease; a list of tables has them.

    Attributes:
        owner: Token of whoever holds it.
        attempt: Number of the attempt.
        state: `running`, `stopping` or `ended`.
        renewals: Changes with each sign of life.
    """

    owner: str
    attempt: int
    state: str
    renewals: str

    @classmethod
    def of(cls, labels: Mapping[str, str]) -> LeaseLabels:
        """Read the labels of a guard."""
        return cls(
            owner=labels.get(_OWNER, ""),
            attempt=int(labels.get(_ATTEMPT) or 0),
            state=labels.get(_STATE, ""),
            renewals=labels.get(_RENEWALS, ""),
        )


@dataclass(frozen=True)
class Holder:
    """Who holds the lease of a run, as its guard's metadata tells.

    Attributes:
        owner: Token of the attempt.
        attempt: Its number.
        ended: Whether it has said that it is over.
        is_stopping: Whether it wants its workers to stop.
        renewed_at: When it last gave a sign of life, by BigQuery's clock.
        process: Who it is; None = not known.
        parent: Label of the workflow's run whose task the run is; empty = it is no task's.
    """

    owner: str
    attempt: int
    ended: bool
    renewed_at: datetime
    process: ProcessIdentity | None
    parent: str = ""
    is_stopping: bool = False

    @classmethod
    def of(cls, table: bigquery.Table) -> Holder:
        """Read a guard's metadata."""
        lease = LeaseLabels.of(table.labels)
        return cls(
            owner=lease.owner,
            attempt=lease.attempt,
            ended=lease.state == "ended",
            renewed_at=table.modified or datetime.min.replace(tzinfo=UTC),
            process=ProcessIdentity.from_json(table.description),
            parent=table.labels.get(PARENT_LABEL, ""),
            is_stopping=lease.state == "stopping",
        )

    def is_alive(self, now: datetime) -> bool:
        """Whether the attempt may still be at work.

        Args:
            now: BigQuery's time.
        """
        if self.ended or (self.process is not None and self.process.is_dead()):
            return False
        return now - self.renewed_at < timedelta(seconds=LEASE_S)

    def __str__(self) -> str:
        """For messages."""
        who = "an unknown process" if self.process is None else str(self.process)
        return f"{who}, last sign of life {self.renewed_at:%H:%M:%S} UTC"


def guard_name(dataset: tuple[str, str], run_id: str) -> TableName:
    """Where a run's guard is."""
    return TableName(*dataset, f"run_{run_id}")


def find_holder(connection: Connection, guard: TableName) -> Holder | None:
    """Who holds a run; None = it has no guard, so nobody does."""
    table = connection.find_table(guard)
    return None if table is None else Holder.of(table)


def end_lease(connection: Connection, guard: TableName, owner: str) -> bool:
    """Take the lease of a run from whoever has it, so that nobody waits for it.

    Its attempt notices at its next renewal. It can still publish: the fence is another thing.

    Args:
        connection: To do it with.
        guard: The run's guard.
        owner: A token that no attempt has.

    Returns:
        Whether there is a guard.
    """
    from google.api_core.exceptions import PreconditionFailed

    while (table := connection.find_table(guard)) is not None:
        table.labels = {**table.labels, _OWNER: owner, _STATE: "ended"}
        try:
            connection.update(table, ["labels"])
        except PreconditionFailed:  # it was renewed a moment ago
            continue
        return True
    return False


def bigquery_time(connection: Connection) -> datetime:
    """What BigQuery's clock says."""
    now: datetime = connection.select(guard_sql.NOW)[0]["now"]
    return now


class Guard:
    """The guard of one run, from the point of view of one attempt at it.

    Args:
        connection: The run's connection.
        name: The guard's table.
        run_id: The run, for messages.
        attempt: Number of this attempt.
        progress: Gives labels that say how far the run is; they are told with each renewal.

    Attributes:
        owner: The token of this attempt: what the fence asks for.
    """

    def __init__(
        self,
        connection: Connection,
        name: TableName,
        run_id: str,
        attempt: int,
        *,
        progress: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self._connection = connection
        self._progress = progress
        self.name = name
        self._run_id = run_id
        self._attempt = attempt
        self._renewals = 0
        self._state = "running"
        self.owner: str = secrets.token_hex(8)

    def create(self) -> None:
        """Create the guard of a new run; its row is written by the script that starts the run."""
        table = work_table(self.name, guard_sql.GUARD_COLUMNS)
        self._describe(table)
        made = self._connection.make_table(table)
        if Holder.of(made).owner != self.owner:  # else a request was sent again: it is ours
            raise RunStateError(f"run {self._run_id} exists already")

    def claim(self) -> bool:
        """Take the lease of an earlier attempt that is over. The fence itself is taken by DML.

        Returns:
            Whether the guard was missing and is new: the run is one of an earlier version of
            etlkit, or it was published in this very moment.

        Raises:
            RunStateError: The earlier attempt lives, or another process was faster.
        """
        table = self._connection.find_table(self.name)
        if table is None:
            self.create()
            return True
        earlier = Holder.of(table).owner
        for _ in range(_MAX_SWAPS):
            self._check_over(Holder.of(table))
            if self._swap(table):
                return False
            # A renewal that was on its way when the process died may have come first.
            table = self._connection.find_table(self.name)
            if table is None or Holder.of(table).owner != earlier:
                break
        raise RunStateError(
            f"run {self._run_id} changed hands a moment ago: another process resumed or finished it"
        )

    def _check_over(self, holder: Holder) -> None:
        """Raise if the attempt that has the lease may still be at work."""
        # An attempt with the same number that is over died before the ledger knew of it. If it had
        # taken the fence already, the fence refuses this one.
        if not holder.is_alive(bigquery_time(self._connection)):
            return
        if holder.attempt >= self._attempt:
            raise RunStateError(
                f"run {self._run_id} was resumed by another process a moment ago ({holder})"
            )
        raise RunStateError(f"run {self._run_id} is in progress ({holder})")

    def renew(self) -> None:
        """Give a sign of life.

        Raises:
            RunTakenOverError: Another attempt holds the run now, or has published it.
            google.api_core.exceptions.GoogleAPIError: The request failed; try again.
        """
        table = self._own_table()
        self._renewals += 1
        self._describe(table)
        # A rival that was faster changed the etag: the next renewal then sees its token.
        self._patch(table)

    def end(self) -> None:
        """Say that this attempt is over, so that a resume need not wait for its lease."""
        for _ in range(_MAX_SWAPS):
            table = self._connection.find_table(self.name)
            if table is None or Holder.of(table).owner != self.owner:
                return
            table.labels = {**table.labels, _STATE: "ended"}
            if self._patch(table):  # else a renewal that was on its way came first
                return

    def stop_workers(self) -> None:
        """Tell workers that look here to stop. This attempt still holds the run.

        Raises:
            RunTakenOverError: It does not.
            google.api_core.exceptions.GoogleAPIError: The request failed.
        """
        self._state = "stopping"
        for _ in range(_MAX_SWAPS):
            if self._swap(self._own_table()):  # else a renewal that was on its way came first
                return

    def drop(self) -> None:
        """Remove the guard of a run that is published, or that was refused before it began."""
        self._connection.drop_work_table(self.name)

    def taken_over(self, holder: Holder | None = None) -> RunTakenOverError:
        """The error of a process that lost its run: who has it, and since when."""
        holder = holder or find_holder(self._connection, self.name)
        if holder is None:  # the guard goes when a run is published
            what = f"run {self._run_id} was taken over and finished by another process"
        elif holder.owner == self.owner:
            what = f"run {self._run_id} is no longer this process's"
        else:
            who = "another process" if holder.process is None else str(holder.process)
            what = (
                f"run {self._run_id} was taken over by {who} (attempt {holder.attempt}) before "
                f"{holder.renewed_at:%Y-%m-%d %H:%M:%S} UTC"
            )
        return RunTakenOverError(f"{what}; this process published nothing")

    def check(self) -> None:
        """Return if this attempt holds the run.

        Raises:
            RunTakenOverError: Another attempt holds it, or has published it.
            google.api_core.exceptions.GoogleAPIError: The request failed.
        """
        self._own_table()

    def _own_table(self) -> bigquery.Table:
        from google.api_core.exceptions import NotFound

        try:
            table = self._connection.client.get_table(
                str(self.name), retry=NO_RETRY, timeout=RENEW_REQUEST_S
            )
        except NotFound:  # the guard goes when the run is published
            raise self.taken_over() from None
        holder = Holder.of(table)
        if holder.owner != self.owner:
            raise self.taken_over(holder)
        return table

    def _swap(self, table: bigquery.Table) -> bool:
        self._describe(table)
        return self._patch(table)

    def _describe(self, table: bigquery.Table) -> None:
        table.labels = {
            **self._connection.labels,
            _OWNER: self.owner,
            _ATTEMPT: str(self._attempt),
            _STATE: self._state,
            _RENEWALS: str(self._renewals),
            **self._progress(),
        }
        table.description = ProcessIdentity.current().to_json()

    def _patch(self, table: Any) -> bool:
        """Change labels and description if the table is there as it was read."""
        from google.api_core.exceptions import NotFound, PreconditionFailed

        try:
            self._connection.client.update_table(
                table, ["labels", "description"], retry=NO_RETRY, timeout=RENEW_REQUEST_S
            )
        except (PreconditionFailed, NotFound):
            return False
        return True

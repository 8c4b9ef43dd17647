"""The events of the shards of a run: a table to which workers only ever add.

INSERTs never conflict, so any number of workers may add at once. What makes a claim exclusive is the
order: a worker adds its claim first and reads the events then. Of two workers that claim one shard, the
one whose INSERT came later sees the other's claim. Whoever sees a rival gives its own claim back.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from etlkit.bigquery.names import shard_events_name
from etlkit.bigquery.shards.shard_map import JOINED, OPENED, ShardEvent, ShardMap
from etlkit.bigquery.sql.shard_events import SHARD_EVENT_COLUMNS, insert_shard_events, shard_events
from etlkit.bigquery.table_definition import work_table

if TYPE_CHECKING:
    from etlkit.bigquery.client import Connection
    from etlkit.bigquery.names import TableName


@dataclass(frozen=True, slots=True)
class LogState:
    """What the events told at one moment.

    Attributes:
        shards: The shards, as the latest attempt's events tell.
        attempt: The latest attempt at the run that has told something.
        generation: The highest generation of all attempts.
        now: BigQuery's time.
        rows: The events as they are in the table, of the latest attempt, or of all that were read.
    """

    shards: ShardMap
    attempt: int
    generation: int
    now: datetime
    rows: list[dict[str, Any]]


class ShardLog:
    """The events of one run, for one attempt or one of its workers.

    Args:
        connection: To read and write with.
        dataset: Project and dataset of the work tables.
        run_id: The run.
        attempt: The attempt at the run; events are told for this one.
        teller: Part of the names of BigQuery jobs; unique among all processes that work on the run.

    Attributes:
        attempt: As given.
        name: The table.
    """

    def __init__(
        self,
        connection: Connection,
        dataset: tuple[str, str],
        run_id: str,
        attempt: int,
        teller: str,
    ) -> None:
        self._connection = connection
        self.attempt = attempt
        self._teller = teller
        self._num_told = 0
        self.name: TableName = shard_events_name(dataset, run_id)

    def make(self) -> None:
        """Create the table if it is missing."""
        self._connection.make_table(work_table(self.name, SHARD_EVENT_COLUMNS))

    def tell(self, events: Sequence[ShardEvent]) -> None:
        """Add events, all of them or none."""
        from google.cloud import bigquery

        if not events:
            return
        self._num_told += 1
        told = [
            {
                **asdict(event),
                "number": number,
                "attempt": self.attempt,
                "host": socket.gethostname() if event.kind == JOINED else None,
            }
            for number, event in enumerate(events)
        ]
        parameter = bigquery.ScalarQueryParameter("events", "STRING", json.dumps(told))
        self._connection.query(
            insert_shard_events(self.name),
            f"shards_{self._teller}_{self._num_told}",
            parameters=[parameter],
        )

    def read(self, *, every_attempt: bool = False) -> LogState:
        """Read what all have told so far.

        Args:
            every_attempt: Whether `rows` is to have those of earlier attempts, too.
        """
        rows = self._connection.select(shard_events(self.name, every_attempt=every_attempt))
        latest = max((row["attempt"] for row in rows), default=self.attempt)
        events = [_event(row) for row in rows if row["attempt"] == latest]
        return LogState(
            ShardMap.of(events),
            latest,
            rows[0]["highest"] if rows else 0,
            rows[0]["now"] if rows else datetime.now(UTC),
            rows,
        )

    def is_opened(self) -> bool:
        """Whether any attempt has opened shards."""
        return any(row["kind"] == OPENED for row in self.read(every_attempt=True).rows)


def _event(row: dict[str, Any]) -> ShardEvent:
    return ShardEvent(
        row["kind"],
        row["worker"] or "",
        row["first"],
        row["last"],
        row["generation"],
        row["source"] or "",
        row["fraction"] or 0.0,
        row["calls"] or 0,
        row["cost"] or 0.0,
        row["rows"] or 0,
        service=row["service"] or "",
        told_at=row["event_at"].timestamp(),
    )

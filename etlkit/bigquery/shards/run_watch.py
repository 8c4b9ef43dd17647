"""`RunWatch`: how a worker to which nobody can talk learns that its run is over, or stops."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING

from etlkit.bigquery.google_errors import google_message
from etlkit.bigquery.runs.guard import LEASE_S, find_holder
from etlkit.bigquery.runs.lease import now

if TYPE_CHECKING:
    from datetime import datetime

    from etlkit.bigquery.client import Connection
    from etlkit.bigquery.names import TableName
    from etlkit.bigquery.runs.guard import Holder

log: logging.Logger = logging.getLogger("etlkit.bigquery")

WATCH_S = 2.0
"""Between two looks, if there are few workers. A look is a `tables.get`, which costs nothing."""

WATCHES_PER_S = 20.0
"""How many looks all workers together take in a second: BigQuery allows 100 requests of a method
(https://cloud.google.com/bigquery/quotas#api_request_quotas)."""


class RunWatch:
    """Looks at the guard of a run until the run is over, stops, or gives no sign of life.

    Args:
        connection: The worker's connection.
        guard: The run's guard.
        attempt: The attempt that the worker belongs to.
        on_over: Called once, on the thread of the watch.
        every_s: Seconds between two looks.
        clock: Seconds; see `etlkit.bigquery.runs.lease.now`.
    """

    def __init__(
        self,
        connection: Connection,
        guard: TableName,
        attempt: int,
        on_over: Callable[[], None],
        *,
        every_s: float = WATCH_S,
        clock: Callable[[], float] = now,
    ) -> None:
        self._connection = connection
        self._guard = guard
        self._attempt = attempt
        self._on_over = on_over
        self._every_s = every_s
        self._clock = clock
        self._renewed_at: datetime | None = None
        self._seen_at = clock()
        self._closed = threading.Event()
        self._thread = threading.Thread(
            target=partial(copy_context().run, self._run), name="etlkit-watch", daemon=True
        )

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._closed.set()

    def _run(self) -> None:
        while not self._closed.wait(self._every_s):
            try:
                holder = find_holder(self._connection, self._guard)
            except Exception as error:  # the worker's own lease ends when BigQuery is away
                log.info("the guard of the run could not be asked: %s", google_message(error))
                continue
            why = self._why_over(holder)
            if why:
                log.info("stopping: %s", why)
                self._on_over()
                return

    def _why_over(self, holder: Holder | None) -> str:
        """Why the worker has to stop; empty = it has not."""
        if holder is None or holder.ended:
            return "the run is over"
        if holder.attempt != self._attempt:
            return "another process has taken the run over"
        if holder.is_stopping:
            return "the run stops"
        if holder.renewed_at != self._renewed_at:
            self._renewed_at, self._seen_at = holder.renewed_at, self._clock()
        is_dead = holder.process is not None and holder.process.is_dead()
        if is_dead or self._clock() - self._seen_at > LEASE_S:
            return "the process that holds the run gives no sign of life"
        return ""

"""Who waits for a job, and what happens when nobody does any more.

Real BigQuery: a job goes on when its client has gone, and costs. Here it would keep everything else
waiting, so it is stopped. A client that lost its answer sends its request again within a second or two;
it finds its job, which has gone on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Final

from etlkit.local.bigquery.patches.locations import LOCATIONS
from etlkit.local.bigquery.patches.request import Request
from etlkit.local.bigquery.patches.work import CANCELLED, CLIENT_GONE, Work
from etlkit.local.bigquery.rules.locations import canonical

GONE_AFTER_S: Final = 3.0
"""How long a job goes on after its last client has disconnected."""

Message = Any


class ActiveJob:
    """A request from its arrival to its answer, usually a job.

    Attributes:
        request: The request that started it.
        stopped: Why it was stopped; "" = it was not.
        stopping: Set when it is stopped.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self.stopped: str = ""
        self.stopping = asyncio.Event()
        self._done = asyncio.Event()
        self._work: Work | None = None
        self._arrived_s = time.time()
        self._clients = 0
        self._timer: asyncio.TimerHandle | None = None

    def resource(self) -> dict[str, Any]:
        """The job as `jobs.get` shows it while it is waiting or running."""
        project, job_id = self.request.project, self.request.job
        asked = self.request.content.get("jobReference") or {}
        location = canonical(asked.get("location") or "") or LOCATIONS.of(job_id or "")
        return {
            "kind": "bigquery#job",
            "id": f"{project}:{location}.{job_id}",
            "jobReference": {"projectId": project, "jobId": job_id, "location": location},
            "configuration": self.request.content.get("configuration", {}),
            "statistics": {"creationTime": str(int(self._arrived_s * 1000))},
            "status": {"state": "PENDING" if self._work is None else "RUNNING"},
        }

    def no_results_yet(self) -> dict[str, Any]:
        """The answer to `jobs.getQueryResults` while it is waiting or running."""
        return {
            "kind": "bigquery#getQueryResultsResponse",
            "jobReference": self.resource()["jobReference"],
            "jobComplete": False,
        }

    def begin(self, work: Work) -> None:
        """Note its work: it has begun."""
        self._work = work
        if self.stopped:
            work.stop(self.stopped)

    def wait_for_turn(self) -> None:
        """It does not only read: it begins again when it has the main connection."""
        self._work = None

    def stop(self, why: str) -> None:
        """Stop it, whether it has begun or still waits for its turn."""
        self.stopped = self.stopped or why
        self.stopping.set()
        if self._work is not None:
            self._work.stop(why)

    def end(self) -> None:
        """It has been answered."""
        self._done.set()
        self._forget_timer()

    async def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until it has been answered. Returns whether it was in time.

        Args:
            timeout_s: How long to wait; None = until then.
        """
        with suppress(TimeoutError):
            await asyncio.wait_for(self._done.wait(), timeout_s)
        return self._done.is_set()

    async def cancel(self) -> None:
        """Stop it for a user, and wait until it has been answered."""
        self.stop(CANCELLED)
        await self.wait()

    @asynccontextmanager
    async def client(self, receive: Callable[[], Awaitable[Message]]) -> AsyncIterator[None]:
        """Count a client of it, until the client has gone or needs it no more."""
        self._clients += 1
        self._forget_timer()
        watch = asyncio.create_task(self._watch(receive))
        try:
            yield
        finally:
            if watch.done():
                watch.result()
            else:
                watch.cancel()
                self._leave()

    async def _watch(self, receive: Callable[[], Awaitable[Message]]) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._leave()

    def _leave(self) -> None:
        self._clients -= 1
        if not self._clients and not self._done.is_set():
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(GONE_AFTER_S, self.stop, CLIENT_GONE)

    def _forget_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class JobClients:
    """All requests that are waiting or running."""

    def __init__(self) -> None:
        self._jobs: dict[str, ActiveJob] = {}

    def find(self, name: str | None) -> ActiveJob | None:
        """The job of this name that is waiting or running."""
        return None if name is None else self._jobs.get(name)

    @contextmanager
    def active(self, request: Request) -> Iterator[ActiveJob]:
        """Note a request from its arrival to its answer."""
        job = ActiveJob(request)
        name = request.job if request.starts_job else None
        if name is not None:
            self._jobs[name] = job
        try:
            yield job
        finally:
            job.end()
            if name is not None:
                del self._jobs[name]

"""One DuckDB connection, used by one request at a time.

Real BigQuery: jobs and streams are isolated from each other. The emulator: REST handlers ran on the
event loop and gRPC handlers on a thread pool, all on one DuckDB connection. So an `execute` of one
request and a `fetch` of another mixed up their results, and an append during a script's transaction
joined it.

REST requests run in their own thread, so that a statement can call a service on the event loop of the
same process, such as the Vision stand-in.

What is given up: a long query delays all other requests, including reads. Only `jobs.cancel` does not
wait: it ends the query.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from contextlib import asynccontextmanager
from threading import Lock, Thread
from typing import Any, ClassVar, TypeVar

from bqemulator.storage.engine import DuckDBEngine

from etlkit.local.bigquery.patches.column_names import is_query, refuse_duplicates
from etlkit.local.bigquery.patches.concurrency import Concurrency, Name, mutated_tables
from etlkit.local.bigquery.patches.table import PATCHES

_log = logging.getLogger(__name__)

_T = TypeVar("_T")

_INTERRUPT_EVERY_S = 0.05
_CANCEL = re.compile(r"/jobs/([^/]+)/cancel$")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class SingleConnectionEngine(DuckDBEngine):
    """DuckDB's engine, with the state of the request that is using it.

    Attributes:
        concurrency: Knows which requests would conflict if they ran at the same time.
        connection_lock: Held by the request that uses DuckDB, on the event loop or on a worker thread.
        transaction: The open transaction of a script; None = each statement is its own transaction.
        is_dry: Whether queries are only described.
        running_job: Id of the job that is using it; None = none, or one without an id of the client's.
    """

    starts: ClassVar[Sequence[Callable[[Any], None]]] = ()
    """Called with the connection as soon as it is open."""

    concurrency: Concurrency
    connection_lock: asyncio.Lock
    transaction: Any = None
    is_dry = False
    running_job: str | None = None
    _is_in_statement = False
    _statement_lock: Lock

    async def start(self) -> None:
        """Open DuckDB."""
        self.concurrency = Concurrency()
        self.connection_lock = asyncio.Lock()
        self._statement_lock = Lock()
        await super().start()
        for prepare in self.starts:
            prepare(self.connection)

    async def cancel(self, job_id: str) -> None:
        """End a job, if it is running: its statement, not what the emulator does around it."""
        while self.running_job == job_id:
            with self._statement_lock:
                if self._is_in_statement:
                    self.connection.interrupt()
            await asyncio.sleep(_INTERRUPT_EVERY_S)

    def fetch_arrow(self, sql: str, parameters: list[Any] | None = None) -> Any:
        """Run a statement. A dry run only binds it."""
        refuse_duplicates(self.connection, sql, parameters)
        if self.is_dry:
            sql = f"SELECT * FROM ({sql}\n) LIMIT 0" if is_query(sql) else f"EXPLAIN {sql}"
        with self._statement_lock:
            self._is_in_statement = True
        try:
            return super().fetch_arrow(sql, parameters)
        finally:
            with self._statement_lock:
                self._is_in_statement = False


class OneRequestApp:
    """Passes HTTP requests to the emulator one by one.

    Bodies are received and answers are sent without the lock, so a client that stops in the middle of
    either does not delay others.
    """

    def __init__(
        self, app: App, engine: SingleConnectionEngine, before: Callable[[], None]
    ) -> None:
        self._app = app
        self._engine = engine
        self._before = before
        self._loop = asyncio.new_event_loop()
        Thread(target=self._loop.run_forever, name="etlkit-local-bigquery", daemon=True).start()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """The ASGI entry."""
        if scope["type"] != "http" or "/bigquery/v2/" not in scope["path"]:
            await self._app(scope, receive, send)
            return
        if cancelled := _CANCEL.search(scope["path"]):
            await self._engine.cancel(cancelled[1])
        answer: list[Message] = []

        async def keep(message: Message) -> None:
            answer.append(message)

        body: list[Message] = []
        if scope["path"].startswith("/upload/"):  # files are too large for memory
            work = self._app(scope, receive, keep)
        else:
            body = await _whole_body(receive)
            work = self._elsewhere(self._app(scope, _replay(body, receive), keep))
        async with self._connection(scope, body):
            try:
                self._before()
                await to_completion(work)
            except Exception as error:
                _log.exception("%s %s", scope["method"], scope["path"])
                answer = _not_implemented(error)
        for message in answer:
            await send(message)

    @asynccontextmanager
    async def _connection(self, scope: Message, body: list[Message]) -> AsyncIterator[None]:
        """Wait for the connection. The request counts as running as soon as it starts to wait."""
        lock, concurrency = self._engine.connection_lock, self._engine.concurrency
        tables = _mutated_by(scope, body) if lock.locked() else ()
        arrival = concurrency.arrive(tables)
        try:
            await lock.acquire()
        finally:
            concurrency.leave_queue(arrival)
        try:
            concurrency.begin(arrival)
            self._engine.running_job = _job_id(scope, body)
            yield
        finally:
            self._engine.running_job = None
            lock.release()

    async def _elsewhere(self, work: Awaitable[None]) -> None:
        async def run() -> None:
            await work

        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(run(), self._loop))


async def to_completion(work: Awaitable[_T]) -> _T:
    """Wait for work that uses DuckDB on a thread, also if the client has disconnected.

    Cancelling does not stop a thread. If the lock were released then, the next request would use DuckDB
    at the same time, and the two could deadlock.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def _not_implemented(error: Exception) -> list[Message]:
    """The answer to an internal error. It is a 501, because clients repeat a 500 for ten minutes."""
    what = str(error).split("\n", maxsplit=1)[0]
    message = f"The local BigQuery failed here ({type(error).__name__}: {what}): see server.log"
    reason = {"reason": "notImplemented", "message": message, "domain": "global"}
    body = json.dumps({"error": {"code": 501, "message": message, "errors": [reason]}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    return [
        {"type": "http.response.start", "status": 501, "headers": headers},
        {"type": "http.response.body", "body": body},
    ]


def _job_id(scope: Message, body: list[Message]) -> str | None:
    """The id that the client has chosen for the job of a request."""
    if scope["method"] != "POST" or not scope["path"].endswith("/jobs"):
        return None
    try:
        request = json.loads(b"".join(message.get("body", b"") for message in body))
        job_id = request["jobReference"]["jobId"]
    except (ValueError, LookupError, TypeError):
        return None
    return job_id if isinstance(job_id, str) else None


def _mutated_by(scope: Message, body: list[Message]) -> tuple[Name, ...]:
    """The tables that the single statement of a request mutates."""
    if scope["method"] != "POST" or not scope["path"].endswith(("/queries", "/jobs")):
        return ()
    try:
        request = json.loads(b"".join(message.get("body", b"") for message in body))
        job = request.get("configuration", request)
        query = job.get("query") or ""
        sql = query if isinstance(query, str) else query.get("query") or ""
    except (ValueError, AttributeError):  # the emulator says what is wrong with it
        return ()
    project = scope["path"].split("/projects/", maxsplit=1)[-1].split("/", maxsplit=1)[0]
    return () if job.get("dryRun") else mutated_tables(sql, project)


async def _whole_body(receive: Receive) -> list[Message]:
    body = [await receive()]
    while body[-1].get("more_body"):
        body.append(await receive())
    return body


def _replay(body: list[Message], receive: Receive) -> Receive:
    messages = iter(body)

    async def replay() -> Message:
        return next(messages, None) or await receive()

    return replay


def apply() -> None:
    """Build the emulator around this engine."""
    PATCHES.replace("bqemulator.server:DuckDBEngine", SingleConnectionEngine)

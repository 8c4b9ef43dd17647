"""One DuckDB connection for what writes, and one for each request that only reads.

Real BigQuery: jobs and streams are isolated from each other. The emulator: REST handlers ran on the
event loop and gRPC handlers on a thread pool, all on one DuckDB connection. So an `execute` of one
request and a `fetch` of another mixed up their results, and an append during a script's transaction
joined it.

REST requests run in threads of their own, so that a statement can call a service on the event loop of
the same process, such as the Vision stand-in.

What is given up: what writes waits for all that writes. `jobs.cancel` does not wait: it ends a query.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from threading import Lock
from typing import Any, ClassVar, Final, TypeVar

import sqlglot
from bqemulator.storage.engine import DuckDBEngine
from sqlglot import exp

from etlkit.local.bigquery.patches import sandbox
from etlkit.local.bigquery.patches.catalog_writes import CatalogWriter
from etlkit.local.bigquery.patches.handler_threads import HandlerThreads, run_here
from etlkit.local.bigquery.patches.job_clients import ActiveJob, JobClients
from etlkit.local.bigquery.patches.request import Request
from etlkit.local.bigquery.patches.table import PATCHES
from etlkit.local.bigquery.patches.types import refuse_wide_integers
from etlkit.local.bigquery.patches.work import SERVER_STOPS, Work, current, doing, interruptible
from etlkit.local.bigquery.rules.concurrency import Concurrency, Name, mutated_tables
from etlkit.local.bigquery.rules.late_columns import LateColumns

_log = logging.getLogger(__name__)

_T = TypeVar("_T")

_MAX_READS: Final = 64
"""Requests that read at the same time; others wait."""

_OF_EVERY_CONNECTION: Final = ("TimeZone = 'UTC'", "python_enable_replacements = false")
"""Set for the main connection only by the emulator and the sandbox, which then locks all settings."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
Call = Callable[[], Awaitable[None]]


class SingleConnectionEngine(DuckDBEngine):
    """DuckDB's engine, with the state of the request that is using it.

    Attributes:
        concurrency: Knows which requests would conflict if they ran at the same time.
        connection_lock: Held by the request that uses the main connection, on the event loop or on a
            worker thread.
        transaction: The open transaction of a script; None = each statement is its own transaction.
    """

    starts: ClassVar[Sequence[Callable[[Any], None]]] = ()
    """Called with the connection as soon as it is open."""

    connects: ClassVar[Sequence[Callable[[Any], None]]] = ()
    """Called with each connection, e.g. for macros, which belong to one."""

    late_columns: ClassVar[LateColumns] = LateColumns(0)
    """Which columns the Storage Write API does not see yet."""

    concurrency: Concurrency
    connection_lock: asyncio.Lock
    transaction: Any = None
    _works: set[Work]
    _idle: list[Any]
    _works_lock: Lock
    _catalog: CatalogWriter
    _is_stopping = False

    async def start(self) -> None:
        """Open DuckDB."""
        self.concurrency = Concurrency()
        self.connection_lock = asyncio.Lock()
        self._works, self._idle, self._works_lock = set(), [], Lock()
        self._catalog = CatalogWriter()
        await super().start()
        self._prepare(self.connection)
        for prepare in self.starts:
            prepare(self.connection)
        for setting in _OF_EVERY_CONNECTION:
            self.connection.execute(f"SET GLOBAL {setting}")
        sandbox.lock(self.connection, self._settings)

    @contextmanager
    def on(self, connection: Any) -> Iterator[None]:
        """Let the running request use another connection to the same data, such as a session's."""
        work: Any = current()
        plain, work.connection = work.connection, connection
        try:
            yield
        finally:
            work.connection = plain

    async def stop(self) -> None:
        """Close DuckDB, once what uses it has been stopped."""
        self.stop_work()
        await super().stop()

    def stop_work(self) -> None:
        """Stop all that uses DuckDB, now and later: the server stops. Any thread may call this."""
        with self._works_lock:
            self._is_stopping = True
            works = list(self._works)
        for work in works:
            work.stop(SERVER_STOPS)

    @property
    def connection(self) -> Any:
        """The connection of the running request."""
        work = current()
        return super().connection if work is None else work.connection

    @property
    def is_dry(self) -> bool:
        """Whether the running request only describes queries."""
        work = current()
        return work is not None and work.is_dry

    @is_dry.setter
    def is_dry(self, is_dry: bool) -> None:
        work = current()
        if work is not None:
            work.is_dry = is_dry

    @contextmanager
    def exclusive(self) -> Iterator[Work]:
        """Use the main connection. The caller holds `connection_lock`."""
        with self._working(Work(super().connection, is_exclusive=True)) as work:
            yield work

    def another_connection(self) -> Any:
        """A connection to the same data, which sees what is committed."""
        connection = super().connection.cursor()
        self._prepare(connection)
        return connection

    def _prepare(self, connection: Any) -> None:
        for prepare in self.connects:
            prepare(connection)

    @contextmanager
    def reading(self) -> Iterator[Work]:
        """Use a connection of its own, which sees what is committed."""
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self.another_connection()
        with self._working(Work(connection, is_exclusive=False)) as work:
            yield work
        self._idle.append(connection)

    @contextmanager
    def _working(self, work: Work) -> Iterator[Work]:
        with self._works_lock:
            self._works.add(work)
            is_stopping = self._is_stopping
        if is_stopping:
            work.stop(SERVER_STOPS)
        try:
            with doing(work):
                yield work
        finally:
            with self._works_lock:
                self._works.discard(work)

    @asynccontextmanager
    async def write_lock(self) -> AsyncIterator[None]:
        """The emulator's own lock: `connection_lock` is held already, on another event loop."""
        yield

    def execute(self, sql: str, parameters: list[Any] | None = None) -> Any:
        """Run a statement, such as one about the catalog."""
        connection = self.connection
        if self._catalog.takes(connection, sql, parameters, current()):
            return connection
        return super().execute(sql, parameters)

    def write_jobs(self) -> None:
        """Write the rows of the jobs of the running request, before it is answered."""
        work = current()
        if work is not None and work.job_rows:
            self._catalog.write_jobs(work.connection, work)

    def fetch_arrow(self, sql: str, parameters: list[Any] | None = None) -> Any:
        """Run a statement. A dry run only binds it."""
        if self.is_dry:
            sql = f"SELECT * FROM ({sql}\n) LIMIT 0" if _is_query(sql) else f"EXPLAIN {sql}"
        with interruptible():
            rows = super().fetch_arrow(sql, parameters)
        refuse_wide_integers(rows)
        return rows


def _is_query(sql: str) -> bool:
    """Whether DuckDB SQL is a query; also True if sqlglot cannot parse it."""
    try:
        tree = sqlglot.parse_one(sql, read="duckdb")
    except sqlglot.errors.SqlglotError:
        return True
    return isinstance(tree, exp.Query)


class OneRequestApp:
    """Passes HTTP requests to the emulator: those that write one by one, those that read side by side.

    Bodies are received and answers are sent without the lock, so a client that stops in the middle of
    either does not delay others.

    Args:
        app: The emulator's.
        engine: Its engine.
        before: Called before a request that has the main connection.
        is_read: Whether a request may run beside others.
    """

    def __init__(
        self,
        app: App,
        engine: SingleConnectionEngine,
        before: Callable[[], None],
        is_read: Callable[[Request], bool],
    ) -> None:
        self._app = app
        self._engine = engine
        self._before = before
        self._is_read = is_read
        self._clients = JobClients()
        self._threads = HandlerThreads(_MAX_READS)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """The ASGI entry."""
        if scope["type"] != "http" or "/bigquery/v2/" not in scope["path"]:
            await self._app(scope, receive, send)
            return
        if scope["path"].startswith("/upload/"):  # files are too large for memory
            answer = await self._upload(scope, receive)
        else:
            body = await _whole_body(receive)
            if body is None:
                return
            request = Request(scope["method"], scope["path"], body, scope["query_string"])
            job = self._clients.find(request.job)
            if job is not None and request.is_look:
                answer = _json(200, job.resource())
            elif job is not None and not await self._wait_for_job(request, receive):
                answer = _json(200, job.no_results_yet())
            else:
                with self._clients.active(request) as job:
                    async with job.client(receive):
                        answer = await self._answer(scope, job)
        for message in answer:
            await send(message)

    async def _wait_for_job(self, request: Request, receive: Receive) -> bool:
        """Wait until the job that a request is about has ended. Returns whether it has."""
        while (job := self._clients.find(request.job)) is not None:
            if request.is_cancel:
                await job.cancel()
                continue
            async with job.client(receive):
                if not await job.wait(request.patience_s):
                    return False
        return True

    async def _answer(self, scope: Message, job: ActiveJob) -> list[Message]:
        answer: list[Message] = []

        async def keep(message: Message) -> None:
            answer.append(message)

        def app() -> Awaitable[None]:
            return self._app(scope, _replay(job.request.body), keep)

        try:
            if not await self._read(app, job):
                await self._take_turn(app, job)
        except Exception as error:
            _log.exception("%s %s", scope["method"], scope["path"])
            return _not_implemented(error)
        return answer

    async def _read(self, app: Call, job: ActiveJob) -> bool:
        """Answer a request that only reads. Returns whether it does."""
        request = job.request
        if not request.may_read:
            return False
        if not self._engine.connection_lock.locked():
            async with self._engine.connection_lock:
                with self._engine.exclusive():
                    self._before()

        def read() -> bool:
            if not self._is_read(request):
                return False
            self._run(app)
            return True

        with self._engine.reading() as work:
            job.begin(work)
            is_answered = await self._on_thread(read)
        if not is_answered:
            job.wait_for_turn()
        return is_answered

    async def _take_turn(self, app: Call, job: ActiveJob) -> None:
        """Answer a request that writes."""
        async with self._turn(job) as work:
            job.begin(work)
            if work.is_exclusive:
                self._before()
            await self._on_thread(lambda: self._run(app))

    def _run(self, app: Call) -> None:
        try:
            run_here(app)
        finally:
            self._engine.write_jobs()

    @asynccontextmanager
    async def _turn(self, job: ActiveJob) -> AsyncIterator[Work]:
        """Wait for the main connection. The request counts as running as soon as it starts to wait.

        A query that is stopped while it waits needs no turn: it will only be told so.
        """
        lock, concurrency = self._engine.connection_lock, self._engine.concurrency
        arrival = concurrency.arrive(_mutated_by(job.request) if lock.locked() else ())
        try:
            has_lock = await _acquire(lock, unless=job.stopping if job.request.query else None)
        finally:
            concurrency.leave_queue(arrival)
        if not has_lock:
            with self._engine.reading() as work:
                yield work
            return
        try:
            concurrency.begin(arrival)
            with self._engine.exclusive() as work:
                yield work
        finally:
            lock.release()

    async def _upload(self, scope: Message, receive: Receive) -> list[Message]:
        """Answer an upload, whose body is read while it runs."""
        here = asyncio.get_running_loop()

        async def receive_here() -> Message:
            future = asyncio.run_coroutine_threadsafe(_received(receive), here)
            return await asyncio.wrap_future(future)

        answer: list[Message] = []

        async def keep(message: Message) -> None:
            answer.append(message)

        with self._clients.active(Request(scope["method"], scope["path"])) as job:
            try:
                await self._take_turn(lambda: self._app(scope, receive_here, keep), job)
            except Exception as error:
                _log.exception("%s %s", scope["method"], scope["path"])
                return _not_implemented(error)
        return answer

    async def _on_thread(self, call: Callable[[], _T]) -> _T:
        return await to_completion(self._threads.call(call))


async def _received(receive: Receive) -> Message:
    return await receive()


async def _acquire(lock: asyncio.Lock, *, unless: asyncio.Event | None) -> bool:
    """Wait for a lock. Returns whether it is ours: False = the event came first."""
    if unless is None:
        return await lock.acquire()
    ours = asyncio.create_task(lock.acquire())
    event = asyncio.create_task(unless.wait())
    try:
        await asyncio.wait([ours, event], return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        if not ours.cancel():
            lock.release()
        raise
    finally:
        event.cancel()
    return ours.done() or not ours.cancel()


async def to_completion(work: Awaitable[_T], stop: Callable[[], None] | None = None) -> _T:
    """Wait for work that uses DuckDB on a thread, also if the client has disconnected.

    Cancelling does not stop a thread. If the connection were given to the next request then, two would
    use it at the same time, and could deadlock.

    Args:
        work: What to wait for.
        stop: Called if the client has disconnected; None = the work goes on to its end.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if stop is not None:
            stop()
        await asyncio.wait([task])
        raise


def _not_implemented(error: Exception) -> list[Message]:
    """The answer to an internal error. It is a 501, because clients repeat a 500 for ten minutes."""
    what = str(error).split("\n", maxsplit=1)[0]
    message = f"The local BigQuery failed here ({type(error).__name__}: {what}): see server.log"
    reason = {"reason": "notImplemented", "message": message, "domain": "global"}
    return _json(501, {"error": {"code": 501, "message": message, "errors": [reason]}})


def _json(status: int, content: dict[str, Any]) -> list[Message]:
    body = json.dumps(content).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    return [
        {"type": "http.response.start", "status": status, "headers": headers},
        {"type": "http.response.body", "body": body},
    ]


def _mutated_by(request: Request) -> tuple[Name, ...]:
    """The tables that the single statement of a request mutates."""
    query = request.query
    if query is None or query.get("dryRun"):
        return ()
    sql = query.get("query")
    return mutated_tables(sql, request.project) if isinstance(sql, str) else ()


async def _whole_body(receive: Receive) -> bytes | None:
    """The body of a request; None = its client has gone in the middle of it."""
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def _replay(body: bytes) -> Receive:
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def replay() -> Message:
        found = next(messages, None)
        if found is None:
            await asyncio.Event().wait()  # whether the client is still there is watched elsewhere
            raise AssertionError
        return found

    return replay


def apply() -> None:
    """Build the emulator around this engine."""
    PATCHES.replace("bqemulator.server:DuckDBEngine", SingleConnectionEngine)

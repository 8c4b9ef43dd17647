"""Sessions.

Real BigQuery: a job with `createSession` begins a session, and jobs with its `session_id` belong to it.
They share temporary tables and functions, variables and a transaction, which nobody else sees, until
`CALL BQ.ABORT_SESSION()` or 24 hours without a job. The emulator gave an id, and did nothing else.

Each session has its own connection to DuckDB. What remains: sessions end with the server, and a
statement that mutates a table which an open transaction has mutated fails at once; BigQuery lets it
wait.

https://cloud.google.com/bigquery/docs/sessions-intro
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import bqemulator.api.routes.jobs as routes
import bqemulator.scripting.interpreter as plain
import duckdb
from bqemulator.domain.errors import DomainError, InvalidQueryError, ValidationError
from bqemulator.scripting.parser import parse_script

from etlkit.local.bigquery.extensions import child_jobs, sql_functions
from etlkit.local.bigquery.extensions.interpreter import Interpreter
from etlkit.local.bigquery.extensions.signatures import Argument, Signature
from etlkit.local.bigquery.patches import scripts
from etlkit.local.bigquery.patches.table import PATCHES
from etlkit.local.bigquery.patches.transaction import Transaction

if TYPE_CHECKING:
    from etlkit.local.bigquery.extensions.statement_context import StatementContext
    from etlkit.local.bigquery.rules.concurrency import Name

IDLE: Final = timedelta(hours=24)

_KEY: Final = "session_id"


class SessionTransaction(Transaction):
    """A transaction that stays open between jobs, while others change other tables."""

    def __init__(self, ctx: Any) -> None:
        super().__init__(ctx)
        self._begun = ctx.engine.concurrency.now()

    def mutate(self, tables: Iterable[Name]) -> None:
        """See `Transaction.mutate`. From then on, others cannot mutate the tables."""
        new = [table for table in tables if table not in self._mutated]
        self._refuse_conflicts(new, since=self._begun)
        self._ctx.engine.concurrency.hold(new)

    def commit(self) -> None:
        """Make all changes visible at once."""
        self._ctx.engine.concurrency.release(self._mutated)
        super().commit()

    def _undo(self) -> None:
        # Nothing else in the catalog has changed: no DDL is allowed in a transaction.
        self._ctx.engine.concurrency.release(self._mutated)
        self._ctx.engine.execute("ROLLBACK")


class SessionInterpreter(Interpreter):
    """Runs the jobs of a session. Variables, functions and tables stay.

    Attributes:
        session_id: The session's.
        connection: Its own, with its temporary tables.
    """

    new_transaction = SessionTransaction

    def __init__(self, session_id: str, connection: Any, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.session_id = session_id
        self.connection = connection

    async def run(self, source: str) -> plain.ScriptResult:
        """Run one job of the session."""
        self._source = source
        self._final_table = None
        self._statements_executed = 0
        try:
            for statement in parse_script(source).statements:
                await self._exec_statement(statement)
        except DomainError:
            if self._transaction is not None:
                self._transaction.check_after_error()
            raise
        return plain.ScriptResult(
            final_table=self._final_table, statements_executed=self._statements_executed
        )

    def end(self) -> None:
        """Undo an open transaction, and drop the functions."""
        if self._transaction is not None:
            self._transaction.rollback()
        if self._temp_routines is not None:
            self._temp_routines.cleanup()


class Session:
    """One session.

    Attributes:
        id: What clients send.
        used: When its last job began.
        is_ended: Whether it ends with the job that is running.
    """

    def __init__(self, session_id: str, project: str, ctx: Any, caller: Any) -> None:
        self.id = session_id
        self.used: datetime = ctx.clock.now()
        self.is_ended = False
        self._ctx = ctx
        self._connection = ctx.engine.another_connection()
        self._transaction: Any = None
        self._interpreter = SessionInterpreter(
            session_id, self._connection, ctx, project, caller=caller
        )

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run a job in the session."""
        engine = self._ctx.engine
        self.used = self._ctx.clock.now()
        engine.transaction = self._transaction
        token = scripts.SESSION.set(self._interpreter)
        try:
            with engine.on(self._connection):
                yield
        finally:
            self._transaction, engine.transaction = engine.transaction, None
            scripts.SESSION.reset(token)

    def end(self) -> None:
        """End it. DuckDB drops the temporary tables of the connection."""
        with self.running(), suppress(duckdb.Error):
            self._interpreter.end()
        self._connection.close()


class Sessions:
    """All open sessions.

    Attributes:
        by_id: The sessions by their ids.
    """

    def __init__(self) -> None:
        self.by_id: dict[str, Session] = {}
        self._at_work: Session | None = None

    async def handle_query_job(
        self,
        project_id: str,
        job_id: str,
        config: dict[str, Any],
        *,
        dry_run: bool,
        ctx: Any,
        caller: Any,
        now: datetime,
    ) -> Any:
        """Run a query job, in its session if it has one, and store its child jobs."""
        options: Any = {"dry_run": dry_run, "ctx": ctx, "caller": caller, "now": now}
        query = config["query"]
        if query.get("connectionProperties"):  # other jobs may run beside those of sessions
            self._end_idle(now)
        session = self._find(query)
        if session is None and query.get("createSession") and not dry_run:
            session = self._begin(project_id, ctx, caller)
            config = {**config, "query": {**query, "createSession": False}}
        child_jobs.RECORD.set(child_jobs.ScriptRecord(query.get("query", "")))
        done: Any
        if session is None:
            done = await _plain_handle(project_id, job_id, config, **options)
        else:
            self._at_work = session
            try:
                with session.running():
                    done = await _plain_handle(project_id, job_id, config, **options)
            finally:
                self._at_work = None
                if session.is_ended:
                    self._end(session)
        if dry_run:
            return done
        if session is not None:
            done.statistics["sessionInfo"] = {"sessionId": session.id}
        # What writes to a destination is no script.
        return done if query.get("destinationTable") else child_jobs.finish(done, ctx)

    def abort(self, values: list[Any], _context: StatementContext) -> None:
        """`CALL BQ.ABORT_SESSION()`, or with the id of another session."""
        given = values[0] if values and values[0] is not None else None
        session = self._at_work if given is None else self.by_id.get(given)
        if session is None:
            message = (
                "There is no active session" if given is None else f"Session {given} not found"
            )
            raise InvalidQueryError(message, location="query")
        if session is self._at_work:
            session.is_ended = True
        else:
            self._end(session)

    def _find(self, query: dict[str, Any]) -> Session | None:
        for each in query.get("connectionProperties") or ():
            if each.get("key") == _KEY and each.get("value"):
                session = self.by_id.get(each["value"])
                if session is None:
                    raise ValidationError("Invalid input session id.")
                return session
        return None

    def _begin(self, project: str, ctx: Any, caller: Any) -> Session:
        session_id = uuid4().hex
        session = self.by_id[session_id] = Session(session_id, project, ctx, caller)
        return session

    def _end(self, session: Session) -> None:
        del self.by_id[session.id]
        session.end()

    def _end_idle(self, now: datetime) -> None:
        for session in [each for each in self.by_id.values() if now - each.used > IDLE]:
            self._end(session)


_plain_handle = routes._handle_query_job  # noqa: SLF001


def apply() -> None:
    """Run query jobs in their sessions."""
    sessions = Sessions()
    argument = Argument("session_id", ("STRING",), is_optional=True)
    signature = Signature("BQ.ABORT_SESSION", (argument,), None)
    sql_functions.declare(sql_functions.Procedure(signature, sessions.abort))
    PATCHES.replace("bqemulator.api.routes.jobs:_SESSION_CATALOG", sessions.by_id)
    PATCHES.replace("bqemulator.api.routes.jobs:_handle_query_job", sessions.handle_query_job)

"""The ledger: one row per run in `<work>.runs`. How a run is found again, and its history."""

from __future__ import annotations

import json
import logging
import secrets
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from etlkit._version import __version__
from etlkit.bigquery.names import TableName, literal
from etlkit.bigquery.runs.ledger_table import LEDGER, ledger_parameter, ledger_rows, make_ledger
from etlkit.bigquery.runs.process_identity import HOST, PID, STARTED, is_alive
from etlkit.bigquery.sql import EXPIRE_DAYS
from etlkit.errors import RunStateError

if TYPE_CHECKING:
    from etlkit.api.run import Run
    from etlkit.bigquery.client import Connection

log = logging.getLogger("etlkit.bigquery")

HEARTBEAT_S = 15.0
_BEAT_ENDS_S = 5.0
_MAX_ERROR_CHARS = 2000


class Ledger:
    """The ledger of one work dataset, from the point of view of one run.

    Args:
        connection: The run's connection.
        run: The run whose row this is.
        dataset: Project and dataset of the work tables.
    """

    def __init__(self, connection: Connection, run: Run, dataset: tuple[str, str]) -> None:
        self._connection = connection
        self._run = run
        self.table = TableName(*dataset, LEDGER)
        self.owner = secrets.token_hex(8)
        self._looks = 0
        self._can_resume = True
        self._ended = threading.Event()
        self._heart: threading.Thread | None = None

    def open(
        self,
        target: str,
        mode: str,
        *,
        exclusive: bool,
        details: Mapping[str, Any] | None = None,
        can_resume: bool = True,
    ) -> None:
        """Create the ledger if it is missing, then add this run or take it over.

        Args:
            target: Where the rows go; empty = no one table.
            mode: How they are published.
            exclusive: Refuse to start while another run of the job is in progress.
            details: Query parameters, files and the like, recorded beside the run's variables.
            can_resume: Whether a run of this job can be resumed.

        Raises:
            RunStateError: Another run of the job is in progress, or another process has resumed
                this run.
        """
        self._can_resume = can_resume
        self._exclusive = exclusive
        self._details = {**self._run.variables, **(details or {})}
        self._connection.make_dataset(self.table.dataset_id)
        make_ledger(self._connection, self.table)
        if self._run.attempt == 1:
            self._start(target, mode)
        else:
            self._take_over()
        if exclusive:
            self._refuse_company()
        self._heart = threading.Thread(target=self._beat, name="etlkit-heartbeat", daemon=True)
        self._heart.start()

    def _start(self, target: str, mode: str) -> None:
        values: dict[str, Any] = {
            "run_id": self._run.run_id,
            "job": self._run.job_name,
            "mode": mode,
            "target": target,
            "state": "starting" if self._exclusive else "running",
            "attempt": 1,
            "fingerprint": self._run.fingerprint,
            "retry_of": self._run.retry_of,
            "owner": self.owner,
            "host": HOST,
            "pid": PID,
            "pid_started": STARTED,
            "etlkit_version": __version__,
            "started_at": self._run.started_at,
            "updated_at": self._run.started_at,
        }
        names, marks = ", ".join(values), ", ".join(f"@{name}" for name in values)
        variables = json.dumps(self._details, ensure_ascii=False, default=str)
        self._connection.query(
            f"INSERT INTO {self.table.sql} ({names}, variables) "
            f"VALUES ({marks}, PARSE_JSON({literal(variables)}))",
            "ledger_start",
            parameters=[ledger_parameter(*item) for item in values.items()],
        )

    def _take_over(self) -> None:
        """Compare and swap: of two processes that resume the same attempt, one is refused."""
        values = {
            "run_id": self._run.run_id,
            "attempt": self._run.attempt,
            "owner": self.owner,
            "host": HOST,
            "pid": PID,
            "pid_started": STARTED,
            "fingerprint": self._run.fingerprint,
        }
        job = self._connection.query(
            f"UPDATE {self.table.sql} SET state = 'running', attempt = @attempt, owner = @owner, "
            "host = @host, pid = @pid, pid_started = @pid_started, fingerprint = @fingerprint, "
            "updated_at = CURRENT_TIMESTAMP(), finished_at = NULL, error = NULL "
            "WHERE run_id = @run_id AND attempt = @attempt - 1 AND state != 'published'",
            f"ledger_resume_{self.owner}",
            parameters=[ledger_parameter(*item) for item in values.items()],
        )
        if job.num_dml_affected_rows != 1:
            raise RunStateError(f"run {self._run.run_id} was resumed by another process")

    def rows(self, where: str, value: str, purpose: str) -> list[Any]:
        """Ledger rows by start time.

        Args:
            where: A condition over the ledger's columns and `@value`.
            value: Its value.
            purpose: See `Connection.query`.
        """
        return ledger_rows(
            self._connection, self.table, where, value, f"ledger_{purpose}_{self.owner}"
        )

    def _refuse_company(self) -> None:
        """Let one run of the job go on, whoever's row came first.

        A new run is `starting` until it has seen nobody `running`, and looks once more when it is
        `running` itself: of two that start at once, the second look of the later id sees the other.
        """
        others = self._others()
        last = others[-1] if others else None
        if (
            self._can_resume
            and self._run.attempt == 1
            and last
            and last["state"] != "published"
            and not is_alive(last)
        ):
            told = last["run_id"]
            log.info("note: run %s was not published; --resume %s goes on with it", told, told)
        alive = [row for row in others if is_alive(row)]
        self._refuse_if(
            [r for r in alive if r["state"] == "running" or r["run_id"] < self._run.run_id]
        )
        if self._run.attempt == 1:
            self._connection.query(
                f"UPDATE {self.table.sql} SET state = 'running' WHERE run_id = "
                f"{literal(self._run.run_id)} AND owner = {literal(self.owner)}",
                f"ledger_accept_{self.owner}",
            )
            alive = [row for row in self._others() if is_alive(row)]
            self._refuse_if([row for row in alive if row["run_id"] < self._run.run_id])

    def _others(self) -> list[Any]:
        since = f"TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL {EXPIRE_DAYS} DAY)"
        self._looks += 1
        where = f"job = @value AND started_at > {since}"
        rows = self.rows(where, self._run.job_name, f"others_{self._looks}")
        return [row for row in rows if row["run_id"] != self._run.run_id]

    def _refuse_if(self, company: list[Any]) -> None:
        if company:
            self._withdraw()
            raise RunStateError(
                f"job {self._run.job_name} is in progress already, as run {company[0]['run_id']}; wait "
                "for it, or declare the job with is_runnable_concurrently=True"
            )

    def _withdraw(self) -> None:
        """Leave no trace of a run that was refused: a resume must not take it for one that failed."""
        self.stop_heartbeat()
        if self._run.attempt > 1:
            self.end("interrupted", "another run of the job was in progress")
            return
        self._connection.query(
            f"DELETE FROM {self.table.sql} WHERE run_id = {literal(self._run.run_id)} "
            f"AND owner = {literal(self.owner)}",
            f"ledger_withdraw_{self.owner}",
        )

    def end(self, state: str, error: str) -> None:
        """Record why the attempt ended; a run that is published or was taken over stays as it is."""
        self.stop_heartbeat()
        values = {
            "run_id": self._run.run_id,
            "owner": self.owner,
            "state": state,
            "error": error[:_MAX_ERROR_CHARS],
        }
        self._connection.query(
            f"UPDATE {self.table.sql} SET state = @state, error = @error, "
            "updated_at = CURRENT_TIMESTAMP(), finished_at = CURRENT_TIMESTAMP() "
            "WHERE run_id = @run_id AND owner = @owner AND state IN ('starting', 'running')",
            f"ledger_end_{self.owner}",
            parameters=[ledger_parameter(*item) for item in values.items()],
        )

    def is_published(self, purpose: str) -> bool:
        """Whether the ledger says that this attempt has published the run."""
        rows = self.rows("run_id = @value", self._run.run_id, purpose)
        return bool(rows) and rows[0]["state"] == "published" and rows[0]["owner"] == self.owner

    def stop_heartbeat(self) -> None:
        """Be silent: publishing updates the same row, and two at once would conflict."""
        self._ended.set()
        if self._heart is not None:
            # One that hangs in its request cannot harm: it touches running runs alone.
            self._heart.join(timeout=_BEAT_ENDS_S)

    def _beat(self) -> None:
        beats = 0
        while not self._ended.wait(HEARTBEAT_S):
            beats += 1
            try:
                self._connection.query(
                    f"UPDATE {self.table.sql} SET updated_at = CURRENT_TIMESTAMP() "
                    f"WHERE run_id = {literal(self._run.run_id)} "
                    f"AND owner = {literal(self.owner)} AND state = 'running'",
                    f"ledger_beat_{self.owner}_{beats}",
                )
            except Exception as error:  # the next beat may get through; the lease is four of them
                log.info("the ledger did not take a sign of life: %s", error)

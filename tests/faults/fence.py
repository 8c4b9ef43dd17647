"""A target, attempts that write to it, and what all of them must leave behind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from google.api_core.exceptions import NotFound

from tests.faults.attempt import (
    COUNTS,
    NUM_ROWS,
    REJECTED,
    ROWS,
    Attempt,
    ContainedAttempt,
    Outcome,
    Plan,
    fate,
)
from tests.faults.gateway import Gateway

if TYPE_CHECKING:
    from google.cloud import bigquery

WORK = "etlkit_work"


@dataclass
class Fence:
    """One target of a test's own.

    Attributes:
        run: Runs SQL.
        bq: The official client, straight to the server.
        environ: Leads an attempt to the local server.
        until: Waits for an event.
        plan: What its attempts do, unless they are told otherwise.
    """

    run: Callable[[str], list[tuple]]
    bq: bigquery.Client
    environ: Mapping[str, str]
    until: Callable[..., None]
    plan: Plan
    _stack: ExitStack = field(default_factory=ExitStack)

    @property
    def target(self) -> str:
        return self.plan.target

    def gateway(self) -> Gateway:
        """A gateway for the next attempt, so that holds are there before it starts."""
        return Gateway(self.environ["BIGQUERY_EMULATOR_HOST"])

    def start(self, gateway: Gateway | None = None, **changes: Any) -> Attempt:
        """Start an attempt."""
        made = Attempt(replace(self.plan, **changes), self.environ, gateway or self.gateway())
        self._stack.callback(made.close)
        return made

    def contain(self, gateway: Gateway | None = None, **changes: Any) -> ContainedAttempt:
        """Start an attempt in a space of process numbers of its own."""
        plan = replace(self.plan, **changes)
        made = ContainedAttempt(plan, self.environ, gateway or self.gateway())
        self._stack.callback(made.close)
        return made

    def run_to_end(self, **changes: Any) -> Outcome:
        """Start an attempt and let it end."""
        return self.start(**changes).end()

    def close(self) -> None:
        self._stack.close()

    def runs(self) -> list[tuple]:
        """Id, state and attempt of the job's runs, as far as the ledger knows."""
        if not self.table_exists("runs"):
            return []
        return self.run(
            f"SELECT run_id, state, attempt FROM {WORK}.runs WHERE job = '{self.target}' ORDER BY 1"
        )

    def last_run(self) -> str:
        """Id of the run that began last."""
        run_id: str = self.runs()[-1][0]
        return run_id

    def lease_ended(self, run_id: str, lease_s: float) -> bool:
        """Whether the lease of a run is over, by the server's clock, or nobody holds it."""
        try:
            guard = self.bq.get_table(f"{WORK}.run_{run_id}")
        except NotFound:
            return True
        ((now,),) = self.run("SELECT CURRENT_TIMESTAMP()")
        return now - guard.modified >= timedelta(seconds=lease_s)

    def table_exists(self, name: str, dataset: str = WORK) -> bool:
        """Whether a dataset has a table; INFORMATION_SCHEMA would take as long as it has tables."""
        try:
            self.bq.get_table(f"{dataset}.{name}")
        except NotFound:
            return False
        return True

    def work_tables(self, run_id: str) -> list[str]:
        """What is left of a run."""
        tables = self.bq.list_tables(WORK)
        return sorted(table.table_id for table in tables if run_id in table.table_id)

    def rows(self) -> Counter:
        """The rows of the target."""
        return Counter(self.run(f"SELECT n, part, value FROM {self.target}"))

    def rejects(self) -> Counter:
        """Numbers of the rejected rows; their table is there once a row was rejected."""
        dataset, _, name = f"{self.target}_rejects".partition(".")
        if not self.table_exists(name, dataset):
            return Counter()
        number = "CAST(JSON_VALUE(source_row, '$.n') AS INT64)"
        return Counter(n for (n,) in self.run(f"SELECT {number} FROM {self.target}_rejects"))

    def check(self, times: int = 1) -> None:
        """The target is exact, the ledger is true, no row is both written and rejected."""
        assert self.rows() == Counter(ROWS * times)
        assert self.rejects() == Counter(REJECTED * times)
        columns = ", ".join(f"`{name}`" for name in COUNTS)
        ledger = self.run(f"SELECT state, {columns} FROM {WORK}.runs WHERE job = '{self.target}'")
        assert ledger == [("published", *COUNTS.values())] * times
        events = self.run(
            f"SELECT run_id, COUNT(*) FROM {WORK}.run_events "
            f"WHERE job = '{self.target}' AND event = 'published' GROUP BY run_id"
        )
        assert [number for _, number in events] == [1] * times

    def check_mixed(self) -> None:
        """As `check`, where attempts at one run had different code: no row is a mixture of two."""
        columns = ", ".join(f"`{name}`" for name in COUNTS)
        ledger = self.run(
            f"SELECT {columns} FROM {WORK}.runs WHERE job = '{self.target}' AND state = 'published'"
        )
        rows, rejects = self.rows(), self.rejects()
        for read, written, skipped, rejected, _ in ledger:
            assert read == written + skipped + rejected == NUM_ROWS
        assert rows.total() == sum(parts for *_, parts in ledger)
        assert rejects.total() == sum(rejected for *_, rejected, _ in ledger)
        times = len(ledger)
        for n in range(NUM_ROWS):
            of_row = Counter({part: times for (m, part, _), times in rows.items() if m == n})
            if fate(n) is None:
                assert of_row[0] + rejects[n] == times
            elif n % 10 == 1:
                # Each run has taken it once, with 3 parts or with 2.
                assert of_row[0] == of_row[1] == times >= of_row[2]
            else:
                assert of_row[0] == times * (fate(n) or 0)

"""One run shared by many worker processes, some of them killed: nothing lost, nothing doubled.

The long form, for which `ETLKIT_TEST_TIMEOUT_S=3000` leaves time:

- `ETLKIT_WORKERS=16 ETLKIT_WORKER_ROWS=20000`: that many workers and rows, and 16, 3, 7 of them after
  the kills
- `ETLKIT_WORKER_KILLS=200`; `ETLKIT_SEED=…` repeats a run whose seed was printed
- `ETLKIT_RATE=200`: calls a second, and the rate is measured, within 2 %
"""

import itertools
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from etlkit.api.run import Run, RunRequest, Settings
from etlkit.bigquery.runs import guard
from etlkit.bigquery.runs.history import show_run
from etlkit.local import LocalServer
from tests.faults.run_process import TIMEOUT_S, RunProcess
from tests.faults.test_kill import IN_FLIGHT, fate

NUM_ROWS = int(os.environ.get("ETLKIT_WORKER_ROWS", "1000"))
WORKERS = os.environ.get("ETLKIT_WORKERS", "3")
AFTER_KILLS = ["3", "2", "3"] if WORKERS == "3" else [WORKERS, "3", "7"]
FEW_KILLS = 20
"""Of one worker, and of all with their run."""
KILLS = int(os.environ.get("ETLKIT_WORKER_KILLS", FEW_KILLS))
RATE = int(os.environ.get("ETLKIT_RATE", "0"))
SEED = int(os.environ.get("ETLKIT_SEED", "0")) or (
    4711 if KILLS <= FEW_KILLS else random.randrange(1, 10**6)  # noqa: S311
)
TARGETS = itertools.count(1)

FATES = {n: fate(n) for n in range(NUM_ROWS)}
REJECTED = [n for n in FATES if FATES[n] is None]
EXPECTED = [(n, f"row {n}", part, n * 2) for n in FATES for part in range(FATES[n] or 0)]
COUNTS = {
    "read": NUM_ROWS,
    "written": sum(1 for parts in FATES.values() if parts),
    "skipped": sum(1 for parts in FATES.values() if parts == 0),
    "rejected": len(REJECTED),
    "rows_published": len(EXPECTED),
}


@pytest.fixture(scope="module")
def source(run) -> str:
    run("CREATE SCHEMA IF NOT EXISTS of_workers")
    run(
        "CREATE TABLE IF NOT EXISTS of_workers.rows AS "
        "SELECT n, CONCAT('row ', CAST(n AS STRING)) AS name "
        f"FROM UNNEST(GENERATE_ARRAY(0, {NUM_ROWS - 1})) AS n"
    )
    return "of_workers.rows"


@dataclass
class World:
    """A target of the test's own, runs that write to it, and the bill of the paid API."""

    run: Callable[[str], list[tuple]]
    api: object
    server: LocalServer
    directory: Path
    until: Callable[..., None]
    source: str
    target: str = field(default_factory=lambda: f"of_workers.target_{next(TARGETS)}")
    children: list[RunProcess] = field(default_factory=list)
    environ: dict[str, str] = field(default_factory=dict)

    def start(self, *arguments: str, job: str = "job_of_workers.py") -> RunProcess:
        environ = {
            "PAID_API": self.api.address,
            "CHILD": "0",
            "TARGET": self.target,
            "SOURCE": self.source,
            "MAX_REJECTED": str(NUM_ROWS // 10),
            **self.environ,
        }
        local = ["--local", "--local-dir", str(self.server.local_dir)]
        log = self.directory / f"child_{len(self.children)}.log"
        child = RunProcess(job, ["--quiet", *arguments, *local], environ, log)
        self.children.append(child)
        return child

    def paid_until(self, child: RunProcess, num_calls: int) -> None:
        """Return when so many calls have been made, or the run has ended."""
        self.until(lambda: not child.is_alive or self.api.num_calls() >= num_calls, TIMEOUT_S)

    def have_joined(self, child: RunProcess, attempt: int, num_workers: int) -> None:
        """Return when so many workers of an attempt have joined, or the run has ended."""
        self.until(
            lambda: (
                not child.is_alive
                or Counter(each["attempt"] for each in self.show()["workers"])[attempt]
                == num_workers
            ),
            TIMEOUT_S,
        )

    def workers(self, child: RunProcess) -> list[int]:
        """The numbers of its worker processes that are at work."""
        if not child.is_alive:
            return []
        found = psutil.Process(child.process.pid).children(recursive=True)
        callers = {caller for _, caller, _ in self.api.calls()}
        return [process.pid for process in found if process.pid in callers]

    def check(self, report: dict) -> None:
        """Report, ledger and target are exact, and nothing is left of the run's work tables."""
        assert {name: report[name] for name in COUNTS} == COUNTS
        columns = ", ".join(f"`{name}`" for name in COUNTS)
        assert self.run(
            f"SELECT state, {columns} FROM etlkit_work.runs WHERE job = '{self.target}'"
        ) == [("published", *COUNTS.values())]
        columns = "n, name, part, value"
        found = self.run(f"SELECT {columns} FROM {self.target} ORDER BY n, part")
        assert found == EXPECTED
        number = "CAST(JSON_VALUE(source_row, '$.n') AS INT64)"
        found = self.run(f"SELECT {number} AS n FROM {self.target}_rejects ORDER BY 1")
        assert [n for (n,) in found] == REJECTED
        left = self.run(
            "SELECT table_name FROM etlkit_work.INFORMATION_SCHEMA.TABLES "
            f"WHERE CONTAINS_SUBSTR(table_name, '{report['run_id']}')"
        )
        assert left == []

    def show(self, run_id: str | None = None) -> dict:
        """The target's latest run, as `etlkit runs RUN_ID --format json` shows it."""
        [(latest,)] = self.run(
            f"SELECT MAX(run_id) FROM etlkit_work.runs WHERE job = '{self.target}'"
        )
        settings = Settings(environ=self.server.endpoints.environ())
        with Run(RunRequest("etlkit-runs", settings)) as run:
            return show_run(run, "etlkit_work", run_id or latest)

    def repeated(self) -> Counter:
        """How many calls were made again, by the process that made the first one."""
        first: dict[int, int] = {}
        again: Counter = Counter()
        for key, caller, _ in self.api.calls():
            if key in first:
                again[first[key]] += 1
            first[key] = caller
        assert len(first) == NUM_ROWS
        return again


@pytest.fixture
def world(run, source, paid_api, fault_server, tmp_path, until) -> Iterator[World]:
    run("CREATE SCHEMA IF NOT EXISTS etlkit_work")
    world = World(run, paid_api, fault_server, tmp_path, until, source)
    yield world
    for child in world.children:
        child.close()


def test_workers_make_the_table_of_one_process_and_pay_once(world):
    """Every row is called for once, by all processes. Of two that publish at once, one does."""
    gate = world.environ["GATE"] = f"{world.target}_gate"
    world.run(f"CREATE TABLE {gate} AS SELECT 1 AS closed")
    world.api.hold_after(NUM_ROWS // 4)
    child = world.start("--workers", WORKERS)
    world.paid_until(child, NUM_ROWS // 8)
    world.have_joined(child, 1, int(WORKERS))
    world.api.let_go()
    status, report, complaints = child.end()
    assert (status, report["kept"]) == (1, NUM_ROWS), complaints
    assert "the gate is open" in complaints
    callers = Counter(caller for _, caller, _ in world.api.calls())
    assert report["calls"] == 0  # the job's own HTTP client is not etlkit's
    assert (callers.total(), len(callers)) == (NUM_ROWS, int(WORKERS))
    world.run(f"DELETE FROM {gate} WHERE TRUE")
    last = [world.start("--resume", report["run_id"]) for _ in range(2)]
    ends = [child.end() for child in last]
    assert 0 in {status for status, _, _ in ends}, ends
    report = next(report for status, report, _ in ends if status == 0 and report["workers"])
    world.check(report)
    assert world.api.num_calls() == NUM_ROWS
    published = f"run_id = '{report['run_id']}' AND event = 'published'"
    assert world.run(f"SELECT COUNT(*) FROM etlkit_work.run_events WHERE {published}") == [(1,)]
    shown = world.show(report["run_id"])
    assert shown["workers"] == report["workers"]
    assert {each["state"] for each in shown["workers"]} == {"left"}
    assert len(shown["workers"]) == int(WORKERS)
    together = shown["all_workers"]
    assert (together["rows"], together["shards_settled"]) == (NUM_ROWS, 4096)


@pytest.mark.timeout(180 + 15 * KILLS)
def test_killed_workers_and_killed_runs(world, capsys):
    """Of workers and of the run's process, N changing at resumes: repaid is what was in flight."""
    rng = random.Random(SEED)  # noqa: S311 - no secret
    world.environ["MANY_TABLES"] = str(min(KILLS, 200))  # so that they are joined once at least
    killed: set[int] = set()
    numbers = itertools.cycle(AFTER_KILLS)
    child = world.start("--workers", next(numbers))
    for number in range(KILLS):
        most = NUM_ROWS // (KILLS + 2)
        goal = world.api.num_calls() + rng.randint(min(NUM_ROWS // 20, most // 2), most)
        world.paid_until(child, goal)
        workers = world.workers(child)
        if not workers:
            break
        if number % 2:
            killed |= set(workers)
            assert child.kill() is not None
            child = world.start("--resume", "--workers", next(numbers))
        else:
            victim = rng.choice(workers)
            os.kill(victim, signal.SIGKILL)
            killed.add(victim)
    status, report, complaints = child.end()
    assert status == 0, f"seed {SEED}: {complaints}"
    world.check(report)
    again = world.repeated()
    with capsys.disabled():
        sys.stdout.write(
            f"\nseed {SEED}: {len(killed)} workers killed, {again.total()} of {NUM_ROWS} rows paid "
            f"for again, at most {max(again.values(), default=0)} for one of them\n"
        )
    assert set(again) <= killed, "paid twice though nobody was killed"
    assert max(again.values(), default=0) <= IN_FLIGHT


def test_orphans_stop_paying_and_a_signal_stops_all_workers(world):
    """Workers end with their run's process, or on SIGTERM: status 143, no call is repeated."""
    world.api.hold_after(NUM_ROWS // 4)
    child = world.start("--workers", "2")
    world.paid_until(child, NUM_ROWS // 8)
    world.have_joined(child, 1, 2)
    assert child.is_alive, child.log.read_text()
    shown = world.show()
    assert [each["state"] for each in shown["workers"]] == ["at work"] * 2
    assert shown["all_workers"]["shards_claimed"] > 0
    workers = child.all_processes()[1:]
    assert child.kill() is not None
    world.api.let_go()
    _, alive = psutil.wait_procs(workers, timeout=TIMEOUT_S)
    assert not alive
    calls = world.api.num_calls()
    assert calls < NUM_ROWS
    shown = world.show()
    assert (shown["state"], {each["state"] for each in shown["workers"]}) == ("dead", {"left"})
    assert 0 < shown["all_workers"]["rows"] < NUM_ROWS

    world.api.hold_after(calls + NUM_ROWS // 4)
    child = world.start("--resume", "--workers", "2")
    world.paid_until(child, calls + NUM_ROWS // 8)
    world.have_joined(child, 2, 2)
    assert child.is_alive, child.log.read_text()
    child.process.send_signal(signal.SIGTERM)
    world.api.let_go()
    status, report, _ = child.end()
    assert (status, report["state"]) == (143, "interrupted")
    assert report["kept"] > 0
    status, report, complaints = world.start("--resume").end()  # it knows that the run is shared
    assert status == 0, complaints
    world.check(report)
    assert [each["attempt"] for each in report["workers"]][:4] == [1, 1, 2, 2]
    assert world.repeated().total() == 0


def test_paused_workers_that_wake_after_the_publish_change_nothing(world, monkeypatch):
    """A machine stands still until its lease is over; another one finishes the run meanwhile."""
    world.environ["LEASE_S"] = "5"
    monkeypatch.setattr(guard, "LEASE_S", 5.0)  # for `show`
    world.api.hold_after(NUM_ROWS // 2)
    child = world.start("--workers", "2")
    world.until(lambda: world.api.num_calls() >= NUM_ROWS // 4, TIMEOUT_S)
    machine = child.all_processes()
    for process in machine:
        process.suspend()
    world.api.let_go()
    world.until(lambda: world.show()["state"] == "dead", TIMEOUT_S)
    world.until(lambda: {each["state"] for each in world.show()["workers"]} == {"lost"}, TIMEOUT_S)
    status, report, complaints = world.start("--resume", "--workers", "1").end()
    assert status == 0, complaints
    world.check(report)
    for process in machine:
        process.resume()
    status, late, complaints = child.end()
    assert (status, late["rows_published"]) == (1, 0)
    assert "was taken over" in complaints
    world.check(report)
    assert world.repeated().total() <= 2 * IN_FLIGHT  # those that were on their way when it stopped


def test_caps_on_calls_and_cost_are_never_passed_by_all_workers_together(world):
    """The service itself counts, one worker dies on the way, and a resume has a cap of its own."""
    world.environ = {"max_calls": "200"}
    world.api.hold_after(100)
    child = world.start("--workers", "3", job="job_of_rates.py")
    world.paid_until(child, 60)
    os.kill(world.workers(child)[0], signal.SIGKILL)
    world.api.let_go()
    status, report, complaints = child.end()
    assert status == 1
    assert "max_calls=200 is reached by all workers together" in complaints
    first = world.api.num_calls()
    assert 120 <= first <= 200
    world.environ = {"max_cost": "10", "price_per_unit": "0.1"}
    status, report, complaints = world.start(
        "--resume", "--workers", "2", job="job_of_rates.py"
    ).end()
    assert status == 1
    assert "max_cost=10.0" in complaints
    assert first + 60 <= world.api.num_calls() <= first + 100
    assert report["cost"] <= 10.0


@pytest.mark.skipif(not RATE, reason="the long form: ETLKIT_RATE=200, on a quiet machine")
@pytest.mark.timeout(180 + 3 * NUM_ROWS // max(1, RATE))
@pytest.mark.parametrize("workers", [WORKERS, "1"])
def test_a_declared_rate_is_what_the_service_sees(world, workers, capsys):
    """Within 2 %, while all workers call: from the last one's first call to the first one's last."""
    world.environ = {"rate_limit": f"{RATE}/s"}
    status, _, complaints = world.start("--workers", workers, job="job_of_rates.py").end()
    assert status == 0, complaints
    calls = world.api.calls()
    by_caller: dict[int, list[float]] = {}
    for _, caller, at in calls:
        by_caller.setdefault(caller, []).append(at)
    assert len(by_caller) == int(workers)
    since = max(ats[0] for ats in by_caller.values())
    until = min(ats[-1] for ats in by_caller.values())
    steady = [at for _, _, at in calls if since <= at <= until]
    seen = len(steady) / (until - since)
    whole = NUM_ROWS / (max(at for _, _, at in calls) - calls[0][2])
    with capsys.disabled():
        sys.stdout.write(
            f"\n{workers} workers, declared {RATE}/s: {seen:.1f}/s in {until - since:.1f} steady "
            f"seconds ({len(steady)} calls), {whole:.1f}/s from first to last\n"
        )
    assert abs(seen / RATE - 1) <= 0.02
    assert whole <= RATE * 1.02


def test_the_cap_on_rejected_rows_is_that_of_all_workers(world):
    """Rows that fail are counted over all workers."""
    world.environ = {"MAX_REJECTED": "10"}
    status, report, complaints = world.start("--workers", "2").end()
    assert status == 1
    assert "10" in complaints
    assert report["row_errors"] > 10
    assert report["rows_published"] == 0

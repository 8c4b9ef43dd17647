"""Processes that are killed with SIGKILL and resumed: nothing lost, nothing doubled, paid for once.

`ETLKIT_KILLS=200` is the long form; `ETLKIT_SEED=…` repeats a run whose seed was printed.
"""

import itertools
import os
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from etlkit.api.run import Settings
from etlkit.local import LocalServer
from etlkit.testing.fault_proxy import Fault
from tests.faults.run_process import TIMEOUT_S, RunProcess

ROOT = Path(__file__).parents[2]
FEW_KILLS = 5
"""One at each kind of moment; see `moment`."""
KILLS = int(os.environ.get("ETLKIT_KILLS", FEW_KILLS))
NUM_ROWS = 1000 if KILLS <= FEW_KILLS else 5000
SEED = int(os.environ.get("ETLKIT_SEED", "0")) or (
    4711 if KILLS <= FEW_KILLS else random.randrange(1, 10**6)  # noqa: S311
)
"""The same moments each time, except in the long form."""

IN_FLIGHT = 8
"""Calls in flight in `job_under_kill.py`: what a kill may cost, on the slowest of machines."""

LAST_S = 1.0
"""Without a journal a kill may cost the calls of this time, on a machine that is not too busy."""

START_S = 1.2
"""A child is up and calling well within this."""

PUBLISH_S = 0.6
"""From the last call to the end of the process."""

TARGETS = itertools.count(1)


def fate(n):
    """Target rows that row `n` becomes; None = it is rejected. As `job_under_kill.py` does it."""
    if n % 10 == 0:
        return 0
    if n % 10 == 1:
        return 3
    return None if n % 50 == 7 else 1


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
def source(run) -> None:
    run("CREATE SCHEMA IF NOT EXISTS under_kill")
    run(
        "CREATE TABLE under_kill.rows AS SELECT n, CONCAT('row ', CAST(n AS STRING)) AS name "
        f"FROM UNNEST(GENERATE_ARRAY(0, {NUM_ROWS - 1})) AS n"
    )


@dataclass
class World:
    """A target of the test's own, children that write to it, and what they leave behind."""

    run: Callable[[str], list[tuple]]
    api: object
    server: LocalServer
    directory: Path
    target: str
    until: Callable[..., None]
    children: list[RunProcess] = field(default_factory=list)
    environ: dict[str, str] = field(default_factory=dict)

    def start(self, *arguments: str, settings: Settings | None = None) -> RunProcess:
        """Start a child; `settings` lead it through proxies."""
        environ = {
            "PAID_API": self.api.address,
            "CHILD": str(len(self.children)),
            "TARGET": self.target,
            **self.environ,
        }
        if settings is None:
            arguments = (*arguments, "--local", "--local-dir", str(self.server.local_dir))
        else:
            environ |= settings.environ
        log = self.directory / f"child_{len(self.children)}.log"
        child = RunProcess("job_under_kill.py", ["--quiet", *arguments], environ, log)
        self.children.append(child)
        return child

    def runs(self) -> list[tuple[str, str]]:
        """Id and state of the job's runs, as far as the ledger knows."""
        if not self.run(
            "SELECT 1 FROM etlkit_work.INFORMATION_SCHEMA.TABLES WHERE table_name='runs'"
        ):
            return []
        return self.run(
            f"SELECT run_id, state FROM etlkit_work.runs WHERE job = '{self.target}' ORDER BY 1"
        )

    def killed_in_the_middle(self) -> str:
        """Kill a run once rows are settled, and give its id."""
        child = self.start()
        self.until(lambda: not child.is_alive or self.api.num_calls() >= NUM_ROWS // 2)
        assert child.kill() is not None, child.log.read_text()
        ((run_id, state),) = self.runs()
        assert state == "running"
        return run_id

    def check(self, report: dict | None, times: int = 1) -> None:
        """Report, ledger and target are exact; `times` runs have been published."""
        if report is not None:
            assert {name: report[name] for name in COUNTS} == COUNTS
        columns = ", ".join(f"`{name}`" for name in COUNTS)
        assert (
            self.run(f"SELECT state, {columns} FROM etlkit_work.runs WHERE job = '{self.target}'")
            == [("published", *COUNTS.values())] * times
        )
        columns = "n, name, part, value"
        assert self.run(
            f"SELECT {columns}, COUNT(*) FROM {self.target} GROUP BY {columns} ORDER BY n, part"
        ) == [(*row, times) for row in EXPECTED]
        number = "CAST(JSON_VALUE(source_row, '$.n') AS INT64)"
        assert self.run(
            f"SELECT {number} AS n, COUNT(*) FROM {self.target}_rejects GROUP BY 1 ORDER BY 1"
        ) == [(n, times) for n in REJECTED]


@pytest.fixture
def world(run, source, paid_api, fault_server, tmp_path, until) -> Iterator[World]:
    target = f"under_kill.target_{next(TARGETS)}"
    run("CREATE SCHEMA IF NOT EXISTS etlkit_work")
    world = World(run, paid_api, fault_server, tmp_path, target, until)
    yield world
    for child in world.children:
        child.close()


@dataclass
class Figures:
    """What the kills have cost. Children are known by their numbers."""

    killed_at: dict[int, float] = field(default_factory=dict)
    stages: Counter = field(default_factory=Counter)
    resumes: int = 0
    calls: int = 0
    repeated: Counter = field(default_factory=Counter)
    last: Counter = field(default_factory=Counter)
    oldest_s: float = 0.0

    def bill(self, calls: list[tuple[int, int, float]]) -> None:
        """Blame each repeated call on the kill of the child that made the first one."""
        self.calls += len(calls)
        before: dict[int, tuple[int, float]] = {}
        for key, child, at in calls:
            if at > self.killed_at.get(child, float("inf")) - LAST_S:
                self.last[child] += 1
            if key in before:
                blamed, first_at = before[key]
                assert blamed in self.killed_at, f"row {key}: twice, though nobody was killed"
                assert blamed != child, f"row {key}: twice by one process"
                self.repeated[blamed] += 1
                self.oldest_s = max(self.oldest_s, self.killed_at[blamed] - first_at)
            before[key] = (child, at)
        assert len(before) == NUM_ROWS

    def show(self, rounds: int) -> str:
        stages = ", ".join(f"{number} {stage}" for stage, number in self.stages.most_common())
        worst = max(self.repeated, key=self.repeated.__getitem__, default=0)
        return (
            f"seed {SEED}: {len(self.killed_at)} kills ({stages}), {self.resumes} resumes, "
            f"{rounds} runs of {NUM_ROWS} rows published; {self.calls} calls, "
            f"{self.repeated.total()} of them repeated: at most {self.repeated[worst]} for one kill, "
            f"of {self.last[worst]} in its last second; the oldest was "
            f"{self.oldest_s:.2f} s old"
        )


def moment(rng: random.Random, number: int) -> tuple[str, float]:
    """Where a kill strikes: its stage, and how far into it. Most strike among the calls."""
    stage = ("transform", "start-up", "transform", "publish", "transform")[number % 5]
    if stage == "transform":
        return stage, rng.randint(1, NUM_ROWS // 3)
    return stage, rng.uniform(0.0, START_S if stage == "start-up" else PUBLISH_S)


def live_until(world: World, child: RunProcess, stage: str, far: float, round_start: int) -> None:
    """Return at the moment to kill, or when the child has ended by itself."""
    if stage == "start-up":
        child.live_for(far)
        return
    api, before = world.api, world.api.num_calls()
    if stage == "transform":
        world.until(lambda: not child.is_alive or api.num_calls() >= before + far, TIMEOUT_S)
        return
    world.until(lambda: not child.is_alive or api.num_keys(round_start) == NUM_ROWS, TIMEOUT_S)
    child.live_for(far)


@pytest.mark.timeout(120 + 10 * KILLS)
def test_killed_at_random_moments(world, capsys):
    """0 lost, 0 doubled, counts exact; made twice are at most the calls in flight at each kill."""
    rng = random.Random(SEED)  # noqa: S311 - no secret
    figures, rounds, round_start = Figures(), 0, 0
    moments = (moment(rng, number) for number in itertools.count())
    while True:
        resuming = len(world.runs()) > rounds
        figures.resumes += resuming
        child = world.start(*(["--resume"] if resuming else []))
        report = None
        if len(figures.killed_at) < KILLS:
            stage, far = next(moments)
            live_until(world, child, stage, far, round_start)
            killed_at = child.kill()
            if killed_at is not None:
                figures.killed_at[len(world.children) - 1] = killed_at
                figures.stages[stage] += 1
        if child.process.poll() is None or child.process.returncode >= 0:
            status, report, complaints = child.end()
            assert status == 0, f"seed {SEED}: {complaints}"
        elif [state for _, state in world.runs()][rounds:] != ["published"]:
            continue  # killed before its last word to the ledger
        rounds += 1
        world.check(report, rounds)
        if len(figures.killed_at) == KILLS:
            break
        calls = world.api.calls()
        figures.bill(calls[round_start:])
        round_start = len(calls)
    figures.bill(world.api.calls()[round_start:])
    with capsys.disabled():
        sys.stdout.write(f"\n{figures.show(rounds)}\n")
    too_many = {c: repeated for c, repeated in figures.repeated.items() if repeated > IN_FLIGHT}
    assert not too_many, f"child: repeated {too_many}"


def test_a_first_run_has_nothing_to_resume(world):
    """`--resume` says so, and what to do instead."""
    status, _, complaints = world.start("--resume").end()
    assert status == 1
    assert "without --resume" in complaints
    assert world.api.num_calls() == 0


PUBLISHING = {
    "rows go into the table": (True, {}, "INSERT INTO `local.{target}`"),
    "the table is created": (False, {}, "CREATE TABLE IF NOT EXISTS `local.{target}`"),
    "rows go into a new table": (False, {}, "INSERT INTO `local.{target}`"),
    "a replaced table": (True, {"MODE": "replace"}, "INSERT INTO `local.{target}`"),
    "a rebuilt table": (
        True,
        {"MODE": "delete_in_advance"},
        "INSERT INTO `local.{target}`",
    ),
    "a partitioned table is made": (
        False,
        {"BY_LOAD_TIME": "1"},
        "CREATE TABLE IF NOT EXISTS `local.{target}`",
    ),
    "rows go into a new partitioned table": (
        False,
        {"BY_LOAD_TIME": "1"},
        "INSERT INTO `local.{target}`",
    ),
}


SOME = ["rows go into the table", "a rebuilt table", "a partitioned table is made"]
"""The others only in the long form: `test_statements.py` kills every mode at such requests, too."""


@pytest.mark.parametrize("case", SOME if KILLS <= FEW_KILLS else PUBLISHING)
def test_killed_while_publishing(world, through_proxy, case):
    """The request to publish has gone through, its answer never came: resume finds out."""
    exists, environ, request_to_hold = PUBLISHING[case]
    if exists:
        world.run(f"CREATE TABLE {world.target} (n INT64, name STRING, part INT64, value INT64)")
    answer = Fault(request_to_hold.format(target=world.target).encode(), do="hold")
    world.environ = environ
    child = world.start(settings=through_proxy(rest=[answer]))
    world.until(lambda: answer.striking.is_set() or not child.is_alive, TIMEOUT_S)
    assert answer.struck == 1, child.log.read_text()
    assert child.kill() is not None
    answer.released.set()
    calls = world.api.num_calls()
    assert calls == NUM_ROWS
    status, report, complaints = world.start("--resume").end()
    assert status == 0, complaints
    world.check(report)
    assert world.api.num_calls() == calls


def test_two_processes_resume_the_same_run(world, through_proxy):
    """One wins and publishes; the other is refused, with the run's id."""
    run_id = world.killed_in_the_middle()
    publish = Fault(b"_publish_", at="request", do="hold")
    children = [
        world.start("--resume", run_id, settings=through_proxy(rest=[publish])) for _ in range(2)
    ]
    world.until(lambda: not all(child.is_alive for child in children), TIMEOUT_S)
    publish.released.set()  # so the winner is at work until the other one has ended
    ends = sorted((child.end() for child in children), key=lambda end: end[0])
    (status, report, _), (refused, _, complaints) = ends
    assert (status, refused) == (0, 1), complaints
    assert run_id in complaints
    world.check(report)
    assert report["run_id"] == run_id
    assert 0 < report["resumed"] < NUM_ROWS


def test_known_rows_stay_known_under_kills(world):
    """Three runs call for new rows, for 1 % changed ones (killed and resumed), and for none."""
    source = f"{world.target}_source"
    world.environ = {"REUSE": "n, name", "SOURCE": source, "MODE": "replace"}
    world.run(f"CREATE TABLE {source} AS SELECT * FROM under_kill.rows")
    changed = [n for n in FATES if n % 100 == 2]

    def calls_of(expected, *, is_killed=False):
        before = world.api.num_calls()
        if is_killed:
            child = world.start()
            world.until(lambda: not child.is_alive or world.api.num_calls() >= before + 20)
            assert child.kill() is not None, child.log.read_text()
        status, report, complaints = world.start(*(["--resume"] if is_killed else [])).end()
        assert status == 0, complaints
        assert {name: report[name] for name in COUNTS} == COUNTS
        assert report["reused"] == NUM_ROWS - expected
        return world.api.num_calls() - before - expected

    assert calls_of(NUM_ROWS) == 0
    world.run(f"UPDATE {source} SET name = 'changed' WHERE MOD(n, 100) = 2")
    assert 0 <= calls_of(len(changed) + len(REJECTED), is_killed=True) <= IN_FLIGHT
    assert calls_of(len(REJECTED)) == 0
    rows = [(n, "changed" if n in changed else name, *rest) for n, name, *rest in EXPECTED]
    columns = "n, name, part, value"
    assert world.run(f"SELECT {columns} FROM {world.target} ORDER BY n, part") == rows


def test_work_tables_expire_after_a_kill_and_are_gone_after_success(world, bq):
    """What a killed run leaves behind has an expiration; a resume that succeeds drops it."""

    def work_tables():
        return [t for t in bq.list_tables("etlkit_work") if run_id in t.table_id]

    run_id = world.killed_in_the_middle()
    left = [bq.get_table(table.reference) for table in work_tables()]
    assert {table.table_id.split("_")[0] for table in left} == {"src", "out", "rej", "run"}
    assert all(table.expires is not None for table in left)
    status, report, complaints = world.start("--resume").end()
    assert status == 0, complaints
    world.check(report)
    assert work_tables() == []

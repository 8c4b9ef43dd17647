"""A workflow that is killed, paused, resumed twice at once and changed: nothing twice, nothing lost.

`ETLKIT_WORKFLOW_KILLS=20` is the long form; `ETLKIT_SEED=…` repeats a run whose seed was printed.
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

import pytest

from etlkit.local import LocalServer
from tests.faults.run_process import TIMEOUT_S, RunProcess

ROOT = Path(__file__).parents[2]
FEW_KILLS = 2
KILLS = int(os.environ.get("ETLKIT_WORKFLOW_KILLS", FEW_KILLS))
SEED = int(os.environ.get("ETLKIT_SEED", "0")) or (
    4711 if KILLS <= FEW_KILLS else random.randrange(1, 10**6)  # noqa: S311
)
"""The same moments each time, except in the long form."""

LAST_S = 1.0
"""What came of a call that was answered earlier than this before a kill is durable. A busy machine
stages later: only the long form, which has a machine for itself, asserts it."""

AFTER_S = 0.5
"""How long after the end of a task a kill strikes, at most."""

MAX_ENDS = 4
"""Ends of tasks between two kills, at most."""

START_S = 1.5
"""A process is up within about this."""

NUM_ROWS = 400
ASKED = 100_000
"""Keys from here on are calls of tasks, below it of rows; see `workflow_under_kill.py`."""

TABLES = {
    "loaded": "n, value",
    "parts": "part, answer, n",
    "mart": "n, total",
    "yes": "n",
    "numbers": "n",
}
NUMBERS = itertools.count(1)


@dataclass
class World:
    """Processes that run the workflow, each run of it into a dataset of its own."""

    run: Callable[[str], list[tuple]]
    api: object
    server: LocalServer
    directory: Path
    until: Callable[..., None]
    out: str = ""
    children: list[RunProcess] = field(default_factory=list)

    def new_target(self) -> None:
        """From now on, runs write to another dataset: theirs is another workflow."""
        self.out = f"workflow_kill_{next(NUMBERS)}"
        self.run(f"CREATE SCHEMA {self.out}")

    def start(self, *arguments: str, **environ: str) -> RunProcess:
        environ = {
            "PAID_API": self.api.address,
            "CHILD": str(len(self.children)),
            "OUT": self.out,
            **environ,
        }
        where = ["--local", "--local-dir", str(self.server.local_dir)]
        log = self.directory / f"child_{len(self.children)}.log"
        self.children.append(
            RunProcess("workflow_under_kill.py", [*arguments, *where], environ, log)
        )
        return self.children[-1]

    def held(self, **environ: str) -> tuple[RunProcess, Path]:
        """A process that stands at the task `hold`, and the folder where it waits."""
        folder = self.directory / f"hold_{self.out}"
        folder.mkdir()
        child = self.start(HOLD=str(folder), **environ)
        self.wait_for(child, folder)
        return child, folder

    def wait_for(self, child: RunProcess, folder: Path) -> None:
        """Return when a process stands at the task `hold`."""
        reached = folder / f"reached_{self.children.index(child)}"
        self.until(lambda: reached.exists() or not child.is_alive)
        assert child.is_alive, child.log.read_text()

    def let_go(self, child: RunProcess, folder: Path) -> None:
        """Let a process go on."""
        (folder / f"go_{self.children.index(child)}").touch()

    def run_id(self) -> str:
        """The one run of the workflow."""
        ((run_id,),) = self.run(f"SELECT run_id FROM etlkit_work.runs WHERE job = '{self.out}'")
        return run_id

    def tables(self) -> dict[str, list[tuple]]:
        """What the workflow has written."""
        found = {
            name: self.run(f"SELECT {columns} FROM {self.out}.{name} ORDER BY {columns}")
            for name, columns in TABLES.items()
        }
        names = self.run(f"SELECT table_name FROM {self.out}.INFORMATION_SCHEMA.TABLES ORDER BY 1")
        return {**found, "names": names}

    def ends(self) -> Counter:
        """How often the ledger says that a task has ended well, and that its job is published."""
        runs = f"SELECT run_id FROM etlkit_work.runs WHERE job = '{self.out}'"
        return Counter(
            self.run(
                "SELECT task, event FROM etlkit_work.run_events WHERE task IS NOT NULL "
                "AND event IN ('task_succeeded', 'published') "
                f"AND (run_id IN ({runs}) OR parent_run_id IN ({runs}))"
            )
        )

    def has_begun(self) -> bool:
        """Whether the ledger knows a run of the workflow."""
        return bool(self.run(f"SELECT 1 FROM etlkit_work.runs WHERE job = '{self.out}'"))

    def num_ended(self) -> int:
        """How many tasks and iterations have ended."""
        return len({task for task, _ in self.ends()})

    def until_ended(self, child: RunProcess, number: int) -> None:
        """Return when so many have ended, or the process has."""
        self.until(lambda: not child.is_alive or self.num_ended() >= number, TIMEOUT_S)


@pytest.fixture
def world(run, paid_api, fault_server, tmp_path, until) -> Iterator[World]:
    run("CREATE SCHEMA IF NOT EXISTS etlkit_work")
    world = World(run, paid_api, fault_server, tmp_path, until)
    world.new_target()
    yield world
    for child in world.children:
        child.close()


def bill(calls, killed_at) -> Counter:
    """Calls that were made again, by the child whose kill is to blame; asserts that it is."""
    repeated, first = Counter(), {}
    for key, child, at in calls:
        if key in first:
            blamed, first_at = first[key]
            assert blamed in killed_at, f"key {key}: twice, though nobody was killed"
            if key < ASKED and KILLS > FEW_KILLS:
                assert first_at > killed_at[blamed] - LAST_S, f"row {key} was durable"
            repeated[blamed] += 1
        first[key] = (child, at)
    assert set(range(NUM_ROWS)) <= set(first)
    return repeated


def strike(world, child, rng, num_tasks) -> float | None:
    """Kill a process while it starts, or after a task has ended; None = it ended by itself."""
    left = num_tasks - world.num_ended()
    goal = rng.randint(0, min(left, MAX_ENDS))
    if left == 0:
        return None
    if goal == 0:
        return child.kill_after(rng.uniform(0, START_S))
    world.until_ended(child, num_tasks - left + goal)
    return child.kill_after(rng.uniform(0, AFTER_S))


@pytest.mark.timeout(120 + 20 * KILLS)
def test_killed_at_random_moments(world, capsys):
    """Every table as undisturbed; each end recorded once; made twice are calls in flight only."""
    rng = random.Random(SEED)  # noqa: S311 - no secret
    status, report, complaints = world.start().end()
    assert status == 0, complaints
    expected, ends = world.tables(), world.ends()
    assert max(ends.values()) == 1
    assert len(expected["loaded"]) == NUM_ROWS
    tasks = {task for task, _ in ends}
    killed_at, ended, rounds, made = {}, [], 0, len(world.api.calls())
    repeated = Counter()
    while len(killed_at) < KILLS:
        world.new_target()
        rounds += 1
        while True:
            child = world.start(*(["--resume"] if world.has_begun() else []))
            number = len(world.children) - 1
            if len(killed_at) < KILLS:
                moment = strike(world, child, rng, len(tasks))
                if moment is not None:
                    killed_at[number] = moment
                    ended.append(world.num_ended())
                    continue
            status, report, complaints = child.end()
            assert status == 0, f"seed {SEED}: {complaints}"
            assert report["state"] == "published"
            break
        calls = world.api.calls()[made:]
        made += len(calls)
        repeated += bill(calls, killed_at)
        assert world.tables() == expected, f"seed {SEED}"
        found = world.ends()
        assert {task for task, _ in found} == tasks, f"seed {SEED}"
        assert max(found.values()) == 1, f"seed {SEED}: {found}"
    with capsys.disabled():
        sys.stdout.write(
            f"\nseed {SEED}: {len(killed_at)} kills, when "
            f"{', '.join(map(str, sorted(ended)))} of {len(tasks)} tasks had ended; {rounds} runs "
            f"published; {made} calls, {repeated.total()} of them repeated, at most "
            f"{max(repeated.values(), default=0)} for one kill\n"
        )


def test_a_second_start_and_a_second_resume_are_refused(world):
    """They name the run and make no call; the one that has it goes on."""
    first, folder = world.held()
    run_id, calls = world.run_id(), len(world.api.calls())
    status, _, complaints = world.start(HOLD=str(folder)).end()
    assert status == 1
    assert f"in progress already, as run {run_id}" in complaints
    first.kill_after(0)
    both = [world.start("--resume", run_id, HOLD=str(folder)) for _ in range(2)]
    world.until(lambda: not all(child.is_alive for child in both))
    (refused,) = [child for child in both if not child.is_alive]
    both.remove(refused)
    status, _, complaints = refused.end()
    assert status == 1
    assert run_id in complaints
    world.wait_for(both[0], folder)
    assert len(world.api.calls()) == calls
    world.let_go(both[0], folder)
    status, report, complaints = both[0].end()
    assert status == 0, complaints
    assert (report["run_id"], report["attempt"], report["state"]) == (run_id, 2, "published")
    assert world.run(f"SELECT n FROM {world.out}.yes") == [(1,)]
    assert set(world.ends().values()) == {1}


def test_a_process_that_was_paused_past_its_lease_records_nothing(world, bq):
    """It wakes up while another one goes on with the run, and ends without a trace."""
    first, folder = world.held(LEASE_S="2")
    run_id = world.run_id()
    first.stop()

    def lease_is_over():
        table = bq.get_table(f"etlkit_work.run_{run_id}")
        ((now,),) = world.run("SELECT CURRENT_TIMESTAMP()")
        return (now - table.modified).total_seconds() > 2

    world.until(lease_is_over)
    second = world.start("--resume", run_id, HOLD=str(folder), LEASE_S="2")
    world.wait_for(second, folder)
    first.process.send_signal(signal.SIGCONT)
    world.let_go(first, folder)
    status, _, complaints = first.end()
    assert status == 1
    assert "taken over" in complaints
    assert second.is_alive
    events = world.run(
        f"SELECT event, task FROM etlkit_work.run_events WHERE run_id = '{run_id}' "
        "ORDER BY event_at"
    )
    assert events == [("started", None), ("task_succeeded", "ask"), ("started", None)]
    world.let_go(second, folder)
    status, report, complaints = second.end()
    assert (status, report["state"]) == (0, "published"), complaints
    assert world.run(f"SELECT n FROM {world.out}.yes") == [(1,)]
    assert set(world.ends().values()) == {1}

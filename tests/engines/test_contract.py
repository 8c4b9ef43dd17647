"""One contract for every way to share a run: equal tables, equal counts, each call paid once.

The ways of engines run with the interpreter that ETLKIT_ENGINES_PYTHON names: `make engines`.
"""

import itertools
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from etlkit.local import LocalServer
from tests.faults.conftest import PaidApi, running_api

ROOT = Path(__file__).parents[2]
PYTHON = os.environ.get("ETLKIT_ENGINES_PYTHON", "")
NUM_ROWS = 2000
IN_FLIGHT = 8
REFUSE_EVERY = 13
TIMEOUT_S = 600.0
TARGETS = itertools.count(1)

FATES = {n: 0 if n % 10 == 0 else 3 if n % 10 == 1 else 1 for n in range(NUM_ROWS)}
"""Target rows that a row becomes, as `faulty_etl.py` does it; those of REJECTED become none."""
REJECTED = [n for n in range(NUM_ROWS) if n % 50 == 7]
EXPECTED = [
    (n, f"row {n}", part, 2 * n)
    for n, parts in FATES.items()
    if n not in REJECTED
    for part in range(parts)
]
COUNTS = {
    "read": NUM_ROWS,
    "written": sum(parts > 0 for parts in FATES.values()) - len(REJECTED),
    "skipped": sum(parts == 0 for parts in FATES.values()),
    "rejected": len(REJECTED),
    "rows_published": len(EXPECTED),
}


@dataclass
class World:
    """A paid API, a target of the test's own, and processes that run the job."""

    run: Callable[[str], list[tuple]]
    server: LocalServer
    api: PaidApi
    folder: Path
    until: Callable[..., None]
    target: str = field(default_factory=lambda: f"contract.target_{next(TARGETS)}")
    started: list[subprocess.Popen] = field(default_factory=list)
    environ: dict[str, str] = field(default_factory=dict)

    def start(self, *arguments: str, python: str = sys.executable) -> subprocess.Popen:
        log = self.folder / f"{len(self.started)}.log"
        with log.open("w") as stderr:
            command = [python, "-m", "etlkit.run", "tests/engines/job_with_faults.py", "--quiet"]
            process = subprocess.Popen(
                [*command, "--local", "--local-dir", str(self.server.local_dir), *arguments],
                cwd=ROOT,
                env={
                    **os.environ,
                    "SOURCE": "contract.source",
                    "TARGET": self.target,
                    "PAID_API": self.api.address,
                    "ETLKIT_JOURNAL": str(self.folder / "journal"),
                    **self.environ,
                },
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def end(self, process: subprocess.Popen) -> tuple[int, dict, str]:
        """Exit status, report and complaints."""
        out, _ = process.communicate(timeout=TIMEOUT_S)
        log = (self.folder / f"{self.started.index(process)}.log").read_text()
        lines = out.strip().splitlines()
        return process.returncode, json.loads(lines[-1]) if lines else {}, log

    def paid_until(self, process: subprocess.Popen, num_calls: int) -> None:
        """Return when so many calls are paid; the run still goes on."""
        self.until(
            lambda: process.poll() is not None or self.api.num_calls() >= num_calls, TIMEOUT_S
        )
        assert process.poll() is None, self.end(process)[2]

    def callers(self) -> Counter:
        """How many calls each process has made."""
        return Counter(caller for _, caller, _ in self.api.calls())

    def repaid(self) -> Counter:
        """How many calls were paid again, by the process that had made the first one."""
        first: dict[int, int] = {}
        again: Counter = Counter()
        for key, caller, _ in self.api.calls():
            if key in first:
                again[first[key]] += 1
            first.setdefault(key, caller)
        assert len(first) == NUM_ROWS
        return again

    def check(self, report: dict) -> None:
        """Report, ledger and target are exact, and no work table of the run is left."""
        assert {name: report[name] for name in COUNTS} == COUNTS
        columns = ", ".join(f"`{name}`" for name in COUNTS)
        where = f"FROM etlkit_work.runs WHERE job = '{self.target}'"
        assert self.run(f"SELECT state, {columns} {where}") == [("published", *COUNTS.values())]
        found = self.run(f"SELECT n, name, part, value FROM {self.target} ORDER BY n, part")
        assert found == EXPECTED
        number = "CAST(JSON_VALUE(source_row, '$.n') AS INT64)"
        found = self.run(f"SELECT {number} AS n FROM {self.target}_rejects ORDER BY 1")
        assert [n for (n,) in found] == REJECTED
        left = self.run(
            "SELECT table_name FROM etlkit_work.INFORMATION_SCHEMA.TABLES "
            f"WHERE CONTAINS_SUBSTR(table_name, '{report['run_id']}')"
        )
        assert left == []
        assert self.api.num_refused() == len(range(0, NUM_ROWS, REFUSE_EVERY))


@pytest.fixture(scope="module")
def source(run) -> None:
    for dataset in ("contract", "etlkit_work"):
        run(f"CREATE SCHEMA IF NOT EXISTS {dataset}")
    run(
        "CREATE TABLE contract.source AS SELECT n, CONCAT('row ', CAST(n AS STRING)) AS name "
        f"FROM UNNEST(GENERATE_ARRAY(0, {NUM_ROWS - 1})) AS n"
    )


@pytest.fixture
def world(run, source, fault_server, tmp_path, until) -> Iterator[World]:
    with running_api(str(REFUSE_EVERY)) as api:
        world = World(run, fault_server, api, tmp_path, until)
        yield world
        for process in world.started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@dataclass(frozen=True)
class Way:
    """A way to share a run.

    Attributes:
        name: Of the test.
        starts: Command lines, all started at the same time. One of them reports the whole run.
        num_callers: How many processes make calls, at least.
        python: The interpreter.
    """

    name: str
    starts: tuple[tuple[str, ...], ...]
    num_callers: int
    python: str = sys.executable


WAYS = [
    Way("one process", ((),), 1),
    Way("workers", (("--workers", "4"),), 4),
    Way("tasks", tuple(("--worker", f"{i}/3", "--run-key", "contract") for i in (1, 2, 3)), 3),
    Way("beam", (("--engine", "beam", "--workers", "4"),), 4, PYTHON),
    Way("ray", (("--engine", "ray", "--workers", "4"),), 4, PYTHON),
]


pytestmark = pytest.mark.skipif(
    not PYTHON, reason="ETLKIT_ENGINES_PYTHON names no interpreter: make engines"
)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_every_way_makes_the_same_table_and_pays_once(world, way):
    """Faults, rejects, skips and fan-out: nothing lost, nothing doubled, no call paid twice."""
    reports = []
    for started in [world.start(*each, python=way.python) for each in way.starts]:
        status, report, complaints = world.end(started)
        assert status == 0, complaints
        reports.append(report)
    (whole,) = (each for each in reports if each["rows_published"])
    world.check(whole)
    assert world.repaid().total() == 0
    assert len(world.callers()) >= way.num_callers
    assert sum(each["calls"] for each in reports) == NUM_ROWS + world.api.num_refused()
    assert sum(each["retries"] for each in reports) == world.api.num_refused()


@pytest.mark.parametrize("engine", ["beam", "ray"])
def test_a_killed_worker_costs_its_calls_in_flight(world, engine):
    """Ray starts it again. Beam's pipeline fails, and all its workers are started again."""
    started = world.start("--engine", engine, "--workers", "3", python=PYTHON)
    world.paid_until(started, NUM_ROWS // 4)
    victims = set(world.callers())
    os.kill(min(victims), signal.SIGKILL)
    status, report, complaints = world.end(started)
    assert status == 0, complaints
    world.check(report)
    repaid = world.repaid()
    assert set(repaid) <= (victims if engine == "beam" else {min(victims)})
    assert max(repaid.values(), default=0) <= IN_FLIGHT


@contextmanager
def ray_cluster() -> Iterator[subprocess.Popen]:
    """Two nodes; `ray_cluster.py` says how to kill one."""
    script = str(Path(__file__).with_name("ray_cluster.py"))
    with subprocess.Popen(
        [PYTHON, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        try:
            yield process
        finally:
            process.stdin.close()
            process.wait(timeout=TIMEOUT_S)


def test_a_node_of_ray_that_dies_costs_the_calls_in_flight_of_its_workers(world):
    """Its tasks run again on the node that is left."""
    with ray_cluster() as cluster:
        address = cluster.stdout.readline().strip()
        started = world.start(
            *("--engine", "ray", "--engine-arg", f"address={address}", "--workers", "4"),
            python=PYTHON,
        )
        world.paid_until(started, NUM_ROWS // 4)
        callers = set(world.callers())
        cluster.stdin.write("kill\n")
        cluster.stdin.flush()
        status, report, complaints = world.end(started)
        assert status == 0, complaints
        world.check(report)
        dead = {each for each in callers if not psutil.pid_exists(each)}
        assert dead
        repaid = world.repaid()
        assert set(repaid) <= dead
        assert max(repaid.values(), default=0) <= IN_FLIGHT


@pytest.mark.parametrize("engine", ["beam", "ray"])
def test_a_signal_stops_the_engines_workers_and_a_resume_goes_on(world, engine):
    """Ctrl-C reaches all of a terminal's processes: status 130, rows kept, nothing paid twice."""
    started = world.start("--engine", engine, "--workers", "2", python=PYTHON)
    world.paid_until(started, NUM_ROWS // 4)
    callers = set(world.callers())
    os.killpg(started.pid, signal.SIGINT)
    status, report, complaints = world.end(started)
    assert (status, report["state"]) == (130, "interrupted"), complaints
    assert report["kept"] > 0
    assert not any(map(psutil.pid_exists, callers))
    status, report, complaints = world.end(world.start("--resume", "--workers", "2"))
    assert status == 0, complaints
    world.check(report)
    assert world.repaid().total() == 0


@pytest.mark.parametrize("engine", ["beam", "ray"])
def test_workers_stop_paying_when_the_runs_process_is_killed(world, engine):
    """Those of Beam notice it and keep what they have; a Ray of this machine dies with the process."""
    started = world.start("--engine", engine, "--workers", "2", python=PYTHON)
    world.paid_until(started, NUM_ROWS // 4)
    callers = set(world.callers())
    started.kill()
    world.until(lambda: not any(map(psutil.pid_exists, callers)), TIMEOUT_S)
    assert world.api.num_calls() < NUM_ROWS
    status, report, complaints = world.end(world.start("--resume"))
    assert status == 0, complaints
    world.check(report)
    assert max(world.repaid().values(), default=0) <= (0 if engine == "beam" else IN_FLIGHT)


@pytest.mark.parametrize("engine", ["beam", "ray"])
def test_an_error_of_a_row_ends_all_workers(world, engine):
    """The other workers do not go on for hours: they are told to stop, and the error is reported."""
    world.environ = {"ON_ROW_ERROR": "fail"}
    started = world.start("--engine", engine, "--workers", "2", python=PYTHON)
    status, report, complaints = world.end(started)
    assert (status, report["state"]) == (1, "failed"), complaints
    assert "is bad" in complaints
    assert world.api.num_calls() < NUM_ROWS

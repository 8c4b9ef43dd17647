"""Tasks of a scheduler that share a run: the first one leads, and the last one alive publishes."""

import json
import signal
from collections import Counter

import psutil

from tests.faults import test_workers
from tests.faults.run_process import TIMEOUT_S, RunProcess
from tests.faults.test_kill import IN_FLIGHT, NUM_ROWS

source, world = test_workers.source, test_workers.world


def start(world, number, count, *arguments):
    """Start a task, counted from 1."""
    return world.start("--worker", f"{number}/{count}", "--run-key", world.target, *arguments)


def leader(world, bq) -> RunProcess:
    """The task that holds the run, as its guard says."""
    ((run_id,),) = world.run(f"SELECT run_id FROM etlkit_work.runs WHERE job = '{world.target}'")
    pid = json.loads(bq.get_table(f"etlkit_work.run_{run_id}").description)["pid"]
    return next(task for task in world.children if task.process.pid == pid)


def ends(world, tasks):
    """The reports of tasks that all succeeded: that of the one that published, and the others'."""
    reports = []
    for task in tasks:
        status, report, complaints = task.end()
        assert (status, report["state"]) == (0, "published"), complaints
        reports.append(report)
    assert len({report["run_id"] for report in reports}) == 1
    (published,) = (each for each in reports if each["rows_published"])
    world.check(published)
    return published, [each for each in reports if each is not published]


def test_tasks_started_at_once_share_one_run(world):
    """One table, each call paid once; a start after the end says published; other code is refused."""
    published, others = ends(world, [start(world, number, 3) for number in (1, 2, 3)])
    callers = Counter(caller for _, caller, _ in world.api.calls())
    assert (callers.total(), len(callers)) == (NUM_ROWS, 3)
    assert sum(report["read"] for report in others) < NUM_ROWS == published["read"]
    assert all(report["read"] > 0 for report in others)
    assert {report["task"] for report in (published, *others)} == {"1/3", "2/3", "3/3"}

    status, again, complaints = start(world, 2, 3).end()
    assert (status, again["run_id"], again["resumed"]) == (0, published["run_id"], NUM_ROWS)
    world.source += " WHERE n < 10"
    status, _, complaints = start(world, 1, 1).end()
    assert status == 1
    assert "another run key" in complaints
    assert world.api.num_calls() == NUM_ROWS


def test_when_the_leader_is_killed_another_one_publishes(world, bq):
    """Two followers lose it at once, a fourth task joins; repaid is what was in flight."""
    tasks = [start(world, number, 3) for number in (1, 2, 3)]
    world.until(lambda: world.api.num_calls() >= NUM_ROWS // 4, TIMEOUT_S)
    first = leader(world, bq)
    killed = set(world.workers(first))
    for process in psutil.Process(first.process.pid).children(recursive=True):
        process.kill()
    assert first.kill() is not None
    rest = [task for task in tasks if task is not first]
    published, _ = ends(world, [*rest, start(world, 4, 4)])
    assert published["resumed"] > 0
    again = world.repeated()
    assert set(again) <= killed
    assert again.total() <= IN_FLIGHT


def test_a_signal_hands_the_lead_on_and_other_tasks_resume(world, bq):
    """No call is repeated: not when the leader is stopped, nor when all are and others resume."""
    tasks = [start(world, number, 2) for number in (1, 2)]
    world.until(lambda: world.api.num_calls() >= NUM_ROWS // 4, TIMEOUT_S)
    first = leader(world, bq)
    first.process.send_signal(signal.SIGTERM)
    status, report, _ = first.end()
    assert (status, report["state"]) == (143, "interrupted")
    run_id = report["run_id"]
    (second,) = (task for task in tasks if task is not first)
    world.until(lambda: leader(world, bq) is second, TIMEOUT_S)
    second.process.send_signal(signal.SIGTERM)
    status, report, _ = second.end()
    assert (status, report["run_id"]) == (143, run_id)
    assert world.api.num_calls() < NUM_ROWS

    world.environ = {"ETLKIT_RUN_KEY": "of the next execution"}
    resumed = [
        world.start("--worker", f"{number}/3", "--resume=auto", "--workers", "2")
        for number in (1, 3)
    ]
    published, _ = ends(world, resumed)
    assert published["run_id"] == run_id
    assert world.repeated().total() == 0


def test_a_run_that_fails_fails_in_all_tasks(world):
    """No task goes on with what would fail again; nothing is published."""
    world.environ = {"MAX_REJECTED": "10"}
    tasks = [start(world, number, 2) for number in (1, 2)]
    for status, report, complaints in [task.end() for task in tasks]:
        assert (status, report["state"], report["rows_published"]) == (1, "failed", 0)
        assert "max_rejected (10)" in complaints

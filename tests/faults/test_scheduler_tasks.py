"""Tasks of a scheduler that share a run: one leads, and one that is alive in the end publishes."""

import json
import signal

import psutil

from tests.faults import test_workers
from tests.faults.run_process import TIMEOUT_S as END_S
from tests.faults.run_process import RunProcess
from tests.faults.test_kill import IN_FLIGHT, NUM_ROWS

TIMEOUT_S = 2 * END_S
"""Six processes of Python begin at once, perhaps beside other tests."""

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


def test_when_leaders_are_killed_and_stopped_another_task_publishes(world, bq):
    """Tasks share a run, two lose their leader, one joins late; repaid is what a kill cut off.

    A start after the end says published; other code is refused.
    """
    world.api.hold_after(NUM_ROWS // 2)
    tasks = [start(world, number, 3) for number in (1, 2, 3)]
    world.until(lambda: world.api.num_calls() >= NUM_ROWS // 5, TIMEOUT_S)
    first = leader(world, bq)
    killed = set(world.workers(first))
    for process in psutil.Process(first.process.pid).children(recursive=True):
        process.kill()
    assert first.kill() is not None
    tasks.append(start(world, 4, 4))
    world.until(lambda: leader(world, bq) is not first, TIMEOUT_S)
    second = leader(world, bq)
    second.process.send_signal(signal.SIGTERM)
    assert world.api.num_calls() < NUM_ROWS
    world.api.let_go()
    status, report, _ = second.end()
    assert (status, report["state"]) == (143, "interrupted")
    published, others = ends(world, [task for task in tasks if task not in {first, second}])
    assert (published["run_id"], published["resumed"] > 0) == (report["run_id"], True)
    assert published["read"] == NUM_ROWS > sum(each["read"] for each in others) > 0
    assert {each["task"] for each in (published, *others)} <= {"1/3", "2/3", "3/3", "4/4"}
    again = world.repeated()
    assert set(again) <= killed
    assert again.total() <= IN_FLIGHT

    calls = world.api.num_calls()
    status, later, complaints = start(world, 2, 3).end()
    assert (status, later["run_id"], later["resumed"]) == (0, published["run_id"], NUM_ROWS)
    world.source += " WHERE n < 10"
    status, _, complaints = start(world, 1, 1).end()
    assert status == 1
    assert "another run key" in complaints
    assert world.api.num_calls() == calls


def test_a_run_that_fails_fails_in_all_tasks_and_other_tasks_resume_it(world):
    """No task goes on with what would fail again; the next execution does, with another N."""
    world.environ = {"MAX_REJECTED": "4"}
    tasks = [start(world, number, 2) for number in (1, 2)]
    for status, failed, complaints in [task.end() for task in tasks]:
        assert (status, failed["state"], failed["rows_published"]) == (1, "failed", 0)
        assert "max_rejected (4)" in complaints
    assert world.api.num_calls() < NUM_ROWS

    world.environ = {"ETLKIT_RUN_KEY": "of the next execution"}
    resumed = [
        world.start("--worker", f"{number}/3", "--resume=auto", *more)
        for number, more in ((1, ("--workers", "2")), (3, ()))
    ]
    published, _ = ends(world, resumed)
    assert published["run_id"] == failed["run_id"]
    assert world.repeated().total() <= 2 * IN_FLIGHT  # the failure cut calls of both tasks off

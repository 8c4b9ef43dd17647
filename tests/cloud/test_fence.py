"""Two processes at one run: whichever lost it publishes nothing, told by BigQuery's own transaction."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from etlkit import BigQuerySink, BigQuerySource, EtlBase, TransferJob
from etlkit.bigquery.runs.guard import Holder
from etlkit.runner import run_job
from tests.cloud.conftest import ROOT
from tests.warm_python import WarmPython

HERE = Path(__file__).parent


class Child:
    """A process that runs `held_job.py`."""

    def __init__(self, process):
        self._process = process

    def wait_until_held(self):
        line = self._process.stdout.readline()
        assert line == "held\n", line + self._process.stdout.read()

    def finish(self):
        """Let it go on; gives what it says at its end."""
        out, _ = self._process.communicate("go on\n")
        return json.loads(out.strip().splitlines()[-1])


@pytest.fixture
def start(world, dataset):
    """Start a child; it is gone when the test ends."""
    processes = []

    def start_child(*, resume=None, held=True, asleep=False, deaf=False):
        wanted = {
            "project": world.settings.project,
            "location": world.settings.location,
            "dataset": dataset,
            "work": world.work,
            "resume": resume,
            "held": held,
            "asleep": asleep,
            "deaf": deaf,
        }
        process = WarmPython(
            [HERE / "held_job.py", json.dumps(wanted)],
            cwd=ROOT,
            env={**os.environ, **world.settings.environ},
            stdin=subprocess.PIPE,
            stderr=sys.__stderr__,
        )
        processes.append(process)
        return Child(process)

    yield start_child
    for process in processes:
        process.kill()
        process.wait()
        process.close()


@pytest.fixture
def end_lease(world, dataset, run, bq):
    """End the lease of the test's run, as if its process had been away for a minute; gives its id."""

    def end():
        job = f"'{dataset}.held'"
        ((run_id,),) = run(f"SELECT run_id FROM {world.work}.runs WHERE job = {job}")
        guard = bq.get_table(f"{world.work}.run_{run_id}")
        guard.labels = {**guard.labels, "etlkit_state": "ended"}
        assert Holder.of(bq.update_table(guard, ["labels"])).ended
        return run_id

    return end


@pytest.fixture
def published(run, dataset):
    """How many rows the target has, how many different ones, and from how many processes."""
    return lambda: run(
        f"SELECT COUNT(*), COUNT(DISTINCT n), COUNT(DISTINCT pid) FROM {dataset}.target"
    )


def states(run, world, run_id):
    return run(f"SELECT state, attempt FROM {world.work}.runs WHERE run_id = '{run_id}'")


def test_a_process_that_lost_its_run_publishes_nothing(start, end_lease, published, run, world):
    """The transaction refuses it; every row is in the target once."""
    loser = start(deaf=True)
    loser.wait_until_held()
    run_id = end_lease()
    winner = start(resume=run_id)
    winner.wait_until_held()
    lost, won = loser.finish(), winner.finish()
    assert (lost["run_id"], won["run_id"]) == (run_id, run_id)
    assert won["state"] == "published", won
    assert lost["state"] == "failed"
    assert "this process published nothing" in lost["error"]
    ((rows, distinct, _),) = published()
    assert (rows, distinct) == (20, 20)
    assert states(run, world, run_id) == [("published", 2)]


def test_a_process_that_wakes_up_asks_for_its_lease(start, end_lease, published):
    """It stops at once, also if the run is published by then and its guard is gone."""
    loser = start(asleep=True)
    loser.wait_until_held()
    run_id = end_lease()
    assert start(resume=run_id, held=False).finish()["state"] == "published"
    assert published() == [(20, 20, 2)]
    lost = loser.finish()
    assert lost["state"] == "failed"
    assert "this process published nothing" in lost["error"]
    assert published() == [(20, 20, 2)]


def test_a_live_run_is_not_taken_over(start, published, run, world, dataset):
    """A second process is refused while the first one renews its lease."""
    first = start()
    first.wait_until_held()
    job = f"'{dataset}.held'"
    ((run_id,),) = run(f"SELECT run_id FROM {world.work}.runs WHERE job = {job}")
    refused = start(resume=run_id, held=False).finish()
    assert "is in progress" in refused["error"]
    assert first.finish()["state"] == "published"
    assert published() == [(20, 20, 1)]
    assert states(run, world, run_id) == [("published", 1)]


class Same(EtlBase):
    def transform_row(self, row):
        return row


def test_runs_of_different_jobs_publish_at_once(world, dataset, run):
    """They share the ledger, which only grows: no run cancels another one's transaction."""

    def transfer(number):
        job = TransferJob(
            source=BigQuerySource(f"SELECT {number} AS n", work_dataset=world.work),
            transform=Same,
            sink=BigQuerySink(f"{dataset}.target_{number}", work_dataset=world.work),
            name=f"{dataset}.at_once_{number}",
        )
        return run_job(job, settings=world.settings).state

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(transfer, range(4))) == ["published"] * 4
    found = run(f"SELECT COUNT(*) FROM {world.work}.runs WHERE STARTS_WITH(job, '{dataset}.at')")
    assert found == [(4,)]

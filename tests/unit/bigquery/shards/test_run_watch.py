"""When a worker that nobody can talk to stops by itself."""

import itertools
import threading
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from etlkit.bigquery.runs.guard import LEASE_S
from etlkit.bigquery.runs.process_identity import ProcessIdentity
from etlkit.bigquery.shards.run_watch import RunWatch

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def guard(renewed_s=0.0, *, attempt=1, state="running", process=None):
    labels = {"etlkit_owner": "o", "etlkit_attempt": str(attempt), "etlkit_state": state}
    description = None if process is None else process.to_json()
    return SimpleNamespace(
        labels=labels, description=description, modified=NOW + timedelta(seconds=renewed_s)
    )


def looks_until_over(tables, seconds_a_look=0.0):
    """How often a watch looks until it says that the run is over; the last table stays."""
    looks = 0
    seconds = itertools.count()
    over = threading.Event()

    def find_table(_name):
        nonlocal looks
        looks += 1
        found = tables[min(looks, len(tables)) - 1]
        if isinstance(found, Exception):
            raise found
        return found

    watch = RunWatch(
        SimpleNamespace(find_table=find_table),
        "p.d.run",
        1,
        over.set,
        every_s=0.0,
        clock=lambda: next(seconds) * seconds_a_look,
    )
    watch.start()
    assert over.wait(30)
    watch._thread.join(30)
    return looks


@pytest.mark.parametrize(
    "last",
    [None, guard(attempt=2), guard(state="stopping"), guard(state="ended")],
    ids=["published", "taken over", "stopping", "ended"],
)
def test_a_worker_stops_with_its_run(last):
    """Not before, and not because BigQuery did not answer once."""
    assert looks_until_over([guard(0), OSError("away"), guard(15), last]) == 4


def test_a_worker_stops_when_the_runs_process_is_gone():
    """At once if it is of this machine and dead, else after the length of a lease without a renewal."""
    ours = ProcessIdentity.current()
    assert looks_until_over([guard(process=ours), guard(15, process=None), None]) == 3
    renewed = [guard(15 * number) for number in range(10)]
    looks = looks_until_over(renewed, seconds_a_look=LEASE_S / 4)
    assert looks > len(renewed)

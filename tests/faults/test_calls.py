"""Whole runs against a failing service, through `HttpClient` and the engine, on real sockets.

Every test checks that the key was not printed, logged, reported or raised.
"""

import logging
import os
import sys
import threading
import time
import traceback

import pytest

from etlkit import (
    ApiError,
    CapReachedError,
    EtlBase,
    OutageError,
    RetryPolicy,
    TransferJob,
)
from etlkit.api.run import RunRequest
from etlkit.calls.http import HttpClient
from etlkit.engine.transfer import run_transfer
from etlkit.testing import FaultPlan, FaultServer, MemorySink, MemorySource, no_sleep

KEY = "AIzaSy-made-up-0815-key"
OUTAGE_S = float(os.environ.get("ETLKIT_OUTAGE_S", "1.2"))
SEED = int(os.environ.get("ETLKIT_SEED", "4711"))
HASTY = RetryPolicy(attempt_timeout_s=1.0)
"""For servers that hang; a busy machine may take this long, too."""


class Seen:
    """The results of a test's runs: reports, errors, rows."""

    def __init__(self):
        self.texts = []

    def transfer(self, server, num_rows, *, sink=None, source=None, resume=None, **options):
        job = TransferJob(
            source=source or MemorySource([{"n": i} for i in range(num_rows)]),
            transform=etl_for(server),
            sink=MemorySink("replace") if sink is None else sink,
            **{"on_row_error": "reject", **options},
        )
        try:
            report = run_transfer(job, RunRequest("calls", resume=resume))
        except BaseException as error:
            self.texts += [*traceback.format_exception(error), repr(error), repr(vars(error))]
            self.texts.append(error.report.to_json())
            raise
        finally:
            self.texts += [repr(job.sink.rows), repr(job.sink.rejects)]
        self.texts.append(report.to_json())
        return report


@pytest.fixture(autouse=True)
def seen(caplog, capfd):
    """Everything is logged, the key must not be in it, and no thread may be left."""
    caplog.set_level(logging.DEBUG)
    seen = Seen()
    yield seen
    out, err = capfd.readouterr()
    places = {"stdout": out, "stderr": err, "log": caplog.text, "runs": "\n".join(seen.texts)}
    assert len(places["runs"]) > 100  # it was looked at
    assert [place for place, text in places.items() if KEY in text] == []
    names = [thread.name for thread in threading.enumerate()]
    assert [name for name in names if name.startswith(("etlkit-worker", "etlkit-prefetch"))] == []


def fault_server(plan=None, **options):
    """A service that doubles numbers and repeats the key in every answer."""
    routes = {"/v1/double": lambda body: {"double": body["n"] * 2, "your key": KEY}}
    return FaultServer(plan, routes=routes, item_key=lambda body: body["n"], **options)


def etl_for(server):
    class Etl(EtlBase):
        max_concurrency = 16

        def before_action(self):
            self.api = HttpClient(server.url, service="api", headers={"X-Goog-Api-Key": KEY})

        def transform_row(self, row):
            row["double"] = self.api.post_json("/v1/double", {"n": row["n"]})["double"]
            return row

        def after_action(self):
            self.api.close()

    return Etl


def expected(num_rows):
    return [{"n": n, "double": n * 2} for n in range(num_rows)]


def test_mixed_faults_cost_few_calls_and_no_row(seen):
    """429 with hints, 5xx, hangs, resets and errors of single items: all rows are right."""
    plan = FaultPlan.seeded(
        SEED, http_429=0.1, http_5xx=0.05, hang=0.003, reset=0.01, item_error=0.03
    )
    sink = MemorySink("replace")
    with fault_server(plan) as server, no_sleep():
        report = seen.transfer(server, 1200, sink=sink, retry=HASTY)
        faults, calls = server.faults, server.calls
    assert sink.rows == expected(1200)
    assert sink.rejects == []
    assert (report.written, report.rejected, report.calls) == (1200, 0, calls)
    assert report.retries == report.calls - 1200
    assert {"429", "hang", "reset", "item_error"} < set(faults)
    assert report.calls <= 1.3 * 1200


@pytest.mark.parametrize("fault", ["truncate", "html", "disconnect"])
def test_broken_answers_are_asked_for_again(seen, fault):
    """The first call of every fifth row gets half an answer, a page, or nothing."""
    plan = FaultPlan.by_item({str(n): [fault] for n in range(0, 40, 5)})
    sink = MemorySink("replace")
    with fault_server(plan) as server, no_sleep():
        report = seen.transfer(server, 40, sink=sink)
    assert sink.rows == expected(40)
    assert report.retries == 8


def test_answers_in_single_bytes_are_asked_for_again(seen):
    """A byte now and then resets the timeout of a socket, but not the deadline of an attempt."""
    plan = FaultPlan.by_item({str(n): ["drip every=0.1"] for n in range(0, 40, 5)})
    sink = MemorySink("replace")
    with fault_server(plan) as server, no_sleep():
        report = seen.transfer(server, 40, sink=sink, retry=HASTY)
        assert server.faults["drip"] == 8
    assert sink.rows == expected(40)
    assert report.retries >= 8


def test_an_outage_costs_its_time_and_no_row(seen, capfd):
    """Calls wait for the end of an outage, and rows do not fail. `ETLKIT_OUTAGE_S=60`: long form."""
    sink = MemorySink("replace")
    with fault_server(latency_s=0.02, outage_after=300, outage_s=OUTAGE_S) as server:
        started = time.monotonic()
        report = seen.transfer(server, 600, sink=sink)
        spent_s = time.monotonic() - started
    with capfd.disabled():
        sys.stdout.write(
            f"\noutage of {OUTAGE_S:.1f} s: 600 rows in {spent_s:.1f} s (0.8 s without), "
            f"{report.retries} calls repeated, {report.rejected} rows rejected\n"
        )
    assert sink.rows == expected(600)
    assert report.rejected == 0
    assert server.faults["outage"] == report.retries <= 3 * 16 + OUTAGE_S


def test_an_outage_that_does_not_end_stops_the_run_and_a_resume_goes_on(seen):
    """Answered rows are not asked again: at most the failed calls are repeated."""
    sink, source = MemorySink("replace"), MemorySource([{"n": i} for i in range(200)])
    options = {"sink": sink, "source": source, "retry": RetryPolicy(max_outage_s=20)}
    with fault_server(outage_after=80, outage_s=1e9) as server, no_sleep():
        with pytest.raises(OutageError) as caught:
            seen.transfer(server, 200, **options)
        server.come_up()
        report = seen.transfer(server, 200, resume=caught.value.report.run_id, **options)
        answers = server.answers_by_item
    assert sorted(sink.rows, key=lambda row: row["n"]) == expected(200)
    assert (caught.value.report.rejected, report.rejected) == (0, 0)
    assert set(answers.values()) == {1}


def test_a_declared_rate_keeps_below_the_quota(seen):
    """With 60 a second declared there is no 429: only the 16 calls in flight may come late."""
    sink = MemorySink("replace")
    with fault_server(quota="80/s") as server, no_sleep():
        report = seen.transfer(server, 400, sink=sink, rate_limit="60/s")
        assert server.faults["quota"] == 0
    assert sink.rows == expected(400)
    assert (report.calls, report.retries) == (400, 0)


def test_an_undeclared_quota_is_respected(seen):
    """The server's hints are followed, and the quota costs no row."""
    sink = MemorySink("replace")
    with fault_server(quota="100/min") as server, no_sleep():
        report = seen.transfer(server, 150, sink=sink)
        assert server.faults["quota"] == report.retries > 0
    assert sink.rows == expected(150)


def test_a_cap_counts_what_the_server_saw(seen):
    """With sixteen threads and failing calls the server gets exactly as many calls as allowed."""
    plan = FaultPlan.seeded(SEED, http_5xx=0.2)
    options = {"price_per_unit": 0.5, "max_cost": 50.0}
    with fault_server(plan) as server, no_sleep(), pytest.raises(CapReachedError) as caught:
        seen.transfer(server, 400, **options)
    report = caught.value.report
    assert (server.calls, report.calls, report.units, report.cost) == (100, 100, 100, 50.0)
    assert report.read == server.answers_by_item.total()  # what was paid for is kept


def test_a_refused_key_ends_the_run_at_once(seen):
    """401 is not retried, and no other row is tried."""
    with fault_server(FaultPlan.script(["401"] * 1000)) as server:
        with pytest.raises(ApiError, match="401"):
            seen.transfer(server, 400)
        assert server.calls <= 16

"""Rows that are sent to an API by processes that are killed, stopped, and resumed.

The API is a server of this process that honours idempotency keys; it outlives its clients.
"""

import os
import random
import signal
import sys
import threading
from collections import Counter
from dataclasses import replace

import pytest

from etlkit.bigquery.http_sink.request_queue import OUTSTANDING_PER_SLOT
from etlkit.testing import FaultPlan, FaultServer
from tests.faults.attempt import COUNTS, NUM_ROWS, REJECTED, ROWS
from tests.faults.fence import WORK

KILLS = int(os.environ.get("ETLKIT_HTTP_KILLS", "4"))
SEED = int(os.environ.get("ETLKIT_SEED", "0")) or random.randrange(1, 10**6)  # noqa: S311
MAX_CONCURRENCY = 3
REFUSED = [12, 41]
"""The API refuses these; 41 became three rows."""

ACCEPTED = Counter((n, part) for n, part, _ in ROWS if n not in REFUSED)
LEASE_S = 1.5
WAIT_S = 60.0


class Api:
    """An API, and what it was told to do.

    Attributes:
        applied: Rows that it has applied, in order; a row twice is one that took effect twice.
        num_asked: Requests that have reached it.
        num_repeated: Those among them whose key it had accepted before.
        seen: Called with the number of requests so far, when one arrives.
    """

    def __init__(self, plan=None):
        self.applied, self.seen = [], lambda _: None
        self.num_asked = self.num_repeated = 0
        self.server = FaultServer(plan, routes={"/rows": self.take}, item_key=_first)
        ask_once = self.server._ask_once

        def counted(handler, parsed, key):
            self.num_asked += 1
            self.num_repeated += key in self.server.accepted
            self.seen(self.num_asked)
            return ask_once(handler, parsed, key)

        self.server._ask_once = counted

    def take(self, body):
        rows = body if isinstance(body, list) else [body]
        if any(row["n"] in REFUSED for row in rows):
            return 422, {"error": "no"}
        self.applied += [(row["n"], row["part"]) for row in rows]
        return 201, {}

    def options(self, **more):
        return {"url": f"{self.server.url}/rows", "max_concurrency": MAX_CONCURRENCY, **more}


def _first(body):
    row = body[0] if isinstance(body, list) else body
    return f"{row['n']}/{row['part']}"


@pytest.fixture
def make_api():
    made = []

    def make(plan=None):
        made.append(Api(plan))
        return made[-1]

    yield make
    for api in made:
        api.server.close()


def kill(process):
    """SIGKILL, at once, from any thread."""
    if process.pid is not None and process.exitcode is None:
        os.kill(process.pid, signal.SIGKILL)


def check(fence, api, *, times=1):
    """API, rejected rows and ledger are exact: nothing lost, nothing that took effect twice."""
    assert Counter(api.applied) == Counter(dict.fromkeys(ACCEPTED, times))
    assert fence.rejects() == Counter(dict.fromkeys(REJECTED + REFUSED, times))
    columns = ", ".join(f"`{name}`" for name in COUNTS)
    ledger = fence.run(f"SELECT state, {columns} FROM {WORK}.runs WHERE job = '{fence.target}'")
    expected = {
        **COUNTS,
        "written": COUNTS["written"] - len(REFUSED),
        "rejected": COUNTS["rejected"] + len(REFUSED),
        "rows_published": ACCEPTED.total(),
    }
    assert ledger == [("published", *expected.values())] * times


PLANS = {
    "rows": {},
    "batches": {"batch_size": 4, "order_by": "part"},
}


@pytest.mark.parametrize("sink", PLANS.values(), ids=PLANS)
def test_killed_at_random_moments(fence, make_api, sink, capsys):
    """Each row takes effect once, under one key; a kill repeats what was in flight, no more."""
    rng = random.Random(SEED)  # noqa: S311 - no secret
    faults = FaultPlan.seeded(
        SEED, http_429=0.05, http_5xx=0.05, reset=0.04, truncate=0.03, drip=0.03, hint_s=0.01,
        drip_every_s=0.0005,
    )  # fmt: skip
    api, kills, attempts, published = make_api(faults), 0, 0, 0
    fence.plan = replace(fence.plan, http=api.options(**sink))
    while True:
        attempts += 1
        resume = None if len(fence.runs()) == published else "last"
        attempt = fence.start(resume=resume)
        if kills < KILLS // 2:
            kill_after(attempt.process, api, rng)
        attempt.process.join(WAIT_S)
        api.seen = lambda _: None
        if attempt.process.exitcode == 0:
            outcome = attempt.end()
            assert outcome.error == "", f"seed {SEED}: {outcome.message}"
            published += 1
        else:
            kills += 1
            published = sum(state == "published" for _, state, _ in fence.runs())
        if kills == KILLS // 2 and published and len(fence.runs()) == published:
            break
    check(fence, api, times=published)
    lost = sum(api.server.faults[kind] for kind in ("reset", "truncate"))  # answers
    allowed = kills * MAX_CONCURRENCY * OUTSTANDING_PER_SLOT + lost
    assert api.num_repeated <= allowed, f"seed {SEED}"
    with capsys.disabled():
        sys.stdout.write(
            f"\nseed {SEED}: {kills} kills, {attempts} attempts, {published} runs of {NUM_ROWS} rows; "
            f"{api.server.calls} requests, {api.server.faults.total()} of them failed, "
            f"{api.num_repeated} repeated; {len(api.applied)} rows took effect\n"
        )


def kill_after(process, api, rng):
    """Kill a process a moment after a number of requests."""
    at = api.num_asked + rng.randint(1, 20)
    delay_s = rng.choice([0.0, rng.uniform(0, 0.05)])

    def seen(number):
        if number == at:
            threading.Timer(delay_s, kill, (process,)).start()

    api.seen = seen


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_while_publishing(fence, make_api, when):
    """The request to publish, or its answer, is lost with the process: a resume sends nothing."""
    api = make_api()
    fence.plan = replace(fence.plan, http=api.options())
    gateway = fence.gateway()
    hold = gateway.hold("job publish", when)
    attempt = fence.start(gateway)
    assert hold.reached.wait(WAIT_S)
    attempt.kill()
    gateway.release_all()
    before = api.server.calls
    assert fence.run_to_end(resume="last").error == ""
    check(fence, api)
    assert api.server.calls == before


def test_a_process_that_lost_its_run_sends_nothing_more(fence, make_api):
    """It sleeps past its lease among its requests; another one goes on, and it wakes up."""
    api, asleep = make_api(), threading.Event()
    fence.plan = replace(fence.plan, http=api.options(), lease_s=LEASE_S, host="elsewhere")
    sleeper = fence.start()

    def stop(number):
        if number == 10:
            os.kill(sleeper.pid, signal.SIGSTOP)
            asleep.set()

    api.seen = stop
    assert asleep.wait(WAIT_S)
    fence.until(lambda: fence.lease_ended(fence.last_run(), LEASE_S))
    assert fence.run_to_end(resume="last", host=None).error == ""
    check(fence, api)
    before = api.server.calls
    sleeper.wake()
    assert sleeper.end().error == "RunTakenOverError"
    assert api.server.calls - before <= MAX_CONCURRENCY
    check(fence, api)

"""Rates and caps that the runs of one workflow share."""

import itertools
import threading

import pytest

from etlkit import CapReachedError, EtlBase, RateLimit, TransferJob
from etlkit.api.run import RunRequest
from etlkit.calls import clock
from etlkit.calls.limits import Meter
from etlkit.calls.run_calls import Calls, caller
from etlkit.calls.shared import SharedCalls
from etlkit.engine.transfer import run_transfer
from etlkit.testing import MemorySink, MemorySource, no_sleep


@pytest.fixture(autouse=True)
def skipped_waits():
    with no_sleep():
        yield


def call_all(runs, num_calls, service="vision"):
    """Let runs take turns; gives the seconds between the first and the last call."""
    callers = [run.caller(service) for run in runs]
    times = []
    for turn in itertools.islice(itertools.cycle(callers), num_calls):
        turn.call(lambda _timeout_s: times.append(clock.now()))
    return times[-1] - times[0]


def test_two_runs_do_not_use_a_quota_twice():
    """Both declare 10 a second: together they make 10 a second, not 20."""
    shared = SharedCalls()
    runs = [Calls(rate_limit=RateLimit("10/s"), shared=shared) for _ in range(2)]
    assert call_all(runs, 21) == pytest.approx(2.0, abs=0.1)
    alone = [Calls(rate_limit=RateLimit("10/s")) for _ in range(2)]
    assert call_all(alone, 21) == pytest.approx(1.0, abs=0.1)


def test_each_keeps_its_own_rate_and_together_the_highest():
    """A careful job stays careful; one that declares nothing keeps the rate of the others."""
    shared = SharedCalls()
    slow = Calls(rate_limit=RateLimit("5/s"), shared=shared)
    fast = Calls(rate_limit=RateLimit("20/s"), shared=shared)
    silent = Calls(shared=shared)
    for each in (slow, fast):
        each.caller("vision")
    assert call_all([slow], 11) == pytest.approx(2.0, abs=0.1)
    assert call_all([silent], 21) == pytest.approx(1.0, abs=0.1)
    assert call_all([fast, silent], 21) == pytest.approx(1.0, abs=0.1)


def test_services_and_units_are_kept_apart():
    """A quota of calls is no quota of units, and each service has its own."""
    shared = SharedCalls()
    by_call = Calls(rate_limit=RateLimit("10/s"), shared=shared)
    by_unit = Calls(rate_limit=RateLimit("10/s", per="unit"), shared=shared)
    assert call_all([by_call], 11, "vision") == pytest.approx(1.0, abs=0.1)
    assert call_all([by_call], 11, "other") == pytest.approx(1.0, abs=0.1)
    times = []
    for _ in range(3):  # five units each: both rates hold
        by_unit.caller("vision").call(lambda _timeout_s: times.append(clock.now()), units=5)
    assert times[-1] - times[0] == pytest.approx(1.0, abs=0.1)


def test_many_429s_of_one_run_slow_the_others_down():
    """The service refuses the workflow, not the job."""
    shared = SharedCalls()
    run = Calls(rate_limit=RateLimit("100/s"), shared=shared)
    other = Calls(shared=shared)
    begun = clock.now()
    for number in range(1, 53):
        clock.skip_to(begun + number / 50)
        call_all([run], 1)
        if number % 2 == 0:
            shared.throttled("vision", 1)
    before = clock.now()
    call_all([other], 26)
    assert clock.now() - before > 0.8


def test_a_run_that_stops_waits_no_longer():
    """The others go on."""
    shared = SharedCalls()
    limit = RateLimit("1/day")
    one, other = (Calls(rate_limit=limit, shared=shared) for _ in range(2))
    one.caller("vision").call(lambda _timeout_s: None)
    other.stop()
    with pytest.raises(clock.Stopped):
        other.caller("vision").call(lambda _timeout_s: None)


@pytest.mark.parametrize(
    ("caps", "num_calls", "message"),
    [
        ({"max_calls": 7}, 7, "the workflow's max_calls=7 is reached"),
        ({"max_cost": 0.9}, 3, r"the workflow's max_cost=0\.9 would be exceeded: 0\.9 is spent"),
    ],
)
def test_caps_count_the_calls_of_all_runs(caps, num_calls, message):
    """The call that would exceed a cap is not made, by whichever run."""
    shared = SharedCalls(**caps)
    runs = [Calls(meter=Meter(price_per_unit=0.3, shared=shared), shared=shared) for _ in "ab"]
    assert all(run.meter.is_capped for run in runs)
    with pytest.raises(CapReachedError, match=message):
        call_all(runs, 20)
    assert sum(run.meter.calls for run in runs) == num_calls


class Asking(EtlBase):
    """One call a row."""

    def transform_row(self, row):
        caller("vision").call(lambda _timeout_s: self.times.append(clock.now()))
        return row


def test_transfers_of_a_workflow_share():
    """Two of them at the same time: the engine hands on what they share."""
    shared, lock = SharedCalls(max_calls=50), threading.Lock()
    times = []

    class Etl(Asking):
        def before_action(self):
            self.times = times

    def start():
        job = TransferJob(
            source=MemorySource([{"n": n} for n in range(20)]),
            transform=Etl,
            sink=MemorySink(),
            rate_limit="10/s",
        )
        report = run_transfer(job, RunRequest("job", shared=shared))
        with lock:
            reports.append(report)

    reports = []
    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [report.calls for report in reports] == [20, 20]
    assert max(times) - min(times) > 3.8  # 39 gaps of 0.1 s; alone each takes 1.9 s
    with pytest.raises(CapReachedError, match="the workflow's max_calls=50"):
        start()

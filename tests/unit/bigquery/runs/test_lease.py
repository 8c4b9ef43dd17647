import threading

import pytest

from etlkit.bigquery.runs import lease as lease_module
from etlkit.bigquery.runs.guard import LEASE_S
from etlkit.bigquery.runs.lease import Lease
from etlkit.errors import RunTakenOverError

MARGIN_S = lease_module._MARGIN_S


class FakeGuard:
    """A guard whose renewals the test decides."""

    def __init__(self):
        self.renewals = 0
        self.error = None
        self.renewed = threading.Semaphore(0)

    def renew(self):
        self.renewals += 1
        self.renewed.release()
        if self.error is not None:
            raise self.error


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def guard():
    return FakeGuard()


def test_it_asks_for_nothing_while_the_lease_is_running(guard, clock):
    """Called before every row, so it must cost nothing."""
    lease = Lease(guard, clock=clock)
    clock.now += LEASE_S - MARGIN_S - 0.1
    lease.check()
    assert guard.renewals == 0


def test_a_process_that_slept_asks_before_it_goes_on(guard, clock):
    """It renews, and then it holds the run for another lease."""
    lease = Lease(guard, clock=clock)
    clock.now += LEASE_S - MARGIN_S
    lease.check()
    assert guard.renewals == 1
    clock.now += LEASE_S - MARGIN_S - 0.1
    lease.check()
    assert guard.renewals == 1


def test_a_process_that_lost_its_run_stays_lost(guard, clock):
    """The error comes at every check, without another request."""
    lease = Lease(guard, clock=clock)
    guard.error = RunTakenOverError("taken over by process 7")
    clock.now += LEASE_S
    for _ in range(3):
        with pytest.raises(RunTakenOverError, match="process 7"):
            lease.check()
    assert guard.renewals == 1


def test_a_renewal_that_fails_does_no_harm_before_the_lease_ends(guard, clock):
    """Three of four may fail."""
    lease = Lease(guard, clock=clock)
    guard.error = ConnectionError("away")
    clock.now += LEASE_S - MARGIN_S - 1
    lease.renew()
    lease.check()


def test_without_a_renewal_the_process_stops_before_others_may_take_over(guard, clock):
    """It cannot know whether it still holds the run."""
    lease = Lease(guard, clock=clock)
    guard.error = ConnectionError("away")
    clock.now += LEASE_S - MARGIN_S
    with pytest.raises(RunTakenOverError, match="could not be renewed in time"):
        lease.check()


def test_a_lease_counts_from_when_the_renewal_was_sent(clock):
    """Not from its answer, which may be late: BigQuery counts from what it got."""

    class SlowGuard(FakeGuard):
        def renew(self):
            clock.now += 20

    lease = Lease(SlowGuard(), clock=clock)
    lease.renew()  # sent at 0 s, answered at 20 s
    guard = lease._guard = FakeGuard()
    clock.now += LEASE_S - MARGIN_S - 20
    lease.check()
    assert guard.renewals == 1


def test_it_renews_by_itself_until_it_is_closed(guard):
    """On a thread of its own."""
    lease = Lease(guard, renew_s=0.001)
    lease.start()
    assert all(guard.renewed.acquire(timeout=20) for _ in range(3))
    lease.close()
    assert not lease._thread.is_alive()


def test_it_stops_renewing_once_the_run_is_lost(guard):
    """Nobody asks any more."""
    guard.error = RunTakenOverError("lost")
    lease = Lease(guard, renew_s=0.001)
    lease.start()
    lease._thread.join(20)
    assert not lease._thread.is_alive()
    assert guard.renewals == 1
    with pytest.raises(RunTakenOverError):
        lease.check()


def test_a_closed_lease_is_not_renewed_by_a_check(guard, clock):
    """After publishing, nobody needs it."""
    lease = Lease(guard, clock=clock)
    lease.close()
    clock.now += 10 * LEASE_S
    lease.check()
    assert guard.renewals == 0


def test_its_clock_goes_on_while_the_machine_sleeps():
    """Monotonic time may stand still then."""
    first = lease_module.now()
    assert lease_module.now() >= first

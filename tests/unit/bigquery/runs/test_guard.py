from dataclasses import replace

import pytest

from etlkit.bigquery.runs.guard import (
    LEASE_S,
    Guard,
    Holder,
    end_lease,
    find_holder,
    guard_name,
)
from etlkit.bigquery.runs.process_identity import ProcessIdentity
from etlkit.errors import RunStateError, RunTakenOverError
from tests.unit.bigquery.fake_connection import DATASET, FakeConnection

RUN = "20300101_000000000_00000000"
NAME = guard_name(DATASET, RUN)


@pytest.fixture
def connection():
    return FakeConnection()


@pytest.fixture
def elsewhere(monkeypatch):
    """Guards are written by processes that this one knows nothing about."""
    stranger = ProcessIdentity("other", "host-2", 7, "another boot", "pid:[9]", 1.0)
    monkeypatch.setattr(ProcessIdentity, "current", classmethod(lambda _: stranger))
    return stranger


def attempt(connection, number=1):
    return Guard(connection, NAME, RUN, number)


def renewing(connection, guard):
    """Let a renewal that was on its way come first at the next change."""

    def renewed_in_between(kind, _name):
        if kind == "update_table":
            connection.on_request = None
            guard.renew()

    connection.on_request = renewed_in_between


def test_a_new_guard_names_its_owner_and_expires(connection):
    """Owner, attempt and process stand in its metadata."""
    guard = attempt(connection)
    guard.create()
    holder = find_holder(connection, NAME)
    assert (holder.owner, holder.attempt, holder.ended) == (guard.owner, 1, False)
    assert holder.process == ProcessIdentity.current()
    assert connection.find_table(NAME).expires is not None


def test_a_run_is_not_made_twice(connection):
    """The guard of another attempt is not taken for one's own."""
    attempt(connection).create()
    with pytest.raises(RunStateError, match="exists already"):
        attempt(connection).create()


def test_a_guard_that_was_made_by_a_request_that_was_sent_again_is_ones_own(connection):
    """The answer to the first request was lost."""
    guard = attempt(connection)
    guard.create()
    guard.create()
    assert find_holder(connection, NAME).owner == guard.owner


@pytest.mark.parametrize("passed", [0, LEASE_S - 1])
def test_a_foreign_owner_is_not_replaced_before_its_lease_is_over(connection, elsewhere, passed):
    """The earlier attempt may be alive: nothing tells that it is not."""
    attempt(connection).create()
    connection.pass_time(passed)
    with pytest.raises(RunStateError, match=r"is in progress \(process 7 on host-2, last sign of"):
        attempt(connection, 2).claim()


def test_a_lease_that_is_over_is_claimed(connection, elsewhere):
    """By BigQuery's clock, to the second."""
    attempt(connection).create()
    connection.pass_time(LEASE_S)
    second = attempt(connection, 2)
    assert second.claim() is False
    holder = find_holder(connection, NAME)
    assert (holder.owner, holder.attempt) == (second.owner, 2)


def test_a_renewal_gives_another_lease(connection, elsewhere):
    """A sign of life counts from when BigQuery got it."""
    first = attempt(connection)
    first.create()
    connection.pass_time(LEASE_S - 1)
    first.renew()
    connection.pass_time(LEASE_S - 1)
    with pytest.raises(RunStateError, match="in progress"):
        attempt(connection, 2).claim()


def test_an_attempt_that_said_it_is_over_is_followed_at_once(connection, elsewhere):
    """Its lease need not run out."""
    first = attempt(connection)
    first.create()
    first.end()
    assert attempt(connection, 2).claim() is False


def test_a_renewal_beside_it_does_not_undo_the_end(connection, elsewhere):
    """A renewal that was on its way when the run ended changes the etag: the end is said again."""
    first = attempt(connection)
    first.create()
    renewing(connection, first)
    first.end()
    assert find_holder(connection, NAME).ended
    assert attempt(connection, 2).claim() is False


def test_an_end_is_said_a_bounded_number_of_times(connection, elsewhere):
    """Something else keeps changing the guard: then its lease runs out."""
    first = attempt(connection)
    first.create()
    asked = []

    def touched(kind, _name):
        asked.append(kind)
        if kind == "update_table":
            connection.on_request, hook = None, connection.on_request
            first.renew()
            connection.on_request = hook

    connection.on_request = touched
    first.end()
    assert not find_holder(connection, NAME).ended
    assert len(asked) < 20


def test_a_dead_process_of_this_machine_is_followed_at_once(connection, monkeypatch):
    """Its lease need not run out either."""
    monkeypatch.setattr(ProcessIdentity, "is_dead", lambda _: True)
    attempt(connection).create()
    assert attempt(connection, 2).claim() is False


def test_of_two_that_claim_at_once_one_wins(connection, elsewhere):
    """Both saw the dead attempt; the etag lets one of them through."""
    attempt(connection).create()
    connection.pass_time(LEASE_S)
    rival = attempt(connection, 2)
    claims = iter([rival.claim])

    def rival_is_faster(kind, _name):
        if kind == "update_table":
            connection.on_request = None
            next(claims)()

    connection.on_request = rival_is_faster
    with pytest.raises(RunStateError, match="changed hands a moment ago"):
        attempt(connection, 2).claim()
    assert find_holder(connection, NAME).owner == rival.owner


def test_the_last_renewal_of_a_dead_process_does_not_keep_its_run(connection, monkeypatch):
    """It was on its way when the process was killed, and comes while the run is resumed."""
    monkeypatch.setattr(ProcessIdentity, "is_dead", lambda _: True)
    first, second = attempt(connection), attempt(connection, 2)
    first.create()
    renewing(connection, first)
    assert second.claim() is False
    assert find_holder(connection, NAME).owner == second.owner


def test_a_process_that_renews_while_its_run_is_claimed_keeps_it(connection, elsewhere):
    """It stood still until its lease was over, and woke just now."""
    first = attempt(connection)
    first.create()
    connection.pass_time(LEASE_S)
    renewing(connection, first)
    with pytest.raises(RunStateError, match="is in progress"):
        attempt(connection, 2).claim()
    assert find_holder(connection, NAME).owner == first.owner


def test_a_run_that_is_published_while_it_is_claimed_is_not_resumed(connection, elsewhere):
    """Its guard goes between the look and the change: somebody else has finished the run."""
    attempt(connection).create()
    connection.pass_time(LEASE_S)

    def published_in_between(kind, _name):
        if kind == "update_table":
            connection.on_request = None
            connection.drop_work_table(NAME)

    connection.on_request = published_in_between
    with pytest.raises(RunStateError, match="changed hands a moment ago"):
        attempt(connection, 2).claim()


def test_a_run_that_another_process_is_resuming_is_not_claimed_by_the_same_number(
    connection, elsewhere
):
    """It says that somebody was faster."""
    attempt(connection).create()
    connection.pass_time(LEASE_S)
    attempt(connection, 2).claim()
    with pytest.raises(RunStateError, match="resumed by another process a moment ago"):
        attempt(connection, 2).claim()


@pytest.mark.parametrize("ends", [True, False])
def test_a_resume_that_died_before_it_took_the_fence_is_followed_by_the_same_number(
    connection, elsewhere, ends
):
    """The ledger does not know of it, so the next one has the same number: it must not be refused."""
    attempt(connection).create()
    connection.pass_time(LEASE_S)
    second = attempt(connection, 2)
    second.claim()
    second.end() if ends else connection.pass_time(LEASE_S)
    third = attempt(connection, 2)
    assert third.claim() is False
    assert find_holder(connection, NAME).owner == third.owner


def test_a_missing_guard_is_made(connection):
    """The run is one of an earlier version."""
    assert attempt(connection, 2).claim() is True
    assert find_holder(connection, NAME).attempt == 2


def test_a_process_that_lost_its_run_hears_who_has_it(connection, elsewhere):
    """With process, host and attempt; and its renewal changes nothing."""
    first = attempt(connection)
    first.create()
    connection.pass_time(LEASE_S)
    second = attempt(connection, 2)
    second.claim()
    before = connection.find_table(NAME).etag
    with pytest.raises(RunTakenOverError) as caught:
        first.renew()
    assert str(caught.value) == (
        f"run {RUN} was taken over by process 7 on host-2 (attempt 2) before "
        "2030-01-01 00:01:00 UTC; this process published nothing"
    )
    assert connection.find_table(NAME).etag == before


def test_a_process_whose_guard_is_gone_hears_that_the_run_is_finished(connection):
    """The guard goes when a run is published, and only its owner does that."""
    guard = attempt(connection)
    guard.create()
    connection.drop_work_table(NAME)
    with pytest.raises(RunTakenOverError, match="taken over and finished by another process"):
        guard.renew()


def test_a_renewal_that_meets_a_take_over_loses(connection, elsewhere):
    """The etag is the old one, so the new owner stays; the next renewal sees it."""
    first = attempt(connection)
    first.create()
    connection.pass_time(LEASE_S)
    second = attempt(connection, 2)

    def taken_in_between(kind, _name):
        if kind == "update_table":
            connection.on_request = None
            second.claim()

    connection.on_request = taken_in_between
    first.renew()
    assert find_holder(connection, NAME).owner == second.owner
    with pytest.raises(RunTakenOverError):
        first.renew()


def test_a_process_that_lost_its_run_does_not_end_it(connection, elsewhere):
    """`end` is the owner's word alone."""
    first = attempt(connection)
    first.create()
    connection.pass_time(LEASE_S)
    attempt(connection, 2).claim()
    first.end()
    assert find_holder(connection, NAME).ended is False


def test_a_holder_without_a_process_is_alive_for_its_lease(connection, elsewhere):
    """Whatever stands in the description."""
    attempt(connection).create()
    holder = replace(find_holder(connection, NAME), process=None)
    assert isinstance(holder, Holder)
    assert holder.is_alive(connection.now)
    connection.pass_time(LEASE_S)
    assert not holder.is_alive(connection.now)
    assert "an unknown process" in str(holder)


def test_a_lease_that_was_ended_from_outside_is_noticed(connection, elsewhere):
    """Nobody waits for it any more, and its attempt stops at its next renewal."""
    guard = attempt(connection)
    guard.create()
    assert end_lease(connection, NAME, "nobody")
    assert not find_holder(connection, NAME).is_alive(connection.now)
    with pytest.raises(RunTakenOverError):
        guard.renew()
    attempt(connection, 2).claim()
    assert find_holder(connection, NAME).attempt == 2


def test_a_lease_is_ended_although_it_is_renewed_at_that_moment(connection, elsewhere):
    """The second look finds it renewed, and ends it all the same."""
    guard = attempt(connection)
    guard.create()

    def renewed(kind, _name):
        if kind == "update_table":
            connection.on_request = None
            guard.renew()

    connection.on_request = renewed
    assert end_lease(connection, NAME, "nobody")
    assert find_holder(connection, NAME).owner == "nobody"


def test_a_run_without_a_guard_has_no_lease_to_end(connection):
    """It was published."""
    assert not end_lease(connection, NAME, "nobody")

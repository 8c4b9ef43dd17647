"""Two attempts at one run, in every pairing: one publishes, and the other one says what happened.

Real processes. What one of them asks for is held at a chosen request, so nothing here depends on how
fast the machine is. `ETLKIT_INTERLEAVINGS=100` is the long form, with all pairings of a sleep and a
wake-up; `ETLKIT_SEED=…` is the first seed.
"""

import itertools
import os
import random
import shutil
import subprocess

import pytest

from tests.faults.attempt import CONCURRENCY, COUNTS

LEASE_S = 1.0
INTERLEAVINGS = int(os.environ.get("ETLKIT_INTERLEAVINGS", "2"))
FIRST_SEED = int(os.environ.get("ETLKIT_SEED", "1"))
AUDIT = "query SELECT COUNTIF(rejected) AS"

STOPS = {
    "among its calls": ("call", "before", 20),
    "before its publish": (AUDIT, "after", 1),
    "while its publish is on its way": ("job publish", "before", 1),
    "after its publish": ("job publish", "after", 1),
    "as it makes a work table": ("POST out", "before", 1),
}
"""Where the first attempt is stopped: a request, which of that name."""

WAKES = {
    "as the other takes over": ("job start", "before", 1),
    "among the other's calls": ("call", "before", 10),
    "before the other's publish": ("job publish", "before", 1),
    "as the other has published": ("job publish", "after", 1),
    "after the other's end": ("no such request", "before", 1),
}
"""Where the other one is held while the first attempt wakes up and goes on to its end."""
PAIRINGS = list(itertools.product(STOPS, WAKES))
if INTERLEAVINGS < 100:
    PAIRINGS = PAIRINGS[:: len(WAKES) + 1]  # each stop and each wake-up once
"""Stop and wake-up of the first attempt."""


def stopped(fence, point, **changes):
    """Start an attempt and stop it at a request, which is still on its way then."""
    gateway = fence.gateway()
    hold = gateway.hold(point[0], point[1], number=point[2])
    attempt = fence.start(gateway, **changes)
    assert hold.reached.wait(60)
    attempt.stop()
    return attempt


def wake(attempt):
    """Let an attempt go on, and give its outcome and its calls since then."""
    before = len(attempt.gateway.calls())
    attempt.gateway.release_all()
    attempt.wake()
    outcome = attempt.end()
    return outcome, len(attempt.gateway.calls()) - before


@pytest.mark.parametrize(("stop_at", "wake_at"), PAIRINGS)
def test_a_process_sleeps_past_its_lease_and_wakes_up(fence, stop_at, wake_at):
    """The run is published once; a process that lost it makes no further call and says who has it."""
    stop_at, wake_at = STOPS[stop_at], WAKES[wake_at]
    first = stopped(fence, stop_at, lease_s=LEASE_S)
    run_id = fence.last_run()
    fence.until(lambda: fence.lease_ended(run_id, LEASE_S))
    gateway = fence.gateway()
    hold = gateway.hold(*wake_at[:2], number=wake_at[2])
    second = fence.start(gateway, resume=run_id, lease_s=LEASE_S)
    fence.until(lambda: hold.reached.is_set() or not second.process.is_alive())
    is_held = hold.reached.is_set()
    outcome, num_calls = wake(first)
    gateway.release_all()
    other = second.end()
    assert num_calls <= CONCURRENCY
    for end in (outcome, other):
        if not end.error:
            assert {name: end.report[name] for name in COUNTS} == COUNTS
        else:
            assert (end.error, end.report["state"]) == ("RunTakenOverError", "failed")
            assert run_id in end.message
            assert "this process published nothing" in end.message
    assert not (outcome.error and other.error)
    if outcome.error and is_held:
        assert f"taken over by process {second.pid} on" in outcome.message
    elif outcome.error:
        assert "was taken over and finished by another process" in outcome.message
    fence.check()
    assert fence.work_tables(run_id) == []


@pytest.mark.parametrize(("first_s", "second_s"), [(120, -120), (-120, 120)])
def test_clocks_are_two_minutes_away_from_bigquerys(fence, first_s, second_s):
    """A run is alive or dead by BigQuery's clock: a live one is not resumed, nor started again."""
    gateway = fence.gateway()
    hold = gateway.hold("call", number=20)
    first = fence.start(gateway, clock_s=first_s, namespace="pid:[1]")
    assert hold.reached.wait(60)
    run_id = fence.last_run()
    other = {"clock_s": second_s, "namespace": "pid:[2]"}
    for resume, wrong in (("last", f"run {run_id} is in progress"), (None, f"as run {run_id}")):
        end = fence.run_to_end(resume=resume, **other)
        assert end.error == "RunStateError"
        assert wrong in end.message
    gateway.release_all()
    assert not first.end().error
    fence.check()


def test_the_last_run_is_the_last_by_bigquerys_clock(fence):
    """A published run of a machine whose clock is ahead does not hide a later one that died."""
    assert not fence.run_to_end(clock_s=120).error
    gateway = fence.gateway()
    hold = gateway.hold("call", number=20)
    killed = fence.start(gateway)
    assert hold.reached.wait(60)
    killed.kill()
    ((run_id,),) = fence.run(
        f"SELECT run_id FROM etlkit_work.runs WHERE job = '{fence.target}' AND state = 'running'"
    )
    assert fence.run_to_end(resume="last").report["run_id"] == run_id
    fence.check(times=2)


def can_unshare():
    """Whether this machine lets a process have a space of process numbers of its own."""
    command = shutil.which("unshare")
    if command is None:
        return False
    done = subprocess.run([command, "--pid", "--fork", "--mount-proc", "true"], check=False)
    return done.returncode == 0


def test_two_containers_have_the_same_host_name_and_process_number(fence):
    """Both are process 1 of the same host: neither takes the other for dead, or for itself."""
    if not can_unshare():
        pytest.skip("unshare --pid is not allowed here; the next test shows the same by identities")
    gateway = fence.gateway()
    hold = gateway.hold("call", number=20)
    first = fence.contain(gateway, host="worker")
    assert hold.reached.wait(60)
    run_id = fence.last_run()
    refused = fence.contain(host="worker", resume=run_id).end()
    assert refused.error == "RunStateError"
    assert f"run {run_id} is in progress (process 1 on worker" in refused.message
    first.kill()
    fence.until(lambda: fence.lease_ended(run_id, LEASE_S))
    assert not fence.contain(host="worker", resume=run_id, lease_s=LEASE_S).end().error
    fence.check()


@pytest.mark.parametrize("namespace", ["pid:[2]", None], ids=["other container", "same container"])
def test_a_dead_process_is_known_dead_only_where_its_number_means_something(fence, namespace):
    """In the same space a resume follows at once; from another one, when the lease is over."""
    gateway = fence.gateway()
    hold = gateway.hold("call", number=20)
    first = fence.start(gateway)
    assert hold.reached.wait(60)
    run_id = fence.last_run()
    first.kill()
    end = fence.run_to_end(resume=run_id, namespace=namespace)
    if namespace is not None:
        assert f"run {run_id} is in progress" in end.message
        fence.until(lambda: fence.lease_ended(run_id, LEASE_S))
        end = fence.run_to_end(resume=run_id, namespace=namespace, lease_s=LEASE_S)
    assert not end.error
    fence.check()


def test_a_resume_dies_before_it_takes_over(fence):
    """The ledger knows nothing of it, and the next resume is not refused for it."""
    ends = []
    for name, number in (("call", 20), ("job start", 1)):
        gateway = fence.gateway()
        hold = gateway.hold(name, number=number)
        attempt = fence.start(gateway, resume=fence.last_run() if ends else None)
        assert hold.reached.wait(60)
        attempt.kill()
        ends.append(name)
    assert not fence.run_to_end(resume=fence.last_run()).error
    fence.check()


@pytest.mark.parametrize("moment", ["PATCH run", "job start"])
def test_a_dead_attempts_publish_arrives_while_it_is_resumed(fence, moment):
    """The resume has found the run unpublished; it ends well, with what was published."""
    late, gateway = fence.gateway(), fence.gateway()
    publish = late.hold("job publish")
    attempt = fence.start(late)
    assert publish.reached.wait(60)
    attempt.kill()
    calls = len(late.calls())

    def arrive(_):
        late.release_all()
        fence.until(lambda: fence.runs()[-1][1] == "published")

    gateway.hold(moment, then=arrive).released.set()
    end = fence.start(gateway, resume="last").end()
    assert not end.error
    assert "was published by its earlier attempt a moment ago" in "".join(end.notes)
    assert end.report["read"] == COUNTS["read"]
    assert gateway.calls() == []
    assert calls == len(late.calls())
    fence.check()
    assert fence.work_tables(end.report["run_id"]) == []


def test_three_resumes_at_once(fence):
    """One gets the run; the others are refused with its id and cost nothing."""
    gateway = fence.gateway()
    hold = gateway.hold("call", number=20)
    first = fence.start(gateway)
    assert hold.reached.wait(60)
    run_id = fence.last_run()
    first.kill()
    ends = at_once(fence, "PATCH run", [{"resume": run_id}] * 3, num_refused=2)
    assert sorted(end.error for end, _ in ends) == ["", "RunStateError", "RunStateError"]
    for end, calls in ends:
        if end.error:
            assert run_id in end.message
            assert calls == []
    fence.check()


def test_two_starts_at_once(fence):
    """One gets the job; the other is refused with the id of the run that has it, and leaves nothing."""
    ends = at_once(fence, "PATCH job", [{}, {}], num_refused=1)
    (won, _), (lost, calls) = sorted(ends, key=lambda end: end[0].error)
    assert (won.error, lost.error) == ("", "RunStateError")
    assert f"as run {won.report['run_id']}" in lost.message
    assert calls == []
    assert fence.work_tables(lost.report["run_id"]) == []
    fence.check()


def test_two_starts_at_once_of_a_job_that_allows_it(fence):
    """Both publish."""
    ends = at_once(fence, "job publish", [{"job": {"is_runnable_concurrently": True}}] * 2)
    assert [end.error for end, _ in ends] == ["", ""]
    fence.check(times=2)


def at_once(fence, name, plans, *, num_refused=0):
    """Start attempts, let all of them arrive at a request, then let them go; outcomes and calls.

    Those that get on publish when the others have ended.
    """
    gateways = [fence.gateway() for _ in plans]
    holds = [gateway.hold(name) for gateway in gateways]
    publishes = [gateway.hold("job publish") for gateway in gateways] if num_refused else []
    attempts = [fence.start(g, **plan) for g, plan in zip(gateways, plans, strict=True)]
    for hold in holds:
        assert hold.reached.wait(60)
    for hold in holds:
        hold.released.set()
    if num_refused:
        fence.until(lambda: [a.process.is_alive() for a in attempts].count(False) >= num_refused)
    for hold in publishes:
        hold.released.set()
    return [(attempt.end(), attempt.gateway.calls()) for attempt in attempts]


def point(rng):
    """A random moment of an attempt: a request, which, and before or after it was answered."""
    if rng.random() < 0.5:
        return "call", "before", rng.randint(1, COUNTS["read"])
    return None, rng.choice(["before", "after"]), rng.randint(8, 32)


@pytest.mark.timeout(60 + 30 * INTERLEAVINGS)
@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + INTERLEAVINGS))
def test_random_interleavings(fence, seed):
    """Stopped anywhere, woken anywhere, with other code: one outcome for each row of each run."""
    rng = random.Random(seed)  # noqa: S311 - no secret
    stop_at, wake_at = point(rng), point(rng)
    changes = {"is_mended": rng.random() < 0.5, "fan_out": rng.choice([2, 3])}
    gateway = fence.gateway()
    hold = gateway.hold(stop_at[0], stop_at[1], number=stop_at[2])
    first = fence.start(gateway, lease_s=LEASE_S)
    fence.until(lambda: hold.reached.is_set() or not first.process.is_alive())
    if hold.reached.is_set():
        first.stop()
        if rng.random() < 0.5:
            gateway.release_all()  # it goes on without the process
    for run_id in fence.runs():
        fence.until(lambda run_id=run_id[0]: fence.lease_ended(run_id, LEASE_S))
    resume = "last" if fence.runs() else None
    gateway = fence.gateway()
    hold = gateway.hold(wake_at[0], wake_at[1], number=wake_at[2])
    second = fence.start(gateway, resume=resume, lease_s=LEASE_S, **changes)
    fence.until(lambda: hold.reached.is_set() or not second.process.is_alive())
    calls = 0
    if first.process.is_alive():
        outcome, calls = wake(first)
        if outcome.error == "RunTakenOverError":
            assert calls <= CONCURRENCY
    gateway.release_all()
    second.end()
    while not fence.runs() or any(state != "published" for _, state, _ in fence.runs()):
        assert not fence.run_to_end(resume="last" if fence.runs() else None).error
    fence.check_mixed()

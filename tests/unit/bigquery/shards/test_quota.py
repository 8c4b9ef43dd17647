"""What workers share: no rate and no cap is passed in sum, and one alone tests a service.

`ETLKIT_RACES` is the number of runs whose workers meet in another order: `make fuzz`.
"""

import asyncio
import os
import random
import threading
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from etlkit.bigquery.shards import quota
from etlkit.bigquery.shards.quota import DOWN_S, QuotaKeeper
from etlkit.bigquery.shards.shard_log import LogState
from etlkit.bigquery.shards.shard_map import DOWN, JOINED, LEFT, UP, ShardEvent, ShardMap
from etlkit.calls import breaker
from etlkit.calls.breaker import RetryBudget
from etlkit.calls.clock import Stopped
from etlkit.calls.leased import LeasedCalls
from etlkit.calls.limits import Meter, RateLimit
from etlkit.calls.run_calls import Calls
from etlkit.errors import CapReachedError, RetryableError

ROUNDS = int(os.environ.get("ETLKIT_RACES", "1"))


class Log:
    """Events in memory; others may add theirs between any two steps."""

    def __init__(self, chance=None):
        self.events = []
        self.lock = threading.Lock()
        self.chance = chance
        self.most = 0.0, 0, 0.0

    def tell(self, events):
        self.pause()
        with self.lock:
            now = datetime.now(UTC).timestamp()
            self.events += [replace(event, told_at=now) for event in events]
        self.pause()

    def read(self):
        self.pause()
        with self.lock:
            shards = ShardMap.of(self.events)
        self.pause()
        return LogState(shards, 1, 1, datetime.now(UTC), [])

    def pause(self):
        if self.chance is not None:
            threading.Event().wait(self.chance.random() / 1000)


def keeper(log, worker, num_workers=1, max_calls=None, max_cost=None):
    calls = LeasedCalls(max_calls, max_cost)
    log.tell([ShardEvent(JOINED, worker)])
    return QuotaKeeper(log, worker, num_workers, calls, max_calls, max_cost), calls


def rate(calls, service="vision"):
    return calls._limiters[service, "call"].per_s


def calling(log, worker, limit="100/s"):
    """A worker that has made its first call for which there is a rate."""
    quota, calls = keeper(log, worker)
    caller = Calls(rate_limit=RateLimit(limit), shared=calls).caller("vision")
    calls.wants_rate = True
    return quota, calls, caller


def test_each_worker_that_calls_gets_its_part_of_the_rate_and_one_alone_all_of_it():
    log = Log()
    one, calls_of_one, _ = calling(log, "one")
    idle, calls_of_idle, _ = calling(log, "idle")
    calls_of_idle.wants_rate = False
    for each in (idle, one):
        each.look()
    assert (rate(calls_of_one), rate(calls_of_idle)) == (pytest.approx(100), 0)
    two, calls_of_two, _ = calling(log, "two")
    two.look()
    assert rate(calls_of_two) == 0  # until the other one uses less
    one.look()
    assert rate(calls_of_one) == pytest.approx(50)
    two.look()
    assert rate(calls_of_two) == pytest.approx(50)
    log.tell([ShardEvent(LEFT, "two")])
    one.look()
    assert rate(calls_of_one) == pytest.approx(100)


def test_a_worker_without_rows_gives_its_part_to_those_that_call(until):
    log = Log()
    (one, calls_of_one, _), (two, calls_of_two, caller) = calling(log, "one"), calling(log, "two")
    for each in (one, two, one, two):
        each.look()
    assert rate(calls_of_one) == rate(calls_of_two) == pytest.approx(50)
    calls_of_two.rest()
    assert calls_of_two.news.is_set()
    for each in (two, one):
        each.look()
    assert (rate(calls_of_one), rate(calls_of_two)) == (pytest.approx(100), 0)
    call = threading.Thread(target=lambda: caller.call(lambda _timeout_s: None))
    call.start()  # it has rows again
    until(calls_of_two.news.is_set)
    for each in (two, one, two):
        each.look()
    call.join(timeout=30)
    assert not call.is_alive()
    assert rate(calls_of_one) == rate(calls_of_two) == pytest.approx(50)


def test_a_call_waits_until_something_is_granted(until):
    calls = LeasedCalls()
    run = Calls(rate_limit=RateLimit("100/s"), shared=calls)
    made = []
    waiting = threading.Thread(target=lambda: run.caller("vision").call(made.append))
    waiting.start()
    until(calls.news.is_set)
    assert calls.wants_rate
    Calls(shared=calls).caller("another service").call(made.append)
    assert (len(made), waiting.is_alive()) == (1, True)
    calls.grant_fraction(0.5)
    waiting.join(timeout=30)
    assert len(made) == 2


def test_a_call_that_waits_for_a_grant_does_not_hold_up_its_event_loop():
    calls = LeasedCalls()
    run = Calls(rate_limit=RateLimit("100/s"), shared=calls)
    made = []

    async def attempt(_timeout_s):
        made.append("call")

    async def grant():
        assert calls.wants_rate  # the call has begun
        made.append("grant")
        calls.grant_fraction(1.0)

    async def both():
        await asyncio.gather(run.caller("vision").call_async(attempt), grant())

    asyncio.run(both())
    assert made == ["grant", "call"]


def test_calls_that_wait_take_other_turns_when_the_part_changes(until):
    """A turn at a low rate may be hours away."""
    calls = LeasedCalls()
    calls.declare("vision", RateLimit("1000/s"))
    calls.grant_fraction(1e-7)
    made = []
    caller = Calls(shared=calls).caller("vision")
    threads = [threading.Thread(target=lambda: caller.call(made.append)) for _ in range(3)]
    for thread in threads:
        thread.start()
    until(lambda: len(calls._waiting) == 2)
    assert len(made) == 1
    calls.grant_fraction(1.0)
    for thread in threads:
        thread.join(timeout=30)
    assert len(made) == 3


def paying(log, worker, num_workers=1, max_calls=None, max_cost=None, price=0.1):
    """A worker that leases its part of the caps, its run, and a caller that pays."""
    quota, calls = keeper(log, worker, num_workers, max_calls, max_cost)
    run = Calls(meter=Meter(price_per_unit=price, shared=calls), shared=calls)
    return quota, run, run.caller("api")


@pytest.fixture
def soon(monkeypatch):
    """Workers look more often than they do on BigQuery."""
    monkeypatch.setattr(quota, "_FIRST_LOOK_S", 0.02)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("seed", range(ROUNDS))
def test_no_cap_is_passed_by_all_workers_together_and_nothing_is_left(seed):
    log = Log(random.Random(seed))  # noqa: S311 - no secret
    num_workers, max_calls, max_cost = 4, 300, 20.0
    made = []

    def work(number):
        keeps, _, caller = paying(log, f"w{number}", num_workers, max_calls, max_cost)
        keeps.start()
        with suppress(CapReachedError):
            while True:
                caller.call(made.append)
        with pytest.raises(CapReachedError, match="by all workers together"):
            caller.call(made.append)
        keeps.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(num_workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads)
    assert len(made) == 200  # 20.0 at 0.1
    assert sum(cost for _, cost in ShardMap.of(log.events).budgets.values()) == pytest.approx(
        len(made) * 0.1
    )


@pytest.mark.usefixtures("soon")
def test_what_a_worker_has_not_used_is_there_for_the_next():
    log, made = Log(), []
    one, _, caller = paying(log, "one", max_calls=10)
    one.start()
    caller.call(made.append)
    one.close()
    log.tell([ShardEvent(LEFT, "one")])
    two, _, caller = paying(log, "two", max_calls=10)
    two.start()
    for _ in range(9):
        caller.call(made.append)
    with pytest.raises(CapReachedError, match="max_calls=10"):
        caller.call(made.append)
    two.close()
    assert len(made) == 10


@pytest.mark.usefixtures("soon")
def test_the_last_calls_of_a_cap_are_made_also_if_they_were_granted_to_an_idle_worker():
    log, made = Log(), []
    one, _, caller = paying(log, "one", 2, max_calls=8)
    two, _, idle = paying(log, "two", 2, max_calls=8)
    two.start()
    idle.call(made.append)
    assert two._budget[0] > 1  # it has no more rows
    one.start()
    threads = [threading.Thread(target=caller.call, args=(made.append,)) for _ in range(7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(made) == 8
    with pytest.raises(CapReachedError, match="max_calls=8"):
        caller.call(made.append)
    one.close()
    two.close()


def test_a_call_that_needs_more_than_those_before_it_gets_it(until):
    """What was granted for the others does not do for a call of many units."""
    log, made = Log(), []
    one, run, caller = paying(log, "one", max_cost=100.0, price=1.0)
    threads = [
        threading.Thread(target=lambda units=units: caller.call(made.append, units=units))
        for units in (1, 90, 1)
    ]
    for thread in threads:
        thread.start()
        until(lambda: run.shared.waits_for_cap)
    one.start()
    for thread in threads:
        thread.join(timeout=60)
    one.close()
    assert (len(made), run.meter.units) == (3, 92)


def test_a_run_that_stops_waits_no_longer_for_a_cap(until):
    _, run, caller = paying(Log(), "one", max_calls=8)
    ended = []

    def call():
        with pytest.raises(Stopped):
            caller.call(ended.append)
        ended.append("stopped")

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    until(lambda: run.shared.waits_for_cap)
    run.stop()
    for thread in threads:
        thread.join(timeout=30)
    assert ended == ["stopped"] * 3


def test_a_call_that_waits_for_a_cap_does_not_hold_up_its_event_loop():
    _, run, caller = paying(Log(), "one", max_calls=8)
    made = []

    async def attempt(_timeout_s):
        made.append("call")

    async def grant():
        assert run.shared.waits_for_cap  # the call has begun
        made.append("grant")
        run.shared.grant(1, 1.0)

    async def both():
        await asyncio.gather(caller.call_async(attempt), grant())

    asyncio.run(both())
    assert made == ["grant", "call"]


class Api:
    """A service that is down at times, and counts who asks; answers end the threads that ask."""

    def __init__(self):
        self.is_down = True
        self.asked = {}
        self.threads = []

    def ask(self, name, calls, num_calls=1):
        """Make calls as a worker, each on a thread of its own."""
        caller = self.runs.setdefault(name, Calls(shared=calls)).caller("api")

        def call():
            with suppress(Stopped):
                caller.call(self.attempt(name))

        for _ in range(num_calls):
            self.threads.append(threading.Thread(target=call))
            self.threads[-1].start()

    def attempt(self, name):
        def attempt(_timeout_s):
            self.asked[name] = self.asked.get(name, 0) + 1
            if self.is_down:
                raise RetryableError("it is down", status=503)

        return attempt

    def end(self):
        for thread in self.threads:
            thread.join(timeout=30)
        assert not any(thread.is_alive() for thread in self.threads)

    def __enter__(self):
        self.runs = {}
        return self

    def __exit__(self, *_):
        for run in self.runs.values():
            run.stop()


@pytest.fixture
def api(monkeypatch):
    monkeypatch.setattr(breaker, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(breaker, "_MAX_PAUSE_S", 0.05)
    with Api() as api:
        yield api


def told(log, kind):
    return [event.worker for event in log.events if event.kind == kind]


def test_one_worker_tests_a_service_that_is_down_and_the_others_wait_for_its_word(api, until):
    log = Log()
    one, calls_of_one = keeper(log, "one", 2)
    two, calls_of_two = keeper(log, "two", 2)
    api.ask("one", calls_of_one, 3)
    until(lambda: calls_of_one.is_down("api"))
    assert calls_of_one.news.is_set()  # the keeper's thread looks at once
    one.look()
    assert told(log, DOWN) == ["one"]
    api.ask("two", calls_of_two, 0)
    two.look()
    api.ask("two", calls_of_two, 3)
    until(lambda: api.asked.get("two") == 1 and calls_of_two.is_down("api"))
    asked = api.asked["one"]
    until(lambda: api.asked["one"] >= asked + 5)
    two.look()
    assert (api.asked["two"], told(log, DOWN)) == (1, ["one"])
    assert calls_of_two.waits_for_others
    api.is_down = False
    until(lambda: not calls_of_one.is_down("api"))
    one.look()
    assert told(log, UP) == ["one"]
    two.look()
    api.end()
    assert api.asked["two"] == 4


@pytest.mark.parametrize("how", ["left", "silent"])
def test_another_worker_tests_the_service_when_the_first_one_is_gone(api, how, until):
    log = Log()
    two, calls_of_two = keeper(log, "two", 2)
    api.ask("two", calls_of_two, 3)
    until(lambda: calls_of_two.is_down("api"))
    log.tell([ShardEvent(JOINED, "one"), ShardEvent(DOWN, "one", service="api")])
    two.look()
    assert calls_of_two.waits_for_others
    if how == "left":
        log.tell([ShardEvent(LEFT, "one")])
    else:
        log.events[-1] = replace(log.events[-1], told_at=log.events[-1].told_at - DOWN_S)
    two.look()
    assert not calls_of_two.waits_for_others
    assert told(log, DOWN) == ["one", "two"]
    api.is_down = False
    api.end()


def test_an_answer_of_its_own_counts_for_more_than_the_word_of_another(api):
    log = Log()
    two, calls_of_two = keeper(log, "two", 2)
    api.is_down = False
    log.tell([ShardEvent(JOINED, "one"), ShardEvent(DOWN, "one", service="api")])
    api.ask("two", calls_of_two)
    api.end()
    two.look()
    assert not calls_of_two.waits_for_others
    assert told(log, UP) == []


def test_services_are_tested_here_when_the_events_cannot_be_read_for_long(api, until):
    log = Log()
    two, calls_of_two = keeper(log, "two", 2)
    api.ask("two", calls_of_two, 3)
    until(lambda: calls_of_two.is_down("api"))
    log.tell([ShardEvent(JOINED, "one"), ShardEvent(DOWN, "one", service="api")])
    two.look()
    two._heard_at -= DOWN_S
    two._stop_waiting_for_others()
    assert not calls_of_two.waits_for_others
    api.is_down = False
    api.end()


def take_all(budget):
    """Retries that may be made at once."""
    taken = 0
    while next(budget.spend(), None) is None:
        taken += 1
    return taken


def test_all_workers_together_stay_within_one_retry_budget():
    log = Log()
    made = [keeper(log, f"w{number}", 4) for number in range(4)]
    budgets = [RetryBudget() for _ in made]
    for (_, calls), budget in zip(made, budgets, strict=True):
        calls.join("api", Calls(shared=calls).caller("api")._breaker, budget)
    assert [take_all(budget) for budget in budgets] == [5] * 4  # 20 together
    log.tell([ShardEvent(LEFT, f"w{number}") for number in (1, 2, 3)])
    quota, calls = made[0]
    quota._began_at -= 60
    quota.look()
    alone = budgets[0]
    alone._at -= 60  # time refills it up to the floor
    assert take_all(alone) == 20

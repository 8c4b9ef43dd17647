"""Rates and caps of a shared run: never passed in sum, and all of it for one worker alone."""

import random
import threading
from datetime import UTC, datetime

import pytest

from etlkit.bigquery.shards.quota import QuotaKeeper
from etlkit.bigquery.shards.shard_log import LogState
from etlkit.bigquery.shards.shard_map import JOINED, LEFT, ShardEvent, ShardMap
from etlkit.calls.leased import LeasedCalls
from etlkit.calls.limits import RateLimit
from etlkit.errors import CapReachedError


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
            self.events += events
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


def test_each_worker_gets_its_part_of_the_rate_and_one_alone_all_of_it():
    log = Log()
    one, calls_of_one = keeper(log, "one", 2)
    calls_of_one.declare("vision", RateLimit("100/s"))
    one.look()
    assert rate(calls_of_one) == pytest.approx(50)  # the other is about to join
    two, calls_of_two = keeper(log, "two", 2)
    calls_of_two.declare("vision", RateLimit("100/s"))
    two.look()
    assert rate(calls_of_two) == pytest.approx(50)
    log.tell([ShardEvent(LEFT, "two")])
    one._began_at -= 60
    one.look()
    assert rate(calls_of_one) == pytest.approx(100)


def test_one_that_joins_later_waits_until_the_others_use_less():
    log = Log()
    one, calls_of_one = keeper(log, "one")
    calls_of_one.declare("vision", RateLimit("100/s"))
    one._began_at -= 60
    one.look()
    two, calls_of_two = keeper(log, "two")
    calls_of_two.declare("vision", RateLimit("100/s"))
    two.look()
    assert (rate(calls_of_one), two._fraction) == (pytest.approx(100), 0)
    one.look()
    assert rate(calls_of_one) == pytest.approx(50)
    two.look()
    assert rate(calls_of_two) == pytest.approx(50)


def test_a_call_waits_until_something_is_granted():
    calls = LeasedCalls()
    calls.declare("vision", RateLimit("100/s"))
    turns = []
    waiting = threading.Thread(target=lambda: turns.append(calls.reserve("vision", 1)))
    waiting.start()
    waiting.join(timeout=0.3)
    assert waiting.is_alive()
    assert calls.reserve("another service", 1) == 0.0
    calls.grant_fraction(0.5)
    waiting.join(timeout=30)
    assert len(turns) == 1


@pytest.mark.parametrize("seed", range(3))
def test_no_cap_is_passed_by_all_workers_together_and_little_is_left(seed):
    log = Log(random.Random(seed))  # noqa: S311 - no secret
    num_workers, max_calls, max_cost = 4, 300, 20.0
    made = []

    def work(number):
        quota, calls = keeper(log, f"w{number}", num_workers, max_calls, max_cost)
        try:
            while True:
                calls.take(0.1)
                made.append(number)
                if calls.wants_more.is_set():
                    quota.look()
        except CapReachedError as error:
            assert "by all workers together" in str(error)  # noqa: PT017
        quota.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(num_workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads)
    assert 150 <= len(made) <= 200  # 20.0 at 0.1 are 200 calls
    assert sum(cost for _, cost in ShardMap.of(log.events).budgets.values()) == pytest.approx(
        len(made) * 0.1
    )


def test_what_a_worker_has_not_used_is_there_for_the_next():
    log = Log()
    one, calls_of_one = keeper(log, "one", max_calls=10)
    calls_of_one.take(0.0)
    one.close()
    log.tell([ShardEvent(LEFT, "one")])
    _, calls_of_two = keeper(log, "two", max_calls=10)
    for _ in range(9):
        calls_of_two.take(0.0)
    with pytest.raises(CapReachedError, match="max_calls=10"):
        calls_of_two.take(0.0)

"""What the events of shards mean, and that no two workers ever work on one shard.

`ETLKIT_RACES` is the number of runs whose workers meet in another order: `make fuzz`.
"""

import os
import random
import threading
from dataclasses import replace
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from etlkit.bigquery.shards.shard_claims import ShardClaims
from etlkit.bigquery.shards.shard_log import LogState
from etlkit.bigquery.shards.shard_map import (
    CLAIMED,
    FAILED,
    JOINED,
    LEFT,
    LOST,
    OPENED,
    RELEASED,
    SETTLED,
    Claim,
    ShardEvent,
    ShardMap,
    home,
)
from etlkit.calls import clock
from etlkit.errors import RunTakenOverError, SourceError

LAST = 4095
ROUNDS = int(os.environ.get("ETLKIT_RACES", "1"))


def opened(first=0, last=LAST, generation=1, rows=0):
    return ShardEvent(OPENED, "", first, last, generation, "p.d.src", rows=rows)


def claim(worker, first, last, generation=1):
    return Claim(worker, first, last, generation, "p.d.src")


def test_shards_are_free_until_claimed_and_gone_when_settled():
    shards = ShardMap.of([opened(0, 9), claim("a", 2, 4).event(CLAIMED)])
    assert shards.free() == [0, 1, 5, 6, 7, 8, 9]
    shards.add(claim("a", 2, 4).event(SETTLED))
    assert (shards.num_left, shards.claims, shards.is_done) == (7, [], False)
    shards.add(claim("b", 0, 1).event(CLAIMED))
    shards.add(claim("b", 0, 1).event(RELEASED))
    assert shards.free() == [0, 1, 5, 6, 7, 8, 9]


@pytest.mark.parametrize("kind", [LEFT, LOST])
def test_what_a_worker_leaves_behind_is_free_again_with_a_higher_generation(kind):
    shards = ShardMap.of(
        [
            opened(0, 9),
            ShardEvent(JOINED, "a"),
            claim("a", 0, 3).event(CLAIMED),
            claim("a", 0, 3).event(SETTLED),
            claim("a", 4, 6).event(CLAIMED),
            ShardEvent(kind, "a"),
        ]
    )
    taken = shards.choose("b", shards.free(), start=4, size=10)
    assert taken == replace(claim("b", 4, 6, generation=2), is_taken_over=True)
    fresh = shards.choose("b", shards.free(), start=7, size=10)
    assert fresh == claim("b", 7, 9)


def test_a_lost_worker_is_not_heard_any_more():
    shards = ShardMap.of([opened(0, 9), claim("a", 0, 9).event(CLAIMED), ShardEvent(LOST, "a")])
    shards.add(claim("a", 0, 9).event(SETTLED))
    shards.add(claim("a", 0, 9).event(CLAIMED))
    assert shards.free() == list(range(10))


def test_a_choice_goes_round_and_stops_at_a_gap():
    shards = ShardMap.of([opened(0, 9), claim("a", 5, 6).event(CLAIMED)])
    assert shards.choose("b", shards.free(), start=8, size=2) == claim("b", 8, 9)
    assert shards.choose("b", shards.free(), start=9, size=9) == claim("b", 7, 9)
    assert shards.choose("b", shards.free(), start=3, size=3) == claim("b", 2, 4)
    assert shards.choose("b", shards.free(), start=5, size=1) == claim("b", 7, 7)
    assert shards.choose("b", shards.free(), start=4096, size=9) == claim("b", 0, 4)
    assert shards.choose("b", [], start=0, size=9) is None


def test_homes_of_workers_are_apart():
    assert [home(index, 4) for index in range(5)] == [0, 1024, 2048, 3072, 0]


class Log:
    """A log in memory in which an INSERT is seen late, as any number of workers may add at once."""

    attempt = 1

    def __init__(self, events=(), chance=None):
        self.events = list(events)
        self.lock = threading.Lock()
        self.chance = chance

    def tell(self, events):
        self._pause()
        with self.lock:
            self.events += events
        self._pause()

    def read(self):
        self._pause()
        with self.lock:
            events = list(self.events)
        self._pause()
        return LogState(ShardMap.of(events), 1, 1, datetime.now(UTC), [])

    def _pause(self):
        if self.chance is not None:
            threading.Event().wait(self.chance.random() / 500)


def row_id(shard, number=0):
    return f"{shard:03x}{number:05x}-0000-4000-8000-000000000000"


def claims_of(log, worker, index=0, num_workers=2, **options):
    return ShardClaims(log, worker, index, num_workers, lambda _: [], **options)


def finish(claims, claim):
    ids = [row_id(shard) for shard in range(claim.first, claim.last + 1)]
    claims.was_read(claim, pa.array(ids))
    claims.was_read_whole(claim)
    claims.are_durable(ids)
    return ids


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_workers_at_once_take_every_shard_once(seed):
    log = Log([opened()], random.Random(seed))  # noqa: S311 - no secret
    taken: list[str] = []
    num_workers = 5

    def work(index):
        claims = claims_of(log, f"w{index}", index, num_workers)
        while (mine := claims.next()) is not None:
            taken.extend(finish(claims, mine))
        claims.leave()

    threads = [threading.Thread(target=work, args=(index,)) for index in range(num_workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(taken) == [row_id(shard) for shard in range(4096)]
    assert ShardMap.of(log.events).is_done


def test_a_worker_that_sees_a_rival_gives_its_claim_back():
    log = Log([opened(0, 1)])
    claims = claims_of(log, "a")
    tell = log.tell

    def tell_beside_another(events):
        tell(events)
        if any(event.kind == CLAIMED for event in events):
            tell([claim("b", 0, 1).event(CLAIMED)])
        if any(event.kind == RELEASED for event in events):
            claims.close()

    log.tell = tell_beside_another
    assert claims.next() is None
    kinds = [event.kind for event in log.events if event.worker == "a"]
    assert kinds == [JOINED, CLAIMED, RELEASED]


@pytest.mark.parametrize("end", [SETTLED, LEFT])
def test_a_rival_that_was_done_before_the_log_was_read_counts(end):
    """Its claim is not alive any more, but its rows are transformed."""
    log = Log([opened(0, 1), ShardEvent(JOINED, "b")])
    claims = claims_of(log, "a")
    tell = log.tell

    def tell_beside_another(events):
        if any(event.kind == CLAIMED for event in events):
            rival = claim("b", 0, events[0].last)
            tell([rival.event(CLAIMED), rival.event(SETTLED)])
            log.tell = tell
            if end == LEFT:
                log.events[-1] = ShardEvent(LEFT, "b")
        tell(events)

    log.tell = tell_beside_another
    taken = claims.next()
    kinds = [event.kind for event in log.events if event.worker == "a"]
    assert kinds[:3] == [JOINED, CLAIMED, RELEASED]
    assert taken.is_taken_over == (taken.first == 0)
    assert taken.first == 1 or end == LEFT


def test_only_the_first_worker_begins_until_the_columns_are_known():
    log = Log([opened()])
    known = threading.Event()
    first = claims_of(log, "a", may_start=known.is_set)
    second = claims_of(log, "b", 1, may_start=known.is_set)
    mine = first.next()
    waiting = threading.Thread(target=second.next)
    waiting.start()
    waiting.join(timeout=1)
    assert waiting.is_alive()
    assert [event.worker for event in log.events if event.kind == CLAIMED] == ["a"]
    known.set()
    waiting.join(timeout=30)
    assert {event.worker for event in log.events if event.kind == CLAIMED} == {"a", "b"}
    assert mine is not None


def test_the_next_shards_are_claimed_when_little_is_left_of_the_ones_before():
    log = Log([opened()])
    claims = claims_of(log, "a", num_workers=1)
    mine = claims.next()
    assert mine.num_shards == 4096 // 16
    claims.was_read(mine, pa.array([row_id(mine.first), row_id(mine.last)]))
    claims.was_read_whole(mine)
    waiting = threading.Thread(target=claims.next)
    waiting.start()
    waiting.join(timeout=0.5)
    assert waiting.is_alive()  # nobody knows how long these two rows take
    claims.are_durable([row_id(mine.first), row_id(mine.last)])
    waiting.join(timeout=30)
    assert replace(mine.event(SETTLED), rows=2) in log.events
    assert claims.durable_rows == 2
    assert claims.unsettled()[0].first == mine.last + 1


@pytest.mark.parametrize(
    ("rows", "first", "all_claims"), [(0, 128, 2), (4096, 128, 2), (20, 205, 2), (1, 4096, 1)]
)
def test_a_claim_is_of_a_row_or_more_where_most_shards_are_empty(rows, first, all_claims):
    """Each claim takes requests: two rows were once shared in 30 claims, most of them of nothing."""
    log = Log([opened(rows=rows)])
    claims = claims_of(log, "a")
    mine = claims.next()
    assert mine.num_shards == first
    while mine is not None:
        finish(claims, mine)  # fast rows
        mine = claims.next()
    assert sum(event.kind == CLAIMED for event in log.events) == all_claims


def test_a_worker_without_work_looks_often_enough_that_a_run_does_not_end_late():
    """One that waited for 5 s slept for 10 s more while the run was done."""
    rival = claim("b", 0, LAST)
    log = CountedLog([opened(), ShardEvent(JOINED, "b"), rival.event(CLAIMED)])
    waits = []

    class Waiting(ShardClaims):
        def _wait_for_others(self, seconds):
            waits.append(seconds)
            if sum(waits) > 120:
                log.tell([rival.event(SETTLED)])

    assert Waiting(log, "a", 0, 2, lambda _: []).next() is None
    assert all(wait <= 0.5 + sum(waits[:at]) / 2 for at, wait in enumerate(waits))
    assert max(waits) <= 15
    assert log.num_requests < 40  # each is a query


class SlowLog(Log):
    """A log on a slow BigQuery; it moves the clock of the calls."""

    seconds = 0.0

    def read(self):
        clock.skip_to(clock.now() + self.seconds)
        return super().read()


@pytest.mark.parametrize(("seconds", "second"), [(0.0, None), (5.0, 20)])
def test_with_a_slow_bigquery_claims_are_made_sooner_and_are_larger(seconds, second):
    """A row takes a second. The calls go on meanwhile, and at the end, too."""
    log = SlowLog([opened(0, 127)])
    log.seconds = seconds
    claims = claims_of(log, "a", num_workers=4)
    with clock.no_sleep():
        mine = claims.next()
        ids = [row_id(mine.first, number) for number in range(30)]
        claims.was_read(mine, pa.array(ids))
        claims.was_read_whole(mine)
        clock.skip_to(clock.now() + 20)
        claims.are_durable(ids[:20])
        waiting = threading.Thread(target=claims.next)
        waiting.start()
        waiting.join(timeout=0.5 if second is None else 30)
        assert waiting.is_alive() == (second is None)
    claims.close()
    waiting.join(timeout=30)
    claimed = [each for each in claims.unsettled() if each != mine]
    assert [each.num_shards for each in claimed] == ([] if second is None else [second])


class CountedLog(Log):
    """A log that counts the requests."""

    num_requests = 0

    def tell(self, events):
        self.num_requests += bool(events)
        super().tell(events)

    def read(self):
        self.num_requests += 1
        return super().read()


def test_a_claim_next_to_the_last_one_takes_one_insert_and_one_query():
    """It is told together with what is settled."""
    log = CountedLog([opened()])
    claims = claims_of(log, "a", num_workers=1)
    mine = claims.next()
    assert log.num_requests == 4  # joined, read, claimed, read
    finish(claims, mine)
    after = claims.next()
    assert log.num_requests == 6
    assert after.first == mine.last + 1
    assert [event.kind for event in log.events[-2:]] == [SETTLED, CLAIMED]


def test_a_claim_next_to_the_last_one_is_given_back_if_another_was_there_since():
    """What was known when the last claim was made may be half a minute old."""
    log = CountedLog([opened(), ShardEvent(JOINED, "b")])
    claims = claims_of(log, "a")
    mine = claims.next()
    finish(claims, mine)
    rival = claim("b", mine.last + 1, mine.last + 1)
    log.events += [rival.event(CLAIMED), rival.event(SETTLED)]
    after = claims.next()
    told = [event.kind for event in log.events if event.worker == "a"]
    assert told == [JOINED, CLAIMED, SETTLED, CLAIMED, RELEASED, CLAIMED]
    assert not after.first <= mine.last + 1 <= after.last


def test_a_worker_whose_shards_were_given_away_stops():
    log = Log([opened()])
    claims = claims_of(log, "a")
    finish(claims, claims.next())
    log.events.append(ShardEvent(LOST, "a"))
    with pytest.raises(RunTakenOverError, match="given to others"):
        claims.next()


def test_rows_of_other_shards_are_refused():
    log = Log([opened()])
    claims = claims_of(log, "a", num_workers=1)
    mine = claims.next()
    with pytest.raises(SourceError, match="is not of the shards"):
        claims.was_read(mine, pa.array([row_id(mine.last + 1)]))


def test_a_worker_that_failed_is_known_and_its_shards_are_free():
    """Its settled ones stay settled; what it says at its end changes nothing more."""
    first, second = claim("a", 0, 3), claim("a", 4, 7)
    events = [opened(0, 9), ShardEvent(JOINED, "a"), first.event(CLAIMED), second.event(CLAIMED)]
    told = [first.event(SETTLED), ShardEvent(FAILED, "a"), ShardEvent(LEFT, "a")]
    shards = ShardMap.of([*events, *told])
    assert (shards.failed, shards.lost) == ({"a"}, set())
    assert shards.free() == list(range(4, 10))
    assert ShardMap.of(events).failed == set()

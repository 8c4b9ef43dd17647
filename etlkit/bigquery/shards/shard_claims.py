"""The claims of one worker: which shards it works on, how far it is, and which it takes next."""

from __future__ import annotations

import logging
import math
import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from etlkit.bigquery.shards.shard_map import (
    CLAIMED,
    FAILED,
    JOINED,
    LEFT,
    RELEASED,
    SETTLED,
    Claim,
    ShardEvent,
    ShardMap,
    home,
)
from etlkit.bigquery.sql.shards import shard_of
from etlkit.calls import clock
from etlkit.errors import RunTakenOverError, SourceError

if TYPE_CHECKING:
    import pyarrow as pa

    from etlkit.bigquery.shards.shard_log import LogState, ShardLog

log: logging.Logger = logging.getLogger("etlkit.bigquery")

CLAIM_S = 30.0
"""How much work a claim is, about. A shorter one costs more requests; of a longer one, more is left to
the slowest worker in the end."""

AHEAD_S = 5.0
"""The next shards are claimed when this much work is left, so that the calls never wait for them."""

_AHEAD_REQUESTS = 4
"""Or as much as so many times of telling and reading take, if BigQuery is slow."""

_FIRST_SHARE = 16
"""The first claim of a worker is this part of its share: nobody knows yet how fast it is."""

_LAST_SHARE = 2
"""A claim is at most this part of a worker's share of what is free: the last ones are small."""

_LEAST_S = 3.0
"""But not smaller than this much work: a claim takes requests, too."""

_POLL_S = 0.1
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 15.0
_WAIT_GROWTH = 1.25
"""Between two looks at what the others do, when nothing is free: each look is a query. What is waited
too long at the end of a run is a quarter of what was waited before, about."""


@dataclass(eq=False)
class _OwnClaim:
    """A claim, and how many of its rows were read and are durable."""

    claim: Claim
    num_read: int = 0
    num_durable: int = 0
    is_read_whole: bool = False

    @property
    def is_settled(self) -> bool:
        return self.is_read_whole and self.num_durable >= self.num_read


@dataclass
class ShardClaims:
    """Claims shards for a worker until none is left. Safe for threads.

    The reader's thread claims and waits; the connections' threads tell what is durable.

    Args:
        shard_log: The events of the run.
        worker: Id of this worker.
        index: Its number, from 0.
        num_workers: How many workers there are meant to be.
        find_lost: Looks which of these workers are gone, given the log's state, and tells it.
        may_start: Whether others may work beside the first worker, which decides the columns; asked
            until it is true, or shards are settled.

    Attributes:
        lost: Ids of the workers that were lost, of this attempt at the run.
        everyone: Ids of all that have joined it.
    """

    shard_log: ShardLog
    worker: str
    index: int
    num_workers: int
    find_lost: Callable[[LogState], Sequence[ShardEvent]]
    may_start: Callable[[], bool] = lambda: True
    on_idle: Callable[[], None] = lambda: None
    _own: list[_OwnClaim] = field(default_factory=list)
    _by_shard: dict[int, _OwnClaim] = field(default_factory=dict)
    _to_tell: list[ShardEvent] = field(default_factory=list)
    _generations: set[int] = field(default_factory=set)
    _durable_rows: int = 0
    _settled_rows: int = 0
    _busy_s: float = 0.0
    _busy_since: float | None = None
    _request_s: float = 0.0
    _has_joined: bool = False
    lost: frozenset[str] = frozenset()
    everyone: frozenset[str] = frozenset()
    _everyone_may: bool = False
    _known: LogState | None = None

    def __post_init__(self) -> None:
        """Make what threads share."""
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._start = home(self.index, self.num_workers)  # -1 = anywhere

    def close(self) -> None:
        """End every wait: no more shards are claimed."""
        self._closed.set()

    def next(self) -> Claim | None:
        """Claim shards, as soon as little of the work claimed before is left.

        Returns:
            None = every shard of the run is settled, or this was closed.
        """
        wait_s = _FIRST_WAIT_S
        while not self._closed.is_set():
            if not self._has_little_left():
                self._closed.wait(_POLL_S)
                continue
            claim = self._claim_next_to_last()
            if claim is not None:
                return claim
            state = self._tell_and_read()
            if state.shards.is_done:
                return None
            claim = self._choose(state)
            if claim is not None:
                claim = self._claim(claim, state.shards)
                if claim is not None:
                    return claim
                wait_s = _FIRST_WAIT_S  # somebody else was as fast: look again soon
            with self._lock:
                has_rows = self._num_left() > 0
            if not has_rows:
                self.on_idle()
            lost = self.find_lost(state)
            if lost:
                self._to_tell += lost
                continue
            self._wait_for_others(wait_s * random.uniform(0.5, 1.0))  # noqa: S311 - no secret  # nosec B311
            wait_s = min(wait_s * _WAIT_GROWTH, _LONGEST_WAIT_S)
        return None

    def was_read(self, claim: Claim, row_ids: pa.Array) -> None:
        """Count rows that were read of a claim.

        Raises:
            SourceError: A row is not of these shards.
        """
        for row_id in row_ids.to_pylist():
            if not claim.first <= shard_of(row_id) <= claim.last:
                raise SourceError(f"row {row_id} is not of the shards that were asked for")
        with self._lock:
            self._of(claim).num_read += len(row_ids)
            if self._busy_since is None and len(row_ids):
                self._busy_since = clock.now()

    def was_read_whole(self, claim: Claim) -> None:
        """Say that no more rows of a claim come."""
        with self._lock:
            self._of(claim).is_read_whole = True

    def are_durable(self, row_ids: Sequence[str]) -> None:
        """Count rows whose outcome is durable, each once."""
        shards = Counter(map(shard_of, row_ids))
        with self._lock:
            for shard, num_rows in shards.items():
                own = self._by_shard.get(shard)
                if own is not None:
                    own.num_durable += num_rows
                    self._durable_rows += num_rows
            if self._busy_since is not None and self._num_left() <= 0:
                self._busy_s += clock.now() - self._busy_since
                self._busy_since = None

    def generation_of(self, row_id: str) -> int:
        """What a row is staged with."""
        return self._by_shard[shard_of(row_id)].claim.generation

    def generation(self) -> int | None:
        """What all rows are staged with; None = it differs."""
        return next(iter(self._generations)) if len(self._generations) == 1 else None

    def unsettled(self) -> list[Claim]:
        """Claims with rows that have no durable outcome, to be read again from the beginning."""
        with self._lock:
            left = [own for own in self._own if not own.is_settled]
            for own in left:
                own.num_read = own.num_durable = 0
                own.is_read_whole = False
            return [own.claim for own in left]

    @property
    def durable_rows(self) -> int:
        """Rows so far that got their outcome from this worker."""
        with self._lock:
            return self._settled_rows + sum(own.num_durable for own in self._own)

    def leave(self, *, has_failed: bool = False) -> None:
        """Tell what is settled, and that this worker is done. What it has not settled is free again.

        Args:
            has_failed: Whether it found an error that ends the run.
        """
        self._closed.set()
        failed = [ShardEvent(FAILED, self.worker)] if has_failed else []
        if self._has_joined or has_failed:
            left = ShardEvent(LEFT, self.worker)
            self.shard_log.tell([*self._settled(), *self._to_tell, *failed, left])

    def _of(self, claim: Claim) -> _OwnClaim:
        return next(own for own in self._own if own.claim == claim)

    def _has_little_left(self) -> bool:
        with self._lock:
            left = self._num_left()
            if left <= 0:
                return True
            rate = self._rows_per_s()
            return rate is not None and left <= rate * max(AHEAD_S, self._slow_s())

    def _slow_s(self) -> float:
        """For how long the calls should have work while this worker tells and reads."""
        return min(_AHEAD_REQUESTS * self._request_s, CLAIM_S)

    def _num_left(self) -> int:
        return sum(own.num_read - own.num_durable for own in self._own)

    def _rows_per_s(self) -> float | None:
        """While there were rows: slow claims must not make the next ones small, and so still slower."""
        if not self._durable_rows:
            return None
        since = self._busy_since
        busy_s = self._busy_s + (0.0 if since is None else clock.now() - since)
        return self._durable_rows / max(busy_s, 1e-3)

    def _settled(self) -> list[ShardEvent]:
        """Take the claims that are settled out of the list of own ones."""
        with self._lock:
            settled = [own for own in self._own if own.is_settled]
            self._own = [own for own in self._own if not own.is_settled]
            self._settled_rows += sum(own.num_durable for own in settled)
        return [replace(own.claim.event(SETTLED), rows=own.num_durable) for own in settled]

    def _tell_and_read(self, *more: ShardEvent) -> LogState:
        events = [*self._settled(), *self._to_tell]
        self._to_tell = []
        if not self._has_joined:
            events.insert(0, ShardEvent(JOINED, self.worker))
            self._has_joined = True
        began_at = clock.now()
        self.shard_log.tell([*events, *more])
        state = self._read()
        self._request_s = max(clock.now() - began_at, self._request_s / 2)
        return state

    def _read(self) -> LogState:
        """Read the events.

        Raises:
            RunTakenOverError: The shards of this worker were given to others.
        """
        state = self.shard_log.read()
        if state.attempt != self.shard_log.attempt or self.worker in state.shards.lost:
            raise RunTakenOverError(
                "the shards of this worker were given to others: it gave no sign of life for too "
                "long, or another process has resumed the run"
            )
        self.lost = frozenset(state.shards.lost)
        self.everyone = frozenset(row["worker"] for row in state.rows if row["worker"])
        return state

    def _choose(self, state: LogState) -> Claim | None:
        shards = state.shards
        if not self._everyone_may:
            self._everyone_may = shards.has_settled or self.may_start()
            is_first = next(iter(shards.workers), None) == self.worker
            if not self._everyone_may and (shards.claims or not is_first):
                return None
        free = shards.free()
        start = self._start
        if free and start not in free:  # others are near: not all at the beginning of the same gap
            start = random.choice(free)  # noqa: S311 - no secret  # nosec B311
        return shards.choose(self.worker, free, start, self._size(state, len(free)))

    def _claim_next_to_last(self) -> Claim | None:
        """Claim shards next to the last ones, chosen by what was known then: half of the requests.

        Returns:
            None = they are not free, or another worker was there first: look what all have told.
        """
        known, self._known = self._known, None
        if known is None or not self._everyone_may:
            return None
        free = known.shards.free()
        if self._start not in free:
            return None
        num_workers = self._num_workers(known)
        num_since = len(free) * (num_workers - 1) // (num_workers * _LAST_SHARE)
        size = self._size(known, len(free) - num_since)  # the others have had a claim each, about
        claim = known.shards.choose(self.worker, free, self._start, size)
        return None if claim is None else self._claim(claim, known.shards)

    def _num_workers(self, state: LogState) -> int:
        return max(self.num_workers, len(state.shards.workers), 1)

    def _size(self, state: LogState, num_free: int) -> int:
        workers = self._num_workers(state)
        with self._lock:
            rate = self._rows_per_s()
        shards_per_row = 1 / state.shards.rows_per_shard
        one_row = math.ceil(shards_per_row)  # most claims of fewer shards would be empty
        if rate is None:
            return max(one_row, num_free // (_FIRST_SHARE * workers))
        per_s = rate * shards_per_row
        least_s = max(_LEAST_S, self._slow_s())
        most = max(num_free // (_LAST_SHARE * workers), round(per_s * least_s))
        return max(one_row, min(most, round(per_s * CLAIM_S)))

    def _claim(self, claim: Claim, before: ShardMap) -> Claim | None:
        """Claim shards, and give them back if another worker has claimed one of them since.

        It does not matter whether that claim is alive: the other one may have settled it by now.

        Args:
            claim: What to claim.
            before: What it was chosen from.
        """
        only_mine = [times + 1 for times in before.times_claimed(claim)]
        state = self._tell_and_read(claim.event(CLAIMED))
        shards = state.shards
        is_live = any(each.event("") == claim.event("") for each in shards.claims)
        alone = self._everyone_may or len(shards.claims) == 1
        if not is_live or shards.times_claimed(claim) != only_mine or not alone:
            self._to_tell.append(claim.event(RELEASED))
            self._start = -1
            return None
        self._start, self._known = claim.last + 1, state
        own = _OwnClaim(claim)
        with self._lock:
            self._own.append(own)
            self._generations.add(claim.generation)
            for number in range(claim.first, claim.last + 1):
                self._by_shard[number] = own
        return claim

    def _wait_for_others(self, seconds: float) -> None:
        """Wait, but not when the last rows of this worker become durable: that is to be told."""
        until = clock.now() + seconds
        while clock.now() < until and not self._closed.wait(_POLL_S):
            with self._lock:
                if any(own.is_settled for own in self._own):
                    return

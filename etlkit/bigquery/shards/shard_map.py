"""The state of a run's shards, as its events tell it. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from etlkit.bigquery.sql.shards import NUM_SHARDS

OPENED, JOINED, CLAIMED, RELEASED, SETTLED, FAILED, LEFT, LOST = (
    "opened",
    "joined",
    "claimed",
    "released",
    "settled",
    "failed",
    "left",
    "lost",
)
SHARE, IDLE, BUDGET, USED_UP, DOWN, UP = "share", "idle", "budget", "used_up", "down", "up"


@dataclass(frozen=True, slots=True)
class ShardEvent:
    """Something that happened to shards of a run, or to a worker.

    Attributes:
        kind: `opened`: shards have rows without an outcome, which are in `source`. `joined`: a worker
            has begun. `claimed`: it works on shards. `released`: it gave them back before it read a
            row of them. `settled`: all their rows have an outcome that is durable. `failed`: the worker
            found an error that ends the run. `left`: it ended. `lost`: it gave no sign of life.
            `share`, `budget`: what it may use from now on. `idle`: it has no rows for now, and needs
            no share. `used_up`: as `budget`, and all of it is used, so that nothing can come back.
            `down`: it finds that a service is down, and tests it. `up`: the service has answered it.
        worker: Id of the worker; empty for `opened`.
        first: The first of the shards; they are neighbours.
        last: The last of them.
        generation: How often these shards were claimed and worked on, this time included.
        source: Of `opened`: the table to read them from.
        fraction: Of `share`: the part of every declared rate, from 0 to 1; 0 = it waits for one.
        calls: Of `budget` and `used_up`: how many calls the worker may make in all.
        cost: Of `budget` and `used_up`: what they may cost.
        rows: Of `opened`: how many rows of the shards have no outcome. Of `settled`: how many rows of
            them got their outcome from this worker.
        service: Of `down` and `up`.
        told_at: When it was told, by BigQuery's clock, in seconds of Unix time; 0 = it was not read.
    """

    kind: str
    worker: str = ""
    first: int = 0
    last: int = -1
    generation: int = 0
    source: str = ""
    fraction: float = 0.0
    calls: int = 0
    cost: float = 0.0
    rows: int = 0
    service: str = ""
    told_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Claim:
    """Neighbouring shards that a worker works on.

    Attributes:
        worker: Its id.
        first: The first shard.
        last: The last one.
        generation: What its rows are staged with; a higher one wins.
        source: The table to read from.
        is_taken_over: Whether a worker before has staged rows of these shards, which are left out.
    """

    worker: str
    first: int
    last: int
    generation: int
    source: str
    is_taken_over: bool = False

    @property
    def num_shards(self) -> int:
        """How many they are."""
        return self.last - self.first + 1

    def event(self, kind: str) -> ShardEvent:
        """The event that says what became of the claim."""
        return ShardEvent(kind, self.worker, self.first, self.last, self.generation, self.source)


@dataclass(slots=True)
class _Shard:
    """One shard that has rows without an outcome."""

    generation: int
    source: str
    is_taken_over: bool = False


@dataclass
class ShardMap:
    """Which shards are free, claimed and settled.

    Attributes:
        free_or_claimed: Shards that are not settled, by number.
        claims: The live claims. Two of them may overlap for a moment: both are given back then.
        workers: Ids of the workers that have joined and are at work.
        lost: Ids of those that were lost.
        failed: Ids of those that found an error that ends the run.
        has_settled: Whether a shard was settled.
        fractions: The part of every rate that each worker may use; 0 = it waits for one. Workers that
            are not in it make no calls for now.
        budgets: The calls and the money that each worker may use, those that are gone included: what
            they have used is not known better.
        used_up: Ids of those that have used all of it.
        down: By service, when each worker last said that it is down; who said so first comes first.
        rows_per_shard: How many rows without an outcome a shard had when they were opened, on average;
            1 where that was not told.
    """

    free_or_claimed: dict[int, _Shard] = field(default_factory=dict)
    claims: list[Claim] = field(default_factory=list)
    workers: dict[str, None] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    has_settled: bool = False
    fractions: dict[str, float] = field(default_factory=dict)
    budgets: dict[str, tuple[int, float]] = field(default_factory=dict)
    used_up: set[str] = field(default_factory=set)
    down: dict[str, dict[str, float]] = field(default_factory=dict)
    rows_per_shard: float = 1.0
    _times_claimed: Counter[int] = field(default_factory=Counter)

    @classmethod
    def of(cls, events: Iterable[ShardEvent]) -> ShardMap:
        """Read the events of one attempt, the oldest first."""
        made = cls()
        for event in events:
            made.add(event)
        return made

    def add(self, event: ShardEvent) -> None:
        """Apply one event. What a lost worker says afterwards is not heard."""
        if event.kind == OPENED:
            for number in range(event.first, event.last + 1):
                self.free_or_claimed[number] = _Shard(event.generation, event.source)
            num_shards = event.last - event.first + 1
            self.rows_per_shard = (event.rows or num_shards) / num_shards
        elif event.worker in self.lost:
            return
        elif event.kind == JOINED:
            self.workers[event.worker] = None
        elif event.kind in {FAILED, LEFT, LOST}:
            self._give_back(event)
        elif event.kind in {SHARE, IDLE, BUDGET, USED_UP}:
            self._set_use(event)
        elif event.kind == DOWN:
            self.down.setdefault(event.service, {})[event.worker] = event.told_at
        elif event.kind == UP:  # whoever said that it is down finds out whether that is over
            self.down.pop(event.service, None)
        else:
            self._add_to_claims(event)

    def _set_use(self, event: ShardEvent) -> None:
        """Set what a worker may use."""
        worker = event.worker
        if event.kind == SHARE:
            self.fractions[worker] = event.fraction
        elif event.kind == IDLE:
            self.fractions.pop(worker, None)
        else:
            self.budgets[worker] = event.calls, event.cost
            (self.used_up.add if event.kind == USED_UP else self.used_up.discard)(worker)

    def _add_to_claims(self, event: ShardEvent) -> None:
        claim = Claim(event.worker, event.first, event.last, event.generation, event.source)
        if event.kind in {CLAIMED, RELEASED}:
            step = 1 if event.kind == CLAIMED else -1
            for number in range(event.first, event.last + 1):
                self._times_claimed[number] += step
        if event.kind == CLAIMED:
            self.claims.append(claim)
            return
        self.claims = [each for each in self.claims if each != claim]
        if event.kind == SETTLED:
            self.has_settled = True
            for number in range(event.first, event.last + 1):
                self.free_or_claimed.pop(number, None)

    def _give_back(self, event: ShardEvent) -> None:
        """Free what a worker has claimed: the next one leaves out what was staged, and wins."""
        self.workers.pop(event.worker, None)
        self.fractions.pop(event.worker, None)
        for tellers in self.down.values():
            tellers.pop(event.worker, None)
        if event.kind == LOST:
            self.lost.add(event.worker)
        if event.kind == FAILED:
            self.failed.add(event.worker)
        mine = [claim for claim in self.claims if claim.worker == event.worker]
        self.claims = [claim for claim in self.claims if claim.worker != event.worker]
        for claim in mine:
            for number in range(claim.first, claim.last + 1):
                shard = self.free_or_claimed.get(number)
                if shard is not None:
                    shard.generation = max(shard.generation, claim.generation + 1)
                    shard.is_taken_over = True

    @property
    def is_done(self) -> bool:
        """Whether every shard is settled."""
        return not self.free_or_claimed

    @property
    def num_left(self) -> int:
        """Shards that are not settled."""
        return len(self.free_or_claimed)

    def claimed(self) -> set[int]:
        """Shards that somebody works on."""
        return {number for claim in self.claims for number in range(claim.first, claim.last + 1)}

    def free(self) -> list[int]:
        """Shards that nobody works on, in order."""
        taken = self.claimed()
        return sorted(number for number in self.free_or_claimed if number not in taken)

    def times_claimed(self, claim: Claim) -> list[int]:
        """How often each shard of a claim was claimed and not given back before a row was read."""
        return [self._times_claimed[number] for number in range(claim.first, claim.last + 1)]

    def choose(self, worker: str, free: Sequence[int], start: int, size: int) -> Claim | None:
        """Choose shards to claim: the first free ones from `start` on, or from the beginning.

        If there are fewer before the next gap in them, those before `start` as well.

        Args:
            worker: Who wants them.
            free: See `free`.
            start: Where to look first, so that workers rarely meet.
            size: How many, at most.

        Returns:
            Neighbours that are read from one table and staged with one generation; None = none is free.
        """
        if not free:
            return None
        at = next((i for i, number in enumerate(free) if number >= start), 0)
        end = self._reach(free, at, 1, size)
        begin = self._reach(free, at, -1, size - (end - at))
        kind = self.free_or_claimed[free[at]]
        return Claim(
            worker, free[begin], free[end], kind.generation, kind.source, kind.is_taken_over
        )

    def _reach(self, free: Sequence[int], at: int, step: int, size: int) -> int:
        """How far neighbours of one kind go in `free`, from `at` in one direction; `size` at most."""
        kind = self.free_or_claimed[free[at]]
        reached = at
        while abs(reached - at) + 1 < size and 0 <= reached + step < len(free):
            number = free[reached + step]
            if number != free[reached] + step or self.free_or_claimed[number] != kind:
                break
            reached += step
        return reached


def home(index: int, num_workers: int) -> int:
    """Where a worker looks for shards first.

    Args:
        index: Number of the worker, from 0.
        num_workers: How many there are.
    """
    return index % max(1, num_workers) * NUM_SHARDS // max(1, num_workers)

"""Runs of up to a billion rows on paper: `python -m tests.bench.scale_model`.

Prints the tables of `docs/scale.md`: time, processes, claims of shards and price of a run by its rows
and by the calls a minute that its API allows, and the first limit that it meets. Nobody has made such
a run. Measured constants name their figure in `tests/bench/history.jsonl`, quoted ones have a link, and
the rest is assumed and says so. The claims of shards are simulated one by one.
"""

import heapq
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from etlkit.bigquery.sql.expiration import EXPIRE_DAYS
from etlkit.engine.transform_spec import MAX_TASKS
from tests.bench import cost

SIZES = (1_000_000, 100_000_000, 1_000_000_000)
RATES = (1_800, 30_000, 100_000, 1_000_000)
"""Rows, and calls a minute: Vision's default quota first."""

QUOTAS = "https://cloud.google.com/bigquery/quotas"

NUM_SHARDS = 4096
CLAIM_S = 30.0
LEAST_CLAIM_S = 3.0
"""Of work in a claim, at most and at least."""
EVENTS_OF_A_CLAIM = 2
"""INSERTs, at most: claimed, settled. Shards next to the last ones are claimed with what is settled."""
QUERIES_OF_A_CLAIM = 2
"""Looks at the events, at most: which shards are free, and whether a rival claimed the same ones."""
RENEWAL_S = 15.0
SPREAD, STARTS_WITHIN_S, SEED = 0.1, 5.0, 7
"""Workers differ in speed by so much, and do not start at the same moment: assumed."""

LATENCY_S = 1.0
"""Of a call, assumed: of a packed request to Vision, or to a language model, rather more."""
QUERY_BYTES_PER_S = 2**30
"""What a statement reads and writes, assumed: a GiB a second on demand."""
USD_PER_CALL = 0.0015
"""Assumed: a label of Vision, https://cloud.google.com/vision/pricing"""
VCPU_USD_PER_S, GIB_USD_PER_S = 0.000018, 0.000002
"""Cloud Run jobs in a region of tier 1: https://cloud.google.com/run/pricing"""


@dataclass(frozen=True)
class Measured:
    """A figure of `tests/bench/history.jsonl`.

    Attributes:
        key: Its key there.
        commit: The commit it was measured at.
        value: Its value.
        says: What it is.
    """

    key: str
    commit: str
    value: float
    says: str


CALLS_1000 = Measured(
    "calls.1000", "d7e8382", 3.218, "calls of 50 ms, 1,000 in flight, over the ideal time"
)
MEMORY = Measured("memory.many_rows", "d7e8382", 73.1, "MB of a process, 2,000,000 rows")
MEASURED = (CALLS_1000, MEMORY)

IN_FLIGHT = 1000
"""Calls of one process; more are allowed, and were not measured."""
CALLS_PER_S = IN_FLIGHT / (0.05 * CALLS_1000.value)
"""What the processor of one process does, without TLS, beside the server on 2 cores."""


@dataclass(frozen=True)
class Limit:
    """Something that ends.

    Attributes:
        name: For people.
        allowed: How much there is.
        unit: Of what.
        source: Where that is said; `code` = in etlkit.
        way_out: What to do about it.
    """

    name: str
    allowed: float
    unit: str
    source: str
    way_out: str


ONE_PROCESS = Limit(
    "processor of one process", round(CALLS_PER_S), "calls/s", "measured",
    "more processes: shards",
)  # fmt: skip
ONE_LOOP = Limit(
    "calls in flight of one process", MAX_TASKS, "calls", "code",
    "more processes: shards",
)  # fmt: skip
SNAPSHOT = Limit(
    "frozen rows are kept", EXPIRE_DAYS, "days", "code",
    "ask the service for a higher quota, or cut the query by day and let `reuse` remember",
)  # fmt: skip
SESSION = Limit(
    "a read session lives", 6, "hours", QUOTAS,
    "nothing: another session is opened for the rest, and with shards each claim has its own",
)  # fmt: skip
APPENDS = Limit(
    "bytes appended in a project (US)", 3_000_000_000, "bytes/s", QUOTAS,
    "ask for more, or stage less: fewer and smaller columns",
)  # fmt: skip
CONNECTIONS = Limit(
    "append connections in a project (US)", 20_000, "connections", QUOTAS,
    "fewer processes with more calls in flight each",
)  # fmt: skip
EVENTS = Limit(
    "INSERTs into one table", 25, "in 10 s", QUOTAS,
    "longer claims, fewer processes; an INSERT that is refused is repeated",
)  # fmt: skip
PATCHES = Limit(
    "requests of one method and user", 100, "a second", QUOTAS,
    "longer leases, or several service accounts",
)  # fmt: skip
STATEMENT = Limit(
    "a statement may run", 6, "hours", QUOTAS,
    "slots, or several runs into partitions of the target",
)  # fmt: skip
LIMITS = (
    ONE_PROCESS, ONE_LOOP, SNAPSHOT, SESSION, APPENDS, CONNECTIONS, EVENTS, PATCHES, STATEMENT,
)  # fmt: skip


@dataclass(frozen=True)
class Claims:
    """What the simulation says of the claims of a run.

    Attributes:
        number: Of claims.
        shards: Of one, at most.
        busiest: INSERTs in the busiest 10 s.
        seconds: From the first claim to the end of the last.
        idle: The share of all processes' time in which one has nothing to do.
    """

    number: int
    shards: int
    busiest: int
    seconds: float
    idle: float


def simulate(rows: int, rows_per_s: float, workers: int) -> Claims:
    """Let workers claim all shards, one claim after the other.

    Args:
        rows: Of the run.
        rows_per_s: Of one worker, on average.
        workers: How many there are.
    """
    chance = random.Random(SEED)  # noqa: S311 - no secret
    free, number, largest = NUM_SHARDS, 0, 0
    ready: list[tuple[float, float]] = []
    for _ in range(workers):
        speed = chance.uniform(1 - SPREAD, 1 + SPREAD) if workers > 1 else 1.0
        starts_at = chance.uniform(0, STARTS_WITHIN_S) if workers > 1 else 0.0
        heapq.heappush(ready, (starts_at, rows / NUM_SHARDS / rows_per_s / speed))
    inserts: list[float] = []
    while free:
        now, shard_s = heapq.heappop(ready)
        at_most = max(free // (2 * workers), round(LEAST_CLAIM_S / shard_s))
        shards = min(free, max(1, min(at_most, round(CLAIM_S / shard_s))))
        free, number, largest = free - shards, number + 1, max(largest, shards)
        until = now + shards * shard_s
        inserts += [now, until]
        heapq.heappush(ready, (until, shard_s))
    ends = [until for until, _ in ready]
    last = max(ends)
    return Claims(number, largest, _busiest(inserts), last, 1 - sum(ends) / (last * workers))


def _busiest(times: list[float]) -> int:
    """The most events within 10 s."""
    times = sorted(times)
    most = begin = 0
    for end, at in enumerate(times):
        while times[begin] <= at - 10:
            begin += 1
        most = max(most, end - begin + 1)
    return most


@dataclass(frozen=True)
class Run:
    """A run on paper.

    Attributes:
        rows: Source rows, of `cost.ROW_BYTES` bytes, each one call and one target row.
        per_min: Calls that the API allows.
    """

    rows: int
    per_min: int

    @property
    def per_s(self) -> float:
        """Calls a second."""
        return self.per_min / 60

    @property
    def workers(self) -> int:
        """Processes that make so many calls: enough of them in flight, and enough processors."""
        of_one = min(IN_FLIGHT / LATENCY_S, CALLS_PER_S)
        return math.ceil(self.per_s / of_one)

    @property
    def fits_one(self) -> bool:
        """Whether one process can do it, with more calls in flight than were measured."""
        return self.per_s <= CALLS_PER_S and self.per_s * LATENCY_S <= MAX_TASKS

    @property
    def claims(self) -> Claims:
        """Its claims of shards."""
        return simulate(self.rows, self.per_s / self.workers, self.workers)

    @property
    def statement_s(self) -> float:
        """The longest statement: freezing the rows, or publishing them."""
        return self.rows * cost.ROW_BYTES / QUERY_BYTES_PER_S

    @property
    def hours(self) -> float:
        """From the snapshot to the published table."""
        return (self.claims.seconds + 2 * self.statement_s) / 3600

    @property
    def bigquery_usd(self) -> float:
        """BigQuery's part: the steps of `append`, work tables for so long, looks at events."""
        steps = list(cost.steps("append", self.rows, 0))
        price = sum(each.usd for each in steps if each.kind != "storage")
        kept = sum(each.bytes for each in steps if each.kind == "storage")
        looks = self.claims.number * QUERIES_OF_A_CLAIM if self.workers > 1 else 0
        price += cost.Step("", "storage", kept, self.hours).usd
        return price + cost.Step("", "query", looks * cost.billed(0)).usd

    @property
    def compute_usd(self) -> float:
        """Processes of one vCPU and 1 GiB."""
        return self.workers * self.hours * 3600 * (VCPU_USD_PER_S + GIB_USD_PER_S)

    def uses(self) -> Iterator[tuple[Limit, float]]:
        """How much of each limit it uses."""
        yield ONE_PROCESS, self.per_s
        yield ONE_LOOP, self.per_s * LATENCY_S
        yield SNAPSHOT, self.hours / 24
        yield SESSION, self.hours
        yield APPENDS, self.per_s * (cost.ROW_BYTES + cost.ID_BYTES + cost.COUNTER_BYTES)
        yield CONNECTIONS, self.workers
        yield EVENTS, self.claims.busiest if self.workers > 1 else 0
        yield PATCHES, self.workers / RENEWAL_S
        yield STATEMENT, self.statement_s / 3600

    def first_limit(self) -> tuple[Limit, float]:
        """The limit of which it uses the largest share, and that share.

        A read session that ends is no limit, as another one is opened. That of one process is none
        where there are enough of them.
        """
        shares = [
            (limit, used / limit.allowed)
            for limit, used in self.uses()
            if limit not in {SESSION, ONE_PROCESS, ONE_LOOP}
        ]
        return max(shares, key=lambda each: each[1])


def time_of(hours: float) -> str:
    """For people."""
    if hours < 1:
        return f"{hours * 60:.1f} min"
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.0f} days"


def percent(share: float) -> str:
    """For people."""
    return "< 1 %" if share < 0.01 else f"{share * 100:,.0f} %"


def _begun(heads: list[str]) -> list[str]:
    """The first two lines of a table."""
    return [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]


def runs_table() -> list[str]:
    """A row for each run, in Markdown."""
    heads = ["Rows", "Calls a minute", "Time", "Processes", "One is enough", "Claims"]
    heads += ["BigQuery, USD", "Processes, USD", "Calls, USD", "First limit, and how much of it"]
    lines = _begun(heads)
    for rows in SIZES:
        for per_min in RATES:
            run = Run(rows, per_min)
            limit, share = run.first_limit()
            claims = f"{run.claims.number:,}" if run.workers > 1 else "—"
            over = f"**{percent(share)}**" if share > 1 else percent(share)
            lines.append(
                f"| {rows:,} | {per_min:,} | {time_of(run.hours)} | {run.workers} "
                f"| {'yes' if run.fits_one else 'no'} | {claims} "
                f"| {run.bigquery_usd:,.2f} | {run.compute_usd:,.2f} "
                f"| {rows * USD_PER_CALL:,.0f} | {limit.name}: {over} |"
            )
    return lines


def limits_table() -> list[str]:
    """Each limit, and how much of it the largest runs use."""
    largest = [Run(SIZES[-1], per_min) for per_min in (RATES[0], RATES[-1])]
    heads = " | ".join(f"{SIZES[-1]:,} rows at {run.per_min:,}/min" for run in largest)
    lines = [f"| Limit | There is | {heads} | What to do |", "|---|---|---|---|---|"]
    for limit in LIMITS:
        shares = [dict(run.uses())[limit] / limit.allowed for run in largest]
        source = {"measured": "measured", "code": "set by etlkit"}.get(
            limit.source, f"[quoted]({limit.source})"
        )
        allowed = f"{limit.allowed:,} {limit.unit} ({source})"
        shown = " | ".join(map(percent, shares))
        lines.append(f"| {limit.name} | {allowed} | {shown} | {limit.way_out} |")
    return lines


def claims_table() -> list[str]:
    """The claims of the runs that need several processes."""
    heads = ["Rows", "Calls a minute", "Processes", "Rows a shard", "Shards a claim, at most"]
    lines = _begun([*heads, "Claims", "INSERTs in the busiest 10 s", "Idle at the end"])
    for rows in SIZES:
        for per_min in RATES:
            run = Run(rows, per_min)
            if run.workers > 1:
                claims = run.claims
                lines.append(
                    f"| {rows:,} | {per_min:,} | {run.workers} | {rows // NUM_SHARDS:,} "
                    f"| {claims.shards} | {claims.number:,} | {claims.busiest} "
                    f"| {claims.idle * 100:.1f} % |"
                )
    return lines


def constants_table() -> list[str]:
    """What was measured, with its key."""
    lines = ["| Measured | Value | Figure | Commit |", "|---|---|---|---|"]
    lines += [f"| {m.says} | {m.value:g} | `{m.key}` | {m.commit} |" for m in MEASURED]
    return lines


def tables() -> dict[str, str]:
    """All tables of the page, by name."""
    made = {
        "runs": runs_table(),
        "limits": limits_table(),
        "claims": claims_table(),
        "constants": constants_table(),
    }
    return {name: "\n".join(lines) for name, lines in made.items()}


def main() -> None:
    """Print them."""
    for name, text in tables().items():
        print(f"{name}\n\n{text}\n")


if __name__ == "__main__":
    main()

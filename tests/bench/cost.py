"""What BigQuery bills for a run, step by step: `python -m tests.bench.cost`.

Prints the tables of `docs/guides/cost.md`. Prices are those of the multi-region US on demand, before
free amounts, looked up on 2026-11-28; they change, and each has its link.
"""

from collections.abc import Iterator
from dataclasses import dataclass

MB = 2**20
GIB = 2**30
TIB = 2**40

QUERY_USD = 6.25 / TIB
"""A byte billed: https://cloud.google.com/bigquery/pricing#on_demand_pricing"""

MIN_QUERY_BYTES = 10 * MB
"""For each table that a statement reads: https://cloud.google.com/bigquery/pricing#on_demand_pricing"""

READ_USD = 1.10 / TIB
"""A byte read: https://cloud.google.com/bigquery/pricing#data_extraction_pricing"""

WRITE_USD = 0.025 / GIB
"""A byte written: https://cloud.google.com/bigquery/pricing#data_ingestion_pricing"""

STORAGE_USD = 0.02 / GIB
"""A byte and month, active logical storage: https://cloud.google.com/bigquery/pricing#storage"""

SLOT_HOUR_USD = {"Standard": 0.04, "Enterprise": 0.06}
"""Pay as you go: https://cloud.google.com/bigquery/pricing#capacity_compute_analysis_pricing"""

SLOT_STEP = 50
"""Slots by which a reservation grows:
https://cloud.google.com/bigquery/docs/slots-autoscaling-intro"""

HOURS_A_MONTH = 730

# https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#data_type_sizes
ID_BYTES = 2 + 36
"""A row id: a UUID as STRING."""
COUNTER_BYTES = 3 * 8
"""Attempt, part and parts: three INT64."""
EVENT_BYTES = 45
"""Run id and event, the columns of the ledger that are searched."""

ROW_BYTES = 1000
KEY_BYTES = 8
RUN_HOURS = 1
KEEP_HOURS = 7 * 24
EVENTS = 10_000
"""Rows in the ledger: about 5,000 runs."""

SIZES = (1_000, 1_000_000, 100_000_000)
MODES = ("append", "replace", "merge")


@dataclass(frozen=True)
class Step:
    """A step of a run.

    Attributes:
        name: What is done.
        kind: `query`, `read`, `write` or `storage`.
        bytes: Bytes that are billed; for storage, bytes that are kept for `hours`.
        hours: Only for storage.
    """

    name: str
    kind: str
    bytes: int
    hours: float = 0.0

    @property
    def usd(self) -> float:
        """Its price."""
        if self.kind == "storage":
            return self.bytes * STORAGE_USD * self.hours / HOURS_A_MONTH
        return self.bytes * {"query": QUERY_USD, "read": READ_USD, "write": WRITE_USD}[self.kind]


def billed(*tables: int) -> int:
    """Bytes billed for a statement that reads these numbers of bytes, one for each table."""
    return sum(max(MIN_QUERY_BYTES, num_bytes) for num_bytes in tables)


def steps(mode: str, rows: int, target_rows: int) -> Iterator[Step]:
    """The steps of a plain run: every row becomes one row of about the same size.

    Args:
        mode: `append`, `replace` or `merge`.
        rows: Source rows.
        target_rows: Rows of the target before the run; only a merge reads them.
    """
    meta = ID_BYTES + COUNTER_BYTES
    frozen = rows * (ROW_BYTES + ID_BYTES)
    staged = rows * (ROW_BYTES + meta)
    yield Step("dry run of the query", "query", 0)
    yield Step("snapshot: the source query", "query", billed(rows * ROW_BYTES))
    yield Step("start: guard and ledger", "query", billed(EVENTS * EVENT_BYTES))
    yield Step("read the snapshot (Storage Read)", "read", frozen)
    yield Step("stage the rows (Storage Write)", "write", staged)
    yield Step("audit: ids of the staged rows", "query", billed(rows * meta))
    if mode == "merge":
        yield Step("look for repeated keys", "query", billed(rows * (meta + KEY_BYTES)))
    # The guard's UPDATE, the look at it and the UPDATE at the end: three statements.
    yield Step("publish: the fence", "query", billed(0) * 3)
    if mode == "merge":
        target = target_rows * (KEY_BYTES + ROW_BYTES)
        yield Step("publish: the rows and the target", "query", billed(staged, target))
    else:
        yield Step("publish: the rows", "query", billed(staged))
    yield Step("work tables for an hour", "storage", frozen + staged, RUN_HOURS)


def workflow_steps() -> list[tuple[str, int, Step]]:
    """What a workflow costs beside the jobs of its tasks: name, BigQuery jobs, and a step."""
    least = billed(0)
    ledger = billed(EVENTS * EVENT_BYTES)
    return [
        ("its start", 1, Step("", "query", ledger)),
        ("a transfer or datamart, beside its own run", 0, Step("", "query", least)),
        ("the end of another task, or of all that end meanwhile", 1, Step("", "query", least * 3)),
        ("its end", 1, Step("", "query", least * 4)),
        ("a resume, instead of the start", 5, Step("", "query", ledger * 3 + least * 2)),
        ("a run that was at work when it died, at a resume", 1, Step("", "query", least)),
    ]


def workflow() -> list[str]:
    """What a workflow costs, in Markdown."""
    lines = ["| Of a workflow | BigQuery jobs | billed | USD |", "|---|---|---|---|"]
    for name, jobs, step in workflow_steps():
        lines.append(f"| {name} | {jobs} | {size(step.bytes)} | {usd(step.usd)} |")
    return lines


def size(num_bytes: int) -> str:
    """For people."""
    if num_bytes == 0:
        return "0"
    unit, name = (GIB, "GiB") if num_bytes >= GIB else (MB, "MiB")
    amount = num_bytes / unit
    return f"{amount:.0f} {name}" if amount >= 100 else f"{amount:.3g} {name}"


def usd(amount: float) -> str:
    """For people: three digits, no exponent."""
    if amount == 0:
        return "free"
    if amount < 1e-6:
        return "< 0.000001"
    digits = 2 if amount >= 1 else 4 if amount >= 0.01 else 6
    return f"{amount:.{digits}f}"


def table_of(mode: str) -> list[str]:
    """A table with one row a step and two columns a size, in Markdown."""
    columns = [list(steps(mode, rows, rows)) for rows in SIZES]
    heads = [f"{rows:,} rows | USD" for rows in SIZES]
    lines = [f"| Step | {' | '.join(heads)} |", "|---" * (1 + 2 * len(SIZES)) + "|"]
    for same in zip(*columns, strict=True):
        cells = [f"{size(step.bytes)} | {usd(step.usd)}" for step in same]
        lines.append(f"| {same[0].name} | {' | '.join(cells)} |")
    totals = [f"| **{usd(sum(step.usd for step in column))}**" for column in columns]
    lines.append(f"| **together** | {' | '.join(totals)} |")
    return lines


def summary() -> list[str]:
    """Totals of all modes, and what a failed run costs while it is kept."""
    lines = ["| USD for a run | " + " | ".join(f"{rows:,} rows" for rows in SIZES) + " |"]
    lines.append("|---" * (1 + len(SIZES)) + "|")
    for mode in MODES:
        cells = [usd(sum(step.usd for step in steps(mode, rows, rows))) for rows in SIZES]
        lines.append(f"| `{mode}` | {' | '.join(cells)} |")
    kept = [
        sum(step.bytes for step in steps("append", rows, 0) if step.kind == "storage")
        for rows in SIZES
    ]
    cells = [usd(Step("", "storage", each, KEEP_HOURS).usd) for each in kept]
    lines.append(f"| a failed run, kept for 7 days | {' | '.join(cells)} |")
    return lines


def slots() -> list[str]:
    """The smallest amount of slots for a minute."""
    lines = [f"| Edition | {SLOT_STEP} slots for a minute, USD |", "|---|---|"]
    for edition, price in SLOT_HOUR_USD.items():
        lines.append(f"| {edition} | {usd(SLOT_STEP * price / 60)} |")
    return lines


def tables() -> dict[str, str]:
    """All tables of the page, by name."""
    made = {
        "summary": summary(),
        "append and replace": table_of("append"),
        "merge": table_of("merge"),
        "slots": slots(),
        "workflow": workflow(),
    }
    return {name: "\n".join(lines) for name, lines in made.items()}


def main() -> None:
    """Print them."""
    for name, text in tables().items():
        print(f"{name}\n\n{text}\n")


if __name__ == "__main__":
    main()

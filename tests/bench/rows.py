"""How fast rows go through the engine, beside the loop everyone writes: `python -m tests.bench.rows`.

The naive loop is `batch.to_pylist()`, the function, `RecordBatch.from_pylist()`. Both ways run in turn
in one process, and each run of the engine is compared with the naive runs right before and right after
it: a machine that others use, too, is faster in one second and slower in the next. A figure is the
median of these ratios. All is CPU time of the process: no row waits for anything.
The source gives batches that are there already, and the sink only counts, so what is measured is what
the engine does. Beside it stands the loop by hand, which does without most of that.
"""

import argparse
import gc
import time
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import pyarrow as pa

from etlkit import TransferJob
from etlkit.api.run import RunRequest
from etlkit.engine.transfer import run_transfer
from etlkit.rows.columns import arrow_schema, parse_schema
from tests.bench.by_hand import HandLoop
from tests.bench.figures import Figure
from tests.bench.row_cases import CASES, LateSink, ReadySource, batches_of
from tests.bench.row_parts import parts_of

ROUNDS = 4
ROUNDS_OF_PARTS = 10


def naive_us(case, batches):
    """CPU time a row of the loop everyone writes, in microseconds."""
    schema = arrow_schema(parse_schema({**case.schema, **case.new}))
    gc.collect()
    started, num_rows, rejected = time.process_time(), 0, []
    for batch in batches:
        out = []
        for row in batch.to_pylist():
            try:
                out.extend(case.naive(row))
            except ValueError as error:
                rejected.append((row, str(error)))
        num_rows += pa.RecordBatch.from_pylist(out, schema).num_rows
    spent = time.process_time() - started
    assert num_rows == (case.target_rows or case.num_rows)
    return spent / case.num_rows * 1e6


def hand_us(case, batches):
    """CPU time a row of the loop by hand, in microseconds."""
    target = {**case.schema, **case.new}
    schemas = [arrow_schema(parse_schema(each)) for each in (case.schema, target)]
    reads = case.etl.columns
    loop = HandLoop(*schemas, case.hand or case.etl().transform_row, reads)
    how = {"is_fan_out": case.is_fan_out, "may_raise": case.on_row_error != "fail"}
    gc.collect()
    started, num_rows = time.process_time(), 0
    for batch in batches:
        num_rows += loop.run(batch, **how).num_rows
    spent = time.process_time() - started
    assert num_rows == (case.target_rows or case.num_rows)
    return spent / case.num_rows * 1e6


@dataclass(frozen=True)
class Spent:
    """CPU time a row of a whole run, from the opening of the source to the commit.

    Attributes:
        all_us: Of all threads, in microseconds.
        pipeline_us: Of the thread that collects, counts and writes.
    """

    all_us: float
    pipeline_us: float


def engine_spent(case, source):
    """What a run takes."""
    sink = LateSink()
    job = TransferJob(source=source, transform=case.etl, sink=sink, on_row_error=case.on_row_error)
    gc.collect()
    started, started_here = time.process_time(), time.thread_time()
    run_transfer(job, RunRequest("bench"))
    spent, spent_here = time.process_time() - started, time.thread_time() - started_here
    assert sink.count() == (case.target_rows or case.num_rows)
    return Spent(spent / case.num_rows * 1e6, spent_here / case.num_rows * 1e6)


def measure(case, rounds):
    """One figure: both ways in turn."""
    batches = batches_of(case)
    source = ReadySource(case.schema, lambda: batches)
    naive, engine, hand = [naive_us(case, batches)], [], []
    for _ in range(rounds):
        engine.append(engine_spent(case, source))
        hand.append(hand_us(case, batches))
        naive.append(naive_us(case, batches))
    around = [(before + after) / 2 for before, after in pairwise(naive)]
    ratios = [one / other.all_us for one, other in zip(around, engine, strict=True)]
    parts = parts_of(case, ROUNDS_OF_PARTS)
    by_hand = median(one / other for one, other in zip(around, hand, strict=True))
    return Figure(
        case.key,
        case.title,
        median(ratios),
        "x naive",
        case.goal,
        "higher",
        {"by hand": by_hand},
        tuple(ratios),
        {
            "naive": median(naive),
            "by hand": median(hand),
            "etlkit": median(each.all_us for each in engine),
            "of it, the pipeline's thread": median(each.pipeline_us for each in engine),
            **{part: us for part, us in parts.items() if part != "naive"},
        },
    )


def figures(rounds=ROUNDS):
    """All figures of the row path."""
    found = [measure(case, rounds) for case in CASES]
    usual_us = found[0].profile["etlkit"]
    for case, figure in zip(CASES, found, strict=True):
        if case.on_row_error == "reject":
            num_failed = case.num_rows - case.target_rows
            more_us = (figure.profile["etlkit"] - usual_us) * case.num_rows / num_failed
            figure.profile["a rejected row, beyond the others"] = more_us
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    for each in figures(parser.parse_args().rounds):
        reached = {None: "", True: "reached", False: f"goal {each.goal}"}[each.is_reached]
        beside = ", ".join(f"{name} {value:.2f}" for name, value in each.beside.items())
        print(f"{each.title:40} {each.value:8.2f} {each.unit:8} {reached:10} {beside}")


if __name__ == "__main__":
    main()

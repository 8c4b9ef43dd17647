"""What a fast row costs, part by part: `python -m tests.bench.row_parts six_columns nested …`.

Each part runs alone on one block, again and again; the best time counts. So it says something on a busy
machine, too. It leaves out what a whole run adds: other threads, searches for cycles, and values that
are not in the processor's cache.
"""

import argparse
import dataclasses
import time

import pyarrow as pa

from etlkit import TransferJob
from etlkit.api.outcomes import classify
from etlkit.calls.worker import Worker
from etlkit.engine.chunk import Chunk, block_rows
from etlkit.engine.made_rows import make_rows
from etlkit.engine.output_schema import OutputSchema
from etlkit.engine.pending_rows import ColumnPlan, PendingRows
from etlkit.engine.transform_spec import TransformSpec
from etlkit.rows.batches import RowDecoder
from etlkit.rows.columns import arrow_schema, parse_schema
from tests.bench.row_cases import CASES, LateSink, ReadySource, batches_of

NUM_ROWS = 2000


class Block:
    """One block of a case's rows, and the parts of the way through the engine."""

    def __init__(self, case):
        self.case, self.etl = case, case.etl()
        self.batches = batches_of(dataclasses.replace(case, num_rows=NUM_ROWS))
        ready = ReadySource(case.schema, lambda: self.batches)
        job = TransferJob(source=ready, transform=case.etl, sink=LateSink())
        read = TransformSpec(job).decoded_columns(ready.columns)
        output = {**case.schema, **case.new, **(self.etl.output_schema or {})}
        passing = {c.name: c for c in ready.columns if c not in read}
        self.schema = OutputSchema(parse_schema(output), passing)
        self.size = block_rows(len(read))
        [batch] = ready.batches()
        full, decoder = RowDecoder(ready.columns), RowDecoder(read)
        self.make_chunk = lambda: Chunk(batch, decoder, 1, full, self.size)
        self.plan = self.learn()

    def learn(self):
        part = self.decode()
        results = map(self.etl.transform_row, part.block.rows)
        outcomes = [classify(result, self.schema.keys) for result in results]
        make_rows(self.schema, part.chunk, 0, outcomes, part)
        is_fan_out = any(type(each) is not dict and each.rows for each in outcomes)
        return ColumnPlan.learned(self.schema, part, is_fan_out=is_fan_out)

    def decode(self, _=None):
        return next(self.make_chunk().parts(0, self.size))

    def pending(self):
        part = self.decode()
        marks = (b"\0" * 7 + b"\1") * (self.size // 8 + 1)
        return PendingRows(self.plan, part, 0), part.tuples(marks[-self.size :]), []

    def run(self, given):
        pending, values, outcomes = given
        until = time.monotonic() + 1000
        pending.run(values, self.etl.transform_row, outcomes, time.monotonic, until, Worker())
        return pending, outcomes

    def encode(self, given):
        pending, outcomes = given
        pending.made_rows(outcomes, 0, pending.gaps(outcomes))

    def function(self, rows):
        for row in rows:
            result = self.etl.transform_row(row)
            if result is not None and type(result) is not dict:
                list(result)

    def naive(self, batch):
        schema = arrow_schema(parse_schema({**self.case.schema, **self.case.new}))
        out = [made for row in batch.to_pylist() for made in self.case.naive(row)]
        pa.RecordBatch.from_pylist(out, schema)

    def best_us(self, part, prepare, rounds):
        """Microseconds a row, of the best round."""
        best = float("inf")
        for _ in range(rounds):
            given = prepare()
            began = time.perf_counter()
            part(given)
            best = min(best, time.perf_counter() - began)
        return best / self.size * 1e6


def parts_of(case, rounds):
    """Microseconds a row of each part; empty if rows of the case fail."""
    if case.on_row_error != "fail":
        return {}
    block = Block(case)
    return {
        "decode": block.best_us(block.decode, lambda: None, rounds),
        "loop and function": block.best_us(block.run, block.pending, rounds),
        "of which the function": block.best_us(
            block.function, lambda: block.decode().block.rows, rounds
        ),
        "encode": block.best_us(block.encode, lambda: block.run(block.pending()), rounds),
        "naive": block.best_us(block.naive, lambda: block.batches[0].slice(0, block.size), rounds),
    }


def main():
    known = {c.key.removeprefix("rows."): c for c in CASES if c.on_row_error == "fail"}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", choices=[*known, []], default=["six_columns"])
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    for name in options.cases:
        found = parts_of(known[name], options.rounds)
        print(name, ", ".join(f"{part} {value:.2f}" for part, value in found.items()), "µs a row")


if __name__ == "__main__":
    main()

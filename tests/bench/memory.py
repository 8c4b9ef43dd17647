"""How much memory a run takes beyond what its modules take: `python -m tests.bench.memory`.

Each case is a process of its own, which first runs the same job over a few rows, so that everything is
imported. Its figure is the peak of its resident memory minus what it had before the run. The source
makes its batches while they are read, and the sink only counts. `--rows 10000000` is the long form.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from etlkit import EtlBase, TransferJob
from etlkit.api.run import RunRequest
from etlkit.engine.transfer import run_transfer
from tests.bench.figures import Figure
from tests.bench.row_cases import BATCH_ROWS, SIX, ArrowSource, CountingSink, Shout, six_columns

FEW_ROWS, MANY_ROWS = 200_000, 2_000_000
LARGE_ROWS, LARGE_BYTES, LARGE_A_BATCH = 400, 5_000_000, 4
FAN_OUT_ROWS, FAN_OUT = 1_000, 1_000
ROOT = Path(__file__).parents[2]


def photos(num_rows: int) -> Iterator[pa.RecordBatch]:
    """Rows of an object table."""
    batch = pa.RecordBatch.from_arrays(six_columns(BATCH_ROWS), list(SIX))
    for first in range(0, num_rows, BATCH_ROWS):
        yield batch.slice(0, min(BATCH_ROWS, num_rows - first))


def large(num_rows: int) -> Iterator[pa.RecordBatch]:
    """A few MB of text in each row."""
    for first in range(0, num_rows, LARGE_A_BATCH):
        numbers = range(first, min(first + LARGE_A_BATCH, num_rows))
        texts = [f"{n:010d}" * (LARGE_BYTES // 10) for n in numbers]
        yield pa.RecordBatch.from_arrays([pa.array(texts)], ["text"])


class Longer(EtlBase):
    def transform_row(self, row):
        row["text"] += "!"
        return row


class FanOut(EtlBase):
    def transform_row(self, row):
        for part in range(FAN_OUT):
            yield {**row, "part": part}


CASES = {
    "photos": (SIX, photos, Shout),
    "large": ({"text": "STRING"}, large, Longer),
    "fan_out": (SIX, photos, FanOut),
}


def run_case(name: str, num_rows: int) -> None:
    """Run a case with the engine."""
    schema, make, etl = CASES[name]
    source = ArrowSource(schema, lambda: make(num_rows))
    job = TransferJob(source=source, transform=etl, sink=CountingSink())
    report = run_transfer(job, RunRequest("bench"))
    assert report.read == num_rows, report


def run_naive(name: str, num_rows: int) -> None:
    """The loop everyone writes, over the same batches."""
    _, make, etl = CASES[name]
    transform = etl().transform_row
    for batch in make(num_rows):
        pa.RecordBatch.from_pylist([transform(row) for row in batch.to_pylist()])


def resident_mb(peak: bool) -> float:
    """This process's memory now, or at its peak, in MB of 10^6 bytes."""
    word = "VmHWM" if peak else "VmRSS"
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(rf"{word}:\s+(\d+) kB", text)[1]) * 1024 / 1e6


def peak_mb(name: str, num_rows: int, *, naive: bool = False) -> float:
    """The peak of a case in a process of its own, over what it had before, in MB."""
    command = [sys.executable, "-m", "tests.bench.memory", "--case", name, "--rows", str(num_rows)]
    done = subprocess.run(
        [*command, *(["--naive"] if naive else [])],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def figures(many_rows: int = MANY_ROWS) -> list[Figure]:
    """The peaks of all cases."""
    few, many = peak_mb("photos", FEW_ROWS), peak_mb("photos", many_rows)
    naive = peak_mb("photos", FEW_ROWS, naive=True)
    return [
        Figure("memory.few_rows", f"memory, {FEW_ROWS:,} rows", few, "MB", beside={"naive": naive}),
        Figure("memory.many_rows", f"memory, {many_rows:,} rows", many, "MB", goal=150),
        Figure(
            "memory.large_rows",
            f"memory, {LARGE_ROWS} rows of {LARGE_BYTES // 1_000_000} MB",
            peak_mb("large", LARGE_ROWS),
            "MB",
            goal=400,
            beside={"naive": peak_mb("large", LARGE_ROWS, naive=True)},
        ),
        Figure(
            "memory.fan_out",
            f"memory, fan-out 1 → {FAN_OUT:,}, {FAN_OUT_ROWS:,} source rows",
            peak_mb("fan_out", FAN_OUT_ROWS),
            "MB",
            goal=200,
        ),
    ]


def main() -> None:
    """Print the figures; or, as the process of one case, its peak as JSON."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--case", choices=CASES)
    arguments.add_argument("--naive", action="store_true")
    arguments.add_argument("--rows", type=int, default=MANY_ROWS)
    given = arguments.parse_args()
    if given.case is None:
        for each in figures(given.rows):
            print(f"{each.title}: {each.value:.0f} MB   {each.beside or ''}")
        return
    run = run_naive if given.naive else run_case
    run(given.case, 2)
    before = resident_mb(peak=False)
    run(given.case, given.rows)
    print(json.dumps(round(resident_mb(peak=True) - before, 1)))


if __name__ == "__main__":
    main()

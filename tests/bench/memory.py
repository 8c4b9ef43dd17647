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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from etlkit import EtlBase, TransferJob
from etlkit.api.outcomes import Recovered
from etlkit.api.run import RunRequest
from etlkit.api.sink import Outlook
from etlkit.api.source import ROW_ID
from etlkit.engine.transfer import run_transfer
from etlkit.rows.columns import Column
from tests.bench.figures import Figure

FEW_ROWS, MANY_ROWS = 200_000, 2_000_000
LARGE_ROWS, LARGE_BYTES, LARGE_A_BATCH = 400, 5_000_000, 4
FAN_OUT_ROWS, FAN_OUT = 1_000, 1_000
BATCH_ROWS = 8_192
ROOT = Path(__file__).parents[2]


class GeneratedSource:
    """Batches that are made while they are read.

    Args:
        columns: Those of `make`.
        num_rows: Of all batches.
        batch_rows: Of each batch.
        make: Gives the arrays of rows `first` to `end`.
    """

    fingerprint = "bench"
    num_bytes = None
    details: ClassVar = {}

    def __init__(
        self,
        columns: tuple[Column, ...],
        num_rows: int,
        batch_rows: int,
        make: Callable[[int, int], list[pa.Array]],
    ):
        self.columns = columns
        self.num_rows = num_rows
        self._batch_rows = batch_rows
        self._make = make

    def expand(self, values):
        return self, frozenset()

    def open(self, job, run):
        return self

    def freeze(self, recovered=None):
        return

    def batches(self) -> Iterator[pa.RecordBatch]:
        names = [ROW_ID, *(column.name for column in self.columns)]
        for first in range(0, self.num_rows, self._batch_rows):
            end = min(first + self._batch_rows, self.num_rows)
            ids = pa.array([f"{n:036d}" for n in range(first, end)])
            yield pa.RecordBatch.from_arrays([ids, *self._make(first, end)], names)

    def fetch(self, row_ids):
        raise AssertionError("the sink refuses no row")

    def close(self, *, succeeded):
        return


class CountingSink:
    """Takes everything and keeps nothing."""

    keeps_order = False
    known_columns = ()
    target = "(bench)"

    def expand(self, values):
        return self, frozenset()

    def check(self, job, run, reader, columns):
        return Outlook("(bench)")

    def open(self, job, run, reader):
        return self

    def recover(self):
        return Recovered()

    def begin(self, columns):
        return

    def write(self, batch):
        return

    def reject(self, rows):
        return

    def refused(self):
        return ()

    def flush(self):
        return

    def is_ready(self):
        return True

    def commit(self, counts):
        return counts.parts

    def abort(self, error):
        return


PHOTO = (
    Column("uri", "STRING"),
    Column("generation", "INT64"),
    Column("content_type", "STRING"),
    Column("size", "INT64"),
    Column("md5_hash", "STRING"),
    Column("updated", "TIMESTAMP"),
)


def photos(first: int, end: int) -> list[pa.Array]:
    """Rows of an object table."""
    numbers = range(first, end)
    return [
        pa.array([f"gs://bucket/photos/{n:08d}.jpg" for n in numbers]),
        pa.array(numbers, pa.int64()),
        pa.array(["image/jpeg"] * len(numbers)),
        pa.array([100_000 + n for n in numbers], pa.int64()),
        pa.array([f"{n:032x}" for n in numbers]),
        pa.array(numbers, pa.int64()).cast(pa.timestamp("us", "UTC")),
    ]


def large(first: int, end: int) -> list[pa.Array]:
    """A few MB of text in each row."""
    return [pa.array([f"{n:010d}" * (LARGE_BYTES // 10) for n in range(first, end)])]


class Shout(EtlBase):
    def transform_row(self, row):
        row["response"] = row["uri"] + "!"
        return row


class Measure(EtlBase):
    def transform_row(self, row):
        row["num_chars"] = len(row["text"])
        return row


class FanOut(EtlBase):
    def transform_row(self, row):
        for part in range(FAN_OUT):
            yield {**row, "part": part}


CASES = {
    "photos": (PHOTO, BATCH_ROWS, photos, Shout),
    "large": ((Column("text", "STRING"),), LARGE_A_BATCH, large, Measure),
    "fan_out": (PHOTO, BATCH_ROWS, photos, FanOut),
}


def run_case(name: str, num_rows: int) -> None:
    """Run a case with the engine."""
    columns, batch_rows, make, etl = CASES[name]
    source = GeneratedSource(columns, num_rows, batch_rows, make)
    job = TransferJob(source=source, transform=etl, sink=CountingSink())
    report = run_transfer(job, RunRequest("bench"))
    assert report.read == num_rows, report


def run_naive(name: str, num_rows: int) -> None:
    """The loop everyone writes, over the same batches."""
    columns, batch_rows, make, etl = CASES[name]
    transform = etl().transform_row
    for batch in GeneratedSource(columns, num_rows, batch_rows, make).batches():
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

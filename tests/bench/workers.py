"""Workers of one machine beside one process: `python -m tests.bench.workers`.

Each row costs 1 ms of pure Python. Every row of the target says which process made it and when, so the
rate is that of the steady time: from when the last worker has begun until the first has no row left.
What the start of the workers costs is told beside it. All runs read the same table of one local server.
"""

import argparse
import os
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from google.cloud import bigquery

from etlkit import BigQuerySink, BigQuerySource, EtlBase, TransferJob, local_world, run_job
from tests.bench.figures import Figure

NUM_ROWS = 30_000
TIMES = 1
WORKERS = (1, 2, 4)
GOAL = 1.8
LOOPS = "BENCH_LOOPS_A_ROW"
ROW_S = 0.001


def spin(loops: int) -> int:
    """Pure Python that no other thread of the process can run beside."""
    total = 0
    for number in range(loops):
        total += number & 7
    return total


class Etl(EtlBase):
    """1 ms of pure Python a row."""

    def before_action(self):
        self.loops = int(os.environ[LOOPS])

    def transform_row(self, row):
        row["began"] = time.monotonic()  # one clock for all processes of a machine
        spin(self.loops)
        row["ended"] = time.monotonic()
        row["process"] = os.getpid()
        return row


def figures() -> list[Figure]:
    """The ratio of two workers and one process."""
    found = measure(NUM_ROWS, TIMES)
    alone = max(each["per_s"] for each in found[None])
    best = {n: max(each["per_s"] for each in found[n]) / alone for n in WORKERS}
    shortest = {n: min(each["seconds"] for each in runs) for n, runs in found.items()}
    return [
        Figure(
            key="workers.cpu_2",
            title="1 ms of pure Python a row, `--workers 2`",
            value=round(best[2], 3),
            unit="x one process",
            goal=GOAL,
            better="higher",
            beside={
                "`--workers 1`": round(best[1], 3),
                "`--workers 4`": round(best[4], 3),
                f"`--workers 2` with its start, {NUM_ROWS:,} rows": round(
                    shortest[None] / shortest[2], 3
                ),
            },
            runs=tuple(round(each["per_s"] / alone, 3) for each in found[2]),
        )
    ]


def measure(num_rows: int, times: int) -> dict[int | None, list[dict[str, float]]]:
    """Rows per second of the steady time and seconds of the transform, by number of workers."""
    found: dict[int | None, list[dict[str, float]]] = {n: [] for n in (None, *WORKERS)}
    with rows_to_read(num_rows) as run_sql:
        for _ in range(times):
            for workers, runs in found.items():
                report = run_job(job(workers), name="bench.workers", workers=workers)
                rate = steady_rate(run_sql("SELECT process, began, ended FROM bench.made"))
                runs.append({"per_s": rate, "seconds": report.seconds["transform"]})
                print(f"{workers or 'no'} workers: {rate:,.0f} rows/s, {runs[-1]['seconds']} s")
    return found


def job(workers: int | None) -> TransferJob:
    """The same for any number of workers."""
    return TransferJob(
        source=BigQuerySource("SELECT n FROM bench.numbers"),
        transform=Etl,
        sink=BigQuerySink("bench.made", mode="replace"),
        workers=workers,
    )


@contextmanager
def rows_to_read(num_rows: int):
    """A local server with rows; gives a function that runs SQL."""
    os.environ[LOOPS] = str(loops_of(ROW_S))
    with tempfile.TemporaryDirectory() as folder, local_world(Path(folder) / ".etlkit"):
        client = bigquery.Client()

        def run_sql(text: str) -> list[tuple]:
            return [tuple(row) for row in client.query_and_wait(text)]

        run_sql("CREATE SCHEMA bench")
        run_sql(
            f"CREATE TABLE bench.numbers AS SELECT n FROM UNNEST(GENERATE_ARRAY(1, {num_rows})) n"
        )
        yield run_sql
        client.close()


def loops_of(seconds: float) -> int:
    """How many loops of `spin` take this long, on this machine when nothing disturbs them."""
    loops, best = 20_000, float("inf")
    for _ in range(50):
        began = time.perf_counter()
        spin(loops)
        best = min(best, time.perf_counter() - began)
    return max(1, round(loops * seconds / best))


def steady_rate(rows: list[tuple]) -> float:
    """Rows per second, of rows as process, begin and end, while all processes were at work."""
    began: dict[int, float] = {}
    ended: dict[int, float] = {}
    for process, begin, end in rows:
        began[process] = min(begin, began.get(process, begin))
        ended[process] = max(end, ended.get(process, end))
    since, until = max(began.values()), min(ended.values())
    return sum(since <= end <= until for _, _, end in rows) / (until - since)


def main() -> None:
    """Print what was measured."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rows", type=int, default=NUM_ROWS)
    arguments.add_argument("--times", type=int, default=TIMES)
    given = arguments.parse_args()
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    found = measure(given.rows, given.times)
    alone = max(each["per_s"] for each in found[None])
    for workers in WORKERS:
        best = max(each["per_s"] for each in found[workers])
        print(f"{workers} workers: {best / alone:.2f} x one process")


if __name__ == "__main__":
    main()

"""Other libraries, each in the form that its documentation recommends: `make bench-peers`.

It runs in an environment of their own and knows nothing of etlkit. Rows: six columns in, one added by a
Python function; each way ends with Arrow in memory or, where the library always writes, with Parquet in
a folder. The naive loop runs in the same process; a figure is its best time over the library's.
Calls: each row is a POST to a server that answers after 50 ms, 64 in flight.

- dlt, arrow: a resource that yields Arrow tables, which the function gets as lists of dicts; run into
  a filesystem of Parquet. dlt, rows: the same with dicts, `add_map`. Calls: `@dlt.defer`.
- bytewax: a partition that gives batches of dicts, `op.map`, a sink that makes Arrow of each batch.
- Daft: a function of one column, `@daft.func`; the other five are never dicts. Calls: an async method.
- Prefect: a task for each row, `map`, threads. Only calls: a task takes longer than a row.
"""

import importlib.util
import json
import os
import tempfile
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from tests.bench.figures import Figure
from tests.bench.latency_server import latency_server

NUM_ROWS = 200_000
BATCH_ROWS = 8_192
TIMES = 2
NUM_CALLS, IN_FLIGHT, LATENCY_S = 2_000, 64, 0.05
NUM_TASKS = 400
"""Of Prefect, which takes longer for a task than the call."""

EPOCH = datetime(2024, 1, 1, tzinfo=UTC)

Way = Callable[[], int]
"""Does the work; gives the number of rows that came out."""


def figures() -> list[Figure]:
    """One figure of rows and one of calls, with all libraries that are installed beside each other."""
    os.environ |= {
        "DO_NOT_TRACK": "1",
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "RUNTIME__LOG_LEVEL": "ERROR",
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
        "EXTRACT__MAX_PARALLEL_ITEMS": str(IN_FLIGHT),
        "EXTRACT__WORKERS": str(IN_FLIGHT),
    }
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DLT_DATA_DIR"] = folder
        os.environ["PREFECT_HOME"] = f"{folder}/prefect"
        return [rows(folder), calls(folder)]


def rows(folder: str) -> Figure:
    """Times as fast as the naive loop."""
    batches = photos()
    ways = {
        "dlt, arrow": ("dlt", lambda: dlt_arrow(batches, folder)),
        "dlt, rows": ("dlt", lambda: dlt_rows(batches, folder)),
        "bytewax": ("bytewax", lambda: bytewax_rows(batches)),
        "Daft, one column": ("daft", lambda: daft_column(batches)),
    }
    naive, found = measured(lambda: naive_loop(batches), ways, TIMES)
    beside = {name: round(naive / spent, 2) for name, spent in found.items()}
    return _peer("rows.six_columns", "rows", "x naive", beside, "higher")


def calls(folder: str) -> Figure:
    """Times as long as rows x latency / calls in flight."""
    ideal_s = LATENCY_S / IN_FLIGHT
    with latency_server(LATENCY_S) as url:
        ways = {
            "dlt": ("dlt", lambda: dlt_calls(url, folder)),
            "Daft": ("daft", lambda: daft_calls(url)),
            "Prefect": ("prefect", lambda: prefect_calls(url)),
        }
        _, found = measured(lambda: threads(url), ways, 1)
    beside = {name: round(spent / ideal_s, 2) for name, spent in found.items()}
    return _peer("calls.64", "calls", "x ideal", beside, "lower")


def _peer(key: str, what: str, unit: str, beside: dict[str, float], better: str) -> Figure:
    best = (max if better == "higher" else min)(beside.values())
    return Figure(f"peers.{key}", f"{what}, other libraries", best, unit, None, better, beside)


def measured(
    first: Way, ways: dict[str, tuple[str, Way]], times: int
) -> tuple[float, dict[str, float]]:
    """The best seconds a row of the first way, and of each other that is installed and works."""
    base, found = float("inf"), {}
    for _ in range(times):
        base = min(base, seconds(first))
        for name, (package, way) in ways.items():
            if importlib.util.find_spec(package) is None:
                continue
            try:
                found[name] = min(found.get(name, float("inf")), seconds(way))
            except Exception as error:
                print(f"{name} failed: {type(error).__name__}: {error}")
    return base, found


def seconds(way: Way) -> float:
    """Seconds a row of one way."""
    began = time.perf_counter()
    num_rows = way()
    assert num_rows >= NUM_TASKS, num_rows
    return (time.perf_counter() - began) / num_rows


def photos() -> list[pa.RecordBatch]:
    """Rows of an object table, in memory."""
    made = []
    for first in range(0, NUM_ROWS, BATCH_ROWS):
        numbers = range(first, min(first + BATCH_ROWS, NUM_ROWS))
        stamps = [EPOCH + timedelta(seconds=n, microseconds=n) for n in numbers]
        columns = {
            "uri": pa.array([f"gs://bucket/photos/{n:08d}.jpg" for n in numbers]),
            "generation": pa.array([1_700_000_000_000_000 + n for n in numbers], pa.int64()),
            "content_type": pa.array(["image/jpeg"] * len(numbers)),
            "size": pa.array([100_000 + n * 7 % 1_000_000 for n in numbers], pa.int64()),
            "md5_hash": pa.array([f"{n:032x}" for n in numbers]),
            "updated": pa.array(stamps, pa.timestamp("us", "UTC")),
        }
        made.append(pa.RecordBatch.from_pydict(columns))
    return made


def transform(row):
    """One column more."""
    row["response"] = row["uri"] + "!"
    return row


def naive_loop(batches) -> int:
    """The loop everyone writes."""
    schema = batches[0].schema.append(pa.field("response", pa.string()))
    done = [
        pa.RecordBatch.from_pylist([transform(row) for row in batch.to_pylist()], schema)
        for batch in batches
    ]
    return sum(batch.num_rows for batch in done)


def dlt_arrow(batches, folder) -> int:
    """A resource of Arrow tables."""
    import dlt

    schema = batches[0].schema.append(pa.field("response", pa.string()))

    @dlt.resource(name="photos", write_disposition="replace")
    def resource():
        for batch in batches:
            rows = [transform(row) for row in batch.to_pylist()]
            yield pa.Table.from_pylist(rows, schema)

    return _run_dlt(resource(), f"{folder}/arrow", "arrow")


def dlt_rows(batches, folder) -> int:
    """A resource of dicts, and a map."""
    import dlt

    @dlt.resource(name="photos", write_disposition="replace")
    def resource():
        for batch in batches:
            yield batch.to_pylist()

    return _run_dlt(resource().add_map(transform), f"{folder}/rows", "rows")


def _run_dlt(resource, folder, name) -> int:
    import dlt

    pipeline = dlt.pipeline(
        name, destination=dlt.destinations.filesystem(f"file://{folder}"), dataset_name="bench"
    )
    pipeline.run(resource, loader_file_format="parquet")
    return pipeline.last_trace.last_normalize_info.row_counts["photos"]


def bytewax_rows(batches) -> int:
    """One worker; the sink makes Arrow of what comes in a batch."""
    import bytewax.operators as op
    from bytewax.dataflow import Dataflow
    from bytewax.inputs import DynamicSource, StatelessSourcePartition
    from bytewax.outputs import DynamicSink, StatelessSinkPartition
    from bytewax.testing import run_main

    done = []

    class Partition(StatelessSourcePartition):
        def __init__(self):
            self._batches = iter(batches)

        def next_batch(self):
            batch = next(self._batches, None)
            if batch is None:
                raise StopIteration
            return batch.to_pylist()

    class Source(DynamicSource):
        def build(self, *_):
            return Partition()

    class SinkPartition(StatelessSinkPartition):
        def write_batch(self, items):
            done.append(pa.RecordBatch.from_pylist(items))

    class Sink(DynamicSink):
        def build(self, *_):
            return SinkPartition()

    flow = Dataflow("bench")
    op.output("out", op.map("transform", op.input("in", flow, Source()), transform), Sink())
    run_main(flow)
    return sum(batch.num_rows for batch in done)


def daft_column(batches) -> int:
    """A function of the one column that it reads."""
    import daft

    @daft.func
    def response(uri: str) -> str:
        return uri + "!"

    frame = daft.from_arrow(pa.Table.from_batches(batches))
    return frame.with_column("response", response(frame["uri"])).to_arrow().num_rows


def post(url) -> str:
    """One call."""
    body = json.dumps({"requests": [{"image": {}}]}).encode()
    request = urllib.request.Request(f"{url}/v1/images:annotate", body)  # noqa: S310 - a server of ours
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        return json.load(answer)["responses"][0]["localizedObjectAnnotations"][0]["name"]


def threads(url) -> int:
    """A pool of threads, by hand."""
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        return len([*pool.map(lambda _: post(url), range(NUM_CALLS))])


def dlt_calls(url, folder) -> int:
    """Deferred items, which dlt runs in its pool of threads."""
    import dlt

    @dlt.resource(name="numbers")
    def numbers():
        yield from ({"n": n} for n in range(NUM_CALLS))

    @dlt.transformer(name="photos", write_disposition="replace")
    def called(row):
        @dlt.defer
        def call():
            return {**row, "name": post(url)}

        yield call()

    return _run_dlt(numbers() | called, f"{folder}/calls", "calls")


def daft_calls(url) -> int:
    """An async method, which Daft runs concurrently; a pool of threads makes the calls."""
    import asyncio

    import daft

    @daft.cls
    class Caller:
        def __init__(self, url: str):
            self.url = url
            self.pool = ThreadPoolExecutor(IN_FLIGHT)

        async def name(self, _n: int) -> str:
            return await asyncio.get_running_loop().run_in_executor(self.pool, post, self.url)

    frame = daft.from_pydict({"n": list(range(NUM_CALLS))})
    return frame.with_column("name", Caller(url).name(frame["n"])).to_arrow().num_rows


def prefect_calls(url) -> int:
    """A task for each row."""
    from prefect import flow, task
    from prefect.task_runners import ThreadPoolTaskRunner

    @task
    def call(_n: int) -> str:
        return post(url)

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=IN_FLIGHT))
    def all_calls() -> int:
        return len(call.map(range(NUM_TASKS)).result())

    return all_calls()


def main() -> None:
    """Print the figures."""
    for each in figures():
        print(each.title, each.unit, each.beside)


if __name__ == "__main__":
    main()

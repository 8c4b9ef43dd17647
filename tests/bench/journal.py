"""What a kill costs, what the journal costs, and what an unchanged table costs: `make bench`.

`python -m tests.bench.journal` prints the figures. The speeds with and without a journal ran one after
the other in one process; the calls were counted by a server.
"""

import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import urllib3
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from etlkit import BigQuerySink, BigQuerySource, EtlBase, TransferJob, run_job
from etlkit.api.run import RunRequest, Settings
from etlkit.engine.transfer import run_transfer
from etlkit.local import join_or_start
from etlkit.testing import MemorySource
from tests.bench.calls import PATH, request_for
from tests.bench.figures import Figure
from tests.bench.latency_server import latency_server
from tests.faults.conftest import paid_api as paid_api_fixture
from tests.faults.run_process import TIMEOUT_S, RunProcess
from tests.telling_sink import TellingSink

IN_FLIGHT = 16
NUM_KILLS = 2
CALLS_IN_FLIGHT, LATENCY_S, NUM_CALLS = 64, 0.05, 3_200
NUM_ROWS = 200_000
REPEAT, REPEAT_QUICK = 4, 16
NUM_KNOWN = 10_000

paid_api = contextmanager(paid_api_fixture.__wrapped__)


@contextmanager
def local_bigquery():
    """A local server with a work dataset; gives the server and a function that runs SQL."""
    with tempfile.TemporaryDirectory() as folder, join_or_start(Path(folder) / ".etlkit") as server:
        client = bigquery.Client(
            project=server.endpoints.project,
            credentials=AnonymousCredentials(),
            client_options=ClientOptions(api_endpoint=server.endpoints.bigquery),
        )
        yield server, lambda text: [tuple(row) for row in client.query_and_wait(text)]
        client.close()


def live_until(child, api, num_calls):
    """Return when so many calls have been made."""
    give_up_at = time.monotonic() + TIMEOUT_S
    while child.is_alive and api.num_calls() < num_calls:
        assert time.monotonic() < give_up_at
        time.sleep(0.002)


def repaid_by_kills(server, run):
    """Calls made twice for each kill -9 with 16 in flight, each followed by a resume."""
    run("CREATE SCHEMA IF NOT EXISTS under_kill")
    run(
        "CREATE OR REPLACE TABLE under_kill.rows AS "
        "SELECT n, CONCAT('row ', CAST(n AS STRING)) AS name FROM UNNEST(GENERATE_ARRAY(0, 1999)) AS n"
    )
    repaid = []
    for number in range(NUM_KILLS):
        with tempfile.TemporaryDirectory() as folder, paid_api() as api:
            where = ["--local", "--local-dir", str(server.local_dir)]
            environ = {
                "PAID_API": api.address,
                "TARGET": f"under_kill.bench_{number}",
                "IN_FLIGHT": str(IN_FLIGHT),
                "CHILD": "0",
            }
            log = Path(folder) / "log"
            child = RunProcess("job_under_kill.py", ["--quiet", *where], environ, log)
            live_until(child, api, 800)
            assert child.kill() is not None, log.read_text()
            child.close()
            child = RunProcess("job_under_kill.py", ["--quiet", "--resume", *where], environ, log)
            status, _, complaints = child.end()
            child.close()
            assert status == 0, complaints
            repaid.append(api.num_calls() - 2_000)
    return repaid


def caller(url):
    """A transform that calls a service that is far away, with a client of the user's own."""

    class Etl(EtlBase):
        max_concurrency = CALLS_IN_FLIGHT

        def before_action(self):
            parts = urlsplit(url)
            self.pool = urllib3.HTTPConnectionPool(parts.hostname, parts.port, maxsize=1)

        def transform_row(self, row):
            answer = self.pool.request("POST", PATH, json=request_for([row]), retries=False)
            row["response"] = answer.json()["responses"][0]
            return row

    return Etl


class Quick(EtlBase):
    """A row takes a microsecond."""

    def transform_row(self, row):
        row["score"] = row["n"] + 1
        return row


def spent(etl, source, folder, clock):
    """Seconds of the transform stage."""
    job = TransferJob(source=source, transform=etl, sink=TellingSink("replace"), journal=folder)
    took = {}

    def watch(stage, *_):
        took.setdefault(stage, clock())

    run_transfer(job, RunRequest("bench"), on_progress=watch)
    return took["publish"] - took["transform"]


def speeds_with_journal(etl, rows, clock, repeat):
    """Speeds with a journal over those without it: the best runs' first, then each pair's."""
    source, found = MemorySource(rows, batch_rows=5_000), {"on": [], "off": []}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(repeat):
            for way, where in (("off", "off"), ("on", folder)):
                found[way].append(spent(etl, source, where, clock))
    pairs = tuple(off / on for on, off in zip(found["on"], found["off"], strict=True))
    return min(found["off"]) / min(found["on"]), pairs


class Known(EtlBase):
    """Counts its calls."""

    columns = ("uri",)
    counter = SimpleNamespace(calls=0, lock=threading.Lock())

    def transform_row(self, row):
        with self.counter.lock:
            self.counter.calls += 1
        return {**row, "label": "cat"}


def calls_of_known_rows(server, run):
    """Calls of a table that has not changed, and of one of which 1 % has."""
    run("CREATE SCHEMA IF NOT EXISTS known")
    run(
        "CREATE OR REPLACE TABLE known.rows AS SELECT CONCAT('gs://b/', CAST(n AS STRING)) AS uri, "
        f"1 AS generation, n FROM UNNEST(GENERATE_ARRAY(1, {NUM_KNOWN})) AS n"
    )
    job = TransferJob(
        source=BigQuerySource("SELECT uri, generation FROM known.rows"),
        transform=Known,
        sink=BigQuerySink("known.target", mode="replace"),
        reuse="uri, generation",
        name="known",
    )
    found = []
    for change in (None, None, "UPDATE known.rows SET generation = 2 WHERE MOD(n, 100) = 0"):
        if change is not None:
            run(change)
        Known.counter.calls = 0
        run_job(job, settings=Settings(environ=server.endpoints.environ()))
        found.append(Known.counter.calls)
    assert found[0] == NUM_KNOWN
    return found[1:]


def figures() -> list[Figure]:
    """The figures of this module."""
    rows = [{"uri": f"gs://bucket/photos/{n:07}.jpg"} for n in range(NUM_CALLS)]
    with latency_server(LATENCY_S) as url:
        calls, call_runs = speeds_with_journal(caller(url), rows, time.perf_counter, REPEAT)
    numbers = [{"n": n, "name": f"row {n}", "x": n / 2} for n in range(NUM_ROWS)]
    quick, quick_runs = speeds_with_journal(Quick, numbers, time.process_time, REPEAT_QUICK)
    with local_bigquery() as (server, run):
        repaid = repaid_by_kills(server, run)
        unchanged, changed = calls_of_known_rows(server, run)
    return [
        Figure(
            "journal.repaid",
            f"calls repaid by a kill -9, {IN_FLIGHT} in flight",
            max(repaid),
            "calls",
            goal=IN_FLIGHT,
            runs=tuple(map(float, repaid)),
        ),
        Figure(
            "journal.calls",
            f"speed with the journal, calls of {LATENCY_S * 1000:.0f} ms, {CALLS_IN_FLIGHT} in flight",
            calls,
            "x without",
            goal=0.9,
            better="higher",
            runs=call_runs,
        ),
        Figure(
            "journal.rows",
            "speed with the journal, rows of a microsecond (processor time)",
            quick,
            "x without",
            goal=0.9,
            better="higher",
            runs=quick_runs,
        ),
        Figure(
            "reuse.unchanged",
            f"calls of an unchanged table of {NUM_KNOWN:,} rows",
            unchanged,
            "calls",
            goal=0,
        ),
        Figure(
            "reuse.changed",
            f"calls of a table of {NUM_KNOWN:,} rows of which 1 % changed",
            changed,
            "calls",
            goal=NUM_KNOWN / 100,
        ),
    ]


def main():
    """Print the figures."""
    for each in figures():
        runs = f"   ({', '.join(f'{value:.3g}' for value in each.runs)})" if each.runs else ""
        goal = f", goal {each.goal:g}" if each.goal is not None else ""
        sys.stdout.write(f"{each.title}: {each.value:.4g} {each.unit}{goal}{runs}\n")


if __name__ == "__main__":
    main()

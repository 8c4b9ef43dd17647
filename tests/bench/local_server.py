"""What requests cost the local server: `python -m tests.bench.local_server`.

It prints the server's processor time and the client's waiting time for each kind of request, over a
database of 400 tables: what grows with the number of tables shows here. Texts are new each time, so
that each is translated, or the same. What this user's earlier servers have translated is not used.
"""

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from etlkit import BigQuerySink, BigQuerySource, EtlBase, TransferJob
from etlkit.api.run import Settings
from etlkit.local import join_or_start
from etlkit.local.bigquery.googlesql import prepare
from etlkit.local.bigquery.wasm_service import cache_folder
from etlkit.runner import run_job

TIMES = 20
NUM_TABLES = 400
FIELDS = [bigquery.SchemaField(name, "INT64") for name in "abcdef"]

STATEMENTS = {
    "CREATE TABLE AS": "CREATE TABLE ds.c_{i} AS SELECT id, s, f FROM ds.t WHERE id > {i}",
    "INSERT": "INSERT INTO ds.u (id, s, f) VALUES ({i}, 'x', 2.0)",
    "MERGE": (
        "MERGE ds.u T USING (SELECT * FROM ds.t WHERE id BETWEEN {i} AND {i} + 5) S "
        "ON T.id = S.id WHEN MATCHED THEN UPDATE SET s = S.s, f = S.f "
        "WHEN NOT MATCHED THEN INSERT (id, s, f) VALUES (S.id, S.s, S.f)"
    ),
    "SELECT": "SELECT id, COUNT(*) AS n FROM ds.t WHERE id < {i} GROUP BY id ORDER BY id",
    "script of a transaction": (
        "BEGIN TRANSACTION;\nUPDATE ds.u SET f = {i} WHERE id = 3;\n"
        "IF EXISTS (SELECT 1 FROM ds.u WHERE id = 3) THEN\n"
        "INSERT INTO ds.u (id, s, f) VALUES ({i}, 'y', 1.0);\n"
        "ELSE\nRAISE USING MESSAGE = 'no';\nEND IF;\nCOMMIT TRANSACTION;"
    ),
}


CLAIM = """
INSERT INTO ds.shards (event_at, number, kind, worker)
SELECT CURRENT_TIMESTAMP(), CAST(JSON_VALUE(told, '$.number') AS INT64), JSON_VALUE(told, '$.kind'),
  JSON_VALUE(told, '$.worker')
FROM UNNEST(JSON_QUERY_ARRAY(PARSE_JSON(@events))) AS told
"""
"""As workers tell which shards they have taken."""

EVENTS = [bigquery.ScalarQueryParameter("events", "STRING", '[{"number": 1, "kind": "taken"}]')]


class Twice(EtlBase):
    """Doubles a number."""

    def transform_row(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row with one more column."""
        return {**row, "twice": 2 * row["n"]}


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        prepare()
        compiled = cache_folder()
        os.environ["XDG_CACHE_HOME"] = folder
        shutil.copytree(compiled, cache_folder(), ignore=all_but_machine_code)
        measure(folder)


def all_but_machine_code(_: str, names: list[str]) -> list[str]:
    """The files of a cache folder that hold what servers have learnt."""
    return [name for name in names if not name.endswith(".cwasm")]


def measure(folder: str) -> None:
    """Print the figures of a server with an empty cache folder."""
    print(f"load of the last minute: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    with join_or_start(Path(folder) / ".etlkit") as server:
        options = ClientOptions(api_endpoint=server.endpoints.bigquery)
        client = bigquery.Client(
            server.endpoints.project, AnonymousCredentials(), client_options=options
        )
        process = psutil.Process(server.pid)
        print(f"start: {spent_s(process):.1f} s of processor time")
        fill(client)
        for name, text in STATEMENTS.items():
            report(name, process, lambda i, text=text: client.query(text.format(i=i)).result())
        claim = bigquery.QueryJobConfig(query_parameters=EVENTS)
        report(
            "INSERT, the same", process, lambda _: client.query(CLAIM, job_config=claim).result()
        )
        same = STATEMENTS["SELECT"].format(i=7)
        report("SELECT, the same", process, lambda _: client.query(same).result())
        settings = Settings(environ=server.endpoints.environ())
        report("run of a job, 5 rows", process, lambda _: run_job(job(), settings=settings))
        dry = bigquery.QueryJobConfig(dry_run=True)
        text = "SELECT id, s FROM ds.t WHERE id = {i}"
        report("dry run", process, lambda i: client.query(text.format(i=i), job_config=dry))
        report("tables.get", process, lambda _: client.get_table("ds.t"))
        report("tables.insert", process, lambda i: client.create_table(table(f"new_{i}")))
        client.close()


def fill(client: bigquery.Client) -> None:
    """Make the tables."""
    client.create_dataset("ds")
    rows = "SELECT n AS id, CAST(n AS STRING) AS s, 1.5 AS f FROM UNNEST(GENERATE_ARRAY(1, 1000)) n"
    client.query_and_wait(f"CREATE TABLE ds.t AS {rows}")
    client.query_and_wait("CREATE TABLE ds.u AS SELECT * FROM ds.t WHERE id < 10")
    client.query_and_wait(
        "CREATE TABLE ds.shards (event_at TIMESTAMP, number INT64, kind STRING, worker STRING)"
    )
    for number in range(NUM_TABLES):
        client.create_table(table(f"other_{number}"))


def job() -> TransferJob:
    """A job of five rows."""
    source = BigQuerySource("SELECT n FROM UNNEST(GENERATE_ARRAY(1, 5)) AS n")
    return TransferJob(
        source=source, transform=Twice, sink=BigQuerySink("ds.twice"), name="bench.twice"
    )


def table(name: str) -> bigquery.Table:
    """A table of six columns."""
    return bigquery.Table(f"local.ds.{name}", schema=FIELDS)


def report(name: str, process: psutil.Process, ask: Callable[[int], object]) -> None:
    """Ask so many times, each time something new, and print what it cost."""
    ask(0)
    before, waited = spent_s(process), []
    for number in range(1, TIMES + 1):
        begun = time.perf_counter()
        ask(number)
        waited.append(time.perf_counter() - begun)
    each = (spent_s(process) - before) / TIMES
    print(
        f"{name:24} {each * 1e3:6.1f} ms processor {statistics.median(waited) * 1e3:6.1f} ms waiting"
    )


def spent_s(process: psutil.Process) -> float:
    """The processor time of a process."""
    times = process.cpu_times()
    return times.user + times.system


if __name__ == "__main__":
    main()

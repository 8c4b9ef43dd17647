"""The workflow that `test_workflow_resume.py` kills: whatever is done twice would show in its tables.

    numbers -> load (a transfer with a paid API) -> mart -> many -> yes | no -> tell
            -> parts (a loop) -> check ---------------------------------------^
    ask (a paid call) -^

Everything that writes appends, so a row that is written twice is there twice.
"""

import http.client
import os
import time
from pathlib import Path

from etlkit import (
    BigQuerySink,
    BigQuerySource,
    Condition,
    DataCheck,
    Datamart,
    EtlBase,
    IfElse,
    Loop,
    Task,
    TaskValue,
    TransferJob,
    Workflow,
)

NUM_ROWS = 400
PARTS = ("a", "b", "c")
ASKED = 100_000
"""Keys of the calls that tasks make themselves."""

OUT = os.environ["OUT"]
API = os.environ["PAID_API"]
CALLER = os.environ["CHILD"]
HOLD = os.environ.get("HOLD")
"""A folder: the small form of the workflow waits there, in the middle, until the test lets it go."""


def call(key):
    """One paid call."""
    connection = http.client.HTTPConnection(API, timeout=30)
    connection.request("POST", "/call", body=f"{key} {CALLER}")
    answer = int(connection.getresponse().read())
    connection.close()
    return answer


class Etl(EtlBase):
    def transform_row(self, row):
        return {**row, "value": call(row["n"])}


def ask():
    """A value that other tasks read, and that costs."""
    return {"answer": call(ASKED)}


def hold():
    """Wait for the test."""
    Path(HOLD, f"reached_{CALLER}").touch()
    while not Path(HOLD, f"go_{CALLER}").exists():
        time.sleep(0.02)


def tell(context):
    """The last task: what it was told goes into a call that all attempts make alike."""
    return call(ASKED + 1 + context.tasks["ask"].value["answer"] + context.tasks["load"].written)


def insert(table, sql):
    """A datamart that appends the rows of a SELECT."""
    return Datamart(
        sql=sql, query_mode="insert", destination=f"{OUT}.{table}", write_disposition="append"
    )


tasks = [
    Task(
        "numbers",
        Datamart(
            sql=f"CREATE OR REPLACE TABLE {OUT}.numbers AS\n"
            f"SELECT n FROM UNNEST(GENERATE_ARRAY(0, {NUM_ROWS - 1})) AS n;\n"
            f"SELECT COUNT(*) AS n FROM {OUT}.numbers"
        ),
    ),
    Task("ask", ask),
    Task(
        "load",
        TransferJob(
            source=BigQuerySource(f"SELECT n FROM {OUT}.numbers"),
            transform=Etl,
            sink=BigQuerySink(f"{OUT}.loaded"),
        ),
        after="numbers",
    ),
    Task(
        "parts",
        insert(
            "parts", f"SELECT $part$ AS part, $answer$ AS answer, COUNT(*) AS n FROM {OUT}.numbers"
        ),
        after=["numbers", "ask"],
        loop=Loop({"part": PARTS}, parallel=True),
        variables={"answer": TaskValue("ask", "value.answer")},
    ),
    Task(
        "mart",
        insert("mart", f"SELECT COUNT(*) AS n, SUM(value) AS total FROM {OUT}.loaded"),
        after="load",
    ),
    Task(
        "many",
        IfElse(Condition(TaskValue("load", "written"), ">", 10), then=["yes"], otherwise=["no"]),
        after=["mart", "parts"],
    ),
    Task("yes", insert("yes", "SELECT 1 AS n")),
    Task("no", insert("no", "SELECT 1 AS n")),
    Task("check", DataCheck(f"SELECT COUNT(*) FROM {OUT}.parts", "==", len(PARTS)), after="parts"),
    Task("tell", tell, after=["yes", "check", "ask", "load"]),
]

small = [
    Task("ask", ask),
    Task("hold", hold, after="ask"),
    Task("yes", insert("yes", "SELECT 1 AS n"), after="hold"),
]

if "LEASE_S" in os.environ:
    import etlkit.bigquery.runs.guard
    import etlkit.bigquery.runs.lease

    lease_s = float(os.environ["LEASE_S"])
    etlkit.bigquery.runs.guard.LEASE_S = etlkit.bigquery.runs.lease.LEASE_S = lease_s
    etlkit.bigquery.runs.lease._MARGIN_S = lease_s / 5
    etlkit.bigquery.runs.lease.Lease.__init__.__kwdefaults__["renew_s"] = lease_s / 5

job = Workflow(tasks=tasks if HOLD is None else small, name=OUT)

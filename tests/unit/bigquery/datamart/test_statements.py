"""What a datamart's report says of BigQuery's jobs, on the real client against a scripted server.

The embedded BigQuery counts no bytes and lists no jobs of a script; real BigQuery does.
"""

import json
import signal
import sys
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from etlkit import Datamart, StatementError
from etlkit.api.report import DatamartReport, StatementReport
from etlkit.api.run import Run, RunRequest, Settings
from etlkit.bigquery.client import connect
from etlkit.bigquery.datamart.dry_run_all import check_plan
from etlkit.bigquery.datamart.plan import make_plan
from etlkit.bigquery.datamart.run import _make_work_dataset
from etlkit.bigquery.datamart.statements import run_step
from tests.loopback import serving

NOW = datetime(2024, 1, 31, tzinfo=UTC)
STARTED_MS = 1_700_000_000_000


class Jobs(ThreadingHTTPServer):
    """BigQuery's jobs, as far as a test scripts them.

    Attributes:
        statistics: By SQL: the `query` part of a job's statistics.
        errors: By SQL: BigQuery's sentence.
        children: Jobs of scripts, newest first, as BigQuery lists them.
        sent: What was asked for, in order.
        cancelled: Ids of jobs that were cancelled.
        hold: SQL whose answer waits for this event.
        places: By SQL: where its tables are; else it names none.
        datasets: Those that were made.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.statistics, self.errors, self.children = {}, {}, []
        self.sent, self.jobs, self.cancelled = [], {}, []
        self.hold, self.asked = {}, threading.Event()
        self.places, self.datasets = {}, []

    def handle_error(self, request, client_address):
        """A client that was stopped waits for no answer."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def job(self, body):
        """The resource of a job that is done."""
        query = body["configuration"]["query"]["query"]
        status = {"state": "RUNNING" if query in self.hold else "DONE"}
        if query in self.errors:
            status["errorResult"] = {"reason": "invalidQuery", "message": self.errors[query]}
            status["errors"] = [status["errorResult"]]
        known = self.statistics.get(query, {})
        return body | {
            "status": status,
            "statistics": {
                "creationTime": str(STARTED_MS),
                "startTime": str(STARTED_MS),
                "endTime": str(STARTED_MS + 1500),
                "totalBytesProcessed": known.get("totalBytesProcessed", "0"),
                "totalSlotMs": known.get("totalSlotMs", "0"),
                "query": known,
            },
        }


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or "{}")
        path = urlsplit(self.path).path
        if path.endswith("/cancel"):
            self.server.cancelled.append(path.split("/")[-2])
            self.answer({"job": self.server.jobs.get(path.split("/")[-2], {})})
            return
        if path.endswith("/datasets"):
            self.server.datasets.append(body)
            self.answer(body)
            return
        query = body["configuration"]["query"]["query"]
        self.server.sent.append(body)
        if body["configuration"].get("dryRun") and query in self.server.errors:
            message = self.server.errors[query]
            code = 404 if message.startswith("Not found") else 400
            self.answer({"error": {"code": code, "message": message}}, code)
            return
        job = self.server.job(body)
        reference = job.setdefault("jobReference", {"projectId": "p"})
        reference["location"] = self.server.places.get(query, "US")
        self.server.jobs[reference.get("jobId")] = job
        self.answer(job)

    def do_GET(self):
        url = urlsplit(self.path)
        parent = parse_qs(url.query).get("parentJobId")
        if parent:
            self.answer({"jobs": self.server.children})
            return
        if "/datasets/" in url.path:
            self.answer({"error": {"code": 404, "message": "Not found"}}, 404)
            return
        job = self.server.jobs[url.path.rpartition("/")[2]]
        if "/queries/" not in url.path:
            self.answer(job)
            return
        query = job["configuration"]["query"]["query"]
        if query in self.server.hold:
            self.server.asked.set()
            self.server.hold[query].wait(30)
        rows = job["statistics"]["query"].get("rows", "0")
        reference = job["jobReference"]
        self.answer(
            {"jobComplete": True, "jobReference": reference, "totalRows": rows, "schema": {}}
        )

    def answer(self, body, status=200):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        return


@pytest.fixture
def server():
    with serving(Jobs()) as jobs:
        yield jobs


@pytest.fixture
def run(server):
    environ = {"BIGQUERY_EMULATOR_HOST": f"http://127.0.0.1:{server.server_port}"}
    with Run(
        RunRequest("mart", Settings(project="p", location="US", environ=environ), started_at=NOW)
    ) as run:
        yield run


def made(sql, **options):
    """A plan and an empty report."""
    ready = make_plan(Datamart(sql=sql, **options), queued_at=NOW, started_at=NOW)
    statements = [
        StatementReport(number=s.number, line=s.statement.line, statement=s.statement.first_line)
        for s in ready.steps
    ]
    return ready, DatamartReport(run_id="r", job="mart", statements=statements)


def test_what_bigquery_tells_of_a_job(server, run):
    """Bytes, slot time, rows and duration are in the report; the bound and the labels were sent."""
    server.statistics["SELECT 1"] = {
        "statementType": "SELECT",
        "totalBytesProcessed": "1000",
        "totalBytesBilled": "10485760",
        "totalSlotMs": "4321",
        "rows": "7",
    }
    ready, report = made("SELECT 1", maximum_bytes_billed=10**9)
    (statement,) = report.statements
    run_step(connect(run), ready, ready.steps[0], statement, "statement_1")
    assert statement == StatementReport(
        number=1,
        line=1,
        statement="SELECT 1",
        state="done",
        job_id=f"etlkit_{run.run_id}_1_statement_1",
        statement_type="SELECT",
        bytes_processed=1000,
        bytes_billed=10485760,
        slot_ms=4321,
        rows=7,
        seconds=1.5,
    )
    (sent,) = server.sent
    assert sent["configuration"]["query"]["maximumBytesBilled"] == "1000000000"
    assert sent["configuration"]["labels"] == {"etlkit_job": "mart", "etlkit_run": run.run_id}


def test_the_jobs_of_a_script(server, run):
    """In the order in which they ran, each with what it cost; one that failed has its sentence."""
    script = "BEGIN SELECT 1; INSERT t SELECT 2; END"
    server.statistics[script] = {"statementType": "SCRIPT"}
    server.statistics["INSERT t SELECT 2"] = {
        "statementType": "INSERT",
        "numDmlAffectedRows": "3",
        "totalBytesBilled": "5",
    }
    server.errors["SELECT 1"] = "boom"
    for number, query in enumerate(["INSERT t SELECT 2", "SELECT 1"]):
        body = {"configuration": {"query": {"query": query}, "jobType": "QUERY"}}
        body["jobReference"] = {"projectId": "p", "jobId": f"child_{number}"}
        job = server.job(body)
        job["statistics"]["creationTime"] = str(STARTED_MS - number)
        server.children.append(job | {"state": "DONE"})
    ready, report = made(script)
    (statement,) = report.statements
    run_step(connect(run), ready, ready.steps[0], statement, "statement_1")
    assert [(c.number, c.statement, c.state, c.error) for c in statement.children] == [
        (1, "SELECT 1", "failed", "boom"),
        (2, "INSERT t SELECT 2", "done", None),
    ]
    assert [(c.job_id, c.rows, c.bytes_billed) for c in statement.children] == [
        ("child_1", None, None),
        ("child_0", 3, 5),
    ]


def test_a_job_that_fails(server, run):
    """BigQuery's place becomes one in the file."""
    server.errors["SELECT\n nope"] = "Unrecognized name: nope at [2:2]"
    ready, report = made("\n\nSELECT 1;   SELECT\n nope")
    with pytest.raises(StatementError, match=r"nope at \[4:2\]") as caught:
        run_step(connect(run), ready, ready.steps[1], report.statements[1], "statement_2")
    assert caught.value.job_id == f"etlkit_{run.run_id}_1_statement_2"
    assert report.statements[1].state == "failed"


def test_an_estimate(server, run):
    """Bytes times the price; what cannot be validated has none, and what is refused is named."""
    tib = 1024**4
    server.statistics["SELECT a"] = {
        "statementType": "SELECT",
        "totalBytesProcessed": str(tib // 2),
    }
    server.errors["SELECT * FROM t"] = "Not found: Table p:d.t"
    server.errors["SELECT * FROM u"] = "Access Denied: Table u, or perhaps it does not exist."
    ready, report = made(
        "SELECT a; CREATE TABLE t AS SELECT 1; SELECT * FROM t; SELECT * FROM u; SELECT a"
    )
    check_plan(ready, run, report, 6.0)
    states = ["checked", "checked", "unchecked", "unchecked", "checked"]
    assert [s.state for s in report.statements] == states
    assert [s.estimated_cost for s in report.statements] == [3.0, None, None, None, 3.0]
    assert report.estimated_cost == 6.0
    assert all(body["configuration"]["dryRun"] for body in server.sent)


def test_what_is_missing_from_the_start_is_an_error(server, run):
    """Nothing before it makes anything."""
    server.errors["SELECT * FROM t"] = "Not found: Table p:d.t"
    ready, report = made("SELECT 1; SELECT * FROM t; SELECT 2")
    with pytest.raises(StatementError, match=r"statement 2 of 3 failed.*Not found"):
        check_plan(ready, run, report, 6.0)
    assert [s.state for s in report.statements] == ["checked", "failed", "checked"]


def test_a_run_that_is_stopped_cancels_its_job(server, run):
    """Nobody waits for it any more, and it would go on to cost."""
    server.hold["SELECT 1"] = threading.Event()
    ready, report = made("SELECT 1; SELECT 2")
    main = threading.main_thread().ident

    def press_ctrl_c():
        server.asked.wait(30)
        signal.pthread_kill(main, signal.SIGINT)

    stop = threading.Thread(target=press_ctrl_c)
    before = signal.signal(signal.SIGINT, lambda signum, _: run.request_stop(signum))
    stop.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            run_step(connect(run), ready, ready.steps[0], report.statements[0], "statement_1")
    finally:
        signal.signal(signal.SIGINT, before)
        stop.join()
        server.hold["SELECT 1"].set()
    assert server.cancelled == [f"etlkit_{run.run_id}_1_statement_1"]
    assert report.statements[0].state == "failed"


@pytest.mark.parametrize("places", [{"SELECT * FROM t": "asia-northeast1"}, {}])
def test_the_work_dataset_is_made_where_the_tables_are(server, run, places):
    """In `US`, where BigQuery would make it, no later run could use it beside tables elsewhere."""
    server.places = places
    server.errors["SELECT * FROM nope"] = "Not found: Table p:d.nope"
    run.settings = Settings(project="p", environ=run.settings.environ)
    ready, _ = made("CREATE SCHEMA s; SELECT * FROM nope; SELECT * FROM t; SELECT 1")
    _make_work_dataset(connect(run), ready, "p.etlkit_work")
    (dataset,) = server.datasets
    assert dataset["datasetReference"]["datasetId"] == "etlkit_work"
    assert dataset.get("location") == places.get("SELECT * FROM t")

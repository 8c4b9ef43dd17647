"""Statements that never end: others read meanwhile, and whatever waits for them can end them."""

import http.client
import json
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import psutil
import pyarrow as pa
import pytest
from google.api_core.exceptions import GoogleAPICallError, NotFound
from google.cloud import bigquery

from etlkit.local import join_or_start
from tests import onnx_bytes
from tests.loopback import serving

INSERT_JOB = "/bigquery/v2/projects/local/jobs"
ENDLESS = (
    "SELECT COUNT(*) FROM UNNEST(GENERATE_ARRAY(1, 1000000)) AS a "
    "CROSS JOIN UNNEST(GENERATE_ARRAY(1, 1000000)) AS b WHERE MOD(a * b, 7) = 3"
)
ENDLESS_WRITE = "INSERT INTO {t} " + ENDLESS
ENDLESS_SCRIPT = """
LOOP
  BEGIN
    SELECT COUNT(*) FROM UNNEST(GENERATE_ARRAY(1, 1000000)) AS a
    CROSS JOIN UNNEST(GENERATE_ARRAY(1, 1000000)) AS b WHERE MOD(a * b, 7) = 3;
  EXCEPTION WHEN ERROR THEN
  END;
END LOOP
"""


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


@pytest.fixture
def table(run, dataset) -> str:
    run(f"CREATE TABLE {dataset}.t AS SELECT 1 AS n")
    return f"{dataset}.t"


@pytest.fixture
def endless(bq, dataset, threads, until) -> Iterator[Callable[[str], Future]]:
    """Start a job; return its error's future once the job runs. At the end it is cancelled."""
    started: list[str] = []

    def error_of(sql: str, job_id: str) -> str:
        try:
            bq.query(sql, job_id=job_id, retry=None, job_retry=None).result(retry=None)
        except GoogleAPICallError as error:
            return error.message
        return "it ended"

    def start(sql: str) -> Future:
        started.append(f"{dataset}_{len(started)}")
        return threads.submit(error_of, sql, started[-1])

    yield start
    for job_id in started:
        until(lambda job_id=job_id: _is_cancelled(bq, job_id))


def _is_cancelled(bq, job_id: str) -> bool:
    try:
        return bq.cancel_job(job_id, retry=None).state == "DONE"
    except NotFound:  # its request has not arrived yet
        return False


def is_running(bq, job_id: str) -> bool:
    return state_of(bq, job_id) == "RUNNING"


def state_of(bq, job_id: str) -> str | None:
    try:
        return bq.get_job(job_id, retry=None).state
    except NotFound:  # its request has not arrived yet
        return None


@pytest.mark.parametrize("sql", [ENDLESS_WRITE, ENDLESS_SCRIPT], ids=["write", "script"])
def test_others_read_while_a_statement_runs(
    bq, run, dataset, table, endless, until, read_table, sql
):
    """Real BigQuery: jobs, streams and metadata do not wait for each other."""
    error = endless(sql.format(t=table))
    until(lambda: is_running(bq, f"{dataset}_0"))
    assert run(f"SELECT n FROM {table}") == [(1,)]
    assert [tuple(row) for row in bq.query_and_wait(f"SELECT n FROM {table}")] == [(1,)]
    assert [tuple(row) for row in bq.list_rows(table)] == [(1,)]
    assert bq.get_table(table).num_rows == 1
    assert [each.table_id for each in bq.list_tables(dataset)] == ["t"]
    assert read_table(table) == pa.table({"n": [1]})
    config = bigquery.QueryJobConfig(dry_run=True)
    assert bq.query(f"SELECT n FROM {table}", job_config=config).schema[0].name == "n"
    results = {"path": f"/projects/local/queries/{dataset}_0", "query_params": {"timeoutMs": 1}}
    assert bq._connection.api_request("GET", **results)["jobComplete"] is False
    assert not error.done()
    assert _is_cancelled(bq, f"{dataset}_0")
    assert "was cancelled" in error.result()
    assert run(f"SELECT n FROM {table}") == [(1,)]


def test_a_model_that_never_ends_can_be_cancelled(bq, run, dataset, local_server, endless, until):
    """onnxruntime is asked to stop between two nodes of the model."""
    bucket = local_server.local_dir / "buckets" / dataset
    bucket.mkdir()
    (bucket / "endless.onnx").write_bytes(onnx_bytes.endless())
    run(
        f"CREATE MODEL {dataset}.m OPTIONS(model_type='ONNX', model_path='gs://{dataset}/endless.onnx')"
    )
    error = endless(f"SELECT y FROM ML.PREDICT(MODEL {dataset}.m, (SELECT 1.0 AS x))")
    until(lambda: is_running(bq, f"{dataset}_0"))
    assert _is_cancelled(bq, f"{dataset}_0")
    assert "was cancelled" in error.result()


def test_a_remote_function_that_never_answers_can_be_cancelled(bq, run, dataset, endless):
    """Its endpoint still has the connection; the query does not wait for it."""
    with serving(Silent()) as endpoint:
        run(
            f"CREATE FUNCTION {dataset}.wait(n INT64) RETURNS INT64 REMOTE WITH CONNECTION us.c "
            f"OPTIONS(endpoint='http://127.0.0.1:{endpoint.server_port}/')"
        )
        error = endless(f"SELECT {dataset}.wait(1)")
        assert endpoint.reached.wait(60)
        assert _is_cancelled(bq, f"{dataset}_0")
        assert "was cancelled" in error.result()


class Silent(ThreadingHTTPServer):
    """Accepts requests and never answers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), SilentHandler)
        self.reached = threading.Event()


class SilentHandler(BaseHTTPRequestHandler):
    server: Silent

    def do_POST(self) -> None:
        self.server.reached.set()
        self.rfile.read()


def post(server, job_id: str, sql: str) -> http.client.HTTPConnection:
    """Send `jobs.insert`, and do not wait for the answer."""
    address = urlsplit(server.endpoints.bigquery)  # its path is the token
    connection = http.client.HTTPConnection(address.netloc)
    body = {
        "jobReference": {"projectId": "local", "jobId": job_id},
        "configuration": {"query": {"query": sql, "useLegacySql": False}},
    }
    path = address.path + INSERT_JOB
    connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
    return connection


@pytest.mark.parametrize("sql", [ENDLESS, ENDLESS_WRITE], ids=["read", "write"])
def test_a_job_ends_when_its_client_has_gone(bq, run, dataset, table, local_server, until, sql):
    """Real BigQuery goes on, and bills it. Here it would keep others waiting."""
    job_id = f"{dataset}_left"
    connection = post(local_server, job_id, sql.format(t=table))
    until(lambda: is_running(bq, job_id))
    connection.close()
    until(lambda: bq.get_job(job_id).state == "DONE")
    assert bq.get_job(job_id).error_result == {
        "reason": "stopped",
        "message": "Job execution was cancelled: its client has gone",
    }
    run(f"UPDATE {table} SET n = 2 WHERE TRUE")


def test_a_job_that_waits_for_its_turn_can_be_cancelled(
    bq, run, dataset, table, endless, until, local_server
):
    """It does not wait for the statement before it, and never runs."""
    first = endless(ENDLESS_WRITE.format(t=table))
    until(lambda: is_running(bq, f"{dataset}_0"))
    second = endless(f"UPDATE {table} SET n = 5 WHERE TRUE")
    until(lambda: _is_cancelled(bq, f"{dataset}_1"))
    assert "was cancelled" in second.result()
    assert not first.done()
    assert run(f"SELECT n FROM {table}") == [(1,)]


def test_a_server_ends_with_its_clients_whatever_it_runs(local_dir, connect, until):
    """Else the next server would wait for the data of this one."""
    with join_or_start(local_dir) as server, connect(server) as client:
        client.query_and_wait("CREATE SCHEMA d; CREATE TABLE d.t AS SELECT 1 AS n")
        connection = post(server, "endless", ENDLESS_WRITE.format(t="d.t"))
        until(lambda: is_running(client, "endless"))
    until(lambda: not psutil.pid_exists(server.pid))
    connection.close()
    with join_or_start(local_dir) as server, connect(server) as client:
        assert server.started
        assert [tuple(row) for row in client.query_and_wait("SELECT n FROM d.t")] == [(1,)]


def is_kept_waiting(server, client, until) -> bool:
    """Whether a statement that writes has to wait for another one."""
    job_id = f"waits_{uuid.uuid4().hex}"
    connection = post(server, job_id, "UPDATE d.t SET n = n WHERE TRUE")
    until(lambda: state_of(client, job_id) in {"PENDING", "DONE"})
    connection.close()
    return state_of(client, job_id) == "PENDING"


def test_ctrl_c_ends_a_statement_and_a_second_start_need_not_wait_for_it(local_dir, connect, until):
    """The command that started the server is interrupted in the middle of a statement."""
    with join_or_start(local_dir) as server, connect(server) as client:
        client.query_and_wait("CREATE SCHEMA d; CREATE TABLE d.t AS SELECT 1 AS n")
        command = [sys.executable, "-m", "etlkit.local", "sql", ENDLESS_WRITE.format(t="d.t")]
        process = subprocess.Popen([*command, "--local-dir", str(local_dir)])
        until(lambda: is_kept_waiting(server, client, until))
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    with join_or_start(local_dir) as again, connect(again) as client:
        assert [tuple(row) for row in client.query_and_wait("SELECT n FROM d.t")] == [(1,)]
        client.query_and_wait("UPDATE d.t SET n = 2 WHERE TRUE")

"""Everything is back when a server starts on the data of another, however that one has ended."""

import json
import os
import signal
import threading
from http.server import BaseHTTPRequestHandler

import pytest
from google.api_core.exceptions import GoogleAPIError, NotFound
from google.cloud import bigquery
from requests.exceptions import RequestException

from etlkit.local import join_or_start
from etlkit.local.buckets import Buckets
from tests import onnx_bytes
from tests.loopback import serving


class Echo(BaseHTTPRequestHandler):
    """Answers each call of a remote function with its arguments as JSON text."""

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        body = json.dumps({"replies": [json.dumps(call) for call in request["calls"]]}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments) -> None:
        pass


def fill(bq, buckets: Buckets, endpoint: str) -> bigquery.Table:
    """Make one of everything; gives the resource of a table."""
    for name, content in (("photos/a.jpg", b"1"), ("some-models/x.onnx", onnx_bytes.line())):
        path = buckets.path(f"gs://{name}")
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    bq.query_and_wait("CREATE SCHEMA d")
    bq.query_and_wait(
        "CREATE TABLE d.t OPTIONS(expiration_timestamp=TIMESTAMP '2100-01-01 00:00:00 UTC', "
        "labels=[('a', 'b')]) AS SELECT JSON '{\"x\": 1}' AS j, ST_GEOGPOINT(1, 2) AS g, "
        "CAST('1.5' AS BIGNUMERIC) AS bn, [STRUCT(1 AS i)] AS s"
    )
    bq.query_and_wait(
        "CREATE MODEL d.m OPTIONS(model_type='ONNX', model_path='gs://some-models/x.onnx')"
    )
    bq.query_and_wait(
        "CREATE FUNCTION d.f(n INT64) RETURNS JSON REMOTE WITH CONNECTION us.c "
        f"OPTIONS(endpoint='{endpoint}')"
    )
    bq.query_and_wait("CREATE VIEW d.v AS SELECT d.f(1) AS r")
    bq.query_and_wait(
        "CREATE EXTERNAL TABLE d.o WITH CONNECTION DEFAULT "
        "OPTIONS(uris=['gs://photos/*'], object_metadata='SIMPLE')"
    )
    bq.query_and_wait("CREATE TABLE d.changed AS SELECT 1 AS n")
    bq.query("SELECT 1; SELECT 2", job_id="script", job_retry=None).result()
    return bq.get_table("d.t")


def check(bq, before: bigquery.Table) -> None:
    """Everything is there."""
    after = bq.get_table("d.t")
    assert after.schema == before.schema
    assert (after.num_rows, after.labels) == (1, {"a": "b"})
    assert after.expires == before.expires
    (row,) = bq.query_and_wait("SELECT * FROM d.t")
    assert (row.j, row.g, row.s) == ({"x": 1}, "POINT(1 2)", [{"i": 1}])
    assert rows(bq, "SELECT y FROM ML.PREDICT(MODEL d.m, (SELECT 1 AS x))") == [(3.0,)]
    assert rows(bq, "SELECT r, d.f(2) FROM d.v") == [("[1]", "[2]")]
    assert rows(bq, "SELECT data FROM d.o ORDER BY size") == [(b"1",), (b"22",)]
    assert bq.get_table("d.o").table_type == "EXTERNAL"
    assert rows(bq, "SELECT n FROM d.changed") == [(1,)]
    job = bq.get_job("script")
    assert (job.state, job.num_child_jobs) == ("DONE", 2)
    assert len([*bq.list_jobs(parent_job="script")]) == 2


def rows(bq, sql: str) -> list[tuple]:
    return [tuple(row) for row in bq.query_and_wait(sql)]


def test_everything_is_back_after_a_restart(local_dir, connect, until):
    """Also a model whose file is gone, and the jobs. The first server is killed, the second is ended.

    Real BigQuery: a crash in the middle of a transaction leaves the table as it was.
    """
    buckets = Buckets(local_dir / "buckets")
    with serving(Echo) as echo:
        with join_or_start(local_dir) as killed, connect(killed) as bq:
            before = fill(bq, buckets, f"{echo.url}/f")
            buckets.path("gs://some-models/x.onnx").unlink()
            buckets.path("gs://photos/b.jpg").write_bytes(b"22")
            runner = threading.Thread(target=_run_until_refused, args=(bq,))
            runner.start()
            until(lambda: _is_running(bq, "endless"))
            assert rows(bq, "SELECT n FROM d.changed") == [(1,)]  # others see none of it
            os.kill(killed.pid, signal.SIGKILL)
            runner.join(30)
        with join_or_start(local_dir) as ended, connect(ended) as bq:
            assert ended.started
            check(bq, before)
            os.kill(ended.pid, signal.SIGTERM)
            until(lambda: not (local_dir / "server.json").exists())
        with join_or_start(local_dir) as server, connect(server) as bq:
            assert server.started
            check(bq, before)


def _run_until_refused(bq) -> None:
    script = "BEGIN TRANSACTION; TRUNCATE TABLE d.changed; INSERT INTO d.changed VALUES (2); "
    slow = "LOOP INSERT INTO d.changed VALUES (3); END LOOP; COMMIT TRANSACTION"
    with pytest.raises((GoogleAPIError, RequestException)):
        bq.query(script + slow, job_id="endless", retry=None, job_retry=None)


def _is_running(bq, job_id: str) -> bool:
    try:
        return bq.get_job(job_id, retry=None).state == "RUNNING"
    except NotFound:  # its request has not arrived yet
        return False

"""OpenTelemetry: spans, metrics and trace headers of a workflow with paid calls."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry import trace
from opentelemetry.metrics import _internal as metrics
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from etlkit import (
    BigQuerySink,
    BigQuerySource,
    Datamart,
    EtlBase,
    RetryPolicy,
    Task,
    TransferJob,
    Workflow,
    run_workflow,
)
from etlkit.api.run import Settings
from etlkit.calls.http import HttpClient
from etlkit.errors import EtlkitError
from etlkit.telemetry import call_watch

ROOT = Path(__file__).parents[2]
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SECRET = "sk-not-to-be-seen-1234567890"
NUM_ROWS = 12


class Handler(BaseHTTPRequestHandler):
    """Answers; the first request for row 3 with 503. Keeps the trace headers."""

    def do_GET(self):
        self.server.parents.append(self.headers.get("traceparent"))
        fails = "/row/3" in self.path and not self.server.has_failed
        self.server.has_failed = self.server.has_failed or fails
        body = b'{"ok": true}'
        self.send_response(503 if fails else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def api():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.parents, server.has_failed = [], False
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def watched(monkeypatch):
    """Providers as a user would set them; gives what they have seen."""
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracer = TracerProvider(shutdown_on_exit=False)
    tracer.add_span_processor(SimpleSpanProcessor(spans))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", tracer)
    meter = MeterProvider([reader], shutdown_on_exit=False)
    monkeypatch.setattr(metrics, "_METER_PROVIDER", meter)
    yield spans, reader
    tracer.shutdown()
    meter.shutdown()


def points(reader):
    """(name, unit) -> points of all metrics."""
    data = reader.get_metrics_data()
    found = data.resource_metrics[0].scope_metrics[0].metrics
    return {(each.name, each.unit): list(each.data.data_points) for each in found}


def workflow(dataset, port):
    class Etl(EtlBase):
        max_concurrency = 3

        def before_action(self):
            self.client = HttpClient(
                f"http://127.0.0.1:{port}",
                service="scores",
                headers={"Authorization": f"Bearer {SECRET}"},
                retry=RetryPolicy(first_wait_s=0.01),
            )

        def transform_row(self, row):
            if row["n"] == 1:
                return None
            self.client.get_json(f"/row/{row['n']}", params={"key": SECRET})
            return row

    load = TransferJob(
        source=BigQuerySource(f"SELECT n FROM UNNEST(GENERATE_ARRAY(1, {NUM_ROWS})) AS n"),
        transform=Etl,
        sink=BigQuerySink(f"{dataset}.rows", mode="replace"),
        price_per_unit=0.5,
    )
    count = Datamart(sql=f"SELECT COUNT(*) AS n FROM {dataset}.rows")
    return Workflow(tasks=[Task("load", load), Task("count", count, after=["load"])], name="wf")


def test_a_workflow_is_one_trace(  # noqa: PLR0915 - one run, and all that it tells
    watched, api, dataset, local_server, monkeypatch
):
    """The scheduler's trace goes on over workflow, tasks, stages and jobs to the services called."""
    monkeypatch.setenv("TRACEPARENT", f"00-{TRACE_ID}-b7ad6b7169203331-01")
    monkeypatch.setattr(call_watch, "FIRST_CALLS", 4)
    monkeypatch.setattr(call_watch, "CALLS_PER_S", 1e-9)
    spans, reader = watched
    spans.clear()  # Google's client has spans of its own, also outside of the run
    settings = Settings(environ=local_server.endpoints.environ())
    report = run_workflow(workflow(dataset, api.server_port), settings=settings)
    found = spans.get_finished_spans()
    strays = {e.name for e in found if format(e.context.trace_id, "032x") != TRACE_ID}
    assert strays == set()
    by_id = {each.context.span_id: each for each in found}

    def path(span):
        above = by_id.get(span.parent.span_id) if span.parent else None
        return (*(path(above) if above else ()), span.name)

    paths = {path(each) for each in found}
    transfer = ("workflow", "task", "transfer")
    stages = {(*transfer, name) for name in ("open", "snapshot", "transform", "publish")}
    parts = {(*transfer, "transform", "read"), (*transfer, "transform", "stage")}
    more = {
        (*transfer, "publish", "audit"),
        (*transfer, "snapshot", "bigquery job"),
        ("workflow", "task", "datamart", "statement", "bigquery job"),
        (*transfer, "transform", "GET scores"),
    }
    assert stages | parts | more <= paths

    root = next(each for each in found if each.name == "workflow")
    assert root.attributes["etlkit.run_id"] == report.run_id
    calls = [each for each in found if each.name == "GET scores"]
    retried = [each for each in calls if each.events]
    assert len(calls) in {4, 5}  # the first four, and row 3 wherever it came
    assert [event.attributes["error.type"] for each in retried for event in each.events] == ["503"]
    [call] = retried
    assert call.attributes["url.full"] == f"http://127.0.0.1:{api.server_port}/row/3"
    assert call.attributes["http.response.status_code"] == 200
    assert call.attributes["http.request.resend_count"] == 1
    sent = {each.split("-")[2] for each in api.parents}
    assert {each.split("-")[1] for each in api.parents} == {TRACE_ID}
    assert {format(each.context.span_id, "016x") for each in calls} - sent <= {
        format(call.context.span_id, "016x")  # its span was made when it had failed
    }
    transform = next(each for each in found if path(each) == (*transfer, "transform"))
    assert format(transform.context.span_id, "016x") in sent  # of the calls without a span

    seen = points(reader)

    def value(name, unit, **wanted):
        wanted = {f"etlkit.{key}": each for key, each in wanted.items()}
        of = [p for p in seen[name, unit] if wanted.items() <= dict(p.attributes).items()]
        return sum(getattr(p, "value", getattr(p, "count", None)) for p in of)

    assert value("etlkit.rows", "{row}", outcome="written") == NUM_ROWS - 1
    assert value("etlkit.rows", "{row}", outcome="skipped") == 1
    assert value("etlkit.calls", "{call}", service="scores") == NUM_ROWS
    assert value("etlkit.call.retries", "{call}", service="scores") == 1
    assert value("etlkit.call.duration", "s", service="scores") == NUM_ROWS
    assert value("etlkit.calls.in_flight", "{call}") == 0
    assert value("etlkit.rows.parked", "{row}") == 0
    assert value("etlkit.call.cost", "{currency}", currency="USD") == NUM_ROWS * 0.5
    assert value("etlkit.runs", "{run}", kind="transfer", state="published") == 1
    assert value("http.client.request.duration", "s") == NUM_ROWS
    everything = " ".join(each.to_json() for each in found) + str(seen)
    assert SECRET not in everything


def test_a_run_that_fails_has_a_failed_span_without_secrets(watched, api, dataset, local_server):
    """The message is shown as everywhere: without keys, and without a stack."""
    job = workflow(dataset, api.server_port)
    bad = TransferJob(
        name="bad",
        source=BigQuerySource("SELECT 1 AS n"),
        transform=type("Etl", (EtlBase,), {"transform_row": refuse}),
        sink=BigQuerySink(f"{dataset}.bad"),
    )
    with pytest.raises(EtlkitError):
        run_workflow(
            Workflow(tasks=[Task("bad", bad)], name=job.name),
            settings=Settings(environ=local_server.endpoints.environ()),
        )
    found = {each.name: each for each in watched[0].get_finished_spans()}
    for name in ("workflow", "task", "transfer", "transform"):
        assert not found[name].status.is_ok
        assert SECRET not in found[name].to_json()
        assert found[name].events == ()
    assert found["transfer"].attributes["etlkit.state"] == "failed"


def refuse(_self, _row):
    raise ValueError(f"api_key={SECRET}")


class Receiver(BaseHTTPRequestHandler):
    """An OTLP/HTTP receiver. It may hold every request until it is told to answer."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies.append((self.path, body))
        self.server.may_answer.wait(120)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


JOB = """
from etlkit import BigQuerySink, BigQuerySource, EtlBase, TransferJob

class Etl(EtlBase):
    def transform_row(self, row):
        return row

job = TransferJob(
    source=BigQuerySource("SELECT n FROM UNNEST([1, 2, 3]) AS n"),
    transform=Etl,
    sink=BigQuerySink("{dataset}.rows", mode="replace"),
)
"""


@pytest.mark.parametrize("hangs", [False, True])
def test_a_receiver_gets_everything_or_is_left_alone(hangs, dataset, local_server, tmp_path):
    """OTLP by the environment alone, flushed at the end; one that never answers ends no run."""
    (tmp_path / "job.py").write_text(JOB.format(dataset=dataset))
    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        server.daemon_threads, server.block_on_close = True, False
        server.bodies, server.may_answer = [], threading.Event()
        if not hangs:
            server.may_answer.set()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        environ = {name: each for name, each in os.environ.items() if not name.startswith("OTEL_")}
        environ |= local_server.endpoints.environ()
        environ |= {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
            "PYTHONPATH": f"{ROOT}:{tmp_path}",
        }
        ended = subprocess.run(
            [sys.executable, "-m", "etlkit.run", "job"],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        server.may_answer.set()
        server.shutdown()
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["written"] == 3
    if hangs:
        assert ended.stderr.count("telemetry") == 1
        return
    assert "telemetry" not in ended.stderr
    traces, numbers = ExportTraceServiceRequest(), ExportMetricsServiceRequest()
    for path, body in server.bodies:
        (traces if path == "/v1/traces" else numbers).MergeFromString(body)
    resource = traces.resource_spans[0].resource.attributes
    assert ("service.name", "etlkit") in [(a.key, a.value.string_value) for a in resource]
    names = {s.name for r in traces.resource_spans for p in r.scope_spans for s in p.spans}
    assert {"transfer", "open", "transform", "publish", "audit"} <= names
    told = {m.name for r in numbers.resource_metrics for p in r.scope_metrics for m in p.metrics}
    assert {"etlkit.rows", "etlkit.runs", "etlkit.run.duration"} <= told

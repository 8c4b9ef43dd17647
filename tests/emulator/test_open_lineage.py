"""OpenLineage events, as a backend on loopback receives them."""

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytest.importorskip("openlineage.client")

from openlineage.client.generated import column_lineage_dataset, schema_dataset

from etlkit import (
    BigQuerySink,
    BigQuerySource,
    Check,
    CheckFailedError,
    Datamart,
    EtlBase,
    Task,
    TransferJob,
    Workflow,
    run_job,
    run_workflow,
)
from etlkit.api.run import Settings
from etlkit.open_lineage.events import run_uuid

SECRET = "sk-not-to-be-seen-1234567890"


class Backend(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.events.append(json.loads(body))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def backend(monkeypatch):
    with ThreadingHTTPServer(("127.0.0.1", 0), Backend) as server:
        server.events, server.status = [], 200
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("OPENLINEAGE_URL", f"http://127.0.0.1:{server.server_port}")
        yield server
        server.shutdown()
    for name in [each for each in os.environ if each.startswith("OPENLINEAGE__")]:
        os.environ.pop(name)  # the client sets these itself, from the address


class Shout(EtlBase):
    columns = ("name",)

    def transform_row(self, row):
        return {**row, "loud": row["name"].upper()}


@pytest.fixture
def world(bq, dataset, local_server):
    bq.query_and_wait(f"CREATE TABLE {dataset}.people (id INT64, name STRING, age INT64)")
    bq.query_and_wait(f"INSERT {dataset}.people VALUES (1, 'ann', 30), (2, 'bob', 40)")
    settings = Settings(environ=local_server.endpoints.environ())
    project = local_server.endpoints.project

    def job(**options):
        return TransferJob(
            name="shout",
            source=BigQuerySource(f"SELECT id AS key, name, age + 1 AS next FROM {dataset}.people"),
            transform=Shout,
            sink=BigQuerySink(f"{dataset}.shouted", mode="replace"),
            **options,
        )

    return job, settings, f"{project}.{dataset}"


def lineage(event):
    """Column -> its sources, of the first output."""
    facet = event["outputs"][0]["facets"]["columnLineage"]
    return {
        name: [(f["field"], f["transformations"][0]["subtype"]) for f in each["inputFields"]]
        for name, each in facet["fields"].items()
    }


def test_a_workflow_tells_of_tables_columns_and_checks(world, backend):
    """Each run begins and ends; tasks have their workflow; columns come from where they do."""
    job, settings, place = world
    totals = Datamart(
        sql=f"CREATE OR REPLACE TABLE {place}.totals AS "
        f"SELECT loud, SUM(next) AS total FROM {place}.shouted GROUP BY loud;\n"
        f"UPDATE {place}.totals SET total = total + 1 WHERE TRUE"
    )
    checks = [Check(f"SELECT 1 FROM {{staged}} WHERE loud IS NULL -- api_key={SECRET}")]
    tasks = [Task("load", job(checks=checks)), Task("sum", totals, after=["load"])]
    report = run_workflow(Workflow(tasks=tasks, name="wf"), settings=settings)
    by_job = {}
    for event in backend.events:
        by_job.setdefault(event["job"]["name"], []).append(event)
    states = {name: [each["eventType"] for each in events] for name, events in by_job.items()}
    load, total = (next(n for n in by_job if n.endswith(end)) for end in ("shout", "sum"))
    assert states["wf"] == ["START", "COMPLETE"]
    assert states[load] == ["START", "RUNNING", "COMPLETE"]
    assert states[total] == ["START", "COMPLETE"]
    assert states[f"{load}.checks"] == ["START", "COMPLETE"]

    end = by_job[load][-1]
    assert end["run"]["facets"]["parent"]["run"]["runId"] == run_uuid(report.run_id)
    assert end["run"]["facets"]["parent"]["job"]["name"] == "wf"
    [read] = end["inputs"]
    assert (read["namespace"], read["name"]) == ("bigquery", f"{place}.people")
    fields = [each["name"] for each in read["facets"]["schema"]["fields"]]
    assert fields == ["id", "name", "age"]
    [written] = end["outputs"]
    assert written["name"] == f"{place}.shouted"
    assert written["outputFacets"]["outputStatistics"]["rowCount"] == 2
    assert lineage(end) == {
        "key": [("id", "IDENTITY")],
        "name": [("name", "TRANSFORMATION")],
        "next": [("age", "TRANSFORMATION")],
        "loud": [("name", "TRANSFORMATION")],
    }
    facets = end["job"]["facets"]
    assert facets["sql"]["query"].startswith("SELECT id AS key")
    assert facets["sourceCodeLocation"]["path"] == "tests/emulator/test_open_lineage.py"
    [assertion] = by_job[f"{load}.checks"][-1]["inputs"][0]["inputFacets"]["dataQualityAssertions"][
        "assertions"
    ]
    assert assertion["success"] is True

    made = by_job[total][-1]
    assert [each["name"] for each in made["outputs"]] == [f"{place}.totals"]
    assert [each["name"] for each in made["inputs"]] == [f"{place}.shouted"]
    assert lineage(made) == {
        "loud": [("loud", "IDENTITY")],
        "total": [("next", "AGGREGATION"), ("total", "TRANSFORMATION")],
    }
    assert SECRET not in json.dumps(backend.events)
    facet = made["outputs"][0]["facets"]
    assert facet["columnLineage"]["_schemaURL"].endswith(
        column_lineage_dataset.ColumnLineageDatasetFacet._get_schema().rpartition("/")[2]
    )
    assert facet["schema"]["_schemaURL"] == schema_dataset.SchemaDatasetFacet._get_schema()


def test_a_failed_check_fails_the_run_and_its_assertion(world, backend):
    """With the error's message; the run itself fails as it would without events."""
    job, settings, _ = world
    with pytest.raises(CheckFailedError):
        run_job(job(checks=["SELECT loud FROM {staged}"]), settings=settings)
    end = next(each for each in backend.events if each["eventType"] == "FAIL")
    assert "check failed" in end["run"]["facets"]["errorMessage"]["message"]
    assert "outputStatistics" not in end["outputs"][0].get("outputFacets", {})
    told = [each for each in backend.events if each["job"]["name"] == "shout.checks"][-1]
    facet = told["inputs"][0]["inputFacets"]["dataQualityAssertions"]
    assert [each["success"] for each in facet["assertions"]] == [False]


def test_a_backend_that_fails_ends_no_run(world, backend, caplog):
    """One warning, however many events there are."""
    job, settings, _ = world
    backend.status = 400
    assert run_job(job(), settings=settings).state == "published"
    told = [each for each in caplog.messages if "lineage events" in each]
    assert len(told) == 1
    assert len(backend.events) >= 3


def test_nothing_is_imported_that_nobody_wants(monkeypatch):
    """Without a variable and without a file of the client's configuration."""
    from etlkit.open_lineage.watcher import is_wanted

    assert not is_wanted({"OPENLINEAGE_NAMESPACE": "x"})
    assert is_wanted({"OPENLINEAGE_URL": "http://h"})
    assert not is_wanted({"OPENLINEAGE_URL": "http://h", "OPENLINEAGE_DISABLED": "true"})

"""How SQL is sent: dry runs, transient failures, lost answers, locations and timeouts."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from google.api_core.exceptions import BadRequest
from requests.adapters import HTTPAdapter

from etlkit.api.run import Settings
from etlkit.bigquery.client import CANCEL_S, Connection
from etlkit.calls.clock import no_sleep

LOCATION = "asia-northeast1"


class Http:
    """Answers requests from a script, the last answer again and again, and remembers them."""

    def __init__(self):
        self.script, self.sent = [], []

    def send(self, request, *, timeout=None, **_):
        """Stands in for the last step of `requests`: what arrives here goes to the network."""
        body = json.loads(request.body) if request.body else {}
        assert timeout is not None, "a request without a timeout may hang for ever"
        self.sent.append((request.method, urlsplit(request.url), body, timeout))
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        status, content = answer(body) if callable(answer) else answer
        response = requests.Response()
        response.status_code, response.url, response.request = status, request.url, request
        response._content = json.dumps(content).encode()
        response.headers["Content-Type"] = "application/json"
        return response

    @property
    def job_ids(self):
        """Of the jobs that were inserted."""
        return [
            body["jobReference"]["jobId"]
            for method, url, body, _ in self.sent
            if method == "POST" and url.path.endswith("/jobs")
        ]


def job(body=None, *, error=None, job_id="etlkit_test_x"):
    """The resource of a job that is done."""
    status = {"state": "DONE"}
    if error is not None:
        status |= {"errorResult": error, "errors": [error]}
    reference = (body or {}).get("jobReference", {"projectId": "p", "jobId": job_id})
    reference = {**reference, "location": LOCATION}
    table = {"projectId": "p", "datasetId": "d", "tableId": "anonymous"}
    query = {"query": {"query": "SELECT 1", "destinationTable": table}}
    return {
        "jobReference": reference,
        "configuration": (body or {}).get("configuration", query),
        "status": status,
        "statistics": {"query": {"statementType": "SELECT"}},
        "jobComplete": True,
        "totalRows": "0",
        "schema": {"fields": []},
    }


def done(body):
    return 200, job(body)


@pytest.fixture
def http():
    return Http()


@pytest.fixture
def connection(http, monkeypatch):
    environ = {"BIGQUERY_EMULATOR_HOST": "http://127.0.0.1:1"}
    made = Connection(
        Settings(project="p", location=LOCATION, environ=environ), job_prefix="etlkit_test"
    )
    monkeypatch.setattr(HTTPAdapter, "send", lambda _, request, **more: http.send(request, **more))
    with no_sleep():
        yield made
    made.close()


def test_a_dry_run_does_not_ask_the_cache(connection, http):
    """With the cache, a query that ran today is estimated at 0 bytes."""
    http.script = [done]
    connection.dry_run("SELECT 1")
    configuration = http.sent[0][2]["configuration"]
    assert configuration["dryRun"] is True
    assert configuration["query"]["useQueryCache"] is False


@pytest.mark.parametrize(
    "reason", ["backendError", "internalError", "rateLimitExceeded", "jobRateLimitExceeded"]
)
def test_a_job_that_failed_for_a_while_is_run_again(connection, http, reason):
    """Under the next id: BigQuery runs no id twice."""
    failed = {"reason": reason, "message": "try again"}
    http.script = [lambda body: (200, job(body, error=failed)), done]
    connection.query("SELECT 1", "step")
    assert http.job_ids == ["etlkit_test_step", "etlkit_test_step_try2"]


def test_a_job_that_failed_for_good_is_not(connection, http):
    """Wrong SQL stays wrong."""
    failed = {"reason": "invalidQuery", "message": "Syntax error"}
    http.script = [lambda body: (200, job(body, error=failed))]
    with pytest.raises(BadRequest, match="Syntax error"):
        connection.query("SELEC 1", "step")
    assert http.job_ids == ["etlkit_test_step"]


def test_a_job_whose_first_answer_was_lost_is_found(connection, http):
    """409 says that it is there, and 404 that BigQuery does not see it yet."""
    conflict = {"error": {"code": 409, "message": "Already Exists: Job p:etlkit_test_step"}}
    missing = {"error": {"code": 404, "message": "Not found: Job p:etlkit_test_step"}}
    http.script = [(409, conflict), (404, missing), (404, missing), done]
    connection.query("SELECT 1", "step")
    looked = [url for method, url, *_ in http.sent if method == "GET"]
    assert len(http.job_ids) == 1
    assert {parse_qs(url.query)["location"][0] for url in looked if "/jobs/" in url.path} == {
        LOCATION
    }


def test_ctrl_c_cancels_the_job_where_it_is(connection, http):
    """Outside of the US and EU a job is known by id and location together."""

    def interrupt(_):
        raise KeyboardInterrupt

    http.script = [
        lambda body: (200, {**job(body), "status": {"state": "RUNNING"}}),
        interrupt,
        lambda _: (200, {"job": job()}),
    ]
    with pytest.raises(KeyboardInterrupt):
        connection.query("SELECT 1", "step")
    _, url, _, timeout = http.sent[-1]
    assert url.path.endswith("/jobs/etlkit_test_step/cancel")
    assert parse_qs(url.query)["location"] == [LOCATION]
    assert timeout == CANCEL_S

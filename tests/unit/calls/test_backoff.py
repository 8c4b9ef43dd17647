"""The one back-off loop, and which failures are transient."""

import http.client
import json
import math
import socket
from http.server import BaseHTTPRequestHandler

import grpc
import pytest
import requests
import urllib3
from google.api_core import exceptions as google
from google.auth import exceptions as auth
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.cloud.bigquery.job.base import _error_result_to_exception

from etlkit.calls import clock
from etlkit.calls.backoff import Backoff, BackoffPolicy
from etlkit.calls.classify import (
    TRANSIENT_STATUS,
    from_grpc,
    is_transient,
    is_transient_on_stream,
    is_transient_when_new,
)
from etlkit.errors import ApiError, ConfigError, JobError, OutageError, RetryableError, RowError
from tests.loopback import serving

TABLE = {"projectId": "p", "datasetId": "d", "tableId": "t"}


@pytest.fixture(autouse=True)
def _no_sleep():
    with clock.no_sleep():
        yield


def failing(*errors):
    """A function that raises these, one after the other, and then returns."""
    rest = list(errors)

    def function():
        if rest:
            raise rest.pop(0)
        return "answer"

    return function


class GrpcError(grpc.RpcError):
    def __init__(self, code):
        self._code = grpc.StatusCode[code]

    def code(self):
        return self._code


def job_error(reason, message="no"):
    return _error_result_to_exception({"reason": reason, "message": message})


@pytest.mark.parametrize(
    "error",
    [
        RetryableError("later"),
        *(google.from_http_status(status, "no") for status in TRANSIENT_STATUS),
        *(job_error(reason) for reason in ("backendError", "internalError", "rateLimitExceeded")),
        job_error("jobRateLimitExceeded"),
        job_error("invalidQuery", "Could not serialize access to table t due to concurrent update"),
        job_error(
            "invalidQuery", "Transaction is aborted due to concurrent update against table t"
        ),
        job_error("resourcesExceeded", "Resources exceeded: Too many DML statements outstanding"),
        google.Forbidden("slow down", errors=[{"reason": "rateLimitExceeded"}]),
        google.Aborted("no"),
        GrpcError("UNAVAILABLE"),
        GrpcError("RESOURCE_EXHAUSTED"),
        GrpcError("DEADLINE_EXCEEDED"),
        GrpcError("INTERNAL"),
        GrpcError("ABORTED"),
        auth.TransportError("no connection"),
        auth.RefreshError("503", retryable=True),
        requests.ConnectionError(),
        requests.Timeout(),
        requests.exceptions.ChunkedEncodingError(),
        requests.exceptions.JSONDecodeError("a page", "<html>", 0),
        urllib3.exceptions.ProtocolError("cut"),
        http.client.RemoteDisconnected(),
        http.client.IncompleteRead(b""),
        ConnectionResetError(),
        TimeoutError(),
    ],
    ids=repr,
)
def test_these_failures_are_transient(error):
    """HTTP, gRPC, BigQuery jobs, connections, and a page where protocol was expected."""
    assert is_transient(error)
    assert is_transient_on_stream(error)
    assert is_transient_when_new(error)


@pytest.mark.parametrize(
    "error",
    [
        OutageError("too long"),
        ApiError("no", service="api"),
        JobError("no"),
        RowError("bad"),
        *(google.from_http_status(status, "no") for status in (400, 401, 403, 404, 409, 413, 501)),
        *(
            job_error(reason)
            for reason in ("invalidQuery", "stopped", "quotaExceeded", "unheardOf")
        ),
        GrpcError("UNKNOWN"),
        GrpcError("CANCELLED"),
        GrpcError("PERMISSION_DENIED"),
        requests.exceptions.SSLError("certificate"),
        auth.RefreshError("revoked"),
        socket.gaierror(),
        KeyError("bug"),
        ValueError("bug"),
        clock.Stopped(),
        KeyboardInterrupt(),
        SystemExit(503),
    ],
    ids=repr,
)
def test_everything_else_is_not_transient(error):
    """What is not known to be transient is raised at once."""
    assert not is_transient(error)
    with pytest.raises(type(error)):
        Backoff("it").call(failing(error))


def test_some_failures_are_transient_only_in_their_place():
    """A cancelled stream is opened again; a new table or job may not be found for a moment."""
    assert is_transient_on_stream(GrpcError("CANCELLED"))
    assert is_transient_on_stream(google.Cancelled("no"))
    assert not is_transient_on_stream(GrpcError("NOT_FOUND"))
    assert is_transient_when_new(GrpcError("NOT_FOUND"))
    assert is_transient_when_new(google.NotFound("no job"))
    assert not is_transient_when_new(google.Forbidden("no"))


def test_an_untrusted_certificate_is_refused_without_its_text():
    """The text of the error may hold the address, and a key in it."""
    error = from_grpc(requests.exceptions.SSLError("https://host/?key=sk-1"), "api")
    assert type(error) is ApiError
    assert "certificate is not trusted" in error.message
    assert "sk-1" not in repr(error)


def test_attempts_are_bounded_and_the_last_error_is_raised_as_it_is():
    """No wrapper: what the function raised last comes through."""
    errors = [RetryableError(str(number)) for number in range(4)]
    with pytest.raises(RetryableError) as caught:
        Backoff("it", BackoffPolicy(max_attempts=3)).call(failing(*errors))
    assert caught.value is errors[2]


def test_the_total_time_is_bounded():
    """A wait that would end after `max_total_s` is not begun."""
    attempts = []

    def function():
        attempts.append(clock.now())
        raise RetryableError("later", retry_after_s=20)

    with pytest.raises(RetryableError):
        Backoff("it", BackoffPolicy(max_total_s=50)).call(function)
    assert len(attempts) == 3  # 20 + 20 s; the next wait would end after 60


@pytest.mark.parametrize(("hint_s", "waits_s"), [(40, 40), (4000, 60)])
def test_a_hint_is_kept_up_to_a_bound(hint_s, waits_s):
    """Google's `Retry-After` header is read from the response of the client library."""
    response = requests.Response()
    response.headers["Retry-After"] = str(hint_s)
    before = clock.now()
    error = google.TooManyRequests("busy", response=response)
    assert Backoff("it").call(failing(error)) == "answer"
    assert waits_s <= clock.now() - before < waits_s * 1.5


def test_waits_are_full_jitter():
    """Between 0 and an upper end that doubles, up to `max_wait_s`."""
    policy = BackoffPolicy(first_wait_s=1, max_wait_s=8)
    for failures, most in ((1, 1), (2, 2), (3, 4), (4, 8), (5, 8), (5000, 8)):
        waits = [policy.wait_s(failures, None) for _ in range(400)]
        assert 0 <= min(waits) < most * 0.25
        assert most * 0.75 < max(waits) <= most


def test_a_stream_goes_on_where_it_broke_and_progress_resets_the_count():
    """Every message is given once, although there are more failures than attempts."""
    policy = BackoffPolicy(max_attempts=2, max_total_s=math.inf)
    opened = []

    def stream(offset):
        opened.append(offset)
        yield offset
        raise RetryableError("cut")

    def messages(end):
        offset, attempts = 0, Backoff("stream", policy).attempts()
        for attempt in attempts:
            with attempt:
                while offset < end:
                    for message in stream(offset):
                        offset += 1
                        attempts.progressed()
                        yield message

    assert list(messages(10)) == list(range(10))
    assert opened == list(range(10))


def test_a_stream_that_makes_no_progress_is_given_up():
    """Failures in a row count, and the last one is raised."""
    opened = []

    def messages():
        for attempt in Backoff("stream", BackoffPolicy(max_attempts=3)).attempts():
            with attempt:
                opened.append(attempt)
                raise RetryableError("down")
        yield

    with pytest.raises(RetryableError):
        next(messages())
    assert len(opened) == 3


def test_a_reader_may_leave_a_stream_early():
    """Closing the generator that loops over attempts ends it at once."""

    def messages():
        for attempt in Backoff("stream").attempts():
            with attempt:
                yield 1
                yield 2

    reader = messages()
    assert next(reader) == 1
    reader.close()
    assert list(reader) == []


def test_googles_clients_take_it_as_their_retry():
    """They call it on the function to repeat, with arguments or without, and may give `on_error`."""
    seen = []
    error = google.ServiceUnavailable("down")
    flaky = failing(error)
    repeated = Backoff("it")(lambda suffix, *, end: flaky() + suffix + end, on_error=seen.append)
    assert repeated("!", end="?") == "answer!?"
    assert seen == [error]


def test_a_bigquery_client_takes_it_as_its_retry():
    """A request that gets 503 and then a page of a proxy is made a third time."""
    answers = [
        (503, b"{}"),
        (502, b"<html>"),
        (200, json.dumps({"tableReference": TABLE}).encode()),
    ]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status, body = answers.pop(0)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            return

    with serving(Handler) as server:
        client = bigquery.Client(
            "p",
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": f"http://127.0.0.1:{server.server_port}"},
        )
        table = client.get_table("p.d.t", retry=Backoff("it"))
        client.close()
    assert (table.table_id, answers) == ("t", [])


def test_a_stop_ends_the_waits():
    """A wait ends when `stop` is set, and no attempt is made after it."""
    stop = clock.Stop()
    attempts = []

    def function():
        attempts.append(1)
        stop.set()
        raise RetryableError("down")

    with pytest.raises(clock.Stopped):
        Backoff("it", stop=stop).call(function)
    assert attempts == [1]


def test_a_retry_is_logged_without_keys(caplog):
    """The log says what failed and when the next attempt is made."""
    with caplog.at_level("INFO", logger="etlkit"):
        Backoff("job x").call(failing(RetryableError("GET /a?key=sk-1 failed")))
    assert "job x failed (attempt 1), next attempt in " in caplog.text
    assert "sk-1" not in caplog.text


@pytest.mark.parametrize(
    "options", [{"max_attempts": 0}, {"max_total_s": 0}, {"first_wait_s": -1}, {"max_hint_s": 0}]
)
def test_a_policy_that_cannot_work_is_refused(options):
    """By name, before anything is called."""
    with pytest.raises(ConfigError, match=rf"BackoffPolicy\({next(iter(options))}="):
        BackoffPolicy(**options)

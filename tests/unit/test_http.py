import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from etlkit import ApiError, RetryableError
from etlkit.http import HttpClient

KEY = "sk-very-secret-4711"


@pytest.fixture
def server():
    """A real HTTP server that answers as each test says and remembers what it was asked."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            http.asked.append((self.path, dict(self.headers), body))
            status, headers, payload = http.answer
            self.send_response(status)
            for name, value in {"Content-Length": str(len(payload)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *args):
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.asked, http.answer = [], (200, {}, b"{}")
        http.url = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield http
        http.shutdown()
        thread.join()


@pytest.fixture
def client(server):
    headers = {"X-Goog-Api-Key": KEY}
    with HttpClient(server.url, service="vision", headers=headers, timeout_s=(5, 0.3)) as client:
        yield client


def test_json_goes_out_and_comes_back(server, client):
    """The body is JSON in UTF-8, whatever is in it, and the key travels in a header."""
    server.answer = (200, {}, '{"a": "犬\\u0000"}'.encode())
    assert client.post_json("/v1/x", {"uri": 'a"b\\c 🐈'}) == {"a": "犬\x00"}
    path, headers, body = server.asked[0]
    assert path == "/v1/x"
    assert json.loads(body) == {"uri": 'a"b\\c 🐈'}
    assert headers["X-Goog-Api-Key"] == KEY


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_transient_answers_are_retryable(server, client, status):
    """These may work later; the server's hint is kept."""
    server.answer = (status, {"Retry-After": "7"}, b"busy " + KEY.encode())
    with pytest.raises(RetryableError, match=str(status)) as caught:
        client.post_json("/v1/x", {})
    assert caught.value.retry_after_s == 7
    assert KEY not in repr(caught.value)


def test_a_hint_may_be_a_date(server, client):
    """A date in the past means now; nonsense means no hint."""
    for value, expected in [("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("soon", None)]:
        server.answer = (429, {"Retry-After": value}, b"")
        with pytest.raises(RetryableError) as caught:
            client.post_json("/v1/x", {})
        assert caught.value.retry_after_s == expected


@pytest.mark.parametrize("status", [400, 401, 403, 404, 302])
def test_a_refused_call_ends_the_run(server, client, status):
    """What a repeat cannot mend is an ApiError with Google's reason and nothing else of the body."""
    body = {"error": {"message": "API key not valid", "details": KEY}}
    server.answer = (status, {"Location": "http://127.0.0.1:1/"}, json.dumps(body).encode())
    with pytest.raises(ApiError, match="API key not valid") as caught:
        client.post_json("/v1/x", {})
    assert (caught.value.status, caught.value.service) == (status, "vision")
    assert KEY not in repr(caught.value)
    assert len(server.asked) == 1


def test_an_answer_that_is_no_json_is_refused(server, client):
    """A proxy's HTML page is no answer."""
    server.answer = (200, {}, b"<html>" + KEY.encode())
    with pytest.raises(ApiError, match="not JSON") as caught:
        client.post_json("/v1/x", {})
    assert KEY not in str(caught.value)


def test_silence_and_a_closed_port_are_retryable(server, client):
    """A timeout fires on the socket, and neither error shows the URL."""
    release = threading.Event()
    server.RequestHandlerClass.do_POST = lambda self: release.wait(timeout=30)
    try:
        with pytest.raises(RetryableError, match="ReadTimeout while calling /v1/x"):
            client.post_json("/v1/x", {})
    finally:
        release.set()
    with (
        HttpClient(f"http://127.0.0.1:1/?key={KEY}", service="vision") as nobody,
        pytest.raises(RetryableError, match="ConnectionError") as caught,
    ):
        nobody.post_json("/v1/x", {})
    assert KEY not in str(caught.value)
    assert caught.value.__cause__ is None
    assert isinstance(caught.value.__context__, requests.ConnectionError)


def test_an_answer_that_is_cut_off_is_retryable(server, client):
    """A connection that breaks in mid-answer is no bad row."""
    server.answer = (200, {"Content-Length": "1000"}, b'{"a": 1')
    server.RequestHandlerClass.protocol_version = "HTTP/1.0"
    with pytest.raises(RetryableError, match="while calling /v1/x"):
        client.post_json("/v1/x", {})

"""Answers that are not what they say: a wrong `Content-Encoding`, a page of a proxy, no content.

A page whose header said gzip was asked for eight times, and the 403 in it was never told. Over gRPC a
proxy's page ended the run, where over REST it was repeated.
"""

import gzip
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from google.api_core.exceptions import from_grpc_error

from etlkit import (
    ApiError,
    CallFailedError,
    ConfigError,
    OutageError,
    RetryableError,
    RetryPolicy,
)
from etlkit.calls.classify import from_grpc, is_transient
from etlkit.calls.http import HttpClient
from tests.loopback import answering
from tests.run_of_calls import run_of_calls

ONCE = RetryPolicy(max_attempts=1, max_outage_s=2)
FORBIDDEN = b'{"error": {"message": "not yours"}}'


@pytest.fixture(scope="module")
def server():
    with answering() as server:
        yield server


@pytest.fixture(autouse=True)
def run(server):
    server.asked.clear()
    with run_of_calls() as calls:
        yield calls


@pytest.fixture
def client(server):
    with HttpClient(server.url, service="crm") as client:
        yield client


@pytest.mark.edge_case(
    "a 403 with `Content-Encoding: gzip` and a body that is not", "calls over HTTP",
    "the service's reason, after one call",
)  # fmt: skip
@pytest.mark.parametrize("coding", ["gzip", "deflate", "gzip, gzip", "unheard-of"])
@pytest.mark.parametrize("way", ["get_json", "get_bytes", "download"])
def test_a_wrong_encoding_does_not_hide_an_error(server, client, way, coding, tmp_path):
    """The body is read as it came."""
    server.answer = lambda asked: (403, {"Content-Encoding": coding}, FORBIDDEN)
    options = {"get_bytes": {"max_bytes": 9}, "download": {"to": tmp_path / "x"}}
    with pytest.raises(ApiError, match="crm refused /a with 403: not yours"):
        getattr(client, way)("/a", **options.get(way, {}))
    assert len(server.asked) == 1


def test_an_error_that_is_encoded_as_it_says_is_read(server, client):
    """The right encoding is undone first."""
    body = gzip.compress(FORBIDDEN)
    server.answer = lambda asked: (403, {"Content-Encoding": "gzip"}, body)
    with pytest.raises(ApiError, match="with 403: not yours"):
        client.get_bytes("/a", max_bytes=9)


@pytest.mark.edge_case(
    "a 200 with `Content-Encoding: gzip` and a body that is not", "calls over HTTP",
    "asked for three times, then `ApiError`",
)  # fmt: skip
@pytest.mark.parametrize(
    "body", [b'{"a": 1}', gzip.compress(b'{"a": 1}')[:3]], ids=["plain", "cut"]
)
def test_a_success_with_a_wrong_encoding_is_not_believed(server, client, body):
    """A proxy may have broken it for a moment, but not for ever."""
    server.answer = lambda asked: (200, {"Content-Encoding": "gzip"}, body)
    with pytest.raises(ApiError, match=r"Content-Encoding|not JSON"):
        client.get_json("/a")
    assert len(server.asked) == 3
    answers = [(200, {"Content-Encoding": "gzip"}, body), (200, {}, b"[]")]
    server.answer = lambda asked: answers.pop(0)
    assert client.get_json("/a") == []


@pytest.mark.edge_case("204 No Content", "calls over HTTP", "None, after one call")
def test_no_content_is_no_error(server, client):
    """A 204 has nothing to parse."""
    server.answer = lambda asked: (204, {}, b"")
    assert [client.post_json("/a", {}), client.get_json("/a"), client.delete("/a")] == [None] * 3
    assert len(server.asked) == 3


PASSING = [408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529]


@pytest.mark.edge_case(
    "425, 520 to 524, 529", "calls over HTTP and gRPC", "repeated, as 502 and 503"
)
@pytest.mark.parametrize("status", PASSING)
def test_statuses_of_gateways_are_repeated(server, client, status):
    """They pass, whoever sends them."""
    answers = [(status, {}, b"<html>"), (200, {}, b"{}")]
    server.answer = lambda asked: answers.pop(0)
    assert client.get_json("/a") == {}


def _frame(kind, flags, stream, payload):
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
    return head + payload


def _header(name, value):
    """HPACK, as a literal that is not indexed."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


class PageOverHttp2:
    """Speaks HTTP/2, and answers each call with a page, as a proxy does."""

    def __init__(self):
        self.status, self.body = 200, b"<html>who are you</html>"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection):
        with connection, connection.makefile("rb") as frames:
            frames.read(24)  # the preface
            connection.sendall(_frame(4, 0, 0, b""))
            while len(head := frames.read(9)) == 9:
                frames.read(int.from_bytes(head[:3], "big"))
                kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
                if kind == 4 and not flags & 1:
                    connection.sendall(_frame(4, 1, 0, b""))
                if kind == 1:
                    status = _header(b":status", str(self.status).encode())
                    page = status + _header(b"content-type", b"text/html")
                    end = 0 if self.body else 1
                    connection.sendall(_frame(1, 4 | end, stream, page))
                    if self.body:
                        connection.sendall(_frame(0, 1, stream, self.body))

    def close(self):
        self._listener.close()


@pytest.fixture(scope="module")
def page():
    page = PageOverHttp2()
    yield page
    page.close()


@pytest.fixture(scope="module")
def channel(page):
    with grpc.insecure_channel(page.address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        yield channel


def error_over_grpc(channel, *, wrapped):
    """What a call raises: gRPC's own error, or the one that Google's clients make of it."""
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/a.B/C")(b"", timeout=20)
    return from_grpc_error(caught.value) if wrapped else caught.value


def kind_over_rest(server):
    """What one attempt of `HttpClient` raises, before its `Caller` makes something else of it."""
    with HttpClient(server.url, service="crm", retry=ONCE) as client:
        try:
            client.get_json("/a")
        except (CallFailedError, OutageError):
            return RetryableError
        except (ApiError, ConfigError) as error:
            return type(error)
    raise AssertionError("it was answered")


@pytest.mark.parametrize("wrapped", [False, True], ids=["grpc", "google"])
@pytest.mark.parametrize("status", [200, 401, 403, 404, 407, *PASSING])
def test_a_page_over_grpc_is_what_it_is_over_rest(server, page, channel, status, wrapped):
    """The same kind of error for the same status."""
    page.status = status
    server.answer = lambda asked: (status, {}, page.body)
    kind = kind_over_rest(server)
    error = error_over_grpc(channel, wrapped=wrapped)
    assert type(from_grpc(error, "crm")) is kind
    assert is_transient(error) is (kind is RetryableError)


@pytest.mark.edge_case(
    "a page with status 200 where gRPC was expected", "calls over gRPC", "repeated, as over REST"
)
@pytest.mark.parametrize("body", [b"<html>", b""], ids=["page", "nothing"])
def test_a_success_over_grpc_without_grpcs_own_status_is_repeated(page, channel, body):
    """The service itself always sends one, so somebody else answered."""
    page.status, page.body = 200, body
    found = from_grpc(error_over_grpc(channel, wrapped=True), "crm")
    assert (type(found), found.code, found.status) == (RetryableError, "not_grpc", 200)
    assert "in HTTP and not in gRPC" in found.message


def test_the_services_own_unknown_ends_the_run():
    """A code UNKNOWN with the service's words is no page."""
    servicer = grpc.method_handlers_generic_handler(
        "a.B", {"C": grpc.unary_unary_rpc_method_handler(_refuse)}
    )
    own = grpc.server(ThreadPoolExecutor(1), handlers=[servicer])
    port = own.add_insecure_port("127.0.0.1:0")
    own.start()
    try:
        with grpc.insecure_channel(
            f"127.0.0.1:{port}", options=[("grpc.enable_http_proxy", 0)]
        ) as channel:
            error = error_over_grpc(channel, wrapped=False)
    finally:
        own.stop(0).wait(20)
    assert not is_transient(error)
    assert isinstance(from_grpc(error, "crm"), ApiError)


def _refuse(_request, context):
    context.abort(grpc.StatusCode.UNKNOWN, "division by zero")


@pytest.mark.parametrize("reason", ["quota", {"msg": "quota"}, {"fault": {"message": "quota"}}])
def test_a_refusal_has_the_services_own_reason(server, client, reason):
    """Wherever the service puts it."""
    server.answer = lambda asked: (400, {}, json.dumps({"error": reason}).encode())
    with pytest.raises(ApiError, match=r"refused /a with 400: .*quota"):
        client.get_json("/a")

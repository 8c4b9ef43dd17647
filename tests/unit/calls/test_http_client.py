"""`HttpClient`: methods, parameters, headers, forms, files, streams, and errors of one row."""

import gzip
import io
import json
import re
from email import message_from_bytes
from email.policy import HTTP

import pytest

from etlkit import (
    ApiError,
    ConfigError,
    EtlBase,
    RequestRefusedError,
    RetryPolicy,
    RowError,
    Secret,
    TransferJob,
    run_job,
)
from etlkit.calls.http import HttpClient
from etlkit.testing import MemorySink, MemorySource
from tests.loopback import answering
from tests.run_of_calls import run_of_calls

ONCE = RetryPolicy(max_attempts=1, max_outage_s=2)


@pytest.fixture(scope="module")
def server():
    """One server for all tests; `answer` says what comes back."""
    with answering() as server:
        yield server


@pytest.fixture(autouse=True)
def run(server):
    """A run of its own for every test."""
    server.asked.clear()
    server.answer = lambda asked: (200, {}, b'{"n": 1}')
    with run_of_calls() as calls:
        yield calls


@pytest.fixture
def client(server):
    with HttpClient(server.url, service="crm") as client:
        yield client


def test_each_method_sends_its_own_request(server, client):
    """Method, body and content type; the JSON of the answer comes back."""
    assert client.get_json("/a") == {"n": 1}
    assert client.post_json("/a", {"x": "犬"}) == {"n": 1}
    assert client.put("/a", [1]) == {"n": 1}
    assert client.patch("/a", None) == {"n": 1}
    assert client.delete("/a") == {"n": 1}
    sent = [
        (each.method, each.body.decode(), each.headers["Content-Type"]) for each in server.asked
    ]
    assert sent == [
        ("GET", "", None),
        ("POST", '{"x": "犬"}', "application/json"),
        ("PUT", "[1]", "application/json"),
        ("PATCH", "null", "application/json"),
        ("DELETE", "", None),
    ]


def test_parameters_are_quoted_and_those_of_the_call_come_before_the_clients(server):
    """Lists repeat the name, None leaves it out, truth values are in small letters."""
    with HttpClient(f"{server.url}/v1/", service="crm", params={"v": 3, "lang": "ja"}) as client:
        client.get_json("/a?x=1", params={"q": "a&b c/é", "id": [1, 2], "no": None, "lang": True})
    assert server.asked[0].path == "/v1/a?x=1&v=3&lang=true&q=a%26b+c%2F%C3%A9&id=1&id=2"


@pytest.mark.parametrize("value", [{"a": 1}, b"x", object()])
def test_a_parameter_without_a_text_is_the_rows_error(server, client, value):
    """Nothing is sent, because every service would read it in another way."""
    with pytest.raises(RowError, match="the parameter 'q' is a "):
        client.get_json("/a", params={"q": value})
    assert server.asked == []


def test_headers_of_a_call_replace_those_of_the_client(server, monkeypatch):
    """Whatever the letters' size; None takes one away; a secret comes from the environment."""
    monkeypatch.setenv("CRM_KEY", "made-up\n")
    headers = {"X-Key": Secret("CRM_KEY"), "Accept": "text/csv"}
    with HttpClient(server.url, service="crm", headers=headers) as client:
        client.post_json("/a", 1, headers={"accept": "a/b", "content-TYPE": "x/y", "X-Key": None})
        client.get_json("/a")
    first, second = (each.headers for each in server.asked)
    assert first.get_all("Accept") == ["a/b"]
    assert first.get_all("Content-Type") == ["x/y"]
    assert (first["X-Key"], second["X-Key"]) == (None, "made-up")


@pytest.mark.parametrize("header", [{"X": "a\nb"}, {"X": "é"}, {"a b": "c"}, {"X": 5}])
def test_a_header_of_a_call_that_cannot_be_sent_is_the_rows_error(client, header):
    """It may come from the row; its value is not shown."""
    with pytest.raises(RowError, match="header"):
        client.get_json("/a", headers=header)


def test_an_unknown_option_is_named(client):
    """A misspelled option would have no effect, so it is an error."""
    with pytest.raises(TypeError, match=r"unknown option param; there are errors_as_row, headers"):
        client.get_json("/a", param={"q": 1})


@pytest.mark.parametrize(
    ("path", "error"), [("v1/a", ConfigError), ("http://other/", ConfigError), ("/a#b", RowError)]
)
def test_a_path_that_would_not_be_sent_as_it_is_written_is_refused(server, client, path, error):
    """Without a slash it could become a part of the host, and what follows # is dropped."""
    with pytest.raises(error):
        client.get_json(path)
    assert server.asked == []


@pytest.mark.parametrize(
    ("status", "body", "value"),
    [(204, b"", None), (202, b"", None), (201, b"", None), (201, b"[]", []), (200, b"null", None)],
)
def test_an_answer_without_content_is_none(server, client, status, body, value):
    """Its status says that there is none, so it is one call and no error."""
    server.answer = lambda asked: (status, {}, body)
    assert client.post_json("/a", {}) is value or value == []
    assert client.get_json("/a") == value
    assert len(server.asked) == 2


def test_a_200_without_content_is_not_json(server, client):
    """It says that there is some: a proxy may have lost it. Changes are another matter."""
    server.answer = lambda asked: (200, {}, b"")
    with pytest.raises(ApiError, match="answered 200 with something that is not JSON"):
        client.get_json("/a")
    assert len(server.asked) == 3
    assert [client.put("/a", 1), client.patch("/a", 1), client.delete("/a")] == [None] * 3


def test_a_form_is_sent_as_browsers_do(server, client):
    """Names and values are quoted."""
    assert client.post_form("/a", {"a b": "ü&", "n": [1, 2], "none": None}) == {"n": 1}
    asked = server.asked[0]
    assert asked.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert asked.body == b"a+b=%C3%BC%26&n=1&n=2"


def test_files_are_sent_in_a_form(server, client, tmp_path):
    """Bytes, a path, or name, bytes and type; and the other fields. A retry sends the same again."""
    (tmp_path / "cat.jpg").write_bytes(b"\xff\xd8cat")
    answers = [(503, {}, b""), (200, {}, b"{}")]
    server.answer = lambda asked: answers.pop(0)
    files = {"raw": b"\0\1", "photo": tmp_path / "cat.jpg", "doc": ("é.txt", b"text", "a/b")}
    assert client.post_files("/a", files, {"title": "犬"}) == {}
    first, second = server.asked
    assert first.body == second.body
    head = f"Content-Type: {first.headers['Content-Type']}\r\n\r\n".encode()
    parts = {
        part.get_param("name", header="content-disposition"): part
        for part in message_from_bytes(head + first.body, policy=HTTP).iter_parts()
    }
    assert {name: part.get_payload(decode=True) for name, part in parts.items()} == {
        "title": "犬".encode(),
        "raw": b"\0\1",
        "photo": b"\xff\xd8cat",
        "doc": b"text",
    }
    assert parts["photo"].get_content_type() == "image/jpeg"
    assert (parts["photo"].get_filename(), parts["doc"].get_content_type()) == ("cat.jpg", "a/b")


BODY = bytes(range(256)) * 1000


class Files:
    """A file server that breaks off after some bytes as long as `breaks` says so."""

    def __init__(self, *, etag=None, breaks=(), body=BODY, headers=None):
        self.etag, self.breaks, self.body, self.headers = etag, list(breaks), body, headers or {}

    def __call__(self, asked):
        start = 0
        if self.etag and asked.headers.get("If-Range") == self.etag:
            start = int(asked.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        rest = self.body[start:]
        headers = {"Content-Length": str(len(rest)), **self.headers}
        if self.etag:
            headers["ETag"] = self.etag
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(self.body) - 1}/{len(self.body)}"
        return 206 if start else 200, headers, rest[: self.breaks.pop(0)] if self.breaks else rest


@pytest.mark.parametrize("etag", ['"one"', None])
def test_a_stream_goes_on_where_the_connection_broke(server, run, etag):
    """Each request is counted. With an ETag only the rest is asked for."""
    server.answer = Files(etag=etag, breaks=[100_000, 150_000])
    with HttpClient(server.url, service="crm") as client:
        assert b"".join(client.stream("/big", units=2)) == BODY
    ranges = [each.headers["Range"] for each in server.asked]
    assert len(ranges) == 3
    assert [bool(each) for each in ranges] == [False, bool(etag), bool(etag)]
    assert (run.meter.calls, run.meter.units) == (3, 6)


@pytest.mark.parametrize("size", ["bytes */{}", ""])
def test_a_stream_may_break_behind_its_last_byte(server, client, size):
    """Without a length, the end of the connection is the end; with one, the rest is nothing."""
    files = Files(etag='"one"', breaks=[65536])
    files.body = BODY[:65536]

    def answer(asked):
        if "Range" in asked.headers:
            told = {"Content-Range": size.format(65536)} if size else {}
            return 416, told, b""
        status, headers, body = files(asked)
        if len(server.asked) == 1:
            headers["Content-Length"] = "65537"
        return status, headers, body

    server.answer = answer
    assert b"".join(client.stream("/big")) == files.body
    assert [bool(each.headers["Range"]) for each in server.asked] == [False, True] + (
        [] if size else [False]
    )


def test_a_file_that_changed_after_a_break_is_the_rows_error(server, client):
    """Two halves of two files are no file."""
    server.answer = files = Files(breaks=[100_000])
    pieces = client.stream("/big")
    next(pieces)
    files.body = BODY[::-1]
    with pytest.raises(RowError, match="crm: /big changed while it was read"):
        list(pieces)


def test_a_download_appears_when_it_is_whole(server, client, tmp_path):
    """A path, or an open file; a failed one leaves nothing behind."""
    server.answer = Files()
    target, opened = tmp_path / "big.bin", io.BytesIO()
    assert client.download("/big", target) == len(BODY) == client.download("/big", opened)
    assert target.read_bytes() == BODY == opened.getvalue()
    with pytest.raises(RowError, match="larger than 1,000 bytes"):
        client.download("/big", tmp_path / "other.bin", max_bytes=1000)
    server.answer = lambda asked: (404, {}, b'{"message": "no such file"}')
    with pytest.raises(ApiError, match="with 404: no such file"):
        client.download("/big", tmp_path / "other.bin")
    assert [each.name for each in tmp_path.iterdir()] == ["big.bin"]


@pytest.mark.parametrize("members", [1, 2])
def test_gzip_that_a_server_applied_unasked_is_undone(server, client, members):
    """Also in several members, and after a break."""
    halves = (BODY,) if members == 1 else (BODY[:70_000], BODY[70_000:])
    body = b"".join(map(gzip.compress, halves))
    server.answer = Files(body=body, breaks=[300], headers={"Content-Encoding": "gzip"})
    assert b"".join(client.stream("/big")) == BODY


@pytest.mark.parametrize(
    ("body", "coding"), [(BODY, "gzip"), (gzip.compress(BODY)[:-9], "gzip"), (BODY, "br")]
)
def test_a_stream_that_is_encoded_wrongly_is_refused(server, client, body, coding):
    """No half of a file is taken for a file."""
    server.answer = Files(body=body, headers={"Content-Encoding": coding})
    with pytest.raises(ApiError, match="is not encoded as its Content-Encoding says"):
        list(client.stream("/big"))


def test_a_bad_request_of_one_row_is_that_rows_error(server):
    """The service's own reason is in the table of rejected rows, and the run goes on."""

    def answer(asked):
        n = json.loads(asked.body)["n"]
        if n == 2:
            return 422, {}, b'{"detail": [{"loc": ["n"], "msg": "n must be odd"}]}'
        return (404, {}, b"<html>nobody</html>") if n == 4 else (200, {}, b'{"ok": true}')

    class Etl(EtlBase):
        def before_action(self):
            self.api = HttpClient(
                server.url, service="crm", headers={"X-Key": "k-4711-secret"},
                errors_as_row={404, 422},
            )  # fmt: skip

        def transform_row(self, row):
            return {**row, **self.api.post_json("/v1/rows", row)}

        def after_action(self):
            self.api.close()

    server.answer = answer
    sink = MemorySink("replace")
    job = TransferJob(
        source=MemorySource([{"n": n} for n in range(1, 7)]), transform=Etl, sink=sink,
        on_row_error="reject", max_rejected=0.5,
    )  # fmt: skip
    report = run_job(job)
    assert (report.written, report.rejected, report.calls) == (4, 2, 6)
    assert [(each.error_class, each.code, each.message) for each in sink.rejects] == [
        (
            "RequestRefusedError",
            "422",
            "row 2 (id row-2): crm refused /v1/rows with 422: n must be odd",
        ),
        ("RequestRefusedError", "404", "row 4 (id row-4): crm refused /v1/rows with 404"),
    ]


def test_errors_as_row_can_be_said_for_one_call(server):
    """It takes the place of the client's, and what is passing is still repeated."""
    answers = [(503, {}, b""), (404, {}, b""), (404, {}, b"")]
    server.answer = lambda asked: answers.pop(0)
    with HttpClient(server.url, service="crm", errors_as_row={404}) as client:
        with pytest.raises(RequestRefusedError) as caught:
            client.delete("/a")
        assert (caught.value.code, caught.value.attempts) == ("404", 2)
        with pytest.raises(ApiError):
            client.delete("/a", errors_as_row=())


@pytest.mark.parametrize("status", [200, 302, 401, 407, 429, 503, "404"])
def test_not_every_status_can_be_a_rows_error(status):
    """A wrong key, a proxy or an outage concerns every row."""
    with pytest.raises(ConfigError, match="cannot be the error of one row"):
        HttpClient("http://h", service="crm", errors_as_row=[status])


def test_a_reason_repeats_no_key_of_the_request(server):
    """Services quote what they were sent."""
    server.answer = lambda asked: (400, {}, b'{"error": "no user for key k-4711-secret"}')
    with (
        HttpClient(server.url, service="crm", headers={"X-Key": "k-4711-secret"}) as client,
        pytest.raises(ApiError, match=re.escape("with 400: no user for key …")),
    ):
        client.get_json("/a")

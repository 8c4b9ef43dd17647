"""`HttpClient.stream` and `download`: bodies of any size, over broken connections."""

import gzip
import io

import pytest

from etlkit import (
    ApiError,
    RowError,
)
from etlkit.calls.http import HttpClient

pytestmark = pytest.mark.usefixtures("run")


@pytest.fixture
def client(server):
    with HttpClient(server.url, service="crm") as client:
        yield client


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
    ("body", "coding"),
    [(BODY, "gzip"), (gzip.compress(BODY)[:-9], "gzip"), (BODY, "br")],
    ids=[
        "plain",
        "cut",
        "another coding",
    ],  # the bytes have a time in them, which xdist's workers differ in
)
def test_a_stream_that_is_encoded_wrongly_is_refused(server, client, body, coding):
    """No half of a file is taken for a file."""
    server.answer = Files(body=body, headers={"Content-Encoding": coding})
    with pytest.raises(ApiError, match="is not encoded as its Content-Encoding says"):
        list(client.stream("/big"))

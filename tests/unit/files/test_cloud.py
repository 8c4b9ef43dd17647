"""`gs://` without the local world: gcsfs against a loopback server with Cloud Storage's API."""

import gc
import json
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from etlkit import ApiError, CsvSource, ParquetSource, RetryableError, RowError, SourceError
from etlkit.files import copy_object
from etlkit.files.storage import read_object
from tests.loopback import serving


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server, parts = self.server, urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        name = unquote(parts.path.partition("/o/")[2])
        if server.read_status is not None:
            return self.answer(server.read_status, {"error": {"message": "no"}})
        if not name:
            prefix = query.get("prefix", "")
            return self.answer(200, {"items": [self.meta(n) for n in sorted(server.objects)
                                               if n.startswith(prefix)]})  # fmt: skip
        if name not in server.objects:
            return self.answer(404, {"error": {"code": 404, "message": "No such object"}})
        if "/download/" not in parts.path and query.get("alt") != "media":
            return self.answer(200, self.meta(name))
        server.downloads.append(name)
        content, wanted = server.objects[name], self.headers.get("Range", "")
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        piece = content[int(first) : int(last) + 1] if wanted else content
        if server.on_download is not None:
            server.on_download(server)
        return self.answer(206 if wanted else 200, piece)

    def do_POST(self):
        """Rewrite an object, as the API does it: the first answer says that it is not done yet."""
        server, parts = self.server, urlsplit(self.path)
        source, _, target = parts.path.partition("/rewriteTo/")
        name, copy = unquote(source.partition("/o/")[2]), unquote(target.partition("/o/")[2])
        server.rewrites.append(name)
        if server.status is not None:
            return self.answer(server.status, {"error": {"code": server.status, "message": "no"}})
        if name not in server.objects or not target.startswith("b/review/"):
            return self.answer(404, {"error": {"code": 404, "message": "No such object"}})
        if "rewriteToken" not in parts.query:
            return self.answer(200, {"done": False, "rewriteToken": "go-on"})
        server.copies[copy] = server.objects[name]
        return self.answer(200, {"done": True})

    def meta(self, name):
        content = self.server.objects[name]
        return {
            "kind": "storage#object", "name": name, "bucket": "labels",
            "size": str(len(content)), "generation": str(self.server.generation),
        }  # fmt: skip

    def answer(self, status, body):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def cloud(monkeypatch, young_heap):
    pytest.importorskip("gcsfs")  # brings aiohttp, which no other test needs
    import fsspec

    with serving(Handler) as server:
        server.daemon_threads = True
        server.objects = {"a/1.csv": b"n\n1\n2\n", "a/2.csv": b"n\n3\n", "b.csv": b"n\n9\n"}
        server.generation, server.downloads, server.on_download = 7, [], None
        server.copies, server.rewrites, server.status, server.read_status = {}, [], None, None
        url = f"http://127.0.0.1:{server.server_address[1]}"
        options = {"token": "anon", "endpoint_url": url, "skip_instance_cache": True}
        monkeypatch.setitem(fsspec.config.conf, "gs", options)
        yield server
        gc.collect()  # a connection that gcsfs leaves open fails this test, not another one


def numbers(read, source):
    return [row["n"] for row in read(source).rows]


def test_objects_and_patterns(read, cloud):
    """An object or the objects of a pattern are read in order of name and downloaded once."""
    assert numbers(read, CsvSource("gs://labels/a/*.csv")) == [1, 2, 3]
    assert cloud.downloads == ["a/1.csv", "a/2.csv"]
    assert numbers(read, CsvSource("gs://labels/b.csv")) == [9]


def test_an_object_that_changes_during_the_download(read, cloud):
    """Parts of two generations are never combined."""

    def overwrite(server):
        server.generation += 1

    cloud.on_download = overwrite
    with pytest.raises(SourceError, match=r"gs://labels/b\.csv was changed while the run"):
        read(CsvSource("gs://labels/b.csv"))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (CsvSource("gs://labels/z.csv"), r"no object gs://labels/z\.csv; check bucket and name"),
        (CsvSource("gs://labels/z*.csv"), r"no object matches gs://labels/z\*\.csv"),
        (ParquetSource("gs://labels/b.csv"), r"gs://labels/b\.csv is not a complete Parquet file"),
    ],
)
def test_missing_or_bad_objects(read, cloud, source, message):
    """The message names the object that is missing or bad."""
    with pytest.raises(SourceError, match=message):
        read(source)


COPY = ("gs://labels/a/1.csv", "gs://review/look/a/1.csv")


@pytest.mark.parametrize(
    ("source", "target", "error", "message"),
    [
        ("gs://labels/z.csv", COPY[1], RowError, r"no object gs://labels/z\.csv"),
        (
            COPY[0],
            "gs://nobody/1.csv",
            ApiError,
            r"the bucket of gs://nobody/1\.csv does not exist",
        ),
    ],
)
def test_a_copy_of_nothing_and_to_nowhere(cloud, source, target, error, message):
    """A missing object is an error of its row; a missing bucket ends the run."""
    with pytest.raises(error, match=message):
        copy_object(source, target, environ={})
    assert cloud.copies == {}


def test_a_copy_that_is_forbidden(cloud):
    """What the account may not do ends the run, and is not tried again."""
    cloud.status = 403
    with pytest.raises(
        ApiError, match="check that the account may read the one and write the other"
    ):
        copy_object(*COPY, environ={})
    assert len(cloud.rewrites) == 1


def test_a_copy_while_the_service_is_down(cloud, monkeypatch):
    """What passes is tried again by gcsfs, and then ends the run as transient."""

    async def at_once(_seconds):
        return

    monkeypatch.setattr("gcsfs.retry.asyncio.sleep", at_once)
    cloud.status = 503
    with pytest.raises(RetryableError, match="Cloud Storage does not answer"):
        copy_object(*COPY, environ={})
    assert len(cloud.rewrites) > 1


def test_a_copy(cloud):
    """The service copies the object itself, in as many steps as it takes, also a second time."""
    for _ in range(2):
        copy_object(*COPY, environ={})
    assert cloud.copies == {"look/a/1.csv": b"n\n1\n2\n"}
    assert cloud.rewrites == ["a/1.csv"] * 4
    assert cloud.downloads == []


def test_a_small_object_is_read(cloud):
    """Every character of a name stands for itself; a large object is not downloaded."""
    cloud.objects["a/[1]*.jpg"] = b"picture"
    assert read_object("gs://labels/a/[1]*.jpg", max_bytes=7, environ={}) == b"picture"
    with pytest.raises(RowError, match=r"a/1\.csv has 6 bytes; at most 5 are read"):
        read_object("gs://labels/a/1.csv", max_bytes=5, environ={})
    assert cloud.downloads == ["a/[1]*.jpg"]


@pytest.mark.parametrize(
    ("uri", "status", "error", "message"),
    [
        ("gs://labels/z.jpg", None, RowError, r"no object gs://labels/z\.jpg"),
        ("gs://labels/", None, RowError, "names no object"),
        ("gs://labels/a/1.csv", 403, ApiError, "refuses to read gs://labels/a/1.csv .*may read it"),
    ],
)
def test_an_object_that_cannot_be_read(cloud, uri, status, error, message):
    """What is wrong with one object is told from what is wrong with the account."""
    cloud.read_status = status
    with pytest.raises(error, match=message):
        read_object(uri, max_bytes=100, environ={})

"""`gs://` without the local world: gcsfs against a loopback server with Cloud Storage's API."""

import gc
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from etlkit import CsvSource, ParquetSource, SourceError

fsspec = pytest.importorskip("fsspec")
gcsfs = pytest.importorskip("gcsfs")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server, parts = self.server, urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        name = unquote(parts.path.partition("/o/")[2])
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
def cloud(monkeypatch):
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.objects = {"a/1.csv": b"n\n1\n2\n", "a/2.csv": b"n\n3\n", "b.csv": b"n\n9\n"}
        server.generation, server.downloads, server.on_download = 7, [], None
        url = f"http://127.0.0.1:{server.server_address[1]}"
        options = {"token": "anon", "endpoint_url": url, "skip_instance_cache": True}
        monkeypatch.setitem(fsspec.config.conf, "gs", options)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        gc.collect()  # a connection that gcsfs leaves open fails this test, not another one
        server.shutdown()
        thread.join()


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

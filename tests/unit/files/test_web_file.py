import gzip
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from etlkit import CsvSource, JsonlSource, ParquetSource, SourceError
from etlkit.api.run import Run, RunRequest, Settings
from etlkit.api.source import ROW_ID
from etlkit.calls.connections import HttpStream
from etlkit.testing import no_sleep
from etlkit.testing.contract_job import contract_job
from tests.loopback import serving

ROWS = "n,t\n" + "".join(f"{n},{'x' * 80}\n" for n in range(40_000))


class Handler(BaseHTTPRequestHandler):
    """Serves `server.content`, with ranges if `server.etag` is set, and the faults of `server.plan`."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        server.requests.append((self.path, dict(self.headers.items())))
        fault = server.plan.pop(0) if server.plan else None
        if isinstance(fault, int):
            self.send_response(fault)
            if fault == 302:
                self.send_header("Location", server.location)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if callable(fault):
            fault(server)
        content, start = server.content, 0
        wanted = self.headers.get("Range")
        if wanted is not None and server.etag and self.headers.get("If-Range") == server.etag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start and start >= len(content):
            self.send_response(416)
            for name, value in server.beyond.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        for name, value in server.headers.items():
            self.send_header(name, value)
        if server.etag:
            self.send_header("ETag", server.etag)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if fault == "break":
            self.wfile.write(content[start : start + len(content) // 2])
            self.close_connection = True
            return
        self.wfile.write(content[start:])

    def log_message(self, *arguments):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """A client that closes the connection is not an error."""


@pytest.fixture
def server():
    with serving(Server(("127.0.0.1", 0), Handler)) as server:
        server.content, server.headers, server.etag = ROWS.encode(), {}, None
        server.plan, server.requests, server.beyond = [], [], {}
        yield server


@pytest.fixture(autouse=True)
def _no_sleep():
    with no_sleep():
        yield


def numbers(read, source, **options):
    return [row["n"] for row in read(source, **options).rows]


def test_a_file_comes_once_over_the_network(read, server):
    """Freezing, counting and reading share one download, without transfer compression."""
    assert numbers(read, CsvSource(f"{server.url}/a.csv")) == list(range(40_000))
    ((path, headers),) = server.requests
    assert path == "/a.csv"
    assert headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("etag", ['"1"', None])
@pytest.mark.parametrize(
    "beyond", [{"Content-Range": "bytes */{size}"}, {}], ids=["told", "not told"]
)
@pytest.mark.parametrize("num_rows", [10, 2000, 40_000])
def test_many_files_are_not_open_at_once(read, server, etag, beyond, num_rows):
    """After a look at its head a download is paused; it goes on where it was, also behind its end."""
    text = "n,t\n" + "".join(f"{n},x\n" for n in range(num_rows))
    server.content, server.etag = text.encode(), etag
    server.beyond = {name: value.format(size=len(text)) for name, value in beyond.items()}
    paths = [f"{server.url}/{name}.csv" for name in "abc"]
    assert numbers(read, CsvSource(paths)) == [*range(num_rows)] * 3
    asked = [path for path, _ in server.requests]
    assert asked[:3] == ["/a.csv", "/b.csv", "/c.csv"]
    if num_rows == 10:
        assert len(asked) == 3  # the head was all of it
    else:
        assert asked[3] == "/a.csv"
        assert ("Range" in server.requests[3][1]) == (etag is not None)


def test_addresses_with_other_letters(read, server):
    """Spaces and letters beyond ASCII are escaped; escapes in the address stay."""
    server.content = b"n\n1\n"
    assert numbers(read, CsvSource(f"{server.url}/猫 a%20b.csv?q=é")) == [1]
    assert server.requests[0][0] == "/%E7%8C%AB%20a%20b.csv?q=%C3%A9"


def test_every_format_can_be_downloaded(read, server):
    """Parquet, which is read from its end, can be downloaded."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"n": [1, 2]}), sink)
    server.content = sink.getvalue().to_pybytes()
    assert numbers(read, ParquetSource(f"{server.url}/a.parquet")) == [1, 2]
    server.content = gzip.compress(b'{"n": 1}\n{"n": 2}\n')
    assert numbers(read, JsonlSource(f"{server.url}/a.jsonl.gz")) == [1, 2]


def test_a_server_that_packs_on_the_way(read, server):
    """Content-Encoding is undone, whether or not the name ends in .gz."""
    server.content, server.headers = gzip.compress(b"n\n1\n"), {"Content-Encoding": "gzip"}
    assert numbers(read, CsvSource(f"{server.url}/a.csv")) == [1]
    assert numbers(read, CsvSource(f"{server.url}/a.csv.gz")) == [1]


def test_a_preview_copies_the_beginning_only(server):
    """A preview downloads only the first piece, not the whole file."""
    server.content = ROWS.encode() + b"1,x\n" * 20_000_000
    with Run(RunRequest("files", Settings(), limit=5)) as run:
        reader = CsvSource(f"{server.url}/a.csv").open(contract_job(), run)
        got = [n for batch in reader.batches() for n in batch.column("n").to_pylist()]
        copied = reader._files[0].size
        reader.close(succeeded=True)
    assert got == [0, 1, 2, 3, 4]
    assert copied < len(server.content) / 2


@pytest.mark.parametrize("etag", ['"one"', 'W/"weak"', None])
def test_a_broken_connection_goes_on(read, server, etag):
    """A download continues where it broke with a strong ETag, else it starts again."""
    server.etag, server.plan = etag, ["break"]
    assert numbers(read, CsvSource(f"{server.url}/a.csv")) == list(range(40_000))
    assert len(server.requests) == 2
    second = server.requests[1][1]
    if etag == '"one"':
        assert (second["If-Range"], second["Range"][:6]) == ('"one"', "bytes=")
    else:
        assert "Range" not in second


@pytest.mark.parametrize("etag", ['"one"', None])
def test_a_file_that_changes_during_the_download(read, server, etag):
    """Parts of two versions are never combined."""

    def change(server):
        server.content = server.content.replace(b"x", b"y")
        server.etag = etag and '"two"'

    server.etag, server.plan = etag, ["break", change]
    with pytest.raises(SourceError, match=r"/a\.csv was changed while the run was reading it"):
        read(CsvSource(f"{server.url}/a.csv"))


@pytest.mark.parametrize("fault", [503, 429, 500, 408])
def test_transient_answers_are_asked_again(read, server, fault):
    """A transient answer is retried."""
    server.plan = [fault, fault]
    assert len(numbers(read, CsvSource(f"{server.url}/a.csv"))) == 40_000
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("plan", "message", "num_requests"),
    [
        ([404], r"no file at http://127\.0\.0\.1:\d+/a\.csv: the server answered 404", 1),
        ([403], "was refused with 403: check the address and `headers`", 1),
        ([400], "cannot be read: .* refused .* with 400", 1),
    ],
)
def test_refusals_are_told_and_not_repeated(read, server, plan, message, num_requests):
    """The message has the next step, and no secret from the address or headers."""
    server.plan = plan
    source = CsvSource(
        f"{server.url}/a.csv?signature=secret", headers={"Authorization": "Bearer secret"}
    )
    with pytest.raises(SourceError, match=message) as caught:
        read(source)
    assert "secret" not in str(caught.value)
    assert len(server.requests) == num_requests
    assert server.requests[0][1]["Authorization"] == "Bearer secret"
    assert server.requests[0][0] == "/a.csv?signature=secret"


def test_a_server_that_stays_away_ends_the_run(read, server):
    """Retries of a download end after a bounded time, with the reason."""
    server.plan = [503] * 1000
    with pytest.raises(SourceError, match=r"cannot be read: .*503"):
        read(CsvSource(f"{server.url}/a.csv"))


@pytest.mark.parametrize(
    "first",
    [b"HTTP/1.1 200 OK\r\nX-Slow: ", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nn,t\n"],
    ids=["in the headers", "in the body"],
)
def test_a_server_that_drips_is_left_at_the_deadline(read, server, first, monkeypatch):
    """A byte now and then resets every timeout of a socket, but not the deadline of an attempt."""
    release, left = threading.Event(), threading.Semaphore(0)

    def drip(handler):
        handler.close_connection = True
        try:
            handler.wfile.write(first)
            while not release.wait(0.02):
                handler.wfile.write(b"1")
        except OSError:
            left.release()

    monkeypatch.setattr(Handler, "do_GET", drip)
    try:
        with pytest.raises(SourceError, match=r"/a\.csv cannot be read: .*timeout"):
            read(CsvSource(f"{server.url}/a.csv", timeout_s=0.2))
        assert left.acquire(timeout=30)  # the server sees that the client has gone
    finally:
        release.set()


def test_a_slow_server_is_not_left(read, server, monkeypatch):
    """The deadline is that of one piece, so a large file may take longer in all."""
    monkeypatch.setattr("etlkit.calls.continued_body.PIECE_BYTES", 1000)
    server.content = b"n\n" + b"1\n" * 3000
    pieces = []
    read_piece = HttpStream.read

    def read_slowly(stream, num_bytes, timeout_s):
        pieces.append(timeout_s)
        return read_piece(stream, num_bytes, timeout_s)

    monkeypatch.setattr(HttpStream, "read", read_slowly)
    assert numbers(read, CsvSource(f"{server.url}/a.csv", timeout_s=60)) == [1] * 3000
    assert pieces == [60] * 8


def test_a_host_that_is_not_there(read):
    """A host name that does not exist is not retried."""
    with pytest.raises(SourceError, match=r"there is no such host; check the address"):
        read(CsvSource("https://etlkit.invalid/a.csv?key=secret"))


def test_secrets_do_not_follow_a_redirect_to_another_host(read, server):
    """Headers go only to the host of the address."""
    with serving(Server(("127.0.0.1", 0), Handler)) as other:
        other.content, other.headers, other.etag = b"n\n1\n", {}, None
        other.plan, other.requests = [], []
        server.plan = [302]
        server.location = f"http://127.0.0.1:{other.server_address[1]}/b.csv"
        source = CsvSource(f"{server.url}/a.csv", headers={"x-api-key": "secret"})
        assert numbers(read, source) == [1]
    assert server.requests[0][1]["x-api-key"] == "secret"
    assert "x-api-key" not in {name.lower() for name in other.requests[0][1]}


def test_a_redirect_out_of_http_is_not_followed(read, server):
    """A redirect to a file on this machine, for example, is refused."""
    server.plan, server.location = [302], "file:///etc/hostname"
    with pytest.raises(SourceError):
        read(CsvSource(f"{server.url}/a.csv"))


def test_redirects_in_a_circle_end(read, server):
    """More than ten redirects are not followed."""
    server.plan, server.location = [302] * 20, f"{server.url}/a.csv"
    with pytest.raises(SourceError, match="more than 10 redirects"):
        read(CsvSource(f"{server.url}/a.csv"))
    assert len(server.requests) == 11


def test_another_attempt_downloads_again_and_finds_the_same_ids(server):
    """Ids contain the content's digest, so a resume does not need the first attempt's copy."""

    def ids():
        with Run(RunRequest("files", Settings())) as run:
            reader = CsvSource(f"{server.url}/a.csv").open(contract_job(), run)
            reader.freeze()
            got = [i for batch in reader.batches() for i in batch.column(ROW_ID).to_pylist()]
            reader.close(succeeded=False)
        return got

    first = ids()
    assert first == ids()
    digest = hashlib.sha256(hashlib.sha256(server.content).digest()).hexdigest()
    assert first[0] == f"{digest[:16]}-0-1-1"
    server.content += b"40000,y\n"
    assert ids()[0] != first[0]

import base64
import json
import shutil
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.server import BaseHTTPRequestHandler

import pytest

from etlkit import (
    ApiError,
    CallFailedError,
    ConfigError,
    OutageError,
    RetryableError,
    RetryPolicy,
    RowError,
    SourceError,
)
from etlkit.calls.connections import HttpPool
from etlkit.calls.deadline import Deadline
from etlkit.files.web_file import web_file
from etlkit.vision.download import Downloader, DownloadError
from tests.loopback import over_tls, self_signed, serving
from tests.run_of_calls import run_of_calls

KEY = "sk-very-secret-4711"
ONCE = RetryPolicy(max_attempts=1, max_outage_s=2)
HASTY = RetryPolicy(max_attempts=1, attempt_timeout_s=0.3, max_outage_s=2)
"""For servers that never answer: on a busy machine an answer may take this long."""


@pytest.fixture
def server():
    """A real HTTP server that answers as each test says and records requests."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.do_POST()

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            http.asked.append((self.path, dict(self.headers), body))
            status, headers, payload = (
                http.next_answers.pop(0) if http.next_answers else http.answer
            )
            self.send_response(status)
            for name, value in {"Content-Length": str(len(payload)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *args):
            return

    with serving(Handler) as http:
        http.asked, http.next_answers, http.answer = [], [], (200, {}, b"{}")
        yield http


@pytest.fixture(autouse=True)
def run():
    """A separate run for every test, because health and counts belong to a run."""
    with run_of_calls() as calls:
        yield calls


@pytest.fixture
def client(server, run, make_client):
    headers = {"X-Goog-Api-Key": KEY}
    with make_client(server.url, service="vision", headers=headers, retry=ONCE) as client:
        yield client


@pytest.fixture
def hasty_client(server, run, make_client):
    headers = {"X-Goog-Api-Key": KEY}
    with make_client(server.url, service="vision", headers=headers, retry=HASTY) as client:
        yield client


def failure(client, path="/v1/x"):
    """The error of one attempt."""
    with pytest.raises((CallFailedError, OutageError)) as caught:
        client.post_json(path, {})
    assert KEY not in repr(caught.value) + str(caught.value.__cause__)
    return caught.value.__cause__ or caught.value


def test_json_goes_out_and_comes_back(server, client):
    """The body is JSON in UTF-8, and the key is sent in a header."""
    server.answer = (200, {}, '{"a": "犬\\u0000"}'.encode())
    assert client.post_json("/v1/x", {"uri": 'a"b\\c 🐈'}) == {"a": "犬\x00"}
    path, headers, body = server.asked[0]
    assert path == "/v1/x"
    assert json.loads(body) == {"uri": 'a"b\\c 🐈'}
    assert headers["X-Goog-Api-Key"] == KEY


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_transient_answers_are_retryable(server, client, status):
    """A later attempt may work, and the server's hint is kept."""
    server.answer = (status, {"Retry-After": "7"}, b"busy " + KEY.encode())
    error = failure(client)
    assert (error.status, str(status) in error.message) == (status, True)
    assert error.retry_after_s == 7


def test_a_call_is_repeated_until_it_works(server, run, make_client):
    """Body and headers are sent again, and every attempt is counted."""
    answers = [(503, {}, b""), (500, {}, b""), (200, {}, b'{"a": 1}')]
    server.next_answers = answers
    with make_client(server.url, service="vision", headers={"X-Goog-Api-Key": KEY}) as client:
        assert client.post_json("/v1/x", {"q": 1}, units=3) == {"a": 1}
    assert [body for _, _, body in server.asked] == [b'{"q": 1}'] * 3
    assert (run.meter.calls, run.meter.retries, run.meter.units) == (3, 2, 9)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 302])
def test_a_refused_call_ends_the_run(server, client, status):
    """It is an ApiError with Google's reason and nothing else of the body."""
    body = {"error": {"message": "API key not valid", "details": KEY}}
    server.answer = (status, {"Location": "http://127.0.0.1:1/"}, json.dumps(body).encode())
    with pytest.raises(ApiError, match="API key not valid") as caught:
        client.post_json("/v1/x", {})
    assert (caught.value.status, caught.value.service) == (status, "vision")
    assert KEY not in repr(caught.value)
    assert len(server.asked) == 1


def test_an_answer_that_is_no_json_is_tried_again_and_then_refused(server, make_client):
    """A proxy's HTML page is not an answer, but it may be gone a moment later."""
    server.answer = (200, {}, b"<html>" + KEY.encode())
    with make_client(server.url, service="vision") as client:
        with pytest.raises(ApiError, match="not JSON") as caught:
            client.post_json("/v1/x", {})
        assert KEY not in str(caught.value)
        assert len(server.asked) == 3
        server.next_answers = [(200, {}, b"<html>"), (200, {}, b"{}")]
        assert client.post_json("/v1/x", {}) == {}


def test_a_closed_port_is_retryable(make_client):
    """A closed port is an outage, and the error does not show the query."""
    with make_client("http://127.0.0.1:1", service="vision", retry=ONCE) as nobody:
        error = failure(nobody, f"/v1/x?key={KEY}")
    assert (type(error), "no connection" in error.message) == (OutageError, True)


@pytest.mark.parametrize(
    "first",
    [
        b"HTTP/1.1 200 O",
        b"HTTP/1.1 200 OK\r\nX-Slow: ",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{",
    ],
    ids=["in the first line", "in mid-headers", "in mid-body"],
)
@pytest.mark.parametrize("drips", [False, True], ids=["silent", "drips"])
def test_the_deadline_fires_whatever_the_server_does(server, hasty_client, first, drips):
    """A socket's own timeout starts again with each byte, so it would never end a server that drips."""
    release = threading.Event()

    def answer(handler):
        handler.wfile.write(first)
        while not release.wait(timeout=0.05 if drips else 30):
            handler.wfile.write(b"x")
        handler.close_connection = True

    server.RequestHandlerClass.do_POST = answer
    server.RequestHandlerClass.finish = lambda _: None  # our side is gone: nothing to flush to
    try:
        error = failure(hasty_client)
    finally:
        release.set()
    assert (error.code, error.message) == ("timeout", "vision: timeout while calling /v1/x")


def test_the_deadline_fires_on_a_connection_that_is_used_again(server):
    """The second call over the same connection is ended, too."""
    pool = HttpPool(server.url, service="vision")
    status, _, body = pool.send("POST", "/v1/x", {}, timeout_s=60)
    assert (status, body) == (200, b"{}")
    release = threading.Event()

    def drip(handler):
        while not release.wait(timeout=0.05):
            handler.wfile.write(b"x")
        handler.close_connection = True

    server.RequestHandlerClass.do_POST = drip
    server.RequestHandlerClass.finish = lambda _: None
    try:
        with pytest.raises(RetryableError) as caught:
            pool.send("POST", "/v1/x", {}, timeout_s=0.3)
    finally:
        release.set()
        pool.close()
    assert caught.value.code == "timeout"
    assert pool._pool.num_connections == 1


def test_the_deadline_fires_in_a_handshake_that_never_ends(make_client):
    """TLS takes the socket over before the handshake, but the deadline ends it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"https://127.0.0.1:{listening.getsockname()[1]}"
        with make_client(url, service="vision", retry=HASTY) as client:
            assert failure(client).code == "timeout"


def test_the_deadline_fires_while_nobody_reads_the_body():
    """More than the buffers on the way hold, on a first connection and on one that is used again."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        ThreadPoolExecutor(1) as server,
        closing(HttpPool(f"http://127.0.0.1:{listening.getsockname()[1]}", service="v")) as pool,
    ):
        answered = server.submit(_answer_once, listening)
        assert pool.send("POST", "/v1/x", {}, b"{}", timeout_s=60)[0] == 200
        with answered.result():
            for _ in range(2):
                with pytest.raises(RetryableError) as caught:
                    pool.send("POST", "/v1/x", {}, bytes(2**26), timeout_s=0.3)
                assert caught.value.code == "timeout"


def test_a_timeout_of_the_socket_itself_is_a_timeout(monkeypatch):
    """On a busy machine it comes before the thread that looks at deadlines."""
    monkeypatch.setattr(Deadline, "fire", lambda _: None)
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        closing(HttpPool(f"http://127.0.0.1:{listening.getsockname()[1]}", service="v")) as pool,
        pytest.raises(RetryableError) as caught,
    ):
        pool.send("POST", "/v1/x", {}, bytes(2**26), timeout_s=0.3)
    assert caught.value.code == "timeout"


def test_headers_and_a_small_body_come_in_one_piece(make_client):
    """Two would be two packets, and the service would read twice."""
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as server:
        received = []
        answered = server.submit(_answer_once, listening, received)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with make_client(url, service="vision", retry=ONCE) as client:
            assert client.post_json("/v1/x", {"uri": "gs://b/cat.jpg"}) == {}
            answered.result().close()
    assert received[0].endswith(b'gs://b/cat.jpg"}')


def _answer_once(listening, received=None):
    """Answer the first request of a connection; gives the connection, from which nobody reads then."""
    connection, _ = listening.accept()
    data = connection.recv(2**20)
    if received is not None:
        received.append(data)
    while not data.endswith(b"}"):
        data += connection.recv(2**20)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
    return connection


def test_an_answer_that_is_cut_off_is_retryable(server, client):
    """A connection that breaks during an answer is a transient error."""
    server.answer = (200, {"Content-Length": "1000"}, b'{"a": 1')
    server.RequestHandlerClass.protocol_version = "HTTP/1.0"
    assert failure(client).code == "truncated"


def test_a_file_has_a_largest_size(server, client):
    """A larger file is not read to its end."""
    server.answer = (200, {}, b"x" * 1000)
    assert client.get_bytes("/cat.jpg", max_bytes=1000) == b"x" * 1000
    with pytest.raises(RowError, match="larger than 999 bytes"):
        client.get_bytes("/cat.jpg", max_bytes=999)


def test_a_base_url_is_checked(make_client):
    """The message does not contain it, because it may contain a password."""
    with pytest.raises(ConfigError, match="https://host") as caught:
        make_client(f"ftp://me:{KEY}@host", service="vision")
    assert KEY not in str(caught.value)


def test_a_key_with_a_line_break_is_refused_without_being_shown(make_client):
    """Keys from a file may end with one, and the library below would print the key."""
    with pytest.raises(ConfigError, match=r"X-Goog-Api-Key has a line break.*\.strip") as caught:
        make_client("https://host", service="vision", headers={"X-Goog-Api-Key": f"{KEY}\n"})
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("bypass", ["", "api.invalid"], ids=["proxy", "no_proxy"])
def test_the_proxy_of_the_environment_is_used(server, monkeypatch, bypass, make_client):
    """The proxy in `http_proxy` gets the whole address; hosts in `no_proxy` are called directly."""
    for name in ("HTTP_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", bypass)
    with make_client("http://api.invalid:1", service="vision", retry=ONCE) as client:
        if bypass:
            failure(client)
        else:
            client.post_json("/v1/x", {})
    expected = [] if bypass else ["http://api.invalid:1/v1/x"]
    assert [path for path, _, _ in server.asked] == expected


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_wants_a_password_ends_the_run(server, run, monkeypatch, scheme, make_client):
    """No later attempt and no other row would get past it, and the message says what to set."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(f"{scheme}_proxy", server.url.replace("http://", f"http://me:{KEY}@"))
    server.answer = (407, {"Proxy-Authenticate": "Basic"}, b"")
    server.RequestHandlerClass.do_CONNECT = server.RequestHandlerClass.do_POST
    with (
        make_client(f"{scheme}://api.invalid", service="vision") as client,
        pytest.raises(ConfigError, match=r"vision: the proxy .*407.*HTTPS_PROXY") as caught,
    ):
        client.post_json("/v1/x", {})
    assert KEY not in str(caught.value)
    assert len(server.asked) == 1


def test_a_refusal_shows_that_the_service_is_there(server, client, run):
    """A 400 after failures shows that the service works, and closes the breaker."""
    server.next_answers = [(503, {}, b""), (400, {}, b"")]
    with pytest.raises(ApiError):
        client.post_json("/v1/x", {})
    assert client.post_json("/v1/x", {}) == {}
    assert run.meter.calls == 3


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-signed certificate for loopback, with its key."""
    return self_signed(tmp_path_factory.mktemp("tls") / "loopback.pem", "photos.example")


@pytest.fixture
def tls_server(server, certificate):
    """The server over TLS."""
    return over_tls(server, certificate)


def test_a_certificate_that_nobody_trusts_ends_the_run(tls_server, make_client):
    """The error is permanent."""
    with (
        make_client(tls_server.url, service="vision", headers={"X-Goog-Api-Key": KEY}) as client,
        pytest.raises(ApiError, match=r"certificate is not trusted.*SSL_CERT_FILE"),
    ):
        client.post_json("/v1/x", {})
    assert tls_server.asked == []


@pytest.fixture
def _no_authorities_named(monkeypatch):
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("_no_authorities_named")
@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_an_authority_of_ones_own_is_named_in_the_environment(
    tls_server, certificate, monkeypatch, name, make_client
):
    """The variables of requests and OpenSSL are read. The deadline also works over TLS."""
    monkeypatch.setenv(name, str(certificate))
    release = threading.Event()
    try:
        with make_client(tls_server.url, service="vision", retry=ONCE) as client:
            assert client.post_json("/v1/x", {"n": 1}) == {}
        tls_server.RequestHandlerClass.do_POST = lambda _: release.wait(timeout=30)
        with make_client(tls_server.url, service="api", retry=HASTY) as client:
            assert failure(client).code == "timeout"
    finally:
        release.set()


@pytest.mark.usefixtures("_no_authorities_named")
def test_the_same_authorities_hold_for_calls_files_and_images(
    tls_server, certificate, monkeypatch, tmp_path, make_client
):
    """All three refuse the server until its authority is named, and then all three trust it."""
    tls_server.answer = (200, {}, b"n\n1\n")
    url = f"{tls_server.url}/a.csv"

    def by_call():
        with make_client(tls_server.url, service="api", retry=ONCE) as client:
            return client.get_bytes("/a.csv", max_bytes=100)

    def by_file():
        file = web_file(url, {}, 60.0)
        try:
            return file.open(whole=True).read()
        finally:
            file.close()

    def by_image():
        return Downloader(allow_private=True).fetch(url)

    for fetch, error in (
        (by_call, ApiError),
        (by_file, SourceError),
        (by_image, DownloadError),
    ):
        with pytest.raises(error, match="certificate is not trusted"):
            fetch()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "not asked"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    assert [fetch() for fetch in (by_call, by_file, by_image)] == [b"n\n1\n"] * 3


@pytest.mark.usefixtures("_no_authorities_named")
def test_an_image_comes_from_the_checked_address_under_the_hosts_name(
    tls_server, certificate, monkeypatch
):
    """The connection goes to the address, but the certificate must be that of the name."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    tls_server.answer = (200, {}, b"photo")
    port = tls_server.server_port

    def resolve(_name, port, **_options):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    downloader = Downloader(allow_private=True, resolve=resolve)
    assert downloader.fetch(f"https://photos.example:{port}/cat.jpg") == b"photo"
    assert tls_server.asked[0][1]["Host"] == f"photos.example:{port}"
    with pytest.raises(DownloadError, match="certificate is not trusted"):
        downloader.fetch(f"https://other.example:{port}/cat.jpg")
    assert len(tls_server.asked) == 1


@pytest.mark.usefixtures("_no_authorities_named")
def test_no_redirect_leaves_tls(tls_server, certificate, monkeypatch):
    """Neither a file nor an image is fetched over http:// after https://."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    tls_server.answer = (302, {"Location": "http://127.0.0.1:1/a.csv"}, b"")
    file = web_file(f"{tls_server.url}/a.csv", {}, 60.0)
    with pytest.raises(
        SourceError, match=r"redirects to http://127\.0\.0\.1, which is not followed"
    ):
        file.open(whole=True)
    file.close()
    with pytest.raises(DownloadError, match="from https to http"):
        Downloader(allow_private=True).fetch(f"{tls_server.url}/cat.jpg")


@pytest.mark.usefixtures("_no_authorities_named")
def test_authorities_in_a_folder(tls_server, certificate, monkeypatch, tmp_path, make_client):
    """OpenSSL finds them by the hash of their names."""
    digest = subprocess.run(
        ["openssl", "x509", "-hash", "-noout", "-in", certificate],  # noqa: S607
        capture_output=True, text=True, check=True, timeout=30,
    ).stdout.strip()  # fmt: skip
    shutil.copy(certificate, tmp_path / f"{digest}.0")
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    with make_client(tls_server.url, service="vision", retry=ONCE) as client:
        assert client.post_json("/v1/x", {}) == {}


@pytest.mark.usefixtures("_no_authorities_named")
@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_authorities_that_cannot_be_read(monkeypatch, tmp_path, content, make_client):
    """It is a ConfigError that names the variable."""
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(file))
    with pytest.raises(
        ConfigError, match=r"REQUESTS_CA_BUNDLE=.*ca\.pem: no certificate authorities"
    ):
        make_client("https://host", service="vision")


@pytest.mark.parametrize("user", ["me:p%40ss@", ""])
def test_a_proxy_with_a_password(server, monkeypatch, user, make_client):
    """The user and the password in the proxy's address are sent to the proxy, in a header."""
    for name in ("HTTP_PROXY", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", server.url.replace("http://", f"http://{user}"))
    with make_client("http://api.invalid:1", service="vision", retry=ONCE) as client:
        client.post_json("/v1/x", {})
    expected = f"Basic {base64.b64encode(b'me:p@ss').decode()}" if user else None
    headers = {name.lower(): value for name, value in server.asked[0][1].items()}
    assert headers.get("proxy-authorization") == expected


@pytest.mark.parametrize(("most", "expected"), [(3, 4), (10, 10), (11, 10)])
def test_no_more_of_an_answer_is_read_than_asked_for(server, most, expected):
    """One byte more says that there was more; then the connection is not used again."""
    server.answer = (200, {}, b"0123456789")
    pool = HttpPool(server.url, service="s")
    for _ in range(2):
        status, _, body = pool.send("POST", "/", {}, b"", timeout_s=5, max_bytes=most)
        assert (status, len(body)) == (200, expected)
    pool.close()

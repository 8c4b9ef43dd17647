import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from urllib3.util import connection

from etlkit.vision.download import Downloader, DownloadError
from etlkit.vision.public_addresses import ForbiddenAddressError, is_public, resolve_allowed
from tests.loopback import serving

PHOTO = bytes(range(256)) * 40
PUBLIC = "93.184.215.14"
DEAD = "93.184.215.15"


class Host(ThreadingHTTPServer):
    """An image server on loopback: `answers` by path, `asked` in order."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked = []
        self.answers = {"/photo.jpg": (200, {}, PHOTO)}

    def url(self, path="/photo.jpg", host="127.0.0.1"):
        return f"http://{host}:{self.server_port}{path}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked.append((self.path, dict(self.headers)))
        status, headers, body = self.server.answers[self.path]
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        if "Content-Length" in headers:
            self.close_connection = True

    def log_message(self, *args):
        return


@pytest.fixture
def host():
    with serving(Host()) as server:
        yield server


@pytest.fixture
def internet(host, monkeypatch):
    """Names resolve as the test says, and the public address leads to the image server on loopback.

    Only the destination is replaced: the checks, the sockets and the HTTP are real.
    """

    class Internet:
        def __init__(self):
            self.names = {"photos.example": [PUBLIC]}
            self.resolved, self.dialled = [], []
            self.downloader = Downloader(resolve=self.resolve, timeout_s=10)

        def resolve(self, name, port, **_options):
            self.resolved.append(name)
            found = self.names.get(name) or [name]
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in found]

    internet = Internet()
    dial = connection.create_connection

    def create_connection(address, *options, **more):
        host, port = address
        internet.dialled.append(host)
        if host == DEAD:
            raise ConnectionRefusedError
        return dial(("127.0.0.1" if host == PUBLIC else host, port), *options, **more)

    monkeypatch.setattr(connection, "create_connection", create_connection)
    return internet


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",  # noqa: S104 - to be refused
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "198.18.0.1",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fec0::1",
        "ff02::1",
        "2001:db8::1",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "2002:c0a8:101::",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "not an address",
    ],
)
def test_addresses_that_are_not_the_public_internet(address):
    """Loopback, private, link-local, shared, multicast and reserved addresses, also wrapped in IPv6."""
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", PUBLIC, "2001:4860:4860::8888", "64:ff9b::808:808", "2002:808:808::"]
)
def test_addresses_of_the_public_internet(address):
    """Downloads from these addresses are allowed."""
    assert is_public(address)


def test_one_bad_address_of_a_name_is_enough():
    """A name with a public and a private address is not trusted."""

    def resolve(_name, port, **_options):
        return [(0, 0, 0, "", (ip, port)) for ip in (PUBLIC, "10.0.0.7")]

    with pytest.raises(ForbiddenAddressError, match=r"leads to 10\.0\.0\.7"):
        resolve_allowed("both.example", 80, timeout_s=20, resolve=resolve)


@pytest.mark.parametrize(
    "name",
    [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f.1",
        "017700000001",
        "[::1]",
        "[::ffff:127.0.0.1]",
    ],
)
def test_loopback_in_any_spelling_is_refused(host, name):
    """The system's resolver turns all of them into loopback; no request is made."""
    with pytest.raises(
        DownloadError, match=r"not on the public internet|name is not known"
    ) as caught:
        Downloader().fetch(host.url(host=name))
    assert host.asked == []
    assert str(host.server_port) not in str(caught.value)


def test_a_download_goes_to_the_checked_address(host, internet):
    """The name is resolved once, so a second answer (DNS rebinding) has no effect."""
    assert internet.downloader.fetch(host.url(host="photos.example")) == PHOTO
    assert internet.resolved == ["photos.example"]
    assert internet.dialled == [PUBLIC]
    path, headers = host.asked[0]
    assert path == "/photo.jpg"
    assert headers["Host"] == f"photos.example:{host.server_port}"


def test_the_next_address_is_tried_if_one_does_not_answer(host, internet):
    """A name may have several addresses, and one of them may be down."""
    internet.names["photos.example"] = [DEAD, PUBLIC]
    assert internet.downloader.fetch(host.url(host="photos.example")) == PHOTO
    assert internet.dialled == [DEAD, PUBLIC]


def test_rebinding_between_two_hops_is_seen(host, internet):
    """Each hop is resolved and checked again: a private address in the second hop is refused."""
    host.answers["/again"] = (302, {"Location": "/photo.jpg"}, b"")
    first = internet.resolve

    def resolve(name, port, **options):
        found = first(name, port, **options)
        internet.names[name] = ["127.0.0.1"]
        return found

    downloader = Downloader(resolve=resolve)
    with pytest.raises(DownloadError, match=r"leads to 127\.0\.0\.1"):
        downloader.fetch(host.url("/again", host="photos.example"))
    assert [path for path, _ in host.asked] == ["/again"]
    assert internet.dialled == [PUBLIC]


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/computeMetadata/v1/",
        "http://[::1]/",
        "//10.0.0.1/x",
        "file:///etc/passwd",
        "gopher://photos.example/",
        "http://user:pw@photos.example/",
    ],
)
def test_a_redirect_is_checked_like_the_first_address(host, internet, location):
    """Nothing is sent to an address that a redirect must not lead to."""
    host.answers["/away"] = (302, {"Location": location}, b"")
    with pytest.raises(DownloadError) as caught:
        internet.downloader.fetch(host.url("/away", host="photos.example"))
    assert not caught.value.is_transient
    assert "pw" not in str(caught.value)
    assert internet.dialled == [PUBLIC]


def test_redirects_are_followed_up_to_a_bound(host, internet):
    """Relative redirects are followed, and a circle ends."""
    host.answers["/a%20b"] = (301, {"Location": "photo.jpg"}, b"")
    assert internet.downloader.fetch(host.url("/a b", host="photos.example")) == PHOTO
    host.answers["/circle"] = (307, {"Location": "/circle"}, b"")
    with pytest.raises(DownloadError, match="more than 5 redirects"):
        internet.downloader.fetch(host.url("/circle", host="photos.example"))
    host.answers["/nowhere"] = (302, {}, b"")
    with pytest.raises(DownloadError, match="without an address"):
        internet.downloader.fetch(host.url("/nowhere", host="photos.example"))


def test_private_servers_can_be_allowed(host):
    """`allow_private` permits loopback, for tests and for your own image servers."""
    assert Downloader(allow_private=True).fetch(host.url()) == PHOTO


@pytest.mark.parametrize("length", [str(len(PHOTO)), None])
def test_what_is_too_large_is_refused(host, length):
    """By its Content-Length, or else as soon as it passes the limit."""
    host.answers["/photo.jpg"] = (200, {"Content-Length": length, "Connection": "close"}, PHOTO)
    downloader = Downloader(allow_private=True, max_bytes=len(PHOTO) - 1)
    with pytest.raises(DownloadError, match="10,239"):
        downloader.fetch(host.url())
    with pytest.raises(DownloadError, match=r"at most 100|more than 100"):
        Downloader(allow_private=True).fetch(host.url(), max_bytes=100)


@pytest.mark.parametrize(
    ("answer", "message", "is_transient"),
    [
        ((404, {}, b"no"), "the host answered 404", False),
        ((403, {}, b""), "the host answered 403", False),
        ((503, {}, b""), "the host answered 503", True),
        ((429, {}, b""), "the host answered 429", True),
        ((200, {}, b""), "with nothing", False),
        ((200, {"Content-Length": "20000"}, PHOTO), "the answer was cut off", True),
    ],
)
def test_answers_that_are_no_image(host, answer, message, is_transient):
    """Transient and permanent failures are distinguished."""
    host.answers["/photo.jpg"] = answer
    with pytest.raises(DownloadError, match=message) as caught:
        Downloader(allow_private=True).fetch(host.url())
    assert caught.value.is_transient is is_transient


def test_a_dripping_host_is_cut_off_at_the_deadline():
    """A byte now and then resets every timeout of a socket, but not the deadline."""
    dripping, done = threading.Event(), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip():
            sock, _ = listener.accept()
            with sock:
                sock.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
                dripping.set()
                try:
                    while not done.wait(0.02):
                        sock.sendall(b"x")
                except OSError:
                    return

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            with pytest.raises(DownloadError, match=r"no answer within 0\.3 s") as caught:
                Downloader(allow_private=True, timeout_s=0.3).fetch(
                    f"http://127.0.0.1:{listener.getsockname()[1]}/"
                )
        finally:
            done.set()
            thread.join(20)
    assert dripping.is_set()
    assert caught.value.is_transient


def test_a_handshake_that_never_ends_is_cut_off_too():
    """The kernel accepts the connection, but nothing is ever sent on it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
        with pytest.raises(DownloadError, match=r"no answer within 0\.2 s") as caught:
            Downloader(allow_private=True, timeout_s=0.2).fetch(url)
    assert caught.value.is_transient


def test_a_closed_port_may_open_and_an_unknown_name_stays_unknown():
    """The message names the reason, and only a closed port is transient."""
    with pytest.raises(DownloadError, match="cannot be reached") as caught:
        Downloader(allow_private=True).fetch("http://127.0.0.1:1/")
    assert caught.value.is_transient
    with pytest.raises(DownloadError) as caught:
        Downloader().fetch(f"http://{'x' * 64}.example/")
    assert not caught.value.is_transient


@pytest.mark.parametrize("url", ["http://h:port/", "http://[::1/", "ftp://h/", "https://"])
def test_an_invalid_address_is_refused(url):
    """The error is permanent."""
    with pytest.raises(DownloadError) as caught:
        Downloader().fetch(url)
    assert not caught.value.is_transient


def test_no_secrets_are_sent(host, monkeypatch):
    """Only the headers that a download needs are sent, and no proxy is used."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    Downloader(allow_private=True).fetch(host.url())
    _, headers = host.asked[0]
    assert set(headers) == {"Host", "Accept", "Accept-Encoding", "Connection", "User-Agent"}

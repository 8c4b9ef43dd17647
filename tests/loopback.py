"""HTTP servers of tests, on loopback."""

import datetime as dt
import ipaddress
import socket
import ssl
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import NamedTuple
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


@contextmanager
def serving(
    server: ThreadingHTTPServer | Callable[..., BaseHTTPRequestHandler],
) -> Iterator[ThreadingHTTPServer]:
    """Serve on a thread of its own until the block ends.

    Args:
        server: A server that listens, or the handler of one that is made here on a free port.

    Yields:
        The server. Its `url` is its address, unless its class says something else.
    """
    if not isinstance(server, ThreadingHTTPServer):
        server = ThreadingHTTPServer(("127.0.0.1", 0), server)
    if not hasattr(server, "url"):
        server.url = f"http://127.0.0.1:{server.server_port}"
    with server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class Asked(NamedTuple):
    """A request that came."""

    method: str
    path: str
    headers: HTTPMessage
    body: bytes


@contextmanager
def answering(answer: Callable[[Asked], tuple[int, dict[str, str], bytes]] | None = None):
    """A server that answers as a function says: status, headers, body.

    Yields:
        The server. Its `asked` are the requests that came, in order. Its `answer` may be replaced.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked = Asked(self.command, self.path, self.headers, body)
            server.asked.append(asked)
            status, headers, payload = server.answer(asked)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(payload)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(payload)
            if headers.get("Content-Length", str(len(payload))) != str(len(payload)):
                self.close_connection = True

        do_POST = do_PUT = do_PATCH = do_DELETE = do_CONNECT = do_GET  # noqa: N815 - http.server's

        def log_message(self, *args):
            return

    with serving(Handler) as server:
        server.asked, server.answer = [], answer
        server.handle_error = _show_unless_left
        yield server


def _show_unless_left(*_):
    """A client that hangs up is no fault of the server."""
    if not isinstance(sys.exception(), ConnectionError):
        traceback.print_exc()


class _ProxyHandler(BaseHTTPRequestHandler):
    """Passes requests on, and tunnels with CONNECT, if the credentials are right."""

    def do_GET(self):
        user = self.headers.get("Proxy-Authorization")
        self.server.asked.append((self.command, self.path, user))
        if self.server.user not in (None, user):
            self._end(407, {"Proxy-Authenticate": "Basic"}, b"")
        elif self.command == "CONNECT":
            self._tunnel()
        else:
            self._pass_on()

    do_POST = do_CONNECT = do_GET  # noqa: N815 - http.server's names

    def _pass_on(self):
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        target = HTTPConnection(*self.server.target, timeout=20)
        headers = {
            name: value for name, value in self.headers.items() if "proxy" not in name.lower()
        }
        target.request(self.command, f"{parts.path}?{parts.query}".rstrip("?"), body, headers)
        answer = target.getresponse()
        self._end(answer.status, {}, answer.read())
        target.close()

    def _tunnel(self):
        with socket.create_connection(self.server.target, timeout=20) as target:
            self._end(200, {}, b"")
            back = Thread(target=_pump, args=(target, self.connection))
            back.start()
            _pump(self.connection, target)
            back.join()
        self.close_connection = True

    def _end(self, status, headers, body):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.command != "CONNECT":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        return


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)


@contextmanager
def proxying(target: ThreadingHTTPServer, user: str | None = None):
    """A proxy that leads every request to one server, whatever host is asked for.

    Args:
        target: The server.
        user: The `Proxy-Authorization` that it wants; None = any or none.

    Yields:
        The proxy. Its `asked` are method, address and `Proxy-Authorization` of what came.
    """
    with serving(_ProxyHandler) as proxy:
        proxy.asked, proxy.user = [], user
        proxy.target = ("127.0.0.1", target.server_port)
        proxy.handle_error = _show_unless_left
        yield proxy


def self_signed(file: Path, *names: str) -> Path:
    """Write a certificate for loopback and other names, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopback")])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([address, *map(x509.DNSName, names)]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    file.write_bytes(
        made.public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return file


def over_tls(server: ThreadingHTTPServer, certificate: Path) -> ThreadingHTTPServer:
    """The server over TLS, with a certificate of `self_signed`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.url = server.url.replace("http:", "https:")
    server.handle_error = lambda *_: None  # a client that hangs up in the handshake
    return server

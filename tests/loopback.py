"""HTTP servers of tests, on loopback."""

import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import NamedTuple


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
def answering(answer: Callable[[Asked], tuple[int, dict[str, str], bytes]]):
    """A server that answers as a function says: status, headers, body.

    Yields:
        The server. Its `asked` are the requests that came, in order.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked = Asked(self.command, self.path, self.headers, body)
            server.asked.append(asked)
            status, headers, payload = answer(asked)
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
        server.asked = []
        server.handle_error = _show_unless_left
        yield server


def _show_unless_left(*_):
    """A client that hangs up is no fault of the server."""
    if not isinstance(sys.exception(), ConnectionError):
        traceback.print_exc()

"""HTTP servers of tests, on loopback."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


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

"""Images that Vision cannot fetch by itself: downloaded, distrusting address and answer alike."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from etlkit._version import __version__
from etlkit.calls.deadline import Deadline
from etlkit.vision.packing import MAX_IMAGE_BYTES
from etlkit.vision.public_addresses import (
    ForbiddenAddressError,
    Resolve,
    addresses_of,
    resolve_public,
)

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_MAX_HOPS = 5
_CHUNK_BYTES = 64 * 1024
_PORTS = {"http": 80, "https": 443}


class DownloadError(Exception):
    """The image cannot be had.

    Attributes:
        passing: A later try may work.
    """

    def __init__(self, message: str, *, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing


class Downloader:
    """Fetches images over http(s), from the public internet alone.

    An address in a table may come from anybody. So each hop is resolved once, checked, and connected
    to at the very address that was checked; redirects are followed by hand; nothing but the request
    itself is sent: no key, no cookie, no proxy's password.

    Args:
        max_bytes: A larger image is refused, as soon as that is known.
        timeout_s: For all hops together, from the first connection to the last byte.
        allow_private: Also fetch from loopback and private networks. For tests, and for image servers
            of your own, where nobody else can write addresses into the source table.
        resolve: How names are resolved.
    """

    def __init__(
        self,
        *,
        max_bytes: int = MAX_IMAGE_BYTES,
        timeout_s: float = 30.0,
        allow_private: bool = False,
        resolve: Resolve = socket.getaddrinfo,
    ) -> None:
        self.max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._allow_private = allow_private
        self._resolve = resolve

    def fetch(self, url: str, *, max_bytes: int | None = None) -> bytes:
        """Download one image.

        Args:
            url: `http(s)://…`.
            max_bytes: A lower bound than the downloader's own; None = that.

        Raises:
            DownloadError: Not reachable, refused, too large, or an address that is not public.
        """
        most = self.max_bytes if max_bytes is None else min(max_bytes, self.max_bytes)
        with Deadline(self._timeout_s) as deadline:
            return self._follow(url, most, deadline)

    def _follow(self, url: str, most: int, deadline: Deadline) -> bytes:
        try:
            for _ in range(_MAX_HOPS + 1):
                parts = _split(url)
                status, body, location = self._get(parts, most, deadline)
                if status not in _REDIRECTS:
                    return _accept(status, body)
                if not location:
                    raise DownloadError(f"the host answered {status} without an address")
                url = urljoin(url, location)
                if parts.scheme == "https" and urlsplit(url).scheme == "http":
                    raise DownloadError("the host redirects from https to http")
        except ForbiddenAddressError as error:
            raise DownloadError(str(error)) from None
        except socket.gaierror as error:
            passing = error.errno == socket.EAI_AGAIN
            raise DownloadError("the host's name is not known", passing=passing) from None
        except ssl.SSLCertVerificationError:
            raise DownloadError("the host's certificate is not valid") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            late = deadline.fired or isinstance(error, TimeoutError)
            what = f"no answer within {self._timeout_s:g} s" if late else type(error).__name__
            raise DownloadError(what, passing=not isinstance(error, ValueError)) from None
        raise DownloadError(f"more than {_MAX_HOPS} redirects")

    def _get(
        self, parts: SplitResult, most: int, deadline: Deadline
    ) -> tuple[int, bytes, str | None]:
        """One hop: status, body of a 200, address of a redirect."""
        host, port = str(parts.hostname), parts.port or _PORTS[parts.scheme]
        find = addresses_of if self._allow_private else resolve_public
        addresses = find(host, port, resolve=self._resolve)
        with _connected(addresses, port, deadline) as sock:
            connection = http.client.HTTPConnection(host, port)
            connection.default_port = _PORTS[parts.scheme]  # left out of the Host header
            connection.sock = sock if parts.scheme == "http" else _secured(sock, host, deadline)
            deadline.held = _Held(connection.sock)
            try:
                connection.request("GET", _target(parts), headers=_HEADERS)
                with connection.getresponse() as response:
                    body = _read(response, most) if response.status == http.HTTPStatus.OK else b""
                    if deadline.fired:  # cut off, it looks like a whole answer
                        raise TimeoutError
                    return response.status, body, response.getheader("Location")
            finally:
                deadline.held = None
                connection.close()


@dataclass
class _Held:
    """Keeps the socket, which `http.client` forgets before the body is read."""

    sock: socket.socket


_HEADERS = {
    "Accept": "image/*",
    "Accept-Encoding": "identity",  # a small answer could unpack to a huge one
    "Connection": "close",
    "User-Agent": f"etlkit/{__version__}",
}


def _split(url: str) -> SplitResult:
    parts = urlsplit(url)
    if parts.scheme not in _PORTS:
        raise DownloadError("the address does not begin with http:// or https://")
    if not parts.hostname:
        raise DownloadError("the address has no host")
    if parts.username is not None or parts.password is not None:
        raise DownloadError("the address has a user name or a password in it")
    return parts


def _target(parts: SplitResult) -> str:
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
    query = quote(parts.query, safe="/?%:@!$&'()*+,;=~")
    return f"{path}?{query}" if query else path


def _read(response: http.client.HTTPResponse, most: int) -> bytes:
    if (response.length or 0) > most:
        raise DownloadError(
            f"the image has {response.length:,} bytes, at most {most:,} can be sent"
        )
    body = bytearray()
    while chunk := response.read(_CHUNK_BYTES):
        body += chunk
        if len(body) > most:
            raise DownloadError(
                f"the image has more than {most:,} bytes, which can be sent at most"
            )
    if response.length:
        raise http.client.IncompleteRead(b"", response.length)
    return bytes(body)


def _accept(status: int, body: bytes) -> bytes:
    if status != http.HTTPStatus.OK:
        raise DownloadError(f"the host answered {status}", passing=status in _TRANSIENT)
    if not body:
        raise DownloadError("the host answered with nothing")
    return body


@contextmanager
def _connected(addresses: list[str], port: int, deadline: Deadline) -> Iterator[socket.socket]:
    """A connection to the first address that answers."""
    failure: OSError = OSError("no address")
    for address in addresses:
        rest = deadline.at - time.monotonic()
        if rest <= 0 or deadline.fired:
            raise TimeoutError
        try:
            sock = socket.create_connection((address, port), timeout=rest)
        except OSError as error:
            failure = error
            continue
        with sock:
            yield sock
        return
    raise failure


def _secured(sock: socket.socket, host: str, deadline: Deadline) -> ssl.SSLSocket:
    """TLS for the name, over a connection to the address that was checked."""
    # ssl takes the socket over before the handshake: only a copy can end that.
    with sock.dup() as copy:
        deadline.handshake = copy
        try:
            return ssl.create_default_context().wrap_socket(sock, server_hostname=host)
        finally:
            deadline.handshake = None

"""Downloads images that Vision cannot fetch by itself. Neither address nor answer is trusted."""

from __future__ import annotations

import http
import socket
import time
from typing import Final
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from etlkit._version import __version__
from etlkit.calls.classify import TRANSIENT_STATUS
from etlkit.calls.connections import HttpPool, HttpStream
from etlkit.calls.name_lookup import Resolve
from etlkit.errors import ApiError, RetryableError
from etlkit.vision.packing import MAX_IMAGE_BYTES
from etlkit.vision.public_addresses import ForbiddenAddressError, resolve_allowed

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_MAX_HOPS: Final = 5
_CHUNK_BYTES: Final = 64 * 1024
_PORTS: Final = {"http": 80, "https": 443}
_HEADERS: Final = {
    "Accept": "image/*",
    "Accept-Encoding": "identity",  # a small answer could unpack to a huge one
    "Connection": "close",
    "User-Agent": f"etlkit/{__version__}",
}
_REASONS: Final = {
    "reset": "the connection broke",
    "truncated": "the answer was cut off",
    "unknown_host": "the host cannot be reached",
    "unreachable": "the host cannot be reached",
}
"""By the code of a `RetryableError`; the others are timeouts."""


_NOT_REACHED: Final = frozenset({"unknown_host", "unreachable"})


class DownloadError(Exception):
    """An image cannot be downloaded.

    Attributes:
        is_transient: A later attempt may work.
    """

    def __init__(self, message: str, *, is_transient: bool = False) -> None:
        super().__init__(message)
        self.is_transient = is_transient


class Downloader:
    """Downloads images over http(s), only from the public internet.

    Anybody may have written an address that stands in a table. So the name in each hop is resolved
    once, its addresses are checked, and the connection goes to the very address that was checked.
    Redirects are followed by hand. Nothing but the request itself is sent: no key, no cookie, no
    password of a proxy.

    Args:
        max_bytes: A larger image is refused as soon as its size is known.
        timeout_s: For all hops together, from the first look-up of a name to the last byte.
        allow_private: Also download from loopback and private networks. For tests, and for image
            servers of your own if nobody else can write addresses into the source table. Link-local
            addresses and metadata servers of clouds stay refused.
        resolve: How names are resolved; None = by the system.
    """

    def __init__(
        self,
        *,
        max_bytes: int = MAX_IMAGE_BYTES,
        timeout_s: float = 30.0,
        allow_private: bool = False,
        resolve: Resolve | None = None,
    ) -> None:
        self.max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._allow_private = allow_private
        self._resolve = resolve

    def fetch(self, url: str, *, max_bytes: int | None = None) -> bytes:
        """Download one image.

        Args:
            url: `http(s)://…`.
            max_bytes: A lower limit than the downloader's own; None = the downloader's.

        Raises:
            DownloadError: Not reachable, refused, too large, or an address that is not public.
        """
        most = self.max_bytes if max_bytes is None else min(max_bytes, self.max_bytes)
        try:
            return self._follow(url, most, time.monotonic() + self._timeout_s)
        except ForbiddenAddressError as error:
            raise DownloadError(str(error)) from None
        except socket.gaierror as error:
            is_transient = error.errno == socket.EAI_AGAIN
            raise DownloadError("the host's name is not known", is_transient=is_transient) from None
        except ApiError:
            raise DownloadError("the host's certificate is not trusted") from None
        except RetryableError as error:
            late = f"no answer within {self._timeout_s:g} s"
            raise DownloadError(_REASONS.get(error.code or "", late), is_transient=True) from None
        except (OSError, ValueError) as error:
            is_transient = not isinstance(error, ValueError)
            raise DownloadError(type(error).__name__, is_transient=is_transient) from None

    def _follow(self, url: str, most: int, ends_at: float) -> bytes:
        for _ in range(_MAX_HOPS + 1):
            parts = _split(url)
            with self._open(parts, ends_at) as stream:
                if stream.status not in _REDIRECTS:
                    return _image(stream, most, ends_at)
                location = stream.headers.get("Location")
            if not location:
                raise DownloadError(f"the host answered {stream.status} without an address")
            url = urljoin(url, location)
            if parts.scheme == "https" and urlsplit(url).scheme == "http":
                raise DownloadError("the host redirects from https to http")
        raise DownloadError(f"more than {_MAX_HOPS} redirects")

    def _open(self, parts: SplitResult, ends_at: float) -> HttpStream:
        """The answer of the first address that can be reached."""
        host, port = str(parts.hostname), parts.port or _PORTS[parts.scheme]
        failure = RetryableError("no address", code="unreachable")
        for address in self._addresses(host, port, ends_at):
            origin = f"{parts.scheme}://{parts.netloc}"
            pool = HttpPool(origin, service=host, address=address)
            try:
                return pool.open(_target(parts), _HEADERS, timeout_s=_rest_s(ends_at))
            except RetryableError as error:
                if error.code not in _NOT_REACHED:
                    raise
                failure = error
        raise failure

    def _addresses(self, host: str, port: int, ends_at: float) -> list[str]:
        try:
            return resolve_allowed(
                host,
                port,
                timeout_s=_rest_s(ends_at),
                allow_private=self._allow_private,
                resolve=self._resolve,
            )
        except TimeoutError:
            raise RetryableError("the resolver does not answer", code="timeout") from None


def _rest_s(ends_at: float) -> float:
    """Seconds that are left.

    Raises:
        RetryableError: No time is left.
    """
    rest_s = ends_at - time.monotonic()
    if rest_s <= 0:
        raise RetryableError("no time is left", code="timeout")
    return rest_s


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


def _image(stream: HttpStream, most: int, ends_at: float) -> bytes:
    """The body of an answer that is an image of at most `most` bytes."""
    if stream.status != http.HTTPStatus.OK:
        is_transient = stream.status in TRANSIENT_STATUS
        raise DownloadError(f"the host answered {stream.status}", is_transient=is_transient)
    length = stream.headers.get("Content-Length", "")
    if length.isdigit() and int(length) > most:
        raise DownloadError(f"the image has {int(length):,} bytes; at most {most:,} can be sent")
    body = bytearray()
    while chunk := stream.read(_CHUNK_BYTES, _rest_s(ends_at)):
        body += chunk
        if len(body) > most:
            raise DownloadError(f"the image has more than {most:,} bytes, and no more can be sent")
    if not body:
        raise DownloadError("the host answered with nothing")
    return bytes(body)

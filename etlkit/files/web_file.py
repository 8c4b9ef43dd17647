"""Files of web servers, downloaded in pieces that survive a broken connection."""

from __future__ import annotations

import hashlib
import string
from collections.abc import Generator, Mapping
from typing import Final
from urllib.parse import SplitResult, quote, urljoin, urlsplit, urlunsplit

from etlkit.calls.connections import HttpPool, HttpStream
from etlkit.calls.retry import Calls, RetryPolicy, from_http
from etlkit.errors import ApiError, CallFailedError, RetryableError, SourceError
from etlkit.files.file import CHANGED, CopiedFile

_PIECE_BYTES: Final = 64 * 1024
"""What must arrive within `timeout_s`."""

_MAX_ERROR_BYTES: Final = 10_000
_MAX_ATTEMPTS: Final = 6
_MAX_OUTAGE_S: Final = 60.0
_MAX_REDIRECTS: Final = 10
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_OK, _PARTIAL, _BEYOND_THE_END = 200, 206, 416


def web_file(url: str, headers: Mapping[str, str], timeout_s: float) -> CopiedFile:
    """A file of a web server. Nothing is requested before it is read.

    Args:
        url: `http(s)://…`.
        headers: Sent to the host of `url`, and to no other host that it redirects to.
        timeout_s: Seconds until the answer begins, and seconds for each further piece of 64 KiB.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    shown = urlunsplit((parts.scheme, host if parts.port is None else f"{host}:{parts.port}",
                        parts.path, "", ""))  # fmt: skip
    policy = RetryPolicy(
        max_attempts=_MAX_ATTEMPTS, attempt_timeout_s=timeout_s, max_outage_s=_MAX_OUTAGE_S
    )
    # Calls of its own: the job's rate limit and caps are for what its transform calls.
    caller = Calls(policy).caller(f"the server of {shown}")

    download = _Download(url, shown, headers)

    def chunks() -> Generator[bytes, None, None]:
        try:
            while chunk := caller.call(download.next_chunk, units=0):
                file.encoded = download.encoded
                yield chunk
            file.encoded = download.encoded
        except (ApiError, CallFailedError, RetryableError) as error:
            raise SourceError(_message(shown, error), stage="read") from error
        finally:
            download.close()

    file = CopiedFile(shown, chunks, download.close)
    return file


def _message(shown: str, error: Exception) -> str:
    status = getattr(error, "status", None)
    if status in {404, 410}:
        return f"no file at {shown}: the server answered {status}; check the address"
    if status in {401, 403}:
        return f"{shown} was refused with {status}: check the address and `headers`"
    return f"{shown} cannot be read: {error}"


class _Download:
    """Continues where the connection broke, if the file is still the same."""

    def __init__(self, url: str, shown: str, headers: Mapping[str, str]) -> None:
        self._url = quote(url, safe=string.punctuation)  # only spaces and letters beyond ASCII
        self._shown = shown
        self._headers = dict(headers)
        self._pool: HttpPool | None = None
        self._stream: HttpStream | None = None
        self._etag: str | None = None
        self._num_bytes = 0
        self._is_over = False
        self._digest = hashlib.sha256()
        self.encoded: str | None = None

    def next_chunk(self, timeout_s: float) -> bytes:
        """The next piece; empty = the end.

        Raises:
            RetryableError: The connection broke; call again.
            ApiError: The server refused.
            SourceError: The file is not the same as before.
        """
        try:
            stream = self._stream or self._open(timeout_s)
            chunk = b"" if self._is_over else stream.read(_PIECE_BYTES, timeout_s)
        except RetryableError as error:
            self.close()
            if error.code == "unknown_host":
                raise SourceError(
                    f"{self._shown}: there is no such host; check the address", stage="read"
                ) from None
            raise
        self._num_bytes += len(chunk)
        self._digest.update(chunk)
        return chunk

    def _open(self, timeout_s: float) -> HttpStream:
        """Begin to read the rest of the file."""
        stream = self._stream = self._follow(timeout_s)
        if stream.status == _BEYOND_THE_END:
            size = stream.headers.get("Content-Range", "").rpartition("/")[2]
            self._is_over = size == str(self._num_bytes)  # paused behind the last byte
            if self._is_over:
                return stream
            if not size:  # it does not say; without a range the file comes again and is compared
                self._etag = None
                return self._open(timeout_s)
        if stream.status not in {_OK, _PARTIAL}:
            raise self._refusal(stream, timeout_s)
        etag = stream.headers.get("ETag")
        self._etag = etag if etag is not None and not etag.startswith("W/") else None
        coding = stream.headers.get("Content-Encoding", "identity").lower()
        self.encoded = "gzip" if coding in {"gzip", "x-gzip"} else None
        if self._num_bytes and stream.status != _PARTIAL:
            self._skip(stream, timeout_s)
        return stream

    def _follow(self, timeout_s: float) -> HttpStream:
        """Ask, and follow redirects: without secrets to another host, and never out of TLS."""
        url, secret = self._url, self._headers
        for _ in range(_MAX_REDIRECTS + 1):
            parts = urlsplit(url)
            stream = self._ask(parts, secret, timeout_s)
            location = stream.headers.get("Location")
            if stream.status not in _REDIRECTS or location is None:
                return stream
            stream.close()
            url = quote(urljoin(url, location), safe=string.punctuation)
            new = urlsplit(url)
            leaves_tls = (parts.scheme, new.scheme) == ("https", "http")
            if leaves_tls or new.scheme not in {"http", "https"}:
                raise SourceError(
                    f"the server of {parts.hostname} redirects to {new.scheme}://{new.hostname}, "
                    "which is not followed",
                    stage="read",
                )
            if (parts.hostname, parts.port) != (new.hostname, new.port):
                secret = {}
        raise SourceError(
            f"{self._shown} cannot be read: more than {_MAX_REDIRECTS} redirects", stage="read"
        )

    def _ask(self, parts: SplitResult, secret: Mapping[str, str], timeout_s: float) -> HttpStream:
        # identity: the stored file is wanted, not what a server may make of it on the way
        headers = {"Accept-Encoding": "identity", "User-Agent": "etlkit", **secret}
        if self._num_bytes and self._etag is not None:
            headers |= {"Range": f"bytes={self._num_bytes}-", "If-Range": self._etag}
        self.close()
        self._pool = HttpPool(f"{parts.scheme}://{parts.netloc}", service=str(parts.hostname))
        path = urlunsplit(("", "", parts.path or "/", parts.query, ""))
        return self._pool.open(path, headers, timeout_s=timeout_s)

    def _refusal(self, stream: HttpStream, timeout_s: float) -> Exception:
        body = stream.read(_MAX_ERROR_BYTES, timeout_s)
        self.close()
        if stream.status == _BEYOND_THE_END:
            return SourceError(f"{self._shown} {CHANGED}", stage="read")
        host = urlsplit(self._shown).netloc
        return from_http(stream.status, stream.headers, body, host, self._shown)

    def _skip(self, stream: HttpStream, timeout_s: float) -> None:
        """Read again what came before the break, and check that it is the same."""
        again, missing = hashlib.sha256(), self._num_bytes
        while missing:
            chunk = stream.read(min(missing, _PIECE_BYTES), timeout_s)
            if not chunk:
                break
            again.update(chunk)
            missing -= len(chunk)
        if again.digest() != self._digest.digest():
            raise SourceError(f"{self._shown} {CHANGED}", stage="read")

    def close(self) -> None:
        """End the connection; the next piece opens another."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        if self._pool is not None:
            self._pool.close()
            self._pool = None

"""Files of web servers, downloaded in pieces that survive a broken connection."""

from __future__ import annotations

import string
from collections.abc import Generator, Mapping
from typing import Final
from urllib.parse import SplitResult, quote, urljoin, urlsplit, urlunsplit

from etlkit.calls.backoff import RetryPolicy
from etlkit.calls.classify import from_http
from etlkit.calls.connections import HttpPool, HttpStream
from etlkit.calls.continued_body import ContinuedBody
from etlkit.calls.run_calls import Calls
from etlkit.errors import ApiError, CallFailedError, RetryableError, SourceError
from etlkit.files.file import CHANGED, CopiedFile

_MAX_ERROR_BYTES: Final = 10_000
_MAX_ATTEMPTS: Final = 6
_MAX_OUTAGE_S: Final = 60.0
_MAX_REDIRECTS: Final = 10
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_BEYOND_THE_END = 416


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
        self._body = ContinuedBody(self._follow, self._refusal, self._changed)

    @property
    def encoded(self) -> str | None:
        """`gzip`, or None."""
        coding = self._body.headers.get("Content-Encoding", "identity").lower()
        return "gzip" if coding in {"gzip", "x-gzip"} else None

    def next_chunk(self, timeout_s: float) -> bytes:
        """The next piece; empty = the end.

        Raises:
            RetryableError: The connection broke; call again.
            ApiError: The server refused.
            SourceError: The file is not the same as before.
        """
        try:
            return self._body.next_piece(timeout_s)
        except RetryableError as error:
            self.close()
            if error.code == "unknown_host":
                raise SourceError(
                    f"{self._shown}: there is no such host; check the address", stage="read"
                ) from None
            raise

    def _follow(self, more: Mapping[str, str], timeout_s: float) -> HttpStream:
        """Ask, and follow redirects: without secrets to another host, and never out of TLS."""
        url, secret = self._url, self._headers
        for _ in range(_MAX_REDIRECTS + 1):
            parts = urlsplit(url)
            stream = self._ask(parts, {**secret, **more}, timeout_s)
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

    def _ask(self, parts: SplitResult, more: Mapping[str, str], timeout_s: float) -> HttpStream:
        # identity: the stored file is wanted, not what a server may make of it on the way
        headers = {"Accept-Encoding": "identity", "User-Agent": "etlkit", **more}
        self.close()
        self._pool = HttpPool(f"{parts.scheme}://{parts.netloc}", service=str(parts.hostname))
        path = urlunsplit(("", "", parts.path or "/", parts.query, ""))
        return self._pool.open(path, headers, timeout_s=timeout_s)

    def _refusal(self, stream: HttpStream, timeout_s: float) -> Exception:
        if stream.status == _BEYOND_THE_END:
            return self._changed()
        body = stream.read(_MAX_ERROR_BYTES, timeout_s)
        host = urlsplit(self._shown).netloc
        return from_http(stream.status, stream.headers, body, host, self._shown)

    def _changed(self) -> Exception:
        return SourceError(f"{self._shown} {CHANGED}", stage="read")

    def close(self) -> None:
        """End the connection; the next piece opens another."""
        self._body.close()
        if self._pool is not None:
            self._pool.close()
            self._pool = None

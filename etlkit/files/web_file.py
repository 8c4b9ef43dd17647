"""Files of web servers, downloaded in pieces that survive a broken connection."""

from __future__ import annotations

import hashlib
import http.client
import socket
import string
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping
from typing import IO
from urllib.parse import quote, urlsplit, urlunsplit

from etlkit.calls.retry import Calls, RetryPolicy, from_http
from etlkit.errors import ApiError, CallFailedError, RetryableError, SourceError
from etlkit.files.file import CHANGED, CopiedFile

_CHUNK_BYTES = 1 << 20
_MAX_BODY_BYTES = 10_000
_MAX_ATTEMPTS = 6
_MAX_OUTAGE_S = 60.0
_PARTIAL, _OK = 206, 200
_BROKEN = (OSError, http.client.HTTPException)


def web_file(url: str, headers: Mapping[str, str], timeout_s: float) -> CopiedFile:
    """A file behind an address; nothing is asked before it is read."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    shown = urlunsplit((parts.scheme, host if parts.port is None else f"{host}:{parts.port}",
                        parts.path, "", ""))  # fmt: skip
    policy = RetryPolicy(
        max_attempts=_MAX_ATTEMPTS, attempt_timeout_s=timeout_s, max_outage_s=_MAX_OUTAGE_S
    )
    # Calls of its own: the job's rate limit and caps are for what its transform calls.
    caller = Calls(policy).caller(f"the server of {shown}")

    def chunks() -> Generator[bytes, None, None]:
        download = _Download(url, shown, headers)
        try:
            while chunk := caller.call(download.next_chunk, units=0):
                file.encoded = download.encoded
                yield chunk
            file.encoded = download.encoded
        except (ApiError, CallFailedError, RetryableError) as error:
            raise SourceError(_told(shown, error), stage="read") from error
        finally:
            download.close()

    file = CopiedFile(shown, chunks)
    return file


def _told(shown: str, error: Exception) -> str:
    status = getattr(error, "status", None)
    if status in {404, 410}:
        return f"no file at {shown}: the server answered {status}; check the address"
    if status in {401, 403}:
        return f"{shown} was refused with {status}: check the address and `headers`"
    return f"{shown} cannot be read: {error}"


class _Download:
    """Reads on where the connection broke, if what is there is still the same file."""

    def __init__(self, url: str, shown: str, headers: Mapping[str, str]) -> None:
        self._url = quote(url, safe=string.punctuation)  # spaces and letters beyond ASCII alone
        self._shown = shown
        self._headers = dict(headers)
        self._opener = urllib.request.build_opener(_Redirects(self._headers))
        self._answer: http.client.HTTPResponse | None = None
        self._etag: str | None = None
        self._sent = 0
        self._digest = hashlib.sha256()
        self.encoded: str | None = None

    def next_chunk(self, timeout_s: float) -> bytes:
        """The next piece; empty = that was all.

        Raises:
            RetryableError: The connection broke; call again.
            ApiError: The server refused.
            SourceError: The file is another one than before.
        """
        try:
            if self._answer is None:
                self._answer = self._ask(timeout_s)
            chunk = self._answer.read(_CHUNK_BYTES)
            if not chunk and self._answer.length:  # http.client says nothing of a short body
                raise http.client.IncompleteRead(b"", self._answer.length)
        except urllib.error.HTTPError as error:
            with error:
                raise self._classified(error) from None
        except _BROKEN as error:
            self.close()
            # `from None`: the text of such errors may hold the address and what is secret in it.
            cause = getattr(error, "reason", error)
            if isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_NONAME:
                raise SourceError(
                    f"{self._shown}: there is no such host; check the address", stage="read"
                ) from None
            reason = type(cause).__name__
            raise RetryableError(f"{self._shown}: the connection broke ({reason})") from None
        self._sent += len(chunk)
        self._digest.update(chunk)
        return chunk

    def _classified(self, error: urllib.error.HTTPError) -> Exception:
        self.close()
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            return SourceError(f"{self._shown} {CHANGED}", stage="read")
        body = error.read(_MAX_BODY_BYTES)
        host = urlsplit(self._shown).netloc
        return from_http(error.code, dict(error.headers.items()), body, host, self._shown)

    def _ask(self, timeout_s: float) -> http.client.HTTPResponse:
        # identity: what is stored there is wanted, not what a server may make of it on the way
        headers = {"Accept-Encoding": "identity", "User-Agent": "etlkit", **self._headers}
        if self._sent and self._etag is not None:
            headers |= {"Range": f"bytes={self._sent}-", "If-Range": self._etag}
        request = urllib.request.Request(self._url, headers=headers)  # noqa: S310 - checked
        answer: http.client.HTTPResponse = self._opener.open(request, timeout=timeout_s)
        etag = answer.headers.get("ETag")
        self._etag = etag if etag is not None and not etag.startswith("W/") else None
        coding = answer.headers.get("Content-Encoding", "identity").lower()
        self.encoded = "gzip" if coding in {"gzip", "x-gzip"} else None
        if self._sent and answer.status != _PARTIAL:
            self._skip(answer)
        return answer

    def _skip(self, answer: http.client.HTTPResponse) -> None:
        """Read again what came before the break, and see that it is the same."""
        again, missing = hashlib.sha256(), self._sent
        while missing:
            chunk = answer.read(min(missing, _CHUNK_BYTES))
            if not chunk:
                break
            again.update(chunk)
            missing -= len(chunk)
        if missing and answer.length:
            answer.close()
            raise http.client.IncompleteRead(b"", missing)
        if missing or again.digest() != self._digest.digest():
            answer.close()
            raise SourceError(f"{self._shown} {CHANGED}", stage="read")

    def close(self) -> None:
        """End the connection; the next piece opens another."""
        if self._answer is not None:
            self._answer.close()
            self._answer = None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows, but takes no secret to another host, and never leaves TLS."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._secret = {name.capitalize() for name in headers}

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str,
        headers: http.client.HTTPMessage, newurl: str,
    ) -> urllib.request.Request | None:  # fmt: skip
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if new.scheme not in {"http", "https"} or (old.scheme, new.scheme) == ("https", "http"):
            raise SourceError(
                f"the server of {old.hostname} redirects to {new.scheme}://{new.hostname}, which is "
                "not followed",
                stage="read",
            )
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None and (old.hostname, old.port) != (new.hostname, new.port):
            for name in self._secret:
                request.remove_header(name)
        return request

"""`HttpClient`: an API over HTTP, with a deadline for every attempt and no secrets in messages."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, Any, Final, Self, Unpack

from etlkit.calls.backoff import RetryPolicy
from etlkit.calls.connections import HttpPool
from etlkit.calls.exchange import Authorization, Exchange, HttpAnswer, Request
from etlkit.calls.http_methods import Auth, CallOptions, HttpMethods, too_large, within
from etlkit.calls.paging import Paging
from etlkit.calls.secret import Secret

__all__ = ["Auth", "Authorization", "CallOptions", "HttpAnswer", "HttpClient"]

_MAX_IDLE: Final = 64


class HttpClient(HttpMethods):
    """One connection pool to one service. Threads may share it.

    Every call goes through the run's retry layer for the service, see `etlkit.calls.retry.caller`, so
    it may reach the service more than once: an answer may get lost. Redirects are not followed and
    cookies are not kept. Proxies and certificate authorities are those of the environment, see
    `etlkit.calls.proxies` and `etlkit.calls.tls`. All methods that make a call take `CallOptions` and
    raise the same errors.

    Args:
        base_url: `https://host`; a path in it is put before every call's.
        service: The service's name, for messages; callers of one name share limits and health.
        headers: Sent with every call; keys belong here, never into a URL. A `Secret` is read from the
            environment.
        params: Query parameters of every call.
        auth: Who calls, see `etlkit.calls.auth`; None = the headers say it, or nothing does.
        errors_as_row: Statuses, e.g. `{404, 422}`, that are the error of the row whose call it is, a
            `RequestRefusedError`. All others that are refused end the run.
        retry: How often and how long to try, unless the job says so; None = the defaults.

    Raises:
        ConfigError: An argument is wrong, or the environment lacks a secret. Shows no secret.
        ApiError: (Calls) the service refused the call, or its answer cannot be read.
        RequestRefusedError: (Calls) it refused the call with one of `errors_as_row`.
        CallFailedError: (Calls) the call kept failing, and the service is well.
        OutageError: (Calls) the service was down for too long.
    """

    def __init__(
        self,
        base_url: str,
        *,
        service: str,
        headers: Mapping[str, str | Secret] | None = None,
        params: Mapping[str, Any] | None = None,
        auth: Auth | None = None,
        errors_as_row: Collection[int] = (),
        retry: RetryPolicy | None = None,
    ) -> None:
        super().__init__(
            base_url, service=service, headers=headers, params=params, errors_as_row=errors_as_row
        )
        authorization = self._authorization(auth)
        pool = HttpPool(self._address.origin, service=service, max_idle=_MAX_IDLE)
        self._exchange = self._rules = Exchange(
            pool, service, retry, authorization, self._address.origin
        )

    def request(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        expect_status: Collection[int] | None = None,
        **options: Unpack[CallOptions],
    ) -> HttpAnswer:
        """Make any request and return the answer as it is.

        Args:
            method: E.g. `PUT`.
            path: Starts with `/`.
            body: None = no body.
            expect_status: Statuses that are returned; all others are errors. None = every 2xx.
            options: See `CallOptions`.
        """
        made = self._made(method, path, body, None, options, success=expect_status)
        return self._exchange.call(made, lambda answer: answer)

    def get_bytes(self, path: str, *, max_bytes: int, **options: Unpack[CallOptions]) -> bytes:
        """Fetch something into memory.

        Args:
            path: Starts with `/`.
            max_bytes: The largest body; more is not read.
            options: See `CallOptions`.

        Raises:
            RowError: It has more than `max_bytes`.
        """
        made = self._bytes_of(path, max_bytes, options)
        return within(self._exchange.call(made, lambda answer: answer.body), max_bytes)

    def stream(
        self, path: str, *, max_bytes: int | None = None, **options: Unpack[CallOptions]
    ) -> Generator[bytes, None, None]:
        """Fetch something of any size piece by piece; memory does not grow with it.

        A broken connection goes on where it broke, which is another call with the same units, if the
        body is still the same.

        Args:
            path: Starts with `/`.
            max_bytes: More is not read; None = no limit.
            options: See `CallOptions`.

        Yields:
            Pieces of about 64 KiB. Each has the deadline of an attempt.

        Raises:
            RowError: It has more than `max_bytes`, or it changed after a break.
        """
        made = self._made("GET", path, None, None, options)
        num_bytes = 0
        for piece in self._exchange.pieces(made):
            num_bytes += len(piece)
            if max_bytes is not None and num_bytes > max_bytes:
                raise too_large(max_bytes)
            yield piece

    def download(
        self,
        path: str,
        to: str | Path | IO[bytes],
        *,
        max_bytes: int | None = None,
        **options: Unpack[CallOptions],
    ) -> int:
        """Fetch something of any size into a file, as `stream` does, and return the number of bytes.

        Args:
            path: Starts with `/`.
            to: A path, where the file appears when it is whole; or an open binary file.
            max_bytes: More is not read; None = no limit.
            options: See `CallOptions`.
        """
        pieces = self.stream(path, max_bytes=max_bytes, **options)
        if not isinstance(to, (str, Path)):
            return sum(to.write(piece) for piece in pieces)
        part = Path(f"{to}.part")
        try:
            with part.open("wb") as file:
                num_bytes = sum(file.write(piece) for piece in pieces)
            part.replace(to)
        finally:
            part.unlink(missing_ok=True)
        return num_bytes

    def pages(
        self,
        path: str,
        paging: Paging,
        *,
        max_pages: int | None = None,
        **options: Unpack[CallOptions],
    ) -> Generator[Any, None, None]:
        """GET all pages of a list, one after the other. Each is a call with its own retries.

        Args:
            path: Of the first page; starts with `/`.
            paging: How pages follow each other, see `etlkit.calls.paging`.
            max_pages: A list with more pages is an error; None = no limit.
            options: See `CallOptions`.

        Yields:
            The JSON of each page.

        Raises:
            RowError: There are more than `max_pages`.
            ApiError: A page leads to one that was read already, or to another host.
        """
        steps = self._page_steps(path, paging, max_pages, options)
        with suppress(StopIteration):
            made, number = next(steps)
            while True:
                page = self._exchange.call(made, partial(self._page, number=number))
                yield page.json
                made, number = steps.send(page)

    def close(self) -> None:
        """Close the pool."""
        self._exchange.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, request: Request, read: Callable[[HttpAnswer], Any]) -> Any:
        return self._exchange.call(request, read)

"""`AsyncHttpClient`: an API over HTTP for async hooks, with thousands of calls in flight."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final, Self, Unpack

from etlkit.calls.async_connections import AsyncHttpPool
from etlkit.calls.async_exchange import AsyncExchange
from etlkit.calls.backoff import RetryPolicy
from etlkit.calls.exchange import HttpAnswer, Request
from etlkit.calls.http_methods import Auth, CallOptions, HttpMethods, within
from etlkit.calls.paging import Paging
from etlkit.calls.secret import Secret

_MAX_IDLE: Final = 10_000
"""As many as there may be calls in flight."""


class AsyncHttpClient(HttpMethods):
    """As `HttpClient`, for the tasks of one event loop: all methods that make a call are awaited.

    `get_json`, `post_json`, `put`, `patch`, `delete`, `post_form` and `post_files` give something to
    await. Arguments, options, errors and the rule of retries are those of `HttpClient`, see there. It
    may be made anywhere, and belongs to the event loop that uses it first. For `stream` and `download`
    use an `HttpClient` in `asyncio.to_thread`.

    Args:
        base_url: See `HttpClient`; likewise all others.

    Raises:
        ConfigError: An argument is wrong, or the environment lacks a secret. Shows no secret.
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
        pool = AsyncHttpPool(self._address.origin, service=service, max_idle=_MAX_IDLE)
        self._exchange = self._rules = AsyncExchange(
            pool, service, retry, authorization, self._address.origin
        )

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        expect_status: Collection[int] | None = None,
        **options: Unpack[CallOptions],
    ) -> HttpAnswer:
        """As `HttpClient.request`."""
        made = self._made(method, path, body, None, options, success=expect_status)
        return await self._exchange.call(made, lambda answer: answer)

    async def get_bytes(
        self, path: str, *, max_bytes: int, **options: Unpack[CallOptions]
    ) -> bytes:
        """As `HttpClient.get_bytes`."""
        made = self._bytes_of(path, max_bytes, options)
        return within(await self._exchange.call(made, lambda answer: answer.body), max_bytes)

    async def pages(
        self,
        path: str,
        paging: Paging,
        *,
        max_pages: int | None = None,
        **options: Unpack[CallOptions],
    ) -> AsyncGenerator[Any, None]:
        """As `HttpClient.pages`, for `async for`."""
        steps = self._page_steps(path, paging, max_pages, options)
        with suppress(StopIteration):
            made, number = next(steps)
            while True:
                page = await self._exchange.call(made, partial(self._page, number=number))
                yield page.json
                made, number = steps.send(page)

    async def close(self) -> None:
        """Close the pool."""
        self._exchange.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _call(self, request: Request, read: Callable[[HttpAnswer], Any]) -> Any:
        return self._exchange.call(request, read)

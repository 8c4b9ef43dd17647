"""Exchanges with one service that are awaited; see `etlkit.calls.exchange`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TypeVar

from etlkit.calls.async_connections import AsyncHttpPool
from etlkit.calls.backoff import RetryPolicy
from etlkit.calls.exchange import (
    Authorization,
    ExchangeRules,
    HttpAnswer,
    Request,
    is_unauthorized,
)
from etlkit.calls.http_watch import told, traced
from etlkit.calls.request_headers import merged
from etlkit.errors import ApiError, RetryableError

T = TypeVar("T")


class AsyncExchange(ExchangeRules):
    """Requests to one service, by the tasks of one event loop.

    Args:
        pool: Connections to it.
        service: Its name, for messages and for its `Caller`.
        retry: How often and how long to try, unless the job says so; None = the defaults.
        authorization: Who calls; None = the headers of the requests say it, or nothing does.
        origin: See `ExchangeRules`.
    """

    def __init__(
        self,
        pool: AsyncHttpPool,
        service: str,
        retry: RetryPolicy | None,
        authorization: Authorization | None,
        origin: str,
    ) -> None:
        super().__init__(service, retry, authorization, origin)
        self._pool = pool
        self._asking: asyncio.Future[Mapping[str, str]] | None = None

    async def call(self, request: Request, read: Callable[[HttpAnswer], T]) -> T:
        """As `Exchange.call`."""
        recording = self._calls().recording
        if recording is not None and (recorded := self._recorded(recording, request)) is not None:
            return read(recorded)
        authorization = self._authorization_of(request)
        if authorization is None:
            return await self._sent(request, read, request.headers)
        return await self._authorized(request, authorization, partial(self._sent, request, read))

    async def _sent(
        self, request: Request, read: Callable[[HttpAnswer], T], headers: Mapping[str, str]
    ) -> T:
        """Send a request with these headers until it is answered."""
        calls = self._calls()
        made = garbled = 0

        async def attempt(timeout_s: float) -> T:
            nonlocal made, garbled
            made += 1
            try:
                answer = await self._answer(request, headers, timeout_s, made)
                result = read(answer)
            except RetryableError as error:
                garbled = self._garbled(error, garbled)
                raise
            if calls.recording is not None:
                self._record(calls.recording, request, answer)
            return result

        return await calls.call_async(attempt, units=request.units)

    def close(self) -> None:
        """Close the connections that are idle."""
        self._pool.close()

    async def _answer(
        self, request: Request, headers: Mapping[str, str], timeout_s: float, made: int
    ) -> HttpAnswer:
        with told(request.method, request.target, self._pool.origin) as tell:
            status, answered, body = await self._pool.send(
                request.method,
                request.target,
                traced(headers),
                request.body,
                timeout_s=timeout_s,
                max_bytes=request.max_bytes,
            )
            tell(status)
        if not request.is_success(status):
            raise self._refusal(request, headers, status, answered, body, made)
        return HttpAnswer(status, answered, body)

    async def _authorized(
        self,
        request: Request,
        authorization: Authorization,
        make: Callable[[Mapping[str, str]], Awaitable[T]],
    ) -> T:
        """As `Exchange._authorized`. A server is asked for a token on a thread."""
        shows = await self._shown(authorization)
        try:
            return await make(merged(shows, request.headers))
        except ApiError as error:
            if not is_unauthorized(error) or not authorization.renew(shows):
                raise
        return await make(merged(await self._shown(authorization), request.headers))

    async def _shown(self, authorization: Authorization) -> Mapping[str, str]:
        known = getattr(authorization, "known", lambda: None)  # one of the user's own may lack it
        headers: Mapping[str, str] | None = known()
        if headers is not None:
            return headers
        if self._asking is None:  # one task asks, and the others wait for its token
            self._asking = asyncio.ensure_future(asyncio.to_thread(authorization.headers))
            self._asking.add_done_callback(self._asked)
        return await asyncio.shield(self._asking)

    def _asked(self, _future: asyncio.Future[Mapping[str, str]]) -> None:
        self._asking = None

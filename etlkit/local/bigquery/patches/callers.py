"""Callers must know the server's token.

Real BigQuery: a request without credentials is refused. The emulator: it answered everybody, also web
pages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bqemulator import server
from bqemulator.grpc_api.interceptors import CorrelationInterceptor

from etlkit.local.bigquery.patches.table import PATCHES
from etlkit.local.server.guard import RequestGuard, knows_token, refusing_handler

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def apply(token: str, is_signed: Callable[[str], bool]) -> None:
    """Guard REST and gRPC. Called after the other patches of the REST app, because it is outermost.

    Args:
        token: What callers must send.
        is_signed: See `knows_token`.
    """
    plain_create_app: Any = server.create_app

    def create_app(ctx: Any) -> RequestGuard:
        return RequestGuard(plain_create_app(ctx), token)

    class GuardingInterceptor(CorrelationInterceptor):
        """The first interceptor of the gRPC server."""

        async def intercept_service(
            self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any
        ) -> Any:
            """Refuse a call without the token."""
            if not knows_token(handler_call_details.invocation_metadata, token, is_signed):
                return refusing_handler()
            return await super().intercept_service(continuation, handler_call_details)

    PATCHES.replace("bqemulator.server:create_app", create_app)
    PATCHES.replace("bqemulator.grpc_api.server:CorrelationInterceptor", GuardingInterceptor)

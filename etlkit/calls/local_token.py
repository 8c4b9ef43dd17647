"""The token of the local server, which its clients send.

The address in the environment has it, because any client passes an address on. etlkit sends it in a
header instead: addresses are in the messages of client libraries. See docs/design/0022.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

TOKEN_VARIABLE: Final = "ETLKIT_LOCAL_TOKEN"  # noqa: S105 - a name
"""The variable that `local_world` and `etlkit local serve` set."""

_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


def local_token(address: str, environ: Mapping[str, str]) -> str | None:
    """The token to send to an address; None = none, because it is not on this machine.

    Args:
        address: `http://host:port`, with the token as its path or without, or `host:port`.
        environ: `ETLKIT_LOCAL_TOKEN` is read.
    """
    return (environ.get(TOKEN_VARIABLE) or None) if is_loopback(address) else None


def is_loopback(address: str) -> bool:
    """Whether an address, `host:port` or a URL, is on this machine."""
    try:
        host = urlsplit(address if "://" in address else f"//{address}").hostname
    except ValueError:
        return False
    return host in _LOOPBACK


def without_token(address: str, token: str | None) -> str:
    """The address without the token as its path."""
    return address if token is None else address.rstrip("/").removesuffix(f"/{token}")


def with_metadata(channel: Any, *metadata: tuple[str, str]) -> Any:
    """A gRPC channel that adds metadata to each call.

    Without TLS a channel cannot have credentials.
    """
    import grpc

    class Interceptor(
        grpc.UnaryUnaryClientInterceptor,  # type: ignore[misc]
        grpc.UnaryStreamClientInterceptor,  # type: ignore[misc]
        grpc.StreamUnaryClientInterceptor,  # type: ignore[misc]
        grpc.StreamStreamClientInterceptor,  # type: ignore[misc]
    ):
        def intercept_unary_unary(self, proceed: Any, details: Any, request: Any) -> Any:
            return proceed(
                details._replace(metadata=[*(details.metadata or ()), *metadata]), request
            )

        intercept_unary_stream = intercept_unary_unary
        intercept_stream_unary = intercept_unary_unary
        intercept_stream_stream = intercept_unary_unary

    return grpc.intercept_channel(channel, Interceptor())

"""Redirects scripts that call Vision themselves to the local Vision.

etlkit's own calls follow environment variables. A script that calls Vision itself names no endpoint:
it posts to `https://vision.googleapis.com`, or makes Google's client without arguments. Inside
`redirect_vision` these calls go to the local Vision, and no others. See docs/design/0006.
"""

from __future__ import annotations

import os
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from typing import Any, cast
from urllib.parse import parse_qsl, urlencode, urlsplit

from etlkit.errors import ConfigError
from etlkit.local.client_redirect import ClientRedirect

REST_ENDPOINT = "ETLKIT_VISION_ENDPOINT"
GRPC_ENDPOINT = "ETLKIT_VISION_GRPC_ENDPOINT"
TOKEN_VARIABLE = "ETLKIT_LOCAL_TOKEN"  # noqa: S105 - a name

HOSTS = frozenset({f"{region}vision.googleapis.com" for region in ("", "eu-", "us-")})
"""https://cloud.google.com/vision/docs/ocr#regionalization"""

_CLIENT_MODULE = "google.cloud.vision_v1.services.image_annotator.client"
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
_SECRET_HEADERS = frozenset({"authorization", "x-goog-api-key", "host"})


@contextmanager
def redirect_vision() -> Iterator[None]:
    """Send calls of Vision to the endpoints in the environment, while inside.

    `urllib.request.urlopen` gets an opener that checks the host of each request, unless another opener
    is installed already. `ImageAnnotatorClient()` without arguments gets one connection to the local
    Vision that all clients share. With arguments the client is unchanged.
    """
    before = getattr(urllib.request, "_opener", None)
    opener = urllib.request.build_opener(_RedirectHandler())
    if _is_default(before):
        urllib.request.install_opener(opener)
    channels = _SharedChannels()
    try:
        with ClientRedirect(_CLIENT_MODULE, "ImageAnnotatorClient", channels.change):
            yield
    finally:
        channels.close()
        if getattr(urllib.request, "_opener", None) is opener:
            urllib.request.install_opener(cast("Any", before))


def _is_default(opener: urllib.request.OpenerDirector | None) -> bool:
    """Whether nobody has installed an opener. The first `urlopen` of a process makes a plain one."""
    if opener is None:
        return True
    plain = urllib.request.build_opener()
    return set(map(type, _handlers(opener))) == set(map(type, _handlers(plain)))


def _handlers(opener: urllib.request.OpenerDirector) -> list[Any]:
    handlers: list[Any] = vars(opener)["handlers"]
    return handlers


class _RedirectHandler(urllib.request.BaseHandler):
    handler_order = 50  # before the proxies, because the local Vision is on loopback

    def __init__(self) -> None:
        self._direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def https_open(self, request: urllib.request.Request) -> HTTPResponse | None:
        """Ask the local Vision instead of Vision; None = the request is not for Vision."""
        parts = urlsplit(request.full_url)
        endpoint = os.environ.get(REST_ENDPOINT)
        if parts.hostname not in HOSTS or endpoint is None:
            return None
        # Remove keys: the address has the token that the local Vision wants instead.
        query = urlencode([each for each in parse_qsl(parts.query) if each[0] != "key"])
        headers = {k: v for k, v in request.header_items() if k.lower() not in _SECRET_HEADERS}
        redirected = urllib.request.Request(  # noqa: S310 - the environment names the endpoint
            endpoint.rstrip("/") + parts.path + (f"?{query}" if query else ""),
            data=request.data,
            headers=headers,
            method=request.get_method(),
        )
        answer = self._direct.open(redirected, timeout=cast("Any", request.timeout))
        return cast("HTTPResponse", answer)


class _SharedChannels:
    """The connections of clients that name no endpoint, one for each address."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._channels: dict[str, Any] = {}
        self._transports: dict[str, Any] = {}

    def close(self) -> None:
        """Close the connections."""
        for channel in self._channels.values():
            channel.close()

    def change(self, client: Any, args: tuple[Any, ...], options: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a new client: those of the local Vision if it got none."""
        del client
        endpoint = os.environ.get(GRPC_ENDPOINT)
        has_no_arguments = not args and all(value is None for value in options.values())
        if endpoint is not None and has_no_arguments:
            return {"transport": self._transport(endpoint)}
        return options

    def _transport(self, endpoint: str) -> Any:
        """One connection for all clients, because a script may make a client for every row."""
        with self._lock:
            if endpoint not in self._transports:
                self._channels[endpoint], self._transports[endpoint] = _connect(endpoint)
            return self._transports[endpoint]


def _connect(endpoint: str) -> tuple[Any, Any]:
    if endpoint.rpartition(":")[0] not in _LOOPBACK:
        raise ConfigError(f"{GRPC_ENDPOINT} must be host:port on loopback, because it has no TLS")
    import grpc
    from google.cloud.vision_v1.services.image_annotator.transports import (
        ImageAnnotatorGrpcTransport,
    )

    class Shared(ImageAnnotatorGrpcTransport):
        def close(self) -> None:
            """Keep the channel open: the clients of other rows use it too."""

    unbounded = ("grpc.max_send_message_length", "grpc.max_receive_message_length")
    options = [("grpc.enable_http_proxy", 0), *((name, -1) for name in unbounded)]
    channel = grpc.insecure_channel(endpoint, options=options)
    token = os.environ.get(TOKEN_VARIABLE)
    intercepted = grpc.intercept_channel(channel, _token_sender(token)) if token else channel
    return channel, Shared(host=endpoint, channel=intercepted)


def _token_sender(token: str) -> Any:
    """Sends the token of the local server with each call: the method has one request and one answer."""
    import grpc

    class Interceptor(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]
        def intercept_unary_unary(self, proceed: Any, details: Any, request: Any) -> Any:
            metadata = [*(details.metadata or ()), ("authorization", f"Bearer {token}")]
            return proceed(details._replace(metadata=metadata), request)

    return Interceptor()

"""Programs that know nothing of etlkit, led to the local Vision.

The environment leads etlkit's own calls there. A script that calls Vision by itself names no
endpoint: it posts to `https://vision.googleapis.com`, or makes Google's client without arguments.
Inside `detours` these two, and nothing else, lead to the stand-in. See docs/design/0006.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPResponse
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any, cast
from urllib.parse import parse_qsl, urlencode, urlsplit

from etlkit.errors import ConfigError

REST_ENDPOINT = "ETLKIT_VISION_ENDPOINT"
GRPC_ENDPOINT = "ETLKIT_VISION_GRPC_ENDPOINT"

HOSTS = frozenset({f"{region}vision.googleapis.com" for region in ("", "eu-", "us-")})
"""https://cloud.google.com/vision/docs/ocr#regionalization"""

_CLIENT_MODULE = "google.cloud.vision_v1.services.image_annotator.client"
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
_SECRET_HEADERS = frozenset({"authorization", "x-goog-api-key", "host"})


@contextmanager
def detours() -> Iterator[None]:
    """Lead calls of Vision to the endpoints that the environment names, while inside.

    `urllib.request.urlopen` gets an opener that looks at the host of each request; one that somebody
    has installed already is left alone. `ImageAnnotatorClient()` without arguments gets a connection
    to the stand-in, one for all clients; with arguments it does what they say.
    """
    free = getattr(urllib.request, "_opener", None) is None
    mine = urllib.request.build_opener(_Detour())
    if free:
        urllib.request.install_opener(mine)
    clients = _Clients()
    clients.enter()
    try:
        yield
    finally:
        clients.leave()
        if free and getattr(urllib.request, "_opener", None) is mine:
            urllib.request.install_opener(cast("Any", None))


class _Detour(urllib.request.BaseHandler):
    handler_order = 50  # before the proxies: the stand-in is on loopback

    def __init__(self) -> None:
        self._direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def https_open(self, request: urllib.request.Request) -> HTTPResponse | None:
        """Ask the stand-in instead of Vision; None = the request is for somebody else."""
        parts = urlsplit(request.full_url)
        endpoint = os.environ.get(REST_ENDPOINT)
        if parts.hostname not in HOSTS or endpoint is None:
            return None
        # Keys stay here: the stand-in needs none, and what it logs is then free of them.
        query = urlencode([each for each in parse_qsl(parts.query) if each[0] != "key"])
        headers = {k: v for k, v in request.header_items() if k.lower() not in _SECRET_HEADERS}
        instead = urllib.request.Request(  # noqa: S310 - as the environment says
            endpoint.rstrip("/") + parts.path + (f"?{query}" if query else ""),
            data=request.data,
            headers=headers,
            method=request.get_method(),
        )
        answer = self._direct.open(instead, timeout=cast("Any", request.timeout))
        return cast("HTTPResponse", answer)


class _Clients:
    """Changes what `ImageAnnotatorClient()` means, without importing it before the script does."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._channels: dict[str, Any] = {}
        self._transports: dict[str, Any] = {}
        self._changed: list[tuple[Any, Any]] = []

    def enter(self) -> None:
        module = sys.modules.get(_CLIENT_MODULE)
        if module is None:
            sys.meta_path.insert(0, self)
        else:
            self._change(module)

    def leave(self) -> None:
        """Put everything back and close the connections."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        for cls, init in self._changed:
            cls.__init__ = init
        for channel in self._channels.values():
            channel.close()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Answer an import of the client's module with itself, to be changed once it has run."""
        if name != _CLIENT_MODULE:
            return None
        spec = PathFinder.find_spec(name, path)
        loader: Any = None if spec is None else spec.loader
        if loader is not None:
            run = loader.exec_module

            def exec_module(module: ModuleType) -> None:
                run(module)
                self._change(module)

            loader.exec_module = exec_module
        return spec

    def _change(self, module: ModuleType) -> None:
        client = module.ImageAnnotatorClient
        original = client.__init__

        @functools.wraps(original)
        def init(this: Any, *args: Any, **options: Any) -> None:
            endpoint = os.environ.get(GRPC_ENDPOINT)
            says_nothing = not args and all(value is None for value in options.values())
            if endpoint is not None and says_nothing:
                options = {"transport": self._transport(endpoint)}
            original(this, *args, **options)

        client.__init__ = init
        self._changed.append((client, original))

    def _transport(self, endpoint: str) -> Any:
        """One connection for all clients: a script may make a client for every row."""
        with self._lock:
            if endpoint not in self._transports:
                self._channels[endpoint], self._transports[endpoint] = _connect(endpoint)
            return self._transports[endpoint]


def _connect(endpoint: str) -> tuple[Any, Any]:
    if endpoint.rpartition(":")[0] not in _LOOPBACK:
        raise ConfigError(f"{GRPC_ENDPOINT} must be host:port on loopback: it is without TLS")
    import grpc
    from google.cloud.vision_v1.services.image_annotator.transports import (
        ImageAnnotatorGrpcTransport,
    )

    class Shared(ImageAnnotatorGrpcTransport):
        def close(self) -> None:
            """Leave it open: the client of another row uses it too."""

    unbounded = ("grpc.max_send_message_length", "grpc.max_receive_message_length")
    options = [("grpc.enable_http_proxy", 0), *((name, -1) for name in unbounded)]
    channel = grpc.insecure_channel(endpoint, options=options)
    return channel, Shared(host=endpoint, channel=channel)

"""What logs and telemetry are told of an HTTP request: method, address without query, status."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final
from urllib.parse import urlsplit

from etlkit.calls.address import shown
from etlkit.errors import without_keys
from etlkit.telemetry.call_watch import CallWatch, current_call
from etlkit.telemetry.spans import trace_headers

log: logging.Logger = logging.getLogger("etlkit.http")

_PORTS = {"http": 80, "https": 443}


def traced(headers: Mapping[str, str]) -> Mapping[str, str]:
    """The headers of a request, with those of the current trace. The caller's own win."""
    more = trace_headers()
    if not more:
        return headers
    there = {name.lower() for name in headers}
    return headers if "traceparent" in there else {**more, **headers}


def told(method: str, target: str, origin: str) -> AbstractContextManager[Callable[[int], None]]:
    """Tell of a request once it is answered, or has failed.

    Args:
        method: E.g. `GET`.
        target: Path and query.
        origin: Where to: `https://host` or `http://host:port`.

    Returns:
        While inside, takes the status of the answer.
    """
    watch, is_logged = current_call(), log.isEnabledFor(logging.DEBUG)
    if watch is None and not is_logged:
        return _NOT_TOLD
    return _told(method, target, origin, watch, is_logged=is_logged)


@contextmanager
def _told(
    method: str, target: str, origin: str, watch: CallWatch | None, *, is_logged: bool
) -> Iterator[Callable[[int], None]]:
    status: int | None = None

    def answered(code: int) -> None:
        nonlocal status
        status = code

    began = time.monotonic()
    try:
        yield answered
    finally:
        seconds = time.monotonic() - began
        url = without_keys(origin + shown(target))
        if watch is not None:
            parts = urlsplit(origin)
            server = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
            watch.http(method, url, server, status, seconds)
        if is_logged:
            _log(method, url, status, seconds)


def _log(method: str, url: str, status: int | None, seconds: float) -> None:
    told_request = {"requestMethod": method, "requestUrl": url, "latency": f"{seconds:.3f}s"}
    if status is not None:
        told_request["status"] = str(status)
    text = "no answer" if status is None else str(status)
    log.debug(
        "%s %s: %s in %.3f s", method, url, text, seconds, extra={"http_request": told_request}
    )


def _ignored(_status: int) -> None:
    return


_NOT_TOLD: Final = nullcontext(_ignored)

"""`HttpClient`: JSON over HTTP with deadlines always set and secrets never in a message."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self

import requests

from etlkit.errors import ApiError, RetryableError

_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
_MAX_REASON_CHARS = 300
_BROKEN = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,  # the answer was cut off
    requests.exceptions.ContentDecodingError,
)


class HttpClient:
    """One connection pool to one service. Make one per worker; it is not shared between threads.

    Args:
        base_url: `https://host`, without a path.
        service: The service's name, for messages.
        headers: Sent with every call; keys belong here, never into a URL.
        timeout_s: Seconds to connect, and seconds without a byte of the answer.
    """

    def __init__(
        self,
        base_url: str,
        *,
        service: str,
        headers: Mapping[str, str] | None = None,
        timeout_s: tuple[float, float] = (10.0, 60.0),
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._service = service
        self._timeout_s = timeout_s
        self._session = requests.Session()
        self._session.headers.update({"Content-Type": "application/json", **(headers or {})})

    def post_json(self, path: str, body: Any) -> Any:
        """Send a JSON document and give the answer's.

        Args:
            path: Starts with `/`.
            body: Anything JSON can hold.

        Returns:
            The parsed answer of a 2xx.

        Raises:
            RetryableError: 408, 429, 5xx, a timeout or a broken connection; `retry_after_s` holds
                the server's hint.
            ApiError: The service refused the call, or its answer is no JSON.
        """
        data = json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
        try:
            response = self._session.post(
                self._base_url + path, data=data, timeout=self._timeout_s, allow_redirects=False
            )
        except _BROKEN as error:
            # `from None`: the text of requests' errors holds the URL and whatever is in it.
            raise RetryableError(
                f"{self._service}: {type(error).__name__} while calling {path}"
            ) from None
        if response.status_code in _TRANSIENT:
            raise RetryableError(
                f"{self._service} answered {response.status_code} to {path}",
                retry_after_s=_retry_after_s(response.headers.get("Retry-After")),
            )
        if not response.ok or response.is_redirect:
            raise self._refused(response, path)
        try:
            return response.json()
        except requests.JSONDecodeError:
            raise ApiError(
                f"{self._service} answered {path} with something that is not JSON",
                service=self._service,
                status=response.status_code,
            ) from None

    def _refused(self, response: requests.Response, path: str) -> ApiError:
        reason = _google_reason(response)
        return ApiError(
            f"{self._service} refused {path} with {response.status_code}"
            + (f": {reason}" if reason else ""),
            service=self._service,
            status=response.status_code,
            reason=reason,
        )

    def close(self) -> None:
        """Close the pool."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _retry_after_s(value: str | None) -> float | None:
    """Seconds of a `Retry-After` header, which is a number or a date; None = no hint.

    Source: https://www.rfc-editor.org/rfc/rfc9110#field.retry-after
    """
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (at - datetime.now(UTC)).total_seconds())


def _google_reason(response: requests.Response) -> str | None:
    """The one sentence in a Google error body; nothing else of a body is ever shown."""
    try:
        message = response.json()["error"]["message"]
    except (requests.JSONDecodeError, KeyError, TypeError):
        return None
    return str(message)[:_MAX_REASON_CHARS]

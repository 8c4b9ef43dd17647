"""What a failed call means: try again, or not. One table for HTTP, gRPC and Google's own exceptions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from etlkit.calls import hints
from etlkit.errors import ApiError, EtlkitError, RetryableError

TRANSIENT_STATUS = frozenset({408, 429, 500, 502, 503, 504})
TRANSIENT_CODES = frozenset(
    {"UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "INTERNAL", "ABORTED"}
)
_THROTTLED_REASONS = frozenset({"rateLimitExceeded", "userRateLimitExceeded"})
"""Older Google APIs say 403 with one of these where newer ones say 429.
Source: https://cloud.google.com/bigquery/docs/error-messages"""

_HTTP_OF_CODE = {
    "CANCELLED": 499,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "UNAUTHENTICATED": 401,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
    "UNKNOWN": 500,
}
"""Source: https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto"""

_MAX_REASON_CHARS = 300


def from_http(
    status: int, headers: Mapping[str, str], body: bytes, service: str, what: str
) -> EtlkitError:
    """Classify an HTTP answer that is no success.

    Args:
        status: The HTTP status.
        headers: The answer's headers.
        body: The answer's body; only Google's own sentence in it is ever shown.
        service: Who answered, for the message.
        what: What was called, e.g. a path without its query.

    Returns:
        A `RetryableError` with the server's hint, or an `ApiError`.
    """
    error = hints.google_error(body)
    code = error.get("status")
    if (
        status in TRANSIENT_STATUS
        or code in TRANSIENT_CODES
        or (status == 403 and _THROTTLED_REASONS & _reasons(error))
    ):
        given = [hints.from_headers(headers), hints.from_google_error(error)]
        return RetryableError(
            f"{service} answered {status} to {what}",
            retry_after_s=max((hint for hint in given if hint is not None), default=None),
            status=429 if status == 403 else status,
        )
    reason = _short(error.get("message"))
    return ApiError(
        f"{service} refused {what} with {status}" + (f": {reason}" if reason else ""),
        service=service,
        status=status,
        reason=reason,
    )


def from_grpc(error: BaseException, service: str) -> Exception:
    """Classify what one of Google's clients or gRPC itself raised.

    Args:
        error: A `google.api_core` exception (of either transport), a `grpc.RpcError`, or a broken
            connection below the REST transport.
        service: Who was called, for the message.

    Returns:
        A `RetryableError` with the server's hint, an `ApiError`, or the error itself where it is
        none of these.
    """
    if isinstance(error, EtlkitError):
        return error
    code = _code_name(error)
    if code is None:
        broken = _broken_connection(error)
        if broken is not None:
            return RetryableError(f"{service}: {type(error).__name__}", code=broken)
        return error if isinstance(error, Exception) else RuntimeError(type(error).__name__)
    status = _HTTP_OF_CODE.get(code) or int(getattr(error, "code", None) or 500)
    if code in TRANSIENT_CODES or status in TRANSIENT_STATUS - {500}:
        return RetryableError(
            f"{service} answered {code}", retry_after_s=_hint(error), status=status, code=code
        )
    reason = _short(_message(error))
    return ApiError(
        f"{service} refused the call with {code}" + (f": {reason}" if reason else ""),
        service=service,
        status=status,
        reason=reason,
    )


def _code_name(error: BaseException) -> str | None:
    """`UNAVAILABLE` and the like; None = the error has no code."""
    grpc_code = getattr(error, "grpc_status_code", None)  # google.api_core
    code = getattr(error, "code", None)
    if grpc_code is None and callable(code):  # grpc.RpcError
        grpc_code = code()
    name = getattr(grpc_code, "name", None)
    if isinstance(name, str):
        return name
    if isinstance(code, int):  # google.api_core, REST transport, a status gRPC does not have
        return next((name for name, http in _HTTP_OF_CODE.items() if http == code), f"HTTP {code}")
    return None


def _message(error: BaseException) -> Any:
    details = getattr(error, "details", None)
    return getattr(error, "message", None) or (details() if callable(details) else None)


def _hint(error: BaseException) -> float | None:
    details = getattr(error, "details", None)
    given: list[float | None] = []
    if details and not callable(details):
        given.append(hints.from_details(details))
    for inner in (error, *(getattr(error, "errors", None) or ())):
        trailing = getattr(inner, "trailing_metadata", None)
        if callable(trailing):
            given.append(hints.from_trailing_metadata(trailing() or ()))
    headers = getattr(getattr(error, "response", None), "headers", None)
    if headers is not None:
        given.append(hints.from_headers(headers))
    return max((hint for hint in given if hint is not None), default=None)


def _broken_connection(error: BaseException) -> str | None:
    """The word for a connection that broke below a client library; None = it is something else."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if "Timeout" in names or isinstance(error, TimeoutError):
        return "timeout"
    if names & {"ConnectionError", "TransportError", "ChunkedEncodingError"}:
        return "reset"
    return None


def _reasons(error: Mapping[str, Any]) -> set[str]:
    errors = error.get("errors")
    found = errors if isinstance(errors, list) else []
    return {str(each.get("reason")) for each in found if isinstance(each, dict)}


def _short(message: Any) -> str | None:
    return None if message is None else str(message)[:_MAX_REASON_CHARS]

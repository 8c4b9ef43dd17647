"""Which failures are transient: the one table for HTTP, gRPC, BigQuery jobs and connections."""

from __future__ import annotations

import http.client
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from etlkit.calls import hints
from etlkit.calls.reasons import in_one_line, reason_in
from etlkit.errors import (
    ApiError,
    ConfigError,
    EtlkitError,
    OutageError,
    RetryableError,
    without_keys,
)

TRANSIENT_STATUS: Final = frozenset(
    {408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529}
)
"""HTTP statuses. 520 to 524 come from Cloudflare, 529 from overloaded services.
Source: https://developers.cloudflare.com/support/troubleshooting/http-status-codes/"""

TRANSIENT_CODES: Final = frozenset(
    {"UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "INTERNAL", "ABORTED"}
)
"""gRPC codes. Source: https://cloud.google.com/apis/design/errors#handling_errors"""

STREAM_CODES: Final = TRANSIENT_CODES | {"CANCELLED"}
"""gRPC codes of long streams. The Storage API cancels a stream when it moves the connection, and so do
we when it is silent for too long.
Source: https://cloud.google.com/bigquery/docs/write-api-best-practices#manage-errors"""

TRANSIENT_REASONS: Final = frozenset(
    {
        "backendError",
        "badGateway",
        "internalError",
        "jobBackendError",
        "jobInternalError",
        "jobRateLimitExceeded",
        "rateLimitExceeded",
        "userRateLimitExceeded",
    }
)
"""Reasons in errors of Google's JSON APIs, of BigQuery's jobs among them. Older APIs answer 403 with
`rateLimitExceeded` where newer ones answer 429.
Source: https://cloud.google.com/bigquery/docs/error-messages"""

_TRANSIENT_SENTENCES: Final = (
    "could not serialize access",
    "aborted due to concurrent update",
    "too many dml statements outstanding",
)
"""BigQuery reports a conflict between transactions as `invalidQuery`; only its sentence is specific.
Source: https://cloud.google.com/bigquery/docs/transactions#transaction_concurrency"""

_PAGE: Final = re.compile(
    r"Received http2 header with status: (?P<status>\d{3})|Stream removed|No status received"
)
"""What gRPC says where an HTTP answer without gRPC's own status came back, such as a proxy's page. All
of them are the code UNKNOWN unless gRPC has a code for the HTTP status.
Source: https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md"""

_HTTP_OF_CODE: Final = {
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

GRPC_CODES: Final = dict(
    enumerate(
        (
            "OK",
            "CANCELLED",
            "UNKNOWN",
            "INVALID_ARGUMENT",
            "DEADLINE_EXCEEDED",
            "NOT_FOUND",
            "ALREADY_EXISTS",
            "PERMISSION_DENIED",
            "RESOURCE_EXHAUSTED",
            "FAILED_PRECONDITION",
            "ABORTED",
            "OUT_OF_RANGE",
            "UNIMPLEMENTED",
            "INTERNAL",
            "UNAVAILABLE",
            "DATA_LOSS",
            "UNAUTHENTICATED",
        )
    )
)
"""Names of the numbers of `google.rpc.Code`, which errors of single items have.
Source: https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto"""

_BROKEN_CONNECTIONS: Final = frozenset(
    {
        "BadStatusLine",
        "ChunkedEncodingError",
        "ConnectionError",
        "IncompleteRead",
        "ProtocolError",
    }
)
"""Names of errors of Python, requests and urllib3."""

_A_PAGE: Final = re.compile(r"<(?:!doctype|html)", re.IGNORECASE)


def is_transient(error: BaseException) -> bool:
    """Whether the same call may work a moment later. What is not known to be transient is not.

    Args:
        error: Anything a call raises: one of etlkit's errors, a `google.api_core` exception (of a
            request or of a BigQuery job), a `grpc.RpcError`, or a connection that broke below a
            client library.
    """
    if isinstance(error, EtlkitError):
        return isinstance(error, RetryableError) and not isinstance(error, OutageError)
    if not isinstance(error, Exception):
        return False
    code = code_name(error)
    if code is None:
        return _broken_connection(error) not in {None, *_FOR_GOOD}
    reasons = _reasons({"errors": getattr(error, "errors", None)})
    sentence = str(_message(error)).lower()
    if reasons & TRANSIENT_REASONS or any(each in sentence for each in _TRANSIENT_SENTENCES):
        return True
    status = getattr(error, "code", None)
    if status == http.client.INTERNAL_SERVER_ERROR and reasons:
        return False  # BigQuery's client gives this status to every reason it does not know
    page = _status_of_page(error, code)
    return (
        code in TRANSIENT_CODES
        or page == http.client.OK
        or any(each in TRANSIENT_STATUS for each in (status, page))
    )


def is_transient_on_stream(error: BaseException) -> bool:
    """As `is_transient`, for a long gRPC stream: a cancelled one may be opened again."""
    return is_transient(error) or code_name(error) in STREAM_CODES


def is_transient_when_new(error: BaseException) -> bool:
    """As `is_transient`, for something made a moment ago: "not found" (404) may pass as well.

    For a job whose id was answered with 409, and for a table that was just created.
    Source: https://github.com/googleapis/python-bigquery/issues/2134
    """
    return is_transient(error) or code_name(error) == "NOT_FOUND"


def hint_s(error: BaseException) -> float | None:
    """Seconds the server asked to wait; None = it did not say.

    Args:
        error: As `is_transient`.
    """
    if isinstance(error, RetryableError):
        return error.retry_after_s
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


def from_http(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    service: str,
    what: str,
    *,
    hide: Callable[[str], str] = without_keys,
) -> EtlkitError:
    """Turn an HTTP answer other than 2xx into one of etlkit's errors.

    Args:
        status: The HTTP status.
        headers: The answer's headers.
        body: The answer's body; only the service's short reason in it is ever shown.
        service: Who answered, for the message.
        what: What was called, e.g. a path without its query.
        hide: Takes the caller's own keys out of the reason, which may repeat them.

    Returns:
        A `RetryableError` with the server's hint, an `ApiError`, or a `ConfigError` where a proxy
        answered.
    """
    if status == http.client.PROXY_AUTHENTICATION_REQUIRED:
        return refused_by_proxy(service)
    error = hints.google_error(body)
    if (
        status in TRANSIENT_STATUS
        or error.get("status") in TRANSIENT_CODES
        or _reasons(error) & TRANSIENT_REASONS
    ):
        given = [hints.from_headers(headers), hints.from_google_error(error)]
        return RetryableError(
            f"{service} answered {status} to {what}",
            retry_after_s=max((hint for hint in given if hint is not None), default=None),
            status=_not_forbidden(status),
        )
    reason = hide(reason_in(body)) or None
    return ApiError(
        f"{service} refused {what} with {status}" + (f": {reason}" if reason else ""),
        service=service,
        status=status,
        reason=reason,
    )


def from_grpc(error: BaseException, service: str) -> Exception:
    """Turn what gRPC or one of Google's clients raised into one of etlkit's errors.

    Args:
        error: As `is_transient`.
        service: Who was called, for the message.

    Returns:
        A `RetryableError` with the server's hint, an `ApiError`, or the error itself where it is
        none of these.
    """
    if isinstance(error, EtlkitError):
        return error
    code = code_name(error)
    if code is None:
        return _from_connection(error, service)
    page = _status_of_page(error, code)
    if page == http.client.PROXY_AUTHENTICATION_REQUIRED:
        return refused_by_proxy(service)
    status = page or _HTTP_OF_CODE.get(code) or int(getattr(error, "code", None) or 500)
    if is_transient(error):
        return RetryableError(
            f"{service} answered {code}" if page is None else f"{service}: {_a_page(page)}",
            retry_after_s=hint_s(error),
            status=_not_forbidden(status),
            code="not_grpc" if page == http.client.OK else None if page else code,
        )
    reason = _short(_message(error))
    return ApiError(
        f"{service} refused the call with {code}" + (f": {reason}" if reason else ""),
        service=service,
        status=status,
        reason=reason,
    )


def _from_connection(error: BaseException, service: str) -> Exception:
    """The error for a call that got no answer."""
    broken = _broken_connection(error)
    if broken in _FOR_GOOD:
        return _FOR_GOOD[broken](service)
    if broken is not None:
        return RetryableError(f"{service}: {type(error).__name__}", code=broken)
    return error if isinstance(error, Exception) else RuntimeError(type(error).__name__)


def _a_page(status: int) -> str:
    return f"something else answered with {status}, in HTTP and not in gRPC, such as a proxy"


def untrusted(service: str) -> ApiError:
    """The error for a server whose certificate is not trusted."""
    return ApiError(
        f"{service}: the server's certificate is not trusted. If a proxy of your own is in between, "
        "set SSL_CERT_FILE to a file with its certificate authority",
        service=service,
    )


def refused_by_proxy(service: str) -> ConfigError:
    """The error for a proxy that lets nobody through without a user name and a password."""
    return ConfigError(
        f"{service}: the proxy asks for a user name and a password, or refuses those that it got "
        "(407 Proxy Authentication Required). Set HTTPS_PROXY, or HTTP_PROXY for http:// addresses, "
        "to http://user:password@host:port, or name hosts that need no proxy in NO_PROXY"
    )


def is_refused_by_proxy(error: BaseException) -> bool:
    """Whether a proxy answered 407 to a connection that was to go through it.

    http.client only says so in the text of an `OSError`, which the libraries above it wrap.
    """
    return "Tunnel connection failed: 407" in str(error)


_FOR_GOOD: Final[dict[str | None, Callable[[str], EtlkitError]]] = {
    "tls": untrusted,
    "proxy": refused_by_proxy,
}
"""What fails again: a certificate or a version of TLS, a proxy without a password. By
`_broken_connection`."""


def code_name(error: BaseException) -> str | None:
    """The gRPC code of an error, e.g. `UNAVAILABLE`; None = it has neither a code nor an HTTP status.

    An HTTP status is given as the gRPC code that stands for it, or as `HTTP 418` if no code does.
    """
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


def _status_of_page(error: BaseException, code: str) -> int | None:
    """The HTTP status of an answer that is not gRPC's, such as a page; None = it is gRPC's."""
    found = _PAGE.search(str(_message(error))) if code == "UNKNOWN" else None
    return None if found is None else int(found["status"] or http.client.OK)


def _message(error: BaseException) -> Any:
    details = getattr(error, "details", None)
    return getattr(error, "message", None) or (details() if callable(details) else None)


def _broken_connection(error: BaseException) -> str | None:
    """Why no answer arrived: `timeout`, `unreachable`, `reset`, `not_json`, `tls` or `proxy`.

    None = unknown.

    Libraries are known by the names of their errors: importing them here would cost seconds.
    """
    names = {kind.__name__ for kind in type(error).__mro__}
    if "SSLError" in names or is_refused_by_proxy(error):
        return "tls" if "SSLError" in names else "proxy"
    if "Timeout" in names or isinstance(error, TimeoutError):
        return "timeout"
    if "TransportError" in names or (
        "GoogleAuthError" in names and getattr(error, "retryable", False)
    ):
        return "unreachable"  # google-auth: the server for tokens
    if names & _BROKEN_CONNECTIONS:
        return "reset"
    if {"JSONDecodeError", "RequestException"} <= names:
        return "not_json"  # requests: a page of a proxy where JSON was expected
    return None


def _reasons(error: Mapping[str, Any]) -> set[str]:
    errors = error.get("errors")
    found = errors if isinstance(errors, list) else []
    return {str(each.get("reason")) for each in found if isinstance(each, dict)}


def _short(message: Any) -> str | None:
    """A message in one line of bounded length, without the page of a proxy that it may quote."""
    return None if message is None else in_one_line(_A_PAGE.split(str(message), 1)[0]) or None


def _not_forbidden(status: int) -> int:
    """429 instead of 403: older APIs say 403 when the caller is too fast."""
    return 429 if status == 403 else status

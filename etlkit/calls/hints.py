"""How long a server asks clients to wait: `Retry-After` and `google.rpc.RetryInfo`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

_RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"


def from_headers(headers: Mapping[str, str]) -> float | None:
    """Seconds in a `Retry-After` header, a number or a date; None = no hint.

    Source: https://www.rfc-editor.org/rfc/rfc9110#field.retry-after
    """
    value = headers.get("Retry-After") or headers.get("retry-after")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    if at.tzinfo is None:  # "-0000": UTC without a time zone
        at = at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())


def google_error(body: bytes) -> Mapping[str, Any]:
    """The `error` object of a Google error body; empty = the body is not one.

    Source: https://cloud.google.com/apis/design/errors#http_mapping
    """
    try:
        parsed = json.loads(body)
    except ValueError:
        return {}
    if isinstance(parsed, list) and parsed:  # streaming methods wrap it in a list
        parsed = parsed[0]
    error = parsed.get("error") if isinstance(parsed, dict) else None
    return error if isinstance(error, dict) else {}


def from_google_error(error: Mapping[str, Any]) -> float | None:
    """Seconds of the `RetryInfo` in an error's details; None = no hint."""
    details = error.get("details")
    for detail in details if isinstance(details, list) else []:
        if isinstance(detail, dict) and detail.get("@type") == _RETRY_INFO:
            return _seconds(detail.get("retryDelay"))
    return None


def from_trailing_metadata(metadata: Iterable[tuple[str, str | bytes]]) -> float | None:
    """Seconds of the `RetryInfo` in the trailing metadata of a gRPC call; None = no hint."""
    for key, value in metadata:
        if key == "google.rpc.retryinfo-bin" and isinstance(value, bytes):
            return _retry_info(value)
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            seconds = _status_details(value)
            if seconds is not None:
                return seconds
        if key == "grpc-retry-pushback-ms":
            text = value.decode() if isinstance(value, bytes) else value
            return int(text) / 1000 if text.isdigit() else None
    return None


def from_details(details: Iterable[Any]) -> float | None:
    """Seconds of the `RetryInfo` in error details that are protobuf messages; None = no hint."""
    for detail in details:
        if type(detail).__name__ == "RetryInfo":
            return float(detail.retry_delay.ToTimedelta().total_seconds())
    return None


def _retry_info(data: bytes) -> float | None:
    from google.protobuf.message import DecodeError
    from google.rpc import error_details_pb2

    try:
        info = error_details_pb2.RetryInfo.FromString(data)
    except DecodeError:
        return None
    return float(info.retry_delay.ToTimedelta().total_seconds())


def _status_details(data: bytes) -> float | None:
    from google.protobuf.message import DecodeError
    from google.rpc import status_pb2

    try:
        status = status_pb2.Status.FromString(data)
    except DecodeError:
        return None
    for detail in status.details:
        if detail.type_url == _RETRY_INFO:
            return _retry_info(detail.value)
    return None


def _seconds(duration: Any) -> float | None:
    """`"1.5s"` -> 1.5, the JSON form of a protobuf Duration."""
    try:
        return max(0.0, float(str(duration).removesuffix("s")))
    except ValueError:
        return None

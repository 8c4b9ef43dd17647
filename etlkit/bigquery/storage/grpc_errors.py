"""Which errors of the Storage APIs are worth another try."""

from __future__ import annotations

TRANSIENT = frozenset(
    {"ABORTED", "CANCELLED", "DEADLINE_EXCEEDED", "INTERNAL", "RESOURCE_EXHAUSTED", "UNAVAILABLE"}
)
"""https://cloud.google.com/bigquery/docs/write-api-best-practices#manage-errors"""


def code_name(error: BaseException) -> str:
    """The gRPC code's name; `UNKNOWN` where there is none."""
    import grpc

    number = getattr(error, "grpc_number", None)
    if number is not None:
        return next((s.name for s in grpc.StatusCode if s.value[0] == number), "UNKNOWN")
    status = getattr(error, "grpc_status_code", None)
    return "UNKNOWN" if status is None else str(status.name)


def is_transient(error: BaseException) -> bool:
    """Whether the same request may work a moment later."""
    return code_name(error) in TRANSIENT

"""What users import for calls: `caller`, `RetryPolicy`, and what tells failures apart."""

from __future__ import annotations

from etlkit.calls.backoff import Backoff, BackoffPolicy, RetryPolicy
from etlkit.calls.caller import Caller
from etlkit.calls.classify import from_grpc, from_http, is_transient
from etlkit.calls.run_calls import caller

__all__ = [
    "Backoff",
    "BackoffPolicy",
    "Caller",
    "RetryPolicy",
    "caller",
    "from_grpc",
    "from_http",
    "is_transient",
]

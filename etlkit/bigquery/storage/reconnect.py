"""How long a broken stream of the Storage APIs is opened again."""

from __future__ import annotations

import math
from typing import Final

from etlkit.calls.backoff import BackoffPolicy

RECONNECT: Final = BackoffPolicy(
    max_attempts=10, max_total_s=math.inf, first_wait_s=0.5, max_wait_s=16.0
)
"""Attempts without any progress. There is no bound on time, because one attempt may take minutes."""

NEW_COLUMNS: Final = BackoffPolicy(
    max_attempts=200, max_total_s=600.0, first_wait_s=1.0, max_wait_s=16.0
)
"""The same, for a table that got new columns: the write service sees them after some minutes.
Source: https://cloud.google.com/bigquery/docs/write-api-best-practices#schema-update"""

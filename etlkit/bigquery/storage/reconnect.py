"""How long a broken stream of the Storage APIs is opened again."""

from __future__ import annotations

import math
from typing import Final

from etlkit.calls.backoff import BackoffPolicy

RECONNECT: Final = BackoffPolicy(
    max_attempts=10, max_total_s=math.inf, first_wait_s=0.5, max_wait_s=16.0
)
"""Attempts without any progress. There is no bound on time, because one attempt may take minutes."""

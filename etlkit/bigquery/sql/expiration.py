"""When work tables expire."""

from __future__ import annotations

EXPIRE_DAYS = 7
"""Work tables of a run that was never finished are gone after this."""


def expires() -> str:
    """The option with which a work table expires by itself."""
    interval = f"INTERVAL {EXPIRE_DAYS} DAY"
    return f"expiration_timestamp = TIMESTAMP_ADD(CURRENT_TIMESTAMP(), {interval})"

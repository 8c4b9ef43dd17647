"""The expansion of variables in the source and the sink of a transfer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from etlkit.api.job import TransferJob
from etlkit.variables.values import refuse_unused, resolve


def expand_transfer(
    job: TransferJob,
    *,
    given: Mapping[str, Any] | None = None,
    loop: Mapping[str, Any] | None = None,
    queued_at: datetime,
    started_at: datetime,
) -> tuple[TransferJob, dict[str, Any]]:
    """Expand the variables in a transfer's source and sink. For the arguments see `resolve`.

    Returns:
        The job, and the value of each variable.

    Raises:
        ConfigError: A variable is unknown or unused, or a value is not allowed where it stands.
    """
    values = resolve(
        job.variables, given=given, loop=loop, queued_at=queued_at, started_at=started_at
    )
    changed: dict[str, Any] = {}
    used: set[str] = set()
    for role in ("source", "sink"):
        changed[role], names = getattr(job, role).expand(values)
        used |= names
    refuse_unused(values, used)
    plain = {name: value.value for name, value in values.items()}
    return replace(job, variables={}, **changed), plain

"""The expansion of variables in the source and the sink of a transfer."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from etlkit.api.job import TransferJob
from etlkit.variables.definitions import Value
from etlkit.variables.values import check_definitions, refuse_unused, resolve


def expand_transfer(
    job: TransferJob,
    *,
    given: Mapping[str, Any] | None = None,
    loop: Mapping[str, Any] | None = None,
    queued_at: datetime,
    started_at: datetime,
    inherited: Mapping[str, Value] | None = None,
    needed: Collection[str] = (),
) -> tuple[TransferJob, dict[str, Any]]:
    """Expand the variables in a transfer's source and sink.

    Args:
        job: The transfer.
        given: See `resolve`; likewise the next four.
        loop: See there.
        queued_at: See there.
        started_at: See there.
        inherited: See there.
        needed: Bare names of inherited variables that must be used, too.

    Returns:
        The job, and the value of each variable.

    Raises:
        ConfigError: A variable is unknown or unused, or a value is not allowed where it stands.
    """
    values = resolve(
        job.variables,
        given=given,
        loop=loop,
        queued_at=queued_at,
        started_at=started_at,
        inherited=inherited,
    )
    changed: dict[str, Any] = {}
    used: set[str] = set()
    for role in ("source", "sink"):
        changed[role], names = getattr(job, role).expand(values)
        used |= names
    refuse_unused({*check_definitions(job.variables), *needed}, used)
    plain = {name: value.value for name, value in values.items() if name in used}
    return replace(job, variables={}, **changed), plain

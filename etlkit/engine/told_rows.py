"""The rows of a run as metrics: how many ended how since the last look."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from etlkit.telemetry.backend import active

if TYPE_CHECKING:
    from etlkit.api.outcomes import Counts
    from etlkit.api.report import Progress

_EVERY_S = 1.0
_OUTCOMES = ("written", "skipped", "rejected")


class ToldRows:
    """Tells metrics of the rows of one attempt.

    Args:
        job: The job's name.
    """

    def __init__(self, job: str) -> None:
        self._job = job
        self._told = dict.fromkeys(_OUTCOMES, 0)
        self._next = 0.0

    def before(self, on_progress: Progress) -> Progress:
        """A progress function that tells metrics, once a second, before it calls another."""
        if active.get() is None:
            return on_progress

        def told(stage: str, counts: Counts, expected: int | None) -> None:
            if stage == "transform" and time.monotonic() >= self._next:
                self.tell(counts)
            on_progress(stage, counts, expected)

        return told

    def known(self, counts: Counts) -> None:
        """Take what earlier attempts have told, or earlier runs, as told."""
        self._told = {name: getattr(counts, name) for name in _OUTCOMES}

    def tell(self, counts: Counts) -> None:
        """Add what is new."""
        backend = active.get()
        if backend is None:
            return
        self._next = time.monotonic() + _EVERY_S
        now = {name: getattr(counts, name) for name in _OUTCOMES}
        for name, value in now.items():
            # A row that the target refused is taken back; the next ones make up for it.
            if value > self._told[name]:
                attributes = {"etlkit.job": self._job, "etlkit.outcome": name}
                backend.instruments.rows.add(value - self._told[name], attributes)
                self._told[name] = value

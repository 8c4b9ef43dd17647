"""The lease of a run: renewed on a thread of its own while the run is at work."""

from __future__ import annotations

import logging
import threading
import time
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING

from etlkit.bigquery.runs.guard import LEASE_S
from etlkit.errors import RunTakenOverError, without_keys

if TYPE_CHECKING:
    from collections.abc import Callable

    from etlkit.bigquery.runs.guard import Guard

log: logging.Logger = logging.getLogger("etlkit.bigquery")

RENEW_S = 15.0
"""Four renewals a lease: three may fail."""

_MARGIN_S = 5.0
"""The process stops this long before others may take the run over: clocks run at different speeds."""

_JOIN_S = 1.0


def now() -> float:
    """Seconds on a clock that also counts while the process, or the machine, is asleep."""
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boottime is None else time.clock_gettime(boottime)


class Lease:
    """Renews a guard until it is closed or lost.

    Args:
        guard: The run's guard; its lease was taken just now.
        clock: Seconds; see `now`.
        renew_s: Seconds between two renewals.
    """

    def __init__(
        self, guard: Guard, *, clock: Callable[[], float] = now, renew_s: float = RENEW_S
    ) -> None:
        self._guard = guard
        self._clock = clock
        self._renew_s = renew_s
        self._ends_at = clock() + LEASE_S - _MARGIN_S
        self._lost: RunTakenOverError | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(
            target=partial(copy_context().run, self._run), name="etlkit-lease", daemon=True
        )

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    def check(self) -> None:
        """Return if this process certainly still holds the run. Cheap: called before every row.

        Raises:
            RunTakenOverError: The run was taken over, or its lease ended and could not be renewed.
        """
        if self._lost is not None:
            raise self._lost
        if self._clock() >= self._ends_at and not self._closed.is_set():
            self.renew()  # asleep for too long, or the network was away: ask before going on
            if self._lost is not None:
                raise self._lost

    def renew(self) -> None:
        """Renew once, and remember the outcome."""
        began = self._clock()
        try:
            self._guard.renew()
        except RunTakenOverError as error:
            self._lost = error
        except Exception as error:
            log.info("the lease of the run was not renewed: %s", without_keys(str(error)))
            if self._clock() >= self._ends_at:
                self._lost = RunTakenOverError(
                    "the lease of the run could not be renewed in time, so another process may "
                    "have taken it over; this process published nothing. Go on with --resume"
                )
        else:
            self._ends_at = began + LEASE_S - _MARGIN_S

    def close(self) -> None:
        """Stop renewing. A renewal that hangs in its request does no harm and is not waited for."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join(timeout=_JOIN_S)

    def _run(self) -> None:
        while not self._closed.wait(self._renew_s) and self._lost is None:
            self.renew()

"""Calls that belong to a run of the test's own, because health and counts belong to a run."""

from collections.abc import Iterator
from contextlib import contextmanager

from etlkit.calls.run_calls import Calls
from etlkit.testing import no_sleep


@contextmanager
def run_of_calls() -> Iterator[Calls]:
    """Enter the calls of a new run; their waits are skipped."""
    calls = Calls()
    token = calls.enter()
    with no_sleep():
        yield calls
    calls.leave(token)

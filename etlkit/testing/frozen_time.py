"""`freeze_time`: one moment for Python's clock and for the SQL of `datamart_rows`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime

from etlkit.calls.clock import time_of_day
from etlkit.errors import ConfigError, missing_packages

_frozen_at: ContextVar[datetime | None] = ContextVar("etlkit_frozen_at", default=None)


@contextmanager
def freeze_time(at: datetime | str) -> Iterator[datetime]:
    """Let the clock stand still, for a transform or a datamart under test.

    `datetime.now`, `date.today`, `time.time` and all others give this moment, in all threads, and so
    do CURRENT_TIMESTAMP, CURRENT_DATE and so on in the SQL of `datamart_rows`. Clocks that only measure
    how long something takes, such as `time.monotonic`, go on. May be nested. A run on BigQuery, also on
    the local one, is refused inside: its clients tell their deadlines by the time of day.

    Args:
        at: An aware time, or one as text with its timezone: `2026-01-03T00:00Z`.

    Yields:
        The moment.

    Raises:
        ConfigError: It is no time, has no timezone, or the extra `testing` is not installed.
    """
    moment = _moment(at)
    try:
        import time_machine
    except ImportError as error:
        raise missing_packages("freeze_time needs time-machine", "testing") from error
    token = _frozen_at.set(moment)
    try:
        with time_machine.travel(moment, tick=False), time_of_day(is_frozen=True):
            yield moment
    finally:
        _frozen_at.reset(token)


def frozen_moment() -> datetime | None:
    """The moment at which the clock stands still; None = it goes on."""
    return _frozen_at.get()


@contextmanager
def going_on() -> Iterator[None]:
    """Let the clock go on inside of `freeze_time`: gRPC tells its deadlines by the time of day."""
    if frozen_moment() is None:
        yield
        return
    import time_machine

    real = time_machine.escape_hatch.time.time()
    with time_machine.travel(real, tick=True), time_of_day(is_frozen=False):
        yield


def _moment(at: datetime | str) -> datetime:
    try:
        moment = datetime.fromisoformat(at) if isinstance(at, str) else at
    except ValueError as error:
        raise ConfigError(f"freeze_time({at!r}): write e.g. '2026-01-03T00:00Z'") from error
    if not isinstance(moment, datetime):
        raise ConfigError(f"freeze_time({at!r}) is no time: write e.g. '2026-01-03T00:00Z'")
    if moment.tzinfo is None:
        raise ConfigError(
            f"freeze_time({at!r}) has no timezone: write e.g. '2026-01-03T00:00Z', or "
            "datetime(2026, 1, 3, tzinfo=UTC)"
        )
    return moment

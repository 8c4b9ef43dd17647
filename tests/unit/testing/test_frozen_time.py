"""`freeze_time`: one moment for everybody."""

import threading
import time
from datetime import UTC, date, datetime

import pytest

from etlkit import ConfigError, EtlBase
from etlkit.testing import freeze_time, run_transform
from etlkit.testing.frozen_time import frozen_moment


class Stamped(EtlBase):
    max_concurrency = 2

    def transform_row(self, row):
        thread = threading.current_thread() is not threading.main_thread()
        return {**row, "at": datetime.now(UTC), "day": date.today(), "thread": thread}  # noqa: DTZ011


def test_the_clock_stands_still_in_all_threads_and_goes_on_afterwards():
    """A transform on worker threads sees the moment; what measures durations goes on."""
    began = time.monotonic()
    with freeze_time("2026-01-03T09:00+09:00") as moment:
        assert moment == datetime(2026, 1, 3, tzinfo=UTC)
        rows = run_transform(Stamped, [{"id": 1}, {"id": 2}])
        assert [row["at"] for row in rows] == [moment, moment]
        assert all(row["thread"] for row in rows)
        assert time.time() == moment.timestamp()
        assert time.monotonic() > began
        with freeze_time(datetime(2020, 1, 1, tzinfo=UTC)) as earlier:
            assert frozen_moment() == earlier == datetime.now(UTC)
        assert frozen_moment() == moment == datetime.now(UTC)
    assert frozen_moment() is None
    assert datetime.now(UTC) > moment


@pytest.mark.parametrize("wrong", ["soon", "2026-01-03T00:00", datetime(2026, 1, 3), 7])  # noqa: DTZ001
def test_a_moment_needs_a_timezone(wrong):
    """The message says how to write it."""
    with pytest.raises(ConfigError, match="2026-01-03T00:00Z"), freeze_time(wrong):
        pass

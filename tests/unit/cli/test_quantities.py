"""Numbers as people read them."""

import pytest

from etlkit.cli.quantities import cost_text, duration_text, parse_time, size_text, time_text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 min 00 s"),
        (245, "4 min 05 s"),
        (3599.7, "1 h 00 min"),
        (7620, "2 h 07 min"),
        (86_399, "1 d 0 h"),
        (273_600, "3 d 4 h"),
    ],
)
def test_durations(seconds, text):
    """A duration has two units at most, and no unit is full."""
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(None, ""), (0, "0 B"), (1023, "1,023 B"), (1536, "1.5 KiB"), (5 * 2**50, "5,120.0 TiB")],
)
def test_sizes(size, text):
    """Bytes in the largest unit that they fill."""
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("usd", "text"),
    [(None, ""), (0, "0.00 USD"), (0.0042, "0.0042 USD"), (1234.5, "1,234.50 USD")],
)
def test_costs(usd, text):
    """Small amounts keep four digits."""
    assert cost_text(usd) == text


def test_times():
    """A time says its zone; what is none is shown as it is."""
    assert time_text("2024-01-31T09:15:02.5+00:00") == "2024-01-31 09:15:02 UTC"
    assert time_text("2024-01-31T09:15:02+09:00") == "2024-01-31 09:15:02 UTC+09:00"
    assert time_text("soon") == "soon"
    assert time_text(None) == ""
    assert parse_time("soon") is None

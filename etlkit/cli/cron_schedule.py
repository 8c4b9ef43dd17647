"""Schedules in the five fields of cron, as Cloud Scheduler takes them."""

from __future__ import annotations

from typing import Final

from etlkit.errors import ConfigError

_MONTHS = "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC".split()  # noqa: SIM905 - shorter
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")

_FIELDS: Final[tuple[tuple[str, int, int, dict[str, int]], ...]] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of the month", 1, 31, {}),
    ("month", 1, 12, {name: number for number, name in enumerate(_MONTHS, 1)}),
    ("day of the week", 0, 7, {name: number for number, name in enumerate(_DAYS)}),
)
"""Name, smallest and largest value, and the words of each field.
Source: https://docs.cloud.google.com/scheduler/docs/configuring/cron-job-schedules"""


def check_schedule(text: str) -> str:
    """Return a schedule with single spaces.

    Raises:
        ConfigError: It is not one; the message names the field.
    """
    fields = text.split()
    if len(fields) != len(_FIELDS):
        raise ConfigError(
            f"the schedule {text!r} has {len(fields)} fields; cron has five: minute, hour, day of the "
            "month, month, day of the week, e.g. '30 5 * * *' for 05:30 every day"
        )
    for field, (name, low, high, words) in zip(fields, _FIELDS, strict=True):
        for part in field.split(","):
            if not _is_part(part, low, high, words):
                also = f" or {', '.join(words)}" if words else ""
                raise ConfigError(
                    f"the schedule {text!r}: {field!r} is no {name}. It is *, or numbers from {low} to "
                    f"{high}{also}, as in 1,3 or 1-5 or */15"
                )
    return " ".join(fields)


def _is_part(part: str, low: int, high: int, words: dict[str, int]) -> bool:
    """Whether it is `*`, a number or a range, perhaps with a step."""
    span, slash, step = part.partition("/")
    if slash and not (_is_digits(step) and int(step) > 0):
        return False
    if span == "*":
        return True
    first, dash, last = span.partition("-")
    ends = [_number(first, words), _number(last, words)] if dash else [_number(span, words)]
    if slash and not dash:
        return False  # a step goes through a range
    return all(end is not None and low <= end <= high for end in ends) and ends == sorted(
        ends, key=lambda end: end or 0
    )


def _number(text: str, words: dict[str, int]) -> int | None:
    return int(text) if _is_digits(text) else words.get(text.upper())


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 4

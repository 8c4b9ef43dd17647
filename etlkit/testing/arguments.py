"""What may be given to the functions of this package: a wrong argument is named, with what is right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from etlkit.errors import ConfigError

if TYPE_CHECKING:
    from etlkit.rows.row import Row

_MAX_CHARS = 80
_CHARS_BEFORE = 20
"""Shown before the first difference."""


def given_rows(what: str, rows: Any) -> list[Row]:
    """The rows as a list; an iterator is read once.

    Args:
        what: Whose rows, for the message.
        rows: What was given.

    Raises:
        ConfigError: They are not dicts.
    """
    if isinstance(rows, Iterable) and not isinstance(rows, (Mapping, str, bytes)):
        found = list(rows)
        odd = [row for row in found if not isinstance(row, Mapping)]
        if not odd:
            return found
        raise ConfigError(f"{what}: a row is a dict, e.g. {{'name': 'Ada'}}; got {short(odd[0])}")
    raise ConfigError(
        f"{what}: rows are a list of dicts, e.g. [{{'name': 'Ada'}}]; got {short(rows)}"
    )


def whole_number(what: str, value: Any, *, at_least: int | None = None) -> None:
    """Check a number.

    Args:
        what: Its name, for the message.
        value: What was given.
        at_least: The smallest that is allowed; None = any.

    Raises:
        ConfigError: It is none, or too small.
    """
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if is_whole and (at_least is None or value >= at_least):
        return
    bound = "" if at_least is None else f", {at_least} or more"
    raise ConfigError(f"{what}={short(value)}: it is a whole number{bound}")


def short(value: Any) -> str:
    """A value for a message."""
    return _part(repr(value), 0)


def short_pair(value: Any, other: Any) -> tuple[str, str]:
    """Two different values for a message; long ones are cut to where they begin to differ."""
    texts = repr(value), repr(other)
    pairs = enumerate(zip(*texts, strict=False))
    same = next((index for index, (one, two) in pairs if one != two), min(map(len, texts)))
    start = 0 if same < _MAX_CHARS else same - _CHARS_BEFORE
    return _part(texts[0], start), _part(texts[1], start)


def _part(text: str, start: int) -> str:
    end = start + _MAX_CHARS
    return f"{'…' if start else ''}{text[start:end]}{'…' if end < len(text) else ''}"

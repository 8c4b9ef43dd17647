"""What may be given to the functions of this package: a wrong argument is named, with what is right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from etlkit.errors import ConfigError

if TYPE_CHECKING:
    from etlkit.rows.row import Row

_MAX_CHARS = 80


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
    text = repr(value)
    return text if len(text) <= _MAX_CHARS else f"{text[:_MAX_CHARS]}…"

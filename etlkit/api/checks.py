"""Checks: conditions on the staged rows that must hold before they are published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from etlkit.errors import ConfigError

STAGED = "{staged}"
"""Stands for the staged rows in the SQL of a check; may be used more than once."""

_SHOWN_ROWS = 5


@dataclass(frozen=True)
class Check:
    """One condition on the staged rows.

    Without a bound the query must return no rows; with one it must return a single number.

    Attributes:
        sql: GoogleSQL over `{staged}`, e.g. `SELECT uri FROM {staged} WHERE response IS NULL`.
        name: For messages; None = the SQL itself.
        at_least: The number must not be smaller.
        at_most: The number must not be larger.
        equals: The number must be this one.
    """

    sql: str
    name: str | None = None
    at_least: float | None = None
    at_most: float | None = None
    equals: float | None = None

    def __post_init__(self) -> None:
        """Raise if the SQL does not read the staged rows."""
        if STAGED not in self.sql:
            raise ConfigError(f"check {self.sql!r} does not read the staged rows: write {STAGED}")

    @property
    def title(self) -> str:
        """The name of the check in messages."""
        return self.name or " ".join(self.sql.split())

    def verdict(self, rows: Sequence[Sequence[Any]]) -> str | None:
        """Evaluate the first rows of the result.

        Returns:
            What is wrong; None = the check holds.
        """
        if self.at_least is None and self.at_most is None and self.equals is None:
            if not rows:
                return None
            shown = "; ".join(str(tuple(row)) for row in rows[:_SHOWN_ROWS])
            return f"{self.title}: it should find no rows, but found {shown}"
        if len(rows) != 1 or len(rows[0]) != 1 or not _is_number(rows[0][0]):
            return f"{self.title}: it should give one number"
        value = rows[0][0]
        wanted = [
            f"{word} {bound}"
            for bound, word, holds in (
                (self.at_least, "at least", self.at_least is None or value >= self.at_least),
                (self.at_most, "at most", self.at_most is None or value <= self.at_most),
                (self.equals, "exactly", self.equals is None or value == self.equals),
            )
            if not holds
        ]
        return f"{self.title}: it is {value}, and should be {', '.join(wanted)}" if wanted else None


def as_check(check: Check | str) -> Check:
    """Make a check of a bare SQL text: it must return no rows."""
    return Check(check) if isinstance(check, str) else check


def _is_number(value: Any) -> bool:
    return not isinstance(value, (bool, str, bytes)) and hasattr(value, "__float__")

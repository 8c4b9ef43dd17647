"""`Figure`: one measured number of a bench, with what it is compared to."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Figure:
    """One number of the table in docs/performance.md.

    Attributes:
        key: Its name in the history, e.g. `rows.six_columns`; it never changes.
        title: What people read.
        value: The best of several runs, or the median of several rounds: a ratio against something
            that ran beside it.
        unit: What the ratio is of: `x naive`, `x ideal`, `x by hand`; or `MB`, `s`, `calls`.
        goal: What is wanted; None = only watched.
        better: Which direction is good.
        beside: Other ways in the same run and unit, e.g. `{"by hand, asyncio": 1.04}`.
        runs: All values, for the spread.
        profile: Where the time goes, in microseconds a row or a call: part -> how much.
    """

    key: str
    title: str
    value: float
    unit: str
    goal: float | None = None
    better: Literal["higher", "lower"] = "lower"
    beside: dict[str, float] = field(default_factory=dict)
    runs: tuple[float, ...] = ()
    profile: dict[str, float] = field(default_factory=dict)

    @property
    def is_reached(self) -> bool | None:
        """Whether the goal is reached; None = there is none."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.better == "higher" else self.value <= self.goal

"""How far a run is, as labels of its guard: metadata, which costs nothing to write and to read."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from etlkit.api.outcomes import Counts

PREFIX = "etlkit_at_"
COUNTS = ("read", "written", "skipped", "rejected")

ROWS_LABEL = PREFIX + "rows"
"""On the guard of a worker: source rows that got their outcome from it."""


def progress_labels(stage: str, counts: Counts, expected: int | None) -> dict[str, str]:
    """How far a run is, as labels of its guard.

    Args:
        stage: Where it is.
        counts: How its rows ended so far.
        expected: Source rows in all; None = not known.
    """
    numbers = {name: str(getattr(counts, name)) for name in COUNTS}
    if expected is not None:
        numbers["expected"] = str(expected)
    return {PREFIX + name: value for name, value in {"stage": stage, **numbers}.items()}

"""The progress of a run on stderr: a bar on a terminal, else plain lines."""

from __future__ import annotations

import logging
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Literal, Protocol, Self

from etlkit.api.quantities import number_of
from etlkit.cli.quantities import duration_text
from etlkit.cli.tables import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console, RenderableType
    from rich.live import Live

    from etlkit.api.outcomes import Counts

_LINE_EVERY_S = 10.0
_REFRESH_PER_S = 8
_WINDOW_S = 10.0
"""The rate is that of the last seconds, in which speed may have changed."""

_ETA_FROM_S = 2.0
"""Before that a rate says little of the rest."""

_MAX_BAR_WIDTH = 40
_LEAST_BAR_WIDTH = 6

BEFORE_ROWS = ("open", "snapshot")
"""Stages without rows."""


class ProgressView(Protocol):
    """Shows a run's progress; a context manager."""

    def __call__(self, stage: str, counts: Counts, expected: int | None, /) -> None:
        """Show the new counts; called very often."""

    def __enter__(self) -> Self:
        """Start showing."""

    def __exit__(self, *_: object) -> None:
        """Stop showing."""


class Pace:
    """How fast rows come now, without those of earlier attempts and the time before the first row."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()
        self._began: float | None = None

    def add(self, now: float, done: int) -> None:
        """Record how many rows are done.

        Args:
            now: Seconds, monotonic.
            done: Rows with a result, those of earlier attempts included.
        """
        seen = self._seen
        if self._began is None:
            if seen and done > seen[-1][1]:
                self._began = seen[-1][0]
            else:
                seen.clear()
        if seen and now - seen[-1][0] < _WINDOW_S / 100:
            return
        seen.append((now, done))
        while len(seen) > 2 and seen[1][0] <= now - _WINDOW_S:  # one from before the window stays
            seen.popleft()

    @property
    def per_s(self) -> float | None:
        """Rows per second; None = not known yet."""
        if self._began is None or len(self._seen) < 2:
            return None
        (since, before), (now, done) = self._seen[0], self._seen[-1]
        return (done - before) / (now - since)

    def rest_s(self, expected: int | None) -> float | None:
        """Seconds until all expected rows are done; None = not known."""
        per_s = self.per_s
        if not per_s or expected is None or self._began is None:
            return None
        now, done = self._seen[-1]
        return (expected - done) / per_s if now - self._began >= _ETA_FROM_S else None


def speed_text(counts: Counts, expected: int | None, pace: Pace) -> str:
    """`1,200 of 5,000 rows, 340/s, 11 s left`, as far as it is known."""
    rows = number_of(counts.read if expected is None else expected, "row")
    parts = [rows if expected is None else f"{counts.read:,} of {rows}"]
    per_s, rest_s = pace.per_s, pace.rest_s(expected)
    if per_s is not None:
        parts.append(f"{per_s:,.0f}/s" if per_s >= 10 or not per_s else f"{per_s:.1f}/s")
    if rest_s and rest_s >= 0.5:
        parts.append(f"{duration_text(rest_s)} left")
    return ", ".join(parts)


def outcomes_text(counts: Counts) -> str:
    """`1,190 written, 10 skipped, 2 row errors; vision asks to wait 30 s: 16 calls wait`."""
    parts = [f"{counts.written:,} written"]
    parts += [f"{counts.skipped:,} skipped"] if counts.skipped else []
    parts += [f"{counts.rejected:,} rejected"] if counts.rejected else []
    parts += [number_of(counts.row_errors, "row error")] if counts.row_errors else []
    waits = [] if counts.waits is None else counts.waits.texts()
    return "; ".join([", ".join(parts), *map(printable, waits)])


def progress_text(counts: Counts, expected: int | None, pace: Pace) -> str:
    """Both in one line."""
    return f"{speed_text(counts, expected, pace)}, {outcomes_text(counts)}"


def progress_view(*, quiet: bool, plain: bool) -> ProgressView:
    """A bar on a terminal, else plain lines; nothing when `quiet`."""
    if quiet:
        return _Silent()
    if plain or not sys.stderr.isatty():
        return _Lines()
    from rich.console import Console

    return LiveBar(Console(stderr=True, highlight=False))


class _Silent:
    def __call__(self, _stage: str, _counts: Counts, _expected: int | None, /) -> None:
        return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return


class _Lines(_Silent):
    """A log line for each stage that has rows, and one every `_LINE_EVERY_S`."""

    def __init__(self) -> None:
        self._log = logging.getLogger("etlkit.progress")
        self._stage = ""
        self._next = 0.0
        self._pace = Pace()

    def __call__(self, stage: str, counts: Counts, expected: int | None, /) -> None:
        if stage in BEFORE_ROWS:
            return
        now = time.monotonic()
        self._pace.add(now, counts.read)
        if stage == self._stage and now < self._next:
            return
        self._stage, self._next = stage, now + _LINE_EVERY_S
        self._log.info("%s: %s", stage, progress_text(counts, expected, self._pace))


def live_lines(
    console: Console,
    render: Callable[[], RenderableType],
    refresh_per_s: float,
    overflow: Literal["crop", "ellipsis"] = "ellipsis",
) -> Live:
    """Lines that stay below everything else that is printed, and go when they end.

    Args:
        console: Where they are drawn.
        render: Gives them as they are now.
        refresh_per_s: How often they are drawn.
        overflow: What becomes of lines for which the terminal has no room.
    """
    from rich.live import Live

    return Live(
        console=console,
        get_renderable=render,
        refresh_per_second=refresh_per_s,
        transient=True,  # the summary takes its place
        redirect_stdout=sys.stdout.isatty(),  # what goes to a file goes there
        vertical_overflow=overflow,
    )


class LiveBar(_Silent):
    """Two lines that stay below everything else: a bar with speed and rest, and how rows ended.

    Args:
        console: Where they are drawn.
    """

    def __init__(self, console: Console) -> None:
        from rich.spinner import Spinner

        self._console = console
        self._stage = "starting"
        self._counts: Counts | None = None
        self._expected: int | None = None
        self._pace = Pace()
        self._began = time.monotonic()
        self._spinner = Spinner("dots" if console.encoding.lower().startswith("utf") else "line")
        self._live = live_lines(console, self.render, _REFRESH_PER_S)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def __call__(self, stage: str, counts: Counts, expected: int | None, /) -> None:
        """See `ProgressView`."""
        self._stage, self._counts, self._expected = stage, counts, expected
        if stage not in BEFORE_ROWS:
            self._pace.add(time.monotonic(), counts.read)

    def render(self) -> RenderableType:
        """The lines as they are now, for the terminal as it is now."""
        from rich.console import Group
        from rich.text import Text

        counts, took = self._counts, duration_text(time.monotonic() - self._began)
        if counts is None or self._stage in BEFORE_ROWS:
            return self._line(f"{self._stage}, {took}", None)
        first = self._line(speed_text(counts, self._expected, self._pace), counts.read)
        second = Text(
            f"  {outcomes_text(counts)}, {took}", "dim", no_wrap=True, overflow="ellipsis"
        )
        return Group(first, second)

    def _line(self, text: str, done: int | None) -> RenderableType:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        line = Table.grid(padding=(0, 1, 0, 0))
        parts: list[RenderableType] = [self._spinner]
        used = 2
        if done is not None:
            parts.append(Text(self._stage, "bold", no_wrap=True))
            used += len(self._stage) + 1
            room = self._console.width - used - len(text) - 2
            if self._expected and room >= _LEAST_BAR_WIDTH:
                width = min(room, _MAX_BAR_WIDTH)
                parts.append(ProgressBar(total=self._expected, completed=done, width=width))
        line.add_row(*parts, Text(text, no_wrap=True, overflow="ellipsis"))
        return line

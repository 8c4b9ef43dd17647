"""The progress of a run on stderr: a bar on a terminal, else plain lines."""

from __future__ import annotations

import logging
import sys
import time
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from rich.progress import TaskID

    from etlkit.api.outcomes import Counts

_LINE_EVERY_S = 10.0


class ProgressView(Protocol):
    """Shows a run's progress; a context manager."""

    def __call__(self, stage: str, counts: Counts, expected: int | None, /) -> None:
        """Show the new counts; called very often."""

    def __enter__(self) -> Self:
        """Start showing."""

    def __exit__(self, *_: object) -> None:
        """Stop showing."""


def progress_view(*, quiet: bool, plain: bool) -> ProgressView:
    """A bar on a terminal, else plain lines; nothing when `quiet`."""
    if quiet:
        return _Silent()
    if plain or not sys.stderr.isatty():
        return _Lines()
    return _Bar()


class _Silent:
    def __call__(self, _stage: str, _counts: Counts, _expected: int | None, /) -> None:
        return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return


class _Lines(_Silent):
    """A log line for each stage and one every `_LINE_EVERY_S`."""

    def __init__(self) -> None:
        self._log = logging.getLogger("etlkit.progress")
        self._stage = ""
        self._next = 0.0
        self._started = time.monotonic()

    def __call__(self, stage: str, counts: Counts, expected: int | None, /) -> None:
        now = time.monotonic()
        if stage == self._stage and now < self._next:
            return
        if stage != self._stage:
            self._stage = stage
        self._next = now + _LINE_EVERY_S
        self._log.info("%s: %s", stage, progress_text(counts, expected, now - self._started))


class _Bar(_Silent):
    """A rich progress bar with rate and counts."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<10}"),
            BarColumn(),
            TextColumn("{task.fields[text]}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task: TaskID | None = None
        self._next = 0.0
        self._started = time.monotonic()

    def __call__(self, stage: str, counts: Counts, expected: int | None, /) -> None:
        now = time.monotonic()
        if now < self._next and counts.read != expected:
            return
        self._next = now + 0.1
        text = progress_text(counts, expected, now - self._started)
        if self._task is None:
            self._task = self._progress.add_task(stage, total=expected, text=text)
        self._progress.update(
            self._task, description=stage, total=expected, completed=counts.read, text=text
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()


def progress_text(counts: Counts, expected: int | None, elapsed_s: float) -> str:
    """`1,200 of 5,000 rows, 340/s, 1,190 written, 10 skipped`."""
    total = f" of {expected:,}" if expected is not None else ""
    rate = counts.read / elapsed_s if elapsed_s > 0 else 0.0
    parts = [f"{counts.read:,}{total} rows", f"{rate:,.0f}/s", f"{counts.written:,} written"]
    parts += [f"{counts.skipped:,} skipped"] if counts.skipped else []
    parts += [f"{counts.rejected:,} rejected"] if counts.rejected else []
    parts += [f"{counts.row_errors:,} row errors"] if counts.row_errors else []
    return ", ".join(parts)

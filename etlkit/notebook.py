"""The progress of a run below a cell of a notebook. It needs no widgets."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from etlkit.api import html

if TYPE_CHECKING:
    from etlkit.api.outcomes import Counts
    from etlkit.api.report import Progress

_EVERY_S = 0.25
"""Each update is a message to the browser, and is kept in the notebook's file until the next one."""


def notebook_progress(job: str) -> Progress | None:
    """Show progress where the current cell's output goes; None = this is no notebook.

    Args:
        job: The job's name.
    """
    shell = _shell()
    return None if shell is None or not hasattr(shell, "kernel") else _CellProgress(job)


def _shell() -> Any:
    ipython = sys.modules.get("IPython")  # where it is not imported, there is no notebook
    return None if ipython is None else ipython.get_ipython()


class _CellProgress:
    """A line with a bar that is replaced in place."""

    def __init__(self, job: str) -> None:
        self._job = job
        self._handle: Any = None
        self._began = time.monotonic()
        self._next = 0.0
        self._stage = ""

    def __call__(self, stage: str, counts: Counts, expected: int | None) -> None:
        now = time.monotonic()
        if stage == self._stage and now < self._next:
            return
        self._stage, self._next = stage, now + _EVERY_S
        text = self._text(stage, counts, expected, now - self._began)
        self._show({"text/plain": text, "text/html": self._html(text, counts, expected)})

    def _show(self, shown: dict[str, str]) -> None:
        from IPython.display import display

        if self._handle is None:
            self._handle = display(shown, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(shown, raw=True)

    def _text(self, stage: str, counts: Counts, expected: int | None, seconds: float) -> str:
        total = "" if expected is None else f" of {expected:,}"
        rows = f", {counts.read:,}{total} rows" if counts.read or expected else ""
        ended = [
            f"{count:,} {name}"
            for name in ("written", "skipped", "rejected")
            if (count := getattr(counts, name))
        ]
        waits = [] if counts.waits is None else counts.waits.texts()
        return "; ".join(
            [", ".join([f"{self._job}: {stage}{rows}", *ended, f"{seconds:.0f} s"]), *waits]
        )

    def _html(self, text: str, counts: Counts, expected: int | None) -> str:
        bar = ""
        if expected:
            bar = (
                f'<progress value="{counts.read}" max="{expected}" style="width:16em"></progress> '
            )
        return html.page_of(f"<div>{bar}{html.text(text)}</div>")

"""The progress of a job or a workflow below a cell of a notebook. It needs no widgets."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from etlkit.api import html

if TYPE_CHECKING:
    from etlkit.api.outcomes import Counts
    from etlkit.api.report import Progress
    from etlkit.api.workflow_report import TaskReport, WorkflowObserver

_EVERY_S = 0.25
"""Each update is a message to the browser, and is kept in the notebook's file until the next one."""


def notebook_progress(job: str) -> Progress | None:
    """Show progress where the current cell's output goes; None = this is no notebook.

    Args:
        job: The job's name.
    """
    return _CellProgress(job) if _is_notebook() else None


def notebook_observer(workflow: str, tasks: Sequence[str]) -> WorkflowObserver | None:
    """Show the tasks of a workflow where the current cell's output goes; None = this is no notebook.

    Args:
        workflow: Its name.
        tasks: Names of its tasks.
    """
    return _CellTasks(workflow, tasks) if _is_notebook() else None


def _is_notebook() -> bool:
    ipython = sys.modules.get("IPython")  # where it is not imported, there is no notebook
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


class _CellOutput:
    """An output that is replaced in place."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, text: str, page: str) -> None:
        from IPython.display import display

        shown = {"text/plain": text, "text/html": page}
        if self._handle is None:
            self._handle = display(shown, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(shown, raw=True)


class _CellTasks:
    """A table of tasks. Called from the threads of all tasks that run."""

    def __init__(self, workflow: str, tasks: Sequence[str]) -> None:
        self._workflow = workflow
        self._output = _CellOutput()
        self._lock = threading.Lock()
        self._states: dict[tuple[str, ...], str] = {(name,): "waiting" for name in tasks}
        self._rows: dict[tuple[str, ...], str] = {}
        self._seconds: dict[tuple[str, ...], float] = {}
        self._next = 0.0

    def task_changed(self, path: tuple[str, ...], report: TaskReport, /) -> None:
        """See `WorkflowObserver.task_changed`."""
        counts = (("rows", report.rows), ("rejected", report.rejected or None))
        facts = [f"{count:,} {name}" for name, count in counts if count is not None]
        with self._lock:
            self._states[path] = report.state
            self._seconds[path] = report.seconds
            self._rows[path] = report.error or ", ".join(facts)
            self._show()

    def task_progress(
        self, path: tuple[str, ...], stage: str, counts: Counts, expected: int | None, /
    ) -> None:
        """See `WorkflowObserver.task_progress`."""
        with self._lock:
            self._rows[path] = _progress_text(stage, counts, expected)
            if time.monotonic() >= self._next:
                self._show()

    def _show(self) -> None:
        self._next = time.monotonic() + _EVERY_S
        done = sum(state not in {"waiting", "running"} for state in self._states.values())
        head = f"{self._workflow}: {done} of {len(self._states)} tasks are done"
        rows = [
            (
                " / ".join(path),
                html.Html(html.state(state)),
                self._rows.get(path, ""),
                self._seconds.get(path) or None,
            )
            for path, state in sorted(self._states.items(), key=self._place)
        ]
        page = html.page_of(
            html.headline(html.text(head)), html.table(("task", "state", "", "seconds"), rows)
        )
        self._output.show(head, page)

    def _place(self, item: tuple[tuple[str, ...], str]) -> tuple[int, ...]:
        """Tasks stand in their order, and what is within one behind it."""
        places = {path: at for at, path in enumerate(self._states)}
        path = item[0]
        return tuple(places.get(path[:n], len(places)) for n in range(1, len(path) + 1))


class _CellProgress:
    """A line with a bar that is replaced in place."""

    def __init__(self, job: str) -> None:
        self._job = job
        self._output = _CellOutput()
        self._began = time.monotonic()
        self._next = 0.0
        self._stage = ""

    def __call__(self, stage: str, counts: Counts, expected: int | None) -> None:
        now = time.monotonic()
        if stage == self._stage and now < self._next:
            return
        self._stage, self._next = stage, now + _EVERY_S
        text = f"{self._job}: {_progress_text(stage, counts, expected, now - self._began)}"
        self._output.show(text, self._html(text, counts, expected))

    def _html(self, text: str, counts: Counts, expected: int | None) -> str:
        bar = ""
        if expected:
            bar = (
                f'<progress value="{counts.read}" max="{expected}" style="width:16em"></progress> '
            )
        return html.page_of(f"<div>{bar}{html.text(text)}</div>")


def _progress_text(
    stage: str, counts: Counts, expected: int | None, seconds: float | None = None
) -> str:
    total = "" if expected is None else f" of {expected:,}"
    rows = f", {counts.read:,}{total} rows" if counts.read or expected else ""
    ended = [
        f"{count:,} {name}"
        for name in ("written", "skipped", "rejected")
        if (count := getattr(counts, name))
    ]
    took = [] if seconds is None else [f"{seconds:.0f} s"]
    waits = [] if counts.waits is None else counts.waits.texts()
    return "; ".join([", ".join([f"{stage}{rows}", *ended, *took]), *waits])

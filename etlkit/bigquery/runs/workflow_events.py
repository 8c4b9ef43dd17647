"""What the ledger knows of one run of a workflow: its graph, the ends of its tasks, and their runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from etlkit.api.report import DatamartReport, RunReport
from etlkit.api.workflow_report import (
    FINISHED,
    JobKind,
    TaskReport,
    TaskState,
    WorkflowReport,
)
from etlkit.api.workflow_state import Path, task_path, task_text
from etlkit.bigquery.modes import MODES
from etlkit.bigquery.runs.ledger import WORKFLOW
from etlkit.bigquery.runs.stored_reports import from_stored, to_stored
from etlkit.bigquery.sql.ledger import TASK_EVENT

if TYPE_CHECKING:
    from etlkit.bigquery.runs.ledger import Ledger

_CLOCKS_APART = timedelta(days=1)
"""A run's id has the time of the machine that made it, the ledger's events have BigQuery's."""

_FIRST = datetime(1970, 1, 1, tzinfo=UTC)

FORGET = "forget"
"""Key of the stored graph: tasks whose earlier ends do not count any more, as text."""

_STUB = "recorded"
"""Mark of a child that has an event of its own, in the stored report of its task."""

SUM = "value_of_children"
"""Mark of a task whose value is those of its children by name: it would be kept twice."""


@dataclass
class ChildRun:
    """The run of a task's job.

    Attributes:
        run_id: Its id.
        path: The task.
        began_at: When its first attempt began.
        row: Its latest event.
        is_forgotten: Whether the task was to run again afterwards.
    """

    run_id: str
    path: Path
    began_at: datetime
    row: Mapping[str, Any]
    is_forgotten: bool = False

    @property
    def state(self) -> str:
        """`running`, `published`, `failed` or `interrupted`."""
        event = str(self.row["event"])
        return "running" if event == "started" else event

    @property
    def is_resumable(self) -> bool:
        """Whether it is a transfer whose sink stages its rows, and is not published."""
        name = self.row["mode"]
        is_direct = name in MODES and not MODES[name].is_staged
        return self.state != "published" and kind_of(name) == "transfer" and not is_direct

    def take(self, row: Mapping[str, Any]) -> None:
        """Meet a later event. A run that is published stays published."""
        if self.state != "published" and row["attempt"] >= self.row["attempt"]:
            self.row = row


@dataclass(frozen=True)
class Ended:
    """How a task ended.

    Attributes:
        report: The report as it was stored.
        value: What other tasks can read.
        at: When, by BigQuery's clock.
        attempt: In which attempt at the workflow's run.
    """

    report: Mapping[str, Any]
    at: datetime
    attempt: int
    value: Any = None


@dataclass
class WorkflowEvents:
    """See the module.

    Attributes:
        graph: The stored report with which the run began; None = the ledger does not know the run.
        now: The stored graph of the latest attempt.
        row: The latest event of the run itself, with the last one counted for the run.
        ends: The last end of each task that has one.
        children: Runs of jobs, in the order in which they began.
        last_at: When the latest event came; None = there is none.
    """

    graph: Mapping[str, Any] | None = None
    now: Mapping[str, Any] = field(default_factory=dict)
    row: Mapping[str, Any] | None = None
    ends: dict[Path, Ended] = field(default_factory=dict)
    children: dict[str, ChildRun] = field(default_factory=dict)
    last_at: datetime | None = None

    @classmethod
    def read(cls, ledger: Ledger, run_id: str) -> WorkflowEvents:
        """Read what the ledger knows of a run, by one query."""
        return cls.read_many(ledger, [run_id])[run_id]

    @classmethod
    def read_many(
        cls, ledger: Ledger, run_ids: Sequence[str], *, values: bool = True
    ) -> dict[str, WorkflowEvents]:
        """Read what the ledger knows of some runs, by one query; see `Ledger.workflow_events`."""
        found = {run_id: cls() for run_id in run_ids}
        since = min(map(_earliest, run_ids))
        for row in ledger.workflow_events(run_ids, since, values=values):
            own = row["run_id"] in found
            found[row["run_id"] if own else row["parent_run_id"]].meet(row, own=own)
        return found

    def meet(self, row: Mapping[str, Any], *, own: bool) -> None:
        """Meet the next event.

        Args:
            row: A row of the ledger.
            own: Whether it tells of the workflow's run; else of a task's.
        """
        self.last_at = row["event_at"]
        if not own:
            self._meet_child(row)
        elif row["event"].startswith(TASK_EVENT):
            value = json.loads(row["value"] or "null")
            end = Ended(_stored(row), row["event_at"], row["attempt"], value)
            self.ends[task_path(row["task"])] = end
        else:
            self._meet_run(row)

    def _meet_child(self, row: Mapping[str, Any]) -> None:
        child = self.children.get(row["run_id"])
        if child is not None:
            child.take(row)
            return
        path = task_path(row["task"] or "")
        self.children[row["run_id"]] = ChildRun(row["run_id"], path, row["event_at"], row)

    def _meet_run(self, row: Mapping[str, Any]) -> None:
        if self.row is None or self.row["event"] != "published":
            self.row = row
        if row["event"] != "started":
            return
        stored = _stored(row)
        self.graph = self.graph or stored
        self.now = stored
        self._forget([task_path(text) for text in stored.get(FORGET, ())])
        for task in stored.get("tasks", ()):
            if task.get("state") == "skipped":  # by the command line: nothing else tells of it
                end = Ended(task, row["event_at"], row["attempt"])
                self.ends.setdefault((task["name"],), end)

    def _forget(self, paths: Sequence[Path]) -> None:
        def is_below(path: Path) -> bool:
            return any(path[: len(top)] == top for top in paths)

        self.ends = {path: end for path, end in self.ends.items() if not is_below(path)}
        for child in self.children.values():
            child.is_forgotten = child.is_forgotten or is_below(child.path)

    def _last_children(self) -> dict[Path, ChildRun]:
        """The latest run of each task's job, unless the task was to run again afterwards."""
        last: dict[Path, ChildRun] = {}
        for child in self.children.values():
            if child.is_forgotten:
                last.pop(child.path, None)
            else:
                last[child.path] = child
        return last

    def _open_children(self) -> dict[Path, ChildRun]:
        """Those of them that tell more of their task than its last end, which came before them."""
        ends = self.ends
        return {
            path: child
            for path, child in self._last_children().items()
            if path not in ends or ends[path].at < child.began_at
        }

    def unpublished(self) -> dict[Path, ChildRun]:
        """The latest run of each task's job, where it is not published and the task is to run."""
        finished = self.finished()
        return {
            path: child
            for path, child in self._last_children().items()
            if child.state != "published" and path not in finished
        }

    def finished(self) -> dict[Path, TaskReport]:
        """The reports of the tasks and iterations that need not run again."""
        known = {*self.ends, *self._open_children()}
        return {
            path: report
            for path, report in self.reports().items()
            if path in known and report.state in FINISHED
        }

    def reports(self, base: Mapping[Path, TaskReport] | None = None) -> dict[Path, TaskReport]:
        """The last report of each task, with its children.

        Args:
            base: What is known of tasks that have not ended and whose jobs were not run.
        """
        found = dict(base or {})
        names: dict[Path, list[str]] = {}
        for path, end in self.ends.items():
            found[path] = _task_of(path, end)
            names[path] = [each["name"] for each in end.report.get("children", ())]
        for path, child in self._open_children().items():
            found[path] = child_report(child, found.get(path))
        for path in found:
            if path[:-1] in found:
                names.setdefault(path[:-1], []).append(path[-1])
        for path, below in names.items():
            inline = {each.name: each for each in found[path].children}
            parts = [found.get((*path, name)) or inline.get(name) for name in dict.fromkeys(below)]
            found[path].children = [part for part in parts if part is not None]
        for path in sorted(self.ends, key=len, reverse=True):
            if SUM in self.ends[path].report:
                found[path].value = values_of(found[path].children)
        return found

    def task_reports(self, state: str) -> list[TaskReport]:
        """The tasks of the graph of the latest attempt, in its order, with those below them.

        Args:
            state: The run's state: what was running or waiting when a run ended or was killed is
                interrupted or was not run.
        """
        graph = _by_path(workflow_of(self.now).tasks)
        found = self.reports(graph)
        latest = 0 if self.row is None else self.row["attempt"]
        if state == "dead":
            for path, report in found.items():
                if _could_have_begun(path, found):
                    report.state, report.error = "interrupted", _PERHAPS
        for path, report in found.items():
            end = self.ends.get(path)
            report.from_earlier = end is not None and end.attempt < latest
            if state != "running":
                report.state = _OVER.get(report.state, report.state)
        top = [path for path in graph if len(path) == 1]
        return [found[path] for path in top or [path for path in found if len(path) == 1]]


_PERHAPS = "it may have been at work when the process was killed"


def _could_have_begun(path: Path, reports: Mapping[Path, TaskReport]) -> bool:
    """Whether a task had begun, or nothing kept it from that; its end is not known."""
    report = reports[path]
    if report.state != "waiting":
        return False
    if any(child.state not in {"waiting", "not_run"} for child in report.children):
        return True
    for name, way in report.after.items():
        before = reports.get((*path[:-1], name))
        if before is None or before.state not in FINISHED or (way and before.branch != way):
            return False
    return all(
        reports[path[:size]].state in {"waiting", "interrupted"} for size in range(1, len(path))
    )


_OVER: dict[str, TaskState] = {"running": "interrupted", "waiting": "not_run"}


def _by_path(tasks: Iterable[TaskReport], above: Path = ()) -> dict[Path, TaskReport]:
    """Tasks and those below them, by path."""
    found: dict[Path, TaskReport] = {}
    for task in tasks:
        path = (*above, task.name)
        found[path] = task
        found |= _by_path(task.children, path)
    return found


def _earliest(run_id: str) -> datetime:
    """A time before the run began. An id that tells no time costs a look at the whole ledger."""
    try:
        return datetime.strptime(run_id[:15], "%Y%m%d_%H%M%S").replace(tzinfo=UTC) - _CLOCKS_APART
    except ValueError:
        return _FIRST


def _stored(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The report of an event as it was stored."""
    report: Mapping[str, Any] = json.loads(row["report"] or "{}")
    return report or {}


def kind_of(mode: str | None) -> JobKind:
    """What a run is a run of, by its mode in the ledger."""
    if mode == WORKFLOW:
        return "workflow"
    return "datamart" if mode == "query" or (mode or "").startswith("insert ") else "transfer"


def iso(at: datetime | None) -> str | None:
    """A time as reports have it."""
    return None if at is None else at.isoformat()


def values_of(children: Iterable[TaskReport]) -> dict[str, Any]:
    """The values of a task's children by name, of those that have one."""
    return {child.name: child.value for child in children if child.value is not None}


def store_task(report: TaskReport, recorded: Iterable[str] = ()) -> dict[str, Any]:
    """A task's report for the ledger.

    Args:
        report: The report.
        recorded: Names of its children that have an event of their own.
    """
    own = set(recorded)
    inline = [each for each in report.children if each.name not in own]
    stored = to_stored(replace(report, children=inline))
    kept = {each["name"]: each for each in stored.get("children", ())}
    order = [each.name for each in report.children]
    if report.value is not None and own and report.value == values_of(report.children):
        stored[SUM] = True
    if own:
        stored["children"] = [kept.get(name, {"name": name, _STUB: True}) for name in order]
    return stored


def _task_of(path: Path, end: Ended) -> TaskReport:
    least = {"name": path[-1], "kind": "python"}
    inline = [each for each in end.report.get("children", ()) if _STUB not in each]
    stored = {**least, **end.report, "kind_of_report": "task", "children": inline}
    report = cast("TaskReport", from_stored(stored))
    report.value = end.value
    return report


def child_report(child: ChildRun, known: TaskReport | None = None) -> TaskReport:
    """The report of a task by what the ledger knows of its job's run.

    Args:
        child: The run.
        known: What is known of the task beside that; None = nothing.
    """
    row, kind = child.row, kind_of(child.row["mode"])
    report = replace(known) if known else TaskReport(name=child.path[-1], kind=kind)
    report.state = cast("TaskState", "succeeded" if child.state == "published" else child.state)
    report.attempts = row["attempt"]
    report.started_at = iso(row["started_at"] or child.began_at)
    report.finished_at = None if child.state == "running" else iso(row["event_at"])
    report.seconds = row["seconds"] or 0.0
    report.job, report.run_id = row["job"], child.run_id
    add_run(report, row)
    return report


def add_run(report: TaskReport, row: Mapping[str, Any]) -> None:
    """Take over what a row of the ledger tells of a run: its report if it was kept, else its counts."""
    stored = _stored(row)
    run = from_stored(stored) if "kind_of_report" in stored else None
    if isinstance(run, (RunReport, DatamartReport)):
        report.add_run(run)
        report.value = json.loads(row.get("value") or "null")
    else:
        for name in ("read", "written", "skipped", "rejected"):
            setattr(report, name, row[name])
        report.rows, report.cost = row["rows_published"], row["cost"]
        report.bytes_billed = row["bytes_billed"]
    report.target, report.error = row["target"] or "", row["error"]
    report.run_id, report.job = row["run_id"], row["job"]


def workflow_of(stored: Mapping[str, Any]) -> WorkflowReport:
    """The stored report of a workflow."""
    least = {"run_id": "", "job": ""}
    return cast("WorkflowReport", from_stored({**least, **stored, "kind_of_report": WORKFLOW}))


def forgotten(paths: Iterable[Path]) -> list[str]:
    """Paths as the stored graph has them."""
    return [task_text(path) for path in paths]

"""What becomes of a task, told by the tasks before it. The rules of branches are here alone.

An edge is *open* if the task before it succeeded or was left out by the command line, and the edge is
no branch, or the branch that was taken. It is *bypassed* if that task was bypassed, or took the other
way. It is *closed* if that task failed, was interrupted or did not run; but for an `IfElse` whose
condition looks at the failure of a task, the edge from that task is open when it has failed.

1. A task that branches lead to is bypassed if all of these edges are bypassed.
2. Otherwise it does not run if an edge is closed.
3. Otherwise, a task to which only other edges lead is bypassed if all of them are bypassed.
4. Otherwise it runs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

from etlkit.api.workflow_report import TaskReport

Fate = Literal["run", "bypass", "not_run"]
_Edge = Literal["open", "bypassed", "closed"]


def fate_of(
    before: Mapping[str, str],
    reports: Mapping[str, TaskReport],
    watched: Collection[str] = (),
    running: Collection[str] = (),
) -> Fate | None:
    """What a task does now.

    Args:
        before: The tasks before it, each with `""`, `then` or `otherwise`.
        reports: Of all tasks.
        watched: The tasks whose failure its condition looks at.
        running: Tasks that have not ended, whatever their reports say by now.

    Returns:
        None = not all tasks before it have ended.
    """
    if any(n in running or reports[n].state in {"waiting", "running"} for n in before):
        return None
    edges = {name: _edge(reports[name], way, name in watched) for name, way in before.items()}
    leading = [edges[name] for name, way in before.items() if way]
    if leading and all(edge == "bypassed" for edge in leading):
        return "bypass"
    if "closed" in edges.values():
        return "not_run"
    if not leading and edges and all(edge == "bypassed" for edge in edges.values()):
        return "bypass"
    return "run"


def _edge(report: TaskReport, way: str, is_watched: bool) -> _Edge:
    if report.state == "bypassed":
        return "bypassed"
    if report.state == "skipped":
        return "open"
    if report.state == "failed" and is_watched:
        return "open"
    if report.state != "succeeded":
        return "closed"
    return "open" if way in {"", report.branch} else "bypassed"

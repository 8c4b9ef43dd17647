"""One run of a loop: its iterations, one after the other or side by side."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from etlkit.api.run import Interrupted
from etlkit.api.workflow_report import FINISHED, TaskKind, TaskReport
from etlkit.api.workflow_state import Path, task_text
from etlkit.errors import WorkflowError
from etlkit.workflow.loop import MAX_ITERATIONS, Iteration, Loop
from etlkit.workflow.run_scope import RunScope, sum_up
from etlkit.workflow.slots import Slots
from etlkit.workflow.task_kind import Runnable, TaskContext
from etlkit.workflow.task_threads import TaskThreads, Work

log: logging.Logger = logging.getLogger("etlkit.workflow")

_SHOWN_ERRORS = 3


@dataclass(frozen=True)
class LoopRun(Runnable):
    """What a task with a loop runs: all iterations. It takes no slot; they do.

    Attributes:
        loop: The iterations.
        inner: What each of them runs.
        scope: The workflow's run.
        slots: Of the workflow that the task is one of.
        max_parallel: Iterations that run at once.
        make_work: Makes an iteration, to be run.
    """

    loop: Loop
    inner: Runnable
    scope: RunScope
    slots: Slots
    max_parallel: int
    make_work: Callable[[Path, TaskReport, Iteration], Work]

    kind: ClassVar[TaskKind] = "python"  # never shown: a loop is of the kind of what it runs
    takes_slot: ClassVar[bool] = False

    def run(self, context: TaskContext, /) -> None:
        """Run all iterations that have not succeeded yet.

        Raises:
            WorkflowError: An iteration failed.
            Interrupted: The task was asked to stop.
        """
        iterations = self._iterations(context)
        reports = {
            each.name: self.scope.reuse((*context.path, each.name))
            or TaskReport(name=each.name, kind=self.inner.kind)
            for each in iterations
        }
        context.report.children = list(reports.values())
        self.scope.changed(context.path, context.report)
        rest = [each for each in iterations if reports[each.name].state not in FINISHED]
        threads = TaskThreads(self.scope, self.slots)
        context.on_stop(threads.request_stop)
        try:
            self._run_all(context, threads, rest, reports)
        finally:
            for report in reports.values():
                if report.state == "waiting":
                    report.state = "not_run"
            context.report.children = list(reports.values())
            sum_up(context.report, reports)
        if threads.stop_signal is not None:
            raise Interrupted(threads.stop_signal)
        self._raise_if_failed(reports)

    def _iterations(self, context: TaskContext) -> list[Iteration]:
        rows: list[dict[str, Any]] = []
        if self.loop.query is not None:
            from etlkit.workflow.task_query import run_query

            context.report.details["SQL"] = self.loop.query
            limit = MAX_ITERATIONS + 1
            rows, _ = run_query(context, self.loop.query, "loop", max_rows=limit)
        return self.loop.iterations(self.scope.queued_at, rows)

    def _run_all(
        self,
        context: TaskContext,
        threads: TaskThreads,
        rest: list[Iteration],
        reports: dict[str, TaskReport],
    ) -> None:
        at_once = self.max_parallel if self.loop.parallel else 1
        num_failed = 0

        def handle(work: Work) -> None:
            nonlocal num_failed
            reports[work.path[-1]] = work.report
            if work.report.state == "failed":
                num_failed += 1
                if not self.loop.goes_on(num_failed):
                    threads.drop_queued()
                log.warning("iteration %s failed: %s", task_text(work.path), work.report.error)

        while True:
            while (
                rest
                and threads.num_active < at_once
                and threads.stop_signal is None
                and self.scope.lost is None
                and self.loop.goes_on(num_failed)
            ):
                iteration = rest.pop(0)
                path = (*context.path, iteration.name)
                threads.start(self.make_work(path, reports[iteration.name], iteration))
            if not threads.num_active:
                return
            threads.wait(handle)

    def _raise_if_failed(self, reports: dict[str, TaskReport]) -> None:
        if self.scope.lost is not None:
            raise self.scope.lost
        failed = [each for each in reports.values() if each.state in {"failed", "interrupted"}]
        if not failed:
            return
        shown = "".join(f"\n- {each.name}: {each.error}" for each in failed[:_SHOWN_ERRORS])
        more = len(failed) - _SHOWN_ERRORS
        shown += f"\n- … and {more} more" if more > 0 else ""
        not_run = sum(each.state == "not_run" for each in reports.values())
        rest = f", {not_run} did not run" if not_run else ""
        raise WorkflowError(
            f"{len(failed)} of {len(reports)} iterations failed{rest}:{shown}",
            failed=tuple(each.name for each in failed),
        )

"""`run_task`: one task of a scheduler, of several that share a run.

Each task looks at the rendezvous. If nobody leads, it leads: it runs the job as one process would, with
shards, and publishes. Else it follows: its workers take shards of the run. When the leader is gone, one
of the followers leads and goes on with the run, while the workers of the others stay at work.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn, cast

from etlkit.api.outcomes import Counts
from etlkit.api.rendezvous import LeadEnd, TakesTasks
from etlkit.api.report import Progress, RunReport, end_state, error_text
from etlkit.api.run import AUTO, LAST, Interrupted, Run, RunRecord
from etlkit.engine.code_files import changes
from etlkit.engine.row_errors import RowErrorHandler
from etlkit.engine.transfer import identity, run_transfer
from etlkit.engine.transform_spec import TransformSpec
from etlkit.engine.worker_launcher import SharedWork, added, sum_of
from etlkit.engine.worker_messages import Usage, pickled_job
from etlkit.errors import EtlkitError, JobError, RunStateError, RunTakenOverError
from etlkit.telemetry.current_run import in_run

if TYPE_CHECKING:
    from etlkit.api.job import TransferJob
    from etlkit.api.rendezvous import FoundRun, Rendezvous, Standing
    from etlkit.api.run import RunRequest
    from etlkit.api.scheduler_task import SchedulerTask
    from etlkit.api.sink import SharesRun
    from etlkit.engine.worker_launcher import WorkerLauncher

log: logging.Logger = logging.getLogger("etlkit")

LOOK_S = 5.0
"""How often a task looks whether the leader is there, at least."""

_TASKS_PER_LOOK = 10
"""Of many tasks each looks less often: 100 requests a second are allowed to one account.
Source: https://cloud.google.com/bigquery/quotas#api_request_quotas"""

_FIRST_WAIT_S = 0.5
_POLL_S = 0.1


class _Leads(Exception):  # noqa: N818 - no error
    """The leader is gone, and this task leads from now on."""


class _Over(Exception):  # noqa: N818 - no error
    """The run is published."""


def run_task(
    job: TransferJob,
    request: RunRequest,
    task: SchedulerTask,
    *,
    on_start: Callable[[Run], None] | None = None,
    on_progress: Progress | None = None,
    launch: WorkerLauncher,
) -> RunReport:
    """Work on the run that the tasks with this key share, until it is published.

    Args:
        job: What to run.
        request: What the caller asks for. Its `resume` counts for the task that begins the run.
        task: Which of the tasks this is.
        on_start: Called with each run that this task has a part in, e.g. to keep its `request_stop`.
        on_progress: Called often with stage and counts; None = nobody watches.
        launch: Starts the workers of this task.

    Returns:
        The report, state `published`: of the whole run if this task has published it, else with the
        rows of this task alone.

    Raises:
        EtlkitError: The run failed, in this task or in the one that led; it has a `report`.
        KeyboardInterrupt: This task was interrupted; likewise.
    """
    if not isinstance(job.sink, TakesTasks):
        raise AssertionError("tasks were refused for this sink")  # noqa: TRY004
    pickled_job(job)  # before anything is made
    rendezvous = job.sink.meet(job, job.source, request, task)
    shared = _SharedTask(
        job,
        request,
        task,
        rendezvous,
        on_start or (lambda _run: None),
        on_progress or (lambda _stage, _counts, _expected: None),
        launch,
    )
    try:
        return shared.run()
    finally:
        rendezvous.close()


class _SharedTask:
    def __init__(
        self,
        job: TransferJob,
        request: RunRequest,
        task: SchedulerTask,
        rendezvous: Rendezvous,
        on_start: Callable[[Run], None],
        on_progress: Progress,
        launch: WorkerLauncher,
    ) -> None:
        self._job = job
        self._request = request
        self._task = task
        self._rendezvous = rendezvous
        self._on_start = on_start
        self._on_progress = on_progress
        self._launch = launch
        self._look_s = max(LOOK_S, task.count / _TASKS_PER_LOOK)
        self._usage = Usage()
        self._now = Usage()
        self._run_id = ""
        self._target = ""
        self._has_worked = False
        self._began_at = time.monotonic()
        self._looked_at = 0.0

    def run(self) -> RunReport:
        try:
            return self._take_part()
        except BaseException as error:
            if getattr(error, "report", None) is None:
                error.report = self._report(error)  # type: ignore[attr-defined]
            raise

    def _take_part(self) -> RunReport:
        """Lead or follow, as often as that changes hands."""
        while True:
            standing = self._rendezvous.look()
            if standing.outcome is LeadEnd.PUBLISHED and not standing.is_led:
                return self._published(standing)
            if standing.is_led or not self._rendezvous.take_lead():
                report = self._follow()
            else:
                report = self._lead(standing.run_id)
            if report is not None:
                return report

    # -- leading

    def _lead(self, run_id: str | None) -> RunReport | None:
        """Run the job, or go on with its run. None = another task has the run: look again."""
        outcome, published = LeadEnd.UNKNOWN, None
        try:
            resume = self._to_resume(run_id)
            is_named = resume is not None and resume not in {AUTO, LAST}
            log.info(
                "task %s leads%s", self._task, f" and goes on with {resume}" if is_named else ""
            )
            report = self._run_job(resume)
            outcome, published = LeadEnd.PUBLISHED, report.run_id
        except RunTakenOverError as error:
            log.info("task %s leads no more: %s", self._task, error)
            return None
        except RunStateError as error:
            found = None if run_id is None else self._rendezvous.find_run(run_id)
            if found is None or not found.is_alive:
                raise
            log.info("task %s looks again: %s", self._task, error)
            return None
        except Exception:
            outcome = LeadEnd.FAILED
            raise
        except BaseException:
            outcome = LeadEnd.INTERRUPTED
            raise
        finally:
            self._rendezvous.leave(outcome, published)
        return replace(
            report,
            calls=report.calls + self._usage.calls,
            retries=report.retries + self._usage.retries,
            units=report.units + self._usage.units,
        )

    def _to_resume(self, run_id: str | None) -> str | None:
        """Which run to go on with: the tasks' own, or else what the caller has asked for."""
        found = None if run_id is None else self._rendezvous.find_run(run_id)
        if found is None:
            return self._request.resume
        waiting = Run(self._request)
        self._on_start(waiting)
        wait_s = _FIRST_WAIT_S
        while found is not None and found.is_alive:  # a process that leads no more has the run
            wait_s = self._wait(waiting, wait_s)
            found = self._rendezvous.find_run(found.record.run_id)
        return run_id

    def _run_job(self, resume: str | None) -> RunReport:
        is_confirmed = False

        def began(run: Run) -> None:
            self._run_id = run.run_id
            self._rendezvous.name_run(run.run_id)
            self._on_start(run)

        def shown(stage: str, counts: Counts, expected: int | None) -> None:
            nonlocal is_confirmed
            if stage == "snapshot" and not is_confirmed:
                # The ledger knows the run from here on. A task that took the lead before did not find
                # it there, and has begun another one: then this raises. One that takes it now finds it.
                is_confirmed = True
                self._rendezvous.name_run(self._run_id)
            self._on_progress(stage, counts, expected)

        return run_transfer(
            self._job,
            replace(self._request, resume=resume),
            on_start=began,
            on_progress=shown,
            launch=self._launch,
        )

    # -- following

    def _follow(self) -> RunReport | None:
        """Work for the run of another task. None = look again: nobody leads, or this task does not."""
        waiting = Run(self._request)
        self._on_start(waiting)
        log.info("task %s follows: another task leads", self._task)
        run_id = self._wait_for_shards(waiting)
        if run_id is None:
            return None
        self._run_id = run_id
        found = self._rendezvous.find_run(run_id)
        if found is None:
            return None
        self._target = found.record.target
        self._refuse_other_code(found)
        record = RunRecord(run_id, self._request.job_name, 0, "", is_shared=True)
        run = Run(self._request, record=record)
        with in_run(replace(identity(self._request), run_id=run_id)):
            try:
                self._on_start(run)
                self._work(run)
                self._wait_for_end(run)
            except _Over:
                return self._published(self._rendezvous.look())
            except _Leads:
                return self._lead(run_id)
            except RunTakenOverError as error:
                log.info("task %s looks again: %s", self._task, error)
                self._wait(run, _FIRST_WAIT_S)
                return None

    def _wait_for_shards(self, run: Run) -> str | None:
        """Wait until there are rows for workers; gives the run. None = look again."""
        wait_s = _FIRST_WAIT_S
        while True:
            standing = self._rendezvous.look()
            if not standing.is_led:
                if standing.outcome is LeadEnd.FAILED and standing.run_id is not None:
                    self._run_id = standing.run_id
                    self._refuse_failed()
                return None
            if standing.run_id is not None and self._rendezvous.has_shards(standing.run_id):
                return standing.run_id
            wait_s = self._wait(run, wait_s)

    def _work(self, run: Run) -> None:
        """Run workers until no shard is left.

        Raises:
            _Over: The run is published, whatever befell the workers in its last moments.
        """
        others = cast("SharesRun", None)  # the leader's: no way to start workers in a task asks it
        workers = self._launch(
            SharedWork(self._job, self._request, run, others, self._check_leader, self._show)
        )
        self._looked_at = time.monotonic()
        self._has_worked = True
        try:
            workers.run_all()
        except EtlkitError as error:
            found = self._rendezvous.find_run(run.run_id)
            if found is None or found.record.published is None:
                raise
            log.debug("after the publish: %s", error)
            raise _Over from error
        finally:
            self._usage = sum_of([self._usage, workers.usage])
            self._now = Usage()

    def _show(self, usage: Usage) -> None:
        self._now = usage
        counts = added(self._usage.counts, usage.counts)
        RowErrorHandler(self._job, counts).check_max_rejected(is_over=False)
        self._on_progress("transform", counts, None)

    def _check_leader(self) -> None:
        """Look now and then whether the leader is there.

        Raises:
            _Leads: It is gone, and this task leads.
            _Over: The run is published.
            JobError: The run has failed.
        """
        if time.monotonic() - self._looked_at < self._look_s:
            return
        self._looked_at = time.monotonic()
        standing = self._rendezvous.look()
        if standing.is_led:
            return
        if standing.outcome is LeadEnd.PUBLISHED:
            raise _Over
        if standing.outcome is LeadEnd.FAILED:
            self._refuse_failed()
        if self._rendezvous.take_lead():
            raise _Leads

    def _wait_for_end(self, run: Run) -> NoReturn:
        """Wait for the publish; every shard is settled. Always raises, as `_check_leader`."""
        log.info("task %s has finished; the task that leads publishes", self._task)
        wait_s = _FIRST_WAIT_S
        while True:
            wait_s = self._wait(run, wait_s)
            self._looked_at = -self._look_s
            self._check_leader()

    def _refuse_failed(self) -> None:
        """Raise if the run has failed in the task that led it, so it would fail here too.

        A run that was refused before it began is not known: then this task finds out by itself why.

        Raises:
            JobError: It has.
        """
        found = self._rendezvous.find_run(self._run_id)
        if found is not None and found.error is not None:
            raise JobError(
                f"run {self._run_id} failed in the task that led it: {found.error}\nFinished rows are "
                "kept; a task that is started again with the same run key goes on",
                stage="transform",
            )

    def _refuse_other_code(self, found: FoundRun) -> None:
        """Raise if this task would make other rows than the one that began the run.

        Raises:
            RunStateError: Its code or query differs.
        """
        spec, record = TransformSpec(self._job), found.record
        if self._request.allow_code_change:
            return
        if record.fingerprint == spec.fingerprint(self._job.source):
            return
        what = "; ".join(changes(record.code, spec.parts(self._job.source)))
        raise RunStateError(
            f"code, query or variables of this task are not those that run {record.run_id} of the key "
            f"{self._task.run_key!r} began with{f' ({what})' if record.code else ''}. Start all tasks "
            "with the same, or give those of another version another run key"
        )

    # -- ends

    def _wait(self, run: Run, seconds: float) -> float:
        """Wait, unless the task is asked to stop; gives how long to wait the next time.

        Raises:
            Interrupted: It is.
        """
        until = time.monotonic() + seconds * random.uniform(0.5, 1.0)  # noqa: S311 - no secret  # nosec B311
        while (left := until - time.monotonic()) > 0:
            if run.stop_signal is not None:
                raise Interrupted(run.stop_signal)
            time.sleep(min(left, _POLL_S))
        return min(seconds * 2, self._look_s)

    def _published(self, standing: Standing) -> RunReport:
        """The report of a run that another task, or an earlier start of this one, has published."""
        found = None if standing.run_id is None else self._rendezvous.find_run(standing.run_id)
        if found is None or found.record.published is None:
            raise RunStateError(
                f"the run of the key {self._task.run_key!r} is said to be published, but the ledger "
                "does not know it. Give another run key"
            )
        record, counts = found.record, found.record.published
        self._run_id, self._target = record.run_id, record.target
        if self._has_worked:
            log.info("run %s is published by another task", record.run_id)
            return self._report(None)
        self._refuse_other_code(found)  # the key was given to another run by mistake
        at = "" if found.published_at is None else f", on {found.published_at:%Y-%m-%d %H:%M} UTC"
        log.warning(
            "run %s of the key %r is already published%s; there is nothing left to do. Another run "
            "needs another run key",
            record.run_id,
            self._task.run_key,
            at,
        )
        return replace(
            self._report(None),
            resumed=counts.read,
            read=counts.read,
            written=counts.written,
            skipped=counts.skipped,
            rejected=counts.rejected,
            rows_published=counts.parts,
        )

    def _report(self, error: BaseException | None) -> RunReport:
        usage = sum_of([self._usage, self._now])
        counts, price = usage.counts, self._job.price_per_unit
        spent = time.monotonic() - self._began_at
        return RunReport(
            run_id=self._run_id,
            job=self._request.job_name,
            state="published" if error is None else end_state(error),
            target=self._target,
            resumed=usage.resumed,
            read=counts.read,
            written=counts.written,
            skipped=counts.skipped,
            rejected=counts.rejected,
            kept=0 if error is None else counts.finished,
            row_errors=counts.row_errors,
            first_errors=counts.first_errors,
            error_classes=dict(counts.error_classes),
            calls=usage.calls,
            retries=usage.retries,
            units=usage.units,
            cost=None if price is None else usage.units * price,
            currency=self._job.currency,
            rows_per_s=round(counts.read / spent, 1) if spent else 0.0,
            seconds={"transform": round(spent, 3)},
            task=str(self._task),
            error=None if error is None else error_text(error),
        )

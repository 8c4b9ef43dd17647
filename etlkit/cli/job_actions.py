"""What `etlkit run` does with a job: run it, check it, or show what a run would make of some rows."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click

from etlkit.cli.scheduler_variables import scheduler_task

if TYPE_CHECKING:
    from etlkit.api.datamart import Datamart
    from etlkit.api.job import TransferJob
    from etlkit.api.rehearsal_report import RehearsalReport
    from etlkit.api.report import DatamartReport, DryRunReport, RunReport
    from etlkit.api.workflow_report import WorkflowReport
    from etlkit.cli.run_report import AnyReport
    from etlkit.workflow.definition import Workflow

T = TypeVar("T")

DIFF_ROWS = 100
"""Rows that are compared by default."""


def act_on(
    job: TransferJob | Datamart | Workflow,
    target: str | None,
    given: dict[str, Any],
    options: dict[str, Any],
) -> int:
    """Do with a job what the options ask for, and print what came of it.

    Args:
        job: The job.
        target: Its name on the command line; None = it comes from a script's options.
        given: Its name, settings and values of variables, as functions of `etlkit.runner` take them.
        options: Those of `etlkit run`, checked by `etlkit.cli.option_rules`.

    Returns:
        The exit status.
    """
    from etlkit.api.datamart import Datamart
    from etlkit.api.job import TransferJob

    if isinstance(job, Datamart):
        return _run_datamart(job, given, options)
    if not isinstance(job, TransferJob):
        return _run_workflow(job, given, options)
    if options["against"]:
        return _diff(target, job, given, options)
    looks = {"preview": _preview, "rehearse": _rehearse, "dry_run": _dry_run}
    chosen = [run for name, run in looks.items() if options[name]] or [_run_transfer]
    return chosen[0](job, given, options)


def _run_transfer(job: TransferJob, given: dict[str, Any], options: dict[str, Any]) -> int:
    from etlkit.cli.progress import progress_view
    from etlkit.runner import run_job

    task = None
    if not options["retry_rejects"]:
        task = scheduler_task(options["worker"], options["run_key"], given["settings"].environ)

    def run() -> RunReport:
        plain = options["log_format"] == "json"
        with progress_view(quiet=options["quiet"], plain=plain) as view:
            return run_job(
                job,
                **given,
                limit=options["limit"],
                resume=options["resume"],
                allow_code_change=options["allow_code_change"],
                retry_rejects=options["retry_rejects"],
                journal=options["journal"],
                fresh=options["fresh"],
                reuse_across_code=options["reuse_across_code"],
                workers=options["workers"],
                scheduler_task=task,
                engine=options["engine"],
                engine_args=_engine_args(options["engine_args"]),
                only=next(iter(options["only"]), None),
                on_progress=view,
                on_start=_stop_on_signals,
            )

    return _reported(run, options)


def _engine_args(given: Sequence[str]) -> dict[str, str]:
    made = {}
    for each in given:
        name, is_pair, value = each.partition("=")
        if not (name and is_pair):
            raise click.UsageError(f"--engine-arg {each}: write NAME=VALUE")
        made[name.removeprefix("--")] = value
    return made


def _run_workflow(job: Workflow, given: dict[str, Any], options: dict[str, Any]) -> int:
    from etlkit.cli.workflow_tasks import tasks_of
    from etlkit.cli.workflow_view import workflow_view
    from etlkit.runner import dry_run_workflow, run_workflow

    selected = {name: options[name] for name in ("from_task", "only", "skip")}

    def run() -> WorkflowReport:
        if options["dry_run"]:
            return dry_run_workflow(job, **given, **selected)
        plain = options["log_format"] == "json"
        tasks = tasks_of(job)
        with workflow_view(given["name"], tasks, quiet=options["quiet"], plain=plain) as view:
            return run_workflow(
                job,
                **given,
                **selected,
                resume=options["resume"],
                allow_code_change=options["allow_code_change"],
                on_start=_stop_on_signals,
                observer=view,
            )

    return _reported(run, options)


def _run_datamart(job: Datamart, given: dict[str, Any], options: dict[str, Any]) -> int:
    from etlkit.cli.datamart_report import show_rows
    from etlkit.runner import check_datamart, run_datamart

    if given["name"] == str(
        job.file
    ):  # a bare file defines no variables: all given ones are its own
        job = replace(job, variables=given["variables"])

    def run() -> DatamartReport:
        if not options["dry_run"]:
            shown = None if options["quiet"] else show_rows
            return run_datamart(job, **given, on_start=_stop_on_signals, show_rows=shown)
        return check_datamart(job, **given, price_per_tib=_price(options))

    return _reported(run, options)


def _dry_run(job: TransferJob, given: dict[str, Any], options: dict[str, Any]) -> int:
    from etlkit.runner import dry_run_job

    def run() -> DryRunReport:
        price = _price(options)
        return dry_run_job(
            job,
            **given,
            limit=options["limit"],
            fresh=options["fresh"],
            reuse_across_code=options["reuse_across_code"],
            price_per_tib=price,
        )

    return _reported(run, options)


def _price(options: dict[str, Any]) -> float:
    from etlkit.api.report import PRICE_PER_TIB

    price: float | None = options["price_per_tib"]
    return PRICE_PER_TIB if price is None else price


def _preview(job: TransferJob, given: dict[str, Any], options: dict[str, Any]) -> int:
    from etlkit.cli.console import preview_json, show_preview
    from etlkit.runner import preview_job

    preview = preview_job(job, **given, limit=options["preview"], on_start=_stop_on_signals)
    if options["as_json"]:
        click.echo(preview_json(preview))
    else:
        show_preview(preview)
    return 1 if preview.num_errors else 0


def _rehearse(job: TransferJob, given: dict[str, Any], options: dict[str, Any]) -> int:
    from etlkit.cli.progress import progress_view
    from etlkit.cli.rehearsal_view import print_rehearsal
    from etlkit.runner import rehearse_job

    def run() -> RehearsalReport:
        plain = options["log_format"] == "json"
        with progress_view(quiet=options["quiet"], plain=plain) as view:
            return rehearse_job(
                job,
                **given,
                num_rows=options["rehearse"],
                seed=options["seed"] or 0,
                keep_table=options["keep_table"],
                fresh=options["fresh"],
                on_start=_stop_on_signals,
                on_progress=view,
            )

    return 1 if _shown(run, print_rehearsal, options).would_fail else 0


def _diff(
    target: str | None, job: TransferJob, given: dict[str, Any], options: dict[str, Any]
) -> int:
    from etlkit.api.source import Sampling
    from etlkit.cli.diff.run import diff_job
    from etlkit.cli.diff.view import print_diff

    report = diff_job(
        target,
        job,
        **given,
        against=options["against"],
        sampling=Sampling(options["sample"] or DIFF_ROWS, options["seed"] or 0),
        options=options,
        on_start=_stop_on_signals,
    )
    print_diff(report, options)
    return 0 if report.is_same else 1


def _reported(run: Callable[[], AnyReport], options: dict[str, Any]) -> int:
    from etlkit.cli.run_report import print_report

    _shown(run, print_report, options)
    return 0


def _shown(
    run: Callable[[], T], show: Callable[[T, dict[str, Any]], None], options: dict[str, Any]
) -> T:
    """Run a job and show its report, also that of a run that failed."""
    try:
        report = run()
    except BaseException as error:
        failed = getattr(error, "report", None)
        if failed is not None:
            show(failed, options)
        raise
    show(report, options)
    return report


class _Stoppable(Protocol):
    """A run of any kind."""

    def request_stop(self, signum: int, /) -> None:
        """Stop cleanly."""


def _stop_on_signals(run: _Stoppable) -> None:
    """Let Ctrl-C and SIGTERM stop the run cleanly; a second Ctrl-C ends it at once."""
    if threading.current_thread() is not threading.main_thread():
        return

    def stop(signum: int, _frame: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        run.request_stop(signum)

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)

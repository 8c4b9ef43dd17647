"""`etlkit run TARGET`: run a job, print its report, and stop it on Ctrl-C."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from etlkit.cli.graph import FORMATS as GRAPH_FORMATS
from etlkit.cli.invocation import invoke
from etlkit.cli.logs import configure_logging, say_starting, wants_json
from etlkit.cli.options import (
    CONTEXT,
    Command,
    chosen_settings,
    debug_option,
    local_dir_option,
    local_location_option,
    local_option,
    location_option,
    option,
    project_option,
    spelled,
)
from etlkit.cli.scheduler_variables import Worker, scheduler_task
from etlkit.cli.script_options import check_target, script_job, script_options
from etlkit.cli.swallowed import PREVIEW_ROWS, RowsOrTarget, swallowed_target

if TYPE_CHECKING:
    from etlkit.api.datamart import Datamart
    from etlkit.api.job import TransferJob
    from etlkit.api.report import DatamartReport, DryRunReport, RunReport
    from etlkit.api.workflow_report import WorkflowReport
    from etlkit.cli.run_report import AnyReport
    from etlkit.workflow.definition import Workflow

_LOOKS = ("preview", "rehearse", "against")
"""What is done instead of a run."""

_ONLY_TRANSFERS = (
    "limit",
    *_LOOKS,
    "journal",
    "workers",
    "worker",
    "run_key",
    "engine",
    "fresh",
    "reuse_across_code",
    "retry_rejects",
)
_EXCLUSIVE = (
    ("fresh", "resume"),
    ("fresh", "reuse_across_code"),
    ("fresh", "retry_rejects"),
    ("workers", "retry_rejects"),
    ("worker", "retry_rejects"),
    ("run_key", "retry_rejects"),
    ("engine", "retry_rejects"),
    ("engine", "worker"),
    ("engine", "run_key"),
    ("reuse_across_code", "retry_rejects"),
)
_NOT_WITH_LOOKS = {
    "preview": ("limit", "fresh", "reuse_across_code", "report_file"),
    "rehearse": ("limit", "reuse_across_code"),
    "against": ("limit", "fresh", "reuse_across_code"),
}
_NEVER_WITH_LOOKS = (
    "resume",
    "retry_rejects",
    "journal",
    "workers",
    "worker",
    "run_key",
    "engine",
    "dry_run",
    "graph",
    "html_file",
)
_ONLY_WORKFLOWS = ("from_task", "skip")
_RESUMING = ("resume", "allow_code_change")
_NOT_IN_DRY_RUNS = ("resume", "retry_rejects", "worker", "run_key", "engine")
_NEEDED_PARTNERS = {
    "allow_code_change": ("resume", "worker"),
    "engine_args": ("engine",),
    "price_per_tib": ("dry_run",),
    "graph_format": ("graph",),
    "sample": ("against",),
    "seed": ("rehearse", "against"),
    "keep_table": ("rehearse",),
    "as_json": _LOOKS,
}

_BEFORE = "Before paying for a transfer"
_ROWS = "Which rows of a transfer"
_SCHEDULER = "Tasks of a scheduler that share the run of a transfer"
_TASKS = "Which tasks of a workflow"
_VALUES = "Variables"
_DRY_RUN = "Dry runs"
_GRAPH = "Graph of a workflow"
_OUTPUT = "Output"


MAX_SAMPLE_ROWS = 100_000
"""Rows of a sample are kept in memory."""

DIFF_ROWS = 100
"""Rows that are compared by default."""


@click.command(cls=Command, context_settings=CONTEXT)
@click.argument("target", required=False)
@local_option
@local_dir_option
@local_location_option
@project_option
@location_option
@option(
    "--preview",
    type=RowsOrTarget(min=1),
    is_flag=False,
    flag_value=PREVIEW_ROWS,
    metavar="[N]",
    section=_BEFORE,
    help=f"Show N rows before and after (default {PREVIEW_ROWS}). Nothing is written.",
)
@option(
    "--rehearse",
    type=click.IntRange(min=1, max=MAX_SAMPLE_ROWS),
    metavar="N",
    section=_BEFORE,
    help="Run N random rows from end to end into a throw-away table, and say what a run of all rows "
    "would take.",
)
@option(
    "--diff",
    "against",
    metavar="REV|FILE",
    section=_BEFORE,
    help="Compare what the transform makes of a sample with what it made at a git revision, or with "
    "what the job or class Etl of FILE makes. Nothing is written.",
)
@option(
    "--sample",
    type=click.IntRange(min=1, max=MAX_SAMPLE_ROWS),
    metavar="N",
    section=_BEFORE,
    help=f"With --diff: compare N random rows (default: {DIFF_ROWS}).",
)
@option(
    "--seed",
    type=click.IntRange(min=0),
    metavar="N",
    section=_BEFORE,
    help="With --rehearse or --diff: choose other random rows; the same number chooses the same ones "
    "(default: 0).",
)
@option(
    "--keep-table",
    is_flag=True,
    section=_BEFORE,
    help="With --rehearse: keep the throw-away table until it expires, after 7 days.",
)
@option(
    "--json",
    "as_json",
    is_flag=True,
    section=_BEFORE,
    help="With --preview, --rehearse or --diff: print JSON on stdout instead of tables.",
)
@option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    section=_ROWS,
    help="Read at most N source rows.",
)
@option(
    "--resume",
    is_flag=False,
    flag_value="last",
    metavar="[RUN_ID]",
    section=_ROWS,
    help="Continue RUN_ID, or the job's last unpublished run: only rows without a result. Of a "
    "workflow: only tasks that have not finished. --resume=auto: begin a new run if there is none.",
)
@option(
    "--allow-code-change",
    is_flag=True,
    section=_ROWS,
    help="With --resume: continue although code or query changed.",
)
@option(
    "--journal",
    metavar="DIR|off",
    section=_ROWS,
    help="Folder for results that are not staged yet, for a --resume on this disk; off = none.",
)
@option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    section=_ROWS,
    help="Share the run among N processes, each with the job's max_concurrency.",
)
@option(
    "--worker",
    type=Worker(),
    metavar="I/N",
    section=_SCHEDULER,
    help="This process is the Ith of N, from 1, that share the run; with --run-key. Cloud Run, Slurm "
    "and Kubernetes tell it. off = run the whole job here.",
)
@option(
    "--run-key",
    metavar="KEY",
    section=_SCHEDULER,
    help="Names the run that tasks share: the same for all of them, and another for the next run.",
)
@option(
    "--engine",
    metavar="NAME",
    section=_ROWS,
    help="Run the workers on beam (Apache Beam, Dataflow) or ray.",
)
@option(
    "--engine-arg",
    "engine_args",
    multiple=True,
    metavar="NAME=VALUE",
    section=_ROWS,
    help="With --engine: an option of the engine, e.g. runner=DataflowRunner or address=HOST:PORT; may "
    "be repeated.",
)
@option(
    "--fresh",
    is_flag=True,
    section=_ROWS,
    help="Call for every row, also for those that are known from earlier runs (reuse).",
)
@option(
    "--reuse-across-code",
    is_flag=True,
    section=_ROWS,
    help="Take results of earlier runs although other code has made them: rows made by the old and "
    "by the new code then stand side by side.",
)
@option(
    "--retry-rejects",
    metavar="RUN_ID",
    section=_ROWS,
    help="Run only the rows that run RUN_ID rejected.",
)
@option(
    "--from",
    "from_task",
    multiple=True,
    metavar="TASK",
    section=_TASKS,
    help="Run TASK and all tasks after it; with --resume they run again. May be repeated.",
)
@option(
    "--only",
    multiple=True,
    metavar="NAME",
    section=_TASKS,
    help="Run the task NAME and no others; may be repeated. With --retry-rejects: only rows with "
    "the class of error NAME.",
)
@option(
    "--skip",
    multiple=True,
    metavar="TASK",
    section=_TASKS,
    help="Leave TASK out, as if it had succeeded. May be repeated.",
)
@option(
    "--var",
    "variables",
    multiple=True,
    metavar="NAME=VALUE",
    section=_VALUES,
    help="Value of the variable $NAME$; may be repeated.",
)
@option(
    "--queued-at",
    metavar="TIME",
    section=_VALUES,
    help="Time from which Timestamp variables count, e.g. 2024-01-31T09:00Z (default: now).",
)
@option(
    "--dry-run",
    is_flag=True,
    section=_DRY_RUN,
    help="Check the job or every statement, and estimate the cost. Nothing is written.",
)
@option(
    "--price-per-tib",
    type=click.FloatRange(min=0),
    metavar="USD",
    section=_DRY_RUN,
    help="With --dry-run: the price of 2^40 bytes (default: 6.25, on demand in the US).",
)
@option(
    "--graph",
    is_flag=True,
    section=_GRAPH,
    help="Print the graph of a workflow's tasks and run nothing.",
)
@option(
    "--format",
    "graph_format",
    type=click.Choice(GRAPH_FORMATS),
    section=_GRAPH,
    help="With --graph: how to print it (default: text).",
)
@script_options
@option(
    "--report",
    "report_file",
    type=click.Path(dir_okay=False, path_type=Path, allow_dash=True),
    section=_OUTPUT,
    help="Also write the run report to this file. - = print it as JSON on a terminal, too.",
)
@option(
    "--html",
    "html_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    section=_OUTPUT,
    help="After the run write a page about it: one file that needs no network.",
)
@option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    section=_OUTPUT,
    help="How to write stderr (default: text; in Cloud Run json).",
)
@option(
    "--quiet",
    is_flag=True,
    section=_OUTPUT,
    help="No progress and no summary; errors and the report remain.",
)
@debug_option
def command(target: str | None, **options: Any) -> int:
    """Run the job TARGET: package.module, package.module:name, or a path to a .py or .sql file.

    The last line on stdout is the run report, one JSON object. On a terminal there is a summary for
    people instead; --report - prints both.

    \b
    Exit status:
      0    published; --preview: no row failed; --rehearse: nothing would end the run; --diff: the same
      1    the run failed, nothing was published; --diff: rows differ
      2    wrong usage or configuration
      130  stopped by Ctrl-C; 143 by SIGTERM. --resume continues
    """  # noqa: D301 - \b keeps click from wrapping these lines
    target = swallowed_target(target, options)
    check_target(target, options)
    _check_partners(options)
    _check_page(options)
    level = logging.ERROR if options["quiet"] else logging.INFO
    options["log_format"] = "json" if wants_json(options["log_format"]) else "text"
    configure_logging(
        logging.DEBUG if options["debug"] else level,
        as_json=options["log_format"] == "json",
        project=options["project"],
    )
    if not options["graph"]:
        say_starting(target or options["script"])
    from etlkit.api.datamart import Datamart
    from etlkit.api.job import TransferJob
    from etlkit.cli.job_loader import load_job

    name, job = script_job(options) if target is None else load_job(target)
    if options["graph"]:
        return _show_graph(name, job, options)
    _check_kind(job, options)
    with chosen_settings(options) as settings:
        given = {"name": name, "settings": settings, **_values(options)}
        if isinstance(job, Datamart):
            return _run_datamart(job, given, options)
        if not isinstance(job, TransferJob):
            return _run_workflow(job, given, options)
        if options["against"]:
            return _diff(target, job, given, options)
        looks = {"preview": _preview, "rehearse": _rehearse, "dry_run": _dry_run}
        chosen = [run for name, run in looks.items() if options[name]] or [_run_transfer]
        return chosen[0](job, given, options)


def _show_graph(name: str, job: object, options: dict[str, Any]) -> int:
    """Print the graph of a workflow; nothing is run and nobody is asked."""
    from etlkit.cli.graph import write_graph
    from etlkit.cli.workflow_tasks import tasks_of
    from etlkit.errors import ConfigError
    from etlkit.workflow.definition import Workflow

    if not isinstance(job, Workflow):
        raise ConfigError(f"--graph shows a Workflow; {name} is a {type(job).__name__}")
    write_graph(sys.stdout, name, tasks_of(job), options["graph_format"] or "text")
    return 0


def _values(options: dict[str, Any]) -> dict[str, Any]:
    from etlkit.variables.values import parse_assignments, parse_time

    return {
        "variables": parse_assignments(options["variables"]),
        "queued_at": parse_time(options["queued_at"]),
    }


def _engine_args(given: Sequence[str]) -> dict[str, str]:
    made = {}
    for each in given:
        name, is_pair, value = each.partition("=")
        if not (name and is_pair):
            raise click.UsageError(f"--engine-arg {each}: write NAME=VALUE")
        made[name.removeprefix("--")] = value
    return made


def _check_partners(options: dict[str, Any]) -> None:
    for name, partners in _NEEDED_PARTNERS.items():
        is_given = options[name] not in (None, ()) and options[name] is not False
        if is_given and not any(options[each] for each in partners):
            shown = " or ".join(map(spelled, partners))
            raise click.UsageError(f"{spelled(name)} goes with {shown}")
    for one, other in _EXCLUSIVE:
        if options[one] and options[other]:
            raise click.UsageError(f"{spelled(one)} does not go with {spelled(other)}")
    looks = [name for name in _LOOKS if options[name]]
    for look in looks:
        others = [*(name for name in looks if name != look), *_NEVER_WITH_LOOKS]
        for other in (*others, *_NOT_WITH_LOOKS[look]):
            if options[other]:
                raise click.UsageError(f"{spelled(other)} does not go with {spelled(look)}")


def _check_page(options: dict[str, Any]) -> None:
    """Check that the page of `--html` can be written, before anything is run."""
    if options["html_file"] is None:
        return
    from etlkit.cli.pages.base import check_page

    if options["dry_run"]:
        raise click.UsageError("--html does not go with --dry-run: there is no run")
    check_page(options["html_file"])


def _check_kind(job: object, options: dict[str, Any]) -> None:
    """Check that the options apply to this kind of job."""
    from etlkit.api.datamart import Datamart
    from etlkit.cli.job_loader import is_workflow
    from etlkit.errors import ConfigError

    refused: dict[str, tuple[str, ...]] = {}
    if is_workflow(job):
        refused["a workflow"] = (*_ONLY_TRANSFERS, "price_per_tib")
    elif isinstance(job, Datamart):
        refused["a datamart"] = (*_ONLY_TRANSFERS, *_ONLY_WORKFLOWS, *_RESUMING, "only")
    else:
        refused["a transfer"] = _ONLY_WORKFLOWS
        if options["only"] and not options["retry_rejects"]:
            raise click.UsageError("of a transfer, --only goes with --retry-rejects")
        if len(options["only"]) > 1:
            raise click.UsageError("of a transfer, --only takes one class of error")
    if options["dry_run"]:
        refused["--dry-run"] = _NOT_IN_DRY_RUNS
    for kind, names in refused.items():
        given = [spelled(name) for name in names if options.get(name)]
        if given:
            raise ConfigError(f"{', '.join(given)} does not go with {kind}")


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

    plain = options["log_format"] == "json"
    try:
        with progress_view(quiet=options["quiet"], plain=plain) as view:
            report = rehearse_job(
                job,
                **given,
                num_rows=options["rehearse"],
                seed=options["seed"] or 0,
                keep_table=options["keep_table"],
                fresh=options["fresh"],
                on_start=_stop_on_signals,
                on_progress=view,
            )
    except BaseException as error:
        failed = getattr(error, "report", None)
        if failed is not None:
            print_rehearsal(failed, options)
        raise
    print_rehearsal(report, options)
    return 1 if report.would_fail else 0


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
    """Run a job and print its report, also that of a run that failed."""
    from etlkit.cli.run_report import print_report

    try:
        report = run()
    except BaseException as error:
        failed = getattr(error, "report", None)
        if failed is not None:
            print_report(failed, options)
        raise
    print_report(report, options)
    return 0


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


def main(argv: Sequence[str] | None = None) -> int:
    """Run `python -m etlkit.run` and give its exit status; never raises."""
    return invoke(command, argv, "python -m etlkit.run")

"""`etlkit run TARGET`: the command and its options."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from etlkit.cli.graph import FORMATS as GRAPH_FORMATS
from etlkit.cli.invocation import invoke
from etlkit.cli.job_actions import DIFF_ROWS, act_on
from etlkit.cli.logs import configure_logging, say_starting, wants_json
from etlkit.cli.option_rules import check_kind, check_outputs, check_partners
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
)
from etlkit.cli.scheduler_variables import Worker
from etlkit.cli.script_options import check_target, script_job, script_options
from etlkit.cli.swallowed import PREVIEW_ROWS, RowsOrTarget, swallowed_target

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
    check_partners(options)
    check_outputs(options)
    level = logging.ERROR if options["quiet"] else logging.INFO
    options["log_format"] = "json" if wants_json(options["log_format"]) else "text"
    configure_logging(
        logging.DEBUG if options["debug"] else level,
        as_json=options["log_format"] == "json",
        project=options["project"],
    )
    if not options["graph"]:
        say_starting(target or options["script"])
    from etlkit.cli.job_loader import load_job

    name, job = script_job(options) if target is None else load_job(target)
    if options["graph"]:
        return _show_graph(name, job, options)
    check_kind(job, options)
    with chosen_settings(options) as settings:
        given = {"name": name, "settings": settings, **_values(options)}
        return act_on(job, target, given, options)


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


def main(argv: Sequence[str] | None = None) -> int:
    """Run `python -m etlkit.run` and give its exit status; never raises."""
    return invoke(command, argv, "python -m etlkit.run")

"""`etlkit prove JOB`: the job under kills, cut connections and bad answers, in a throw-away world."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

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

if TYPE_CHECKING:
    from etlkit.testing.proving.answers import Fake
    from etlkit.testing.proving.sample import Sample

_PROOF = "The proof"
_ANSWERS = "Who answers the job's calls"
_ROWS = "Where the rows come from"
_VALUES = "Variables"


@click.command(cls=Command, context_settings=CONTEXT)
@click.argument("target", metavar="JOB")
@option(
    "--runs",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    section=_PROOF,
    help="How many runs under faults.",
)
@option(
    "--seed",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    section=_PROOF,
    help="Of the first run; the next run has the next seed. With --runs 1 it repeats one run.",
)
@option(
    "--rows",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    section=_PROOF,
    help="Rows of the source, read once, to prove the job with.",
)
@option(
    "--ignore",
    multiple=True,
    metavar="COLUMN",
    section=_PROOF,
    help="A column that may differ from run to run, e.g. the time of the run. May be repeated.",
)
@option(
    "--fake",
    metavar="FILE:NAME",
    section=_ANSWERS,
    help="A function of the request, as of FakeHttp; or routes, as of FaultServer; or images, as of "
    "FakeVision.",
)
@option(
    "--record",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    section=_ANSWERS,
    help="Real answers, kept in FILE. Calls that are not in it yet are made once, and may be paid.",
)
@option(
    "--allow-host",
    "allowed_hosts",
    multiple=True,
    metavar="HOST",
    section=_ANSWERS,
    help="A host that the job may reach past etlkit, in every run. May be repeated.",
)
@option(
    "--fake-rows",
    is_flag=True,
    section=_ROWS,
    help="Make rows with the source's columns instead of reading it: NULLs, edge values, a mix.",
)
@local_option
@local_dir_option
@local_location_option
@project_option
@location_option
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
    "--format",
    "format_name",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    section="Output",
    help="How to print what is found.",
)
@debug_option
def command(target: str, **options: Any) -> int:
    """Prove that JOB loses and doubles no row when processes are killed and services fail.

    The job runs over a sample of its source, again and again, in a local world that is thrown away
    afterwards: killed with SIGKILL and resumed, its connections cut, its calls answered late, with 429,
    with 5xx, in part or not at all. Each run is compared with an undisturbed one.

    Nothing is paid a hundred times: calls to a server on this machine and to Vision are answered there;
    for others name a fake or a recording. Where the rows are read (--local, --project), nothing is
    written.

    \b
    Exit status:
      0    all held
      1    something did not hold, or the job fails without any faults
      2    wrong usage or configuration
    """  # noqa: D301 - \b keeps click from wrapping these lines
    from etlkit.cli.prove_output import print_report, progress_line
    from etlkit.cli.prove_process import load_transfer
    from etlkit.testing.proving.answers import Recording
    from etlkit.testing.proving.proof import ProofPlan, prove
    from etlkit.variables.values import parse_assignments, parse_time

    job = load_transfer(target)
    variables = parse_assignments(options["variables"])
    queued_at = parse_time(options["queued_at"]) or datetime.now(UTC)
    fake = None if options["fake"] is None else _load_fake(options["fake"])
    if fake is not None and options["record"] is not None:
        raise click.UsageError("give either --fake or --record, not both")
    recording = None if options["record"] is None else Recording(options["record"])
    with progress_line(options["runs"]) as show:
        plan = ProofPlan(
            target=target,
            job=job,
            sample=_sample(job, options, variables, queued_at),
            command=(sys.executable, "-m", "etlkit.cli.prove_process", *_heavy_modules()),
            runs=options["runs"],
            seed=options["seed"],
            fake=fake,
            recording=recording,
            buckets=options["local_dir"] / "buckets" if options["local"] else None,
            ignored=options["ignore"],
            allowed_hosts=options["allowed_hosts"],
            variables=variables,
            queued_at=queued_at,
        )
        report = prove(plan, show)
    print_report(report, _again(target, options), as_json=options["format_name"] == "json")
    return 0 if report.holds else 1


def _sample(job: Any, options: dict[str, Any], variables: Any, queued_at: datetime) -> Sample:
    from etlkit.testing.proving.sample import read_sample

    with chosen_settings(options) as settings:
        return read_sample(
            job,
            settings,
            options["rows"],
            variables=variables,
            queued_at=queued_at,
            fake_seed=options["seed"] if options["fake_rows"] else None,
        )


def _heavy_modules() -> list[str]:
    """Modules that take long to import, which the job needs."""
    return ["google.cloud.vision_v1"] if "etlkit.vision" in sys.modules else []


def _load_fake(place: str) -> Fake:
    """Import what `--fake` names.

    Raises:
        ConfigError: There is no such file or name, or it is no fake.
    """
    from etlkit.cli.job_loader import import_module
    from etlkit.errors import ConfigError
    from etlkit.testing.proving.answers import as_fake

    file, colon, name = place.rpartition(":")
    if not colon:
        raise ConfigError(f"--fake {place}: write FILE:NAME, e.g. tests/fakes.py:answer")
    module = import_module(file)
    if not hasattr(module, name):
        raise ConfigError(f"--fake {place}: {file} has no {name!r}")
    return as_fake(getattr(module, name), place)


def _again(target: str, options: dict[str, Any]) -> list[str]:
    """The command that repeats a run, without seed and number of runs."""
    words = ["etlkit", "prove", target]
    if options["rows"] != 200:
        words += ["--rows", str(options["rows"])]
    for name, flag in (("fake", "--fake"), ("record", "--record"), ("queued_at", "--queued-at")):
        words += [flag, str(options[name])] if options[name] is not None else []
    for name, flag in (
        ("ignore", "--ignore"),
        ("allowed_hosts", "--allow-host"),
        ("variables", "--var"),
    ):
        words += [word for value in options[name] for word in (flag, value)]
    words += ["--fake-rows"] if options["fake_rows"] else []
    words += ["--local"] if options["local"] else []
    if str(options["local_dir"]) != ".etlkit":
        words += ["--local-dir", str(options["local_dir"])]
    for name in ("local_location", "project", "location"):
        words += [f"--{name.replace('_', '-')}", options[name]] if options[name] else []
    return words

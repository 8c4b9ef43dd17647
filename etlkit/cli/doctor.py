"""`etlkit doctor`: what is wrong with this machine or this project, and the command that mends it."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from shutil import get_terminal_size
from typing import Any

import click

from etlkit.cli.doctor_checks.finding import Finding
from etlkit.cli.doctor_checks.google_cloud import OF_MODE
from etlkit.cli.options import (
    CONTEXT,
    Command,
    local_dir_option,
    local_location_option,
    local_option,
    location_option,
    option,
    project_option,
    work_dataset_option,
)

_LOOKS = {"ok": ("ok", "green"), "warning": ("note", "yellow"), "problem": ("wrong", "red")}
_WIDTH = 18


@click.command(cls=Command, context_settings=CONTEXT)
@local_option
@local_dir_option
@local_location_option
@project_option
@location_option
@work_dataset_option
@option(
    "--target",
    metavar="DATASET",
    section="Where to run",
    help="Dataset that jobs write to, whose location is compared.",
)
@option(
    "--mode",
    type=click.Choice(list(OF_MODE)),
    default="replace",
    show_default=True,
    section="Where to run",
    help="Mode of the jobs, for the permissions.",
)
def command(**options: Any) -> int:
    """Check this machine, and what runs need of Google Cloud. Nothing is written there.

    With --local: the installation and the local BigQuery; no network is needed.
    """
    findings = list(_told(_local(options) if options["local"] else _cloud(options)))
    problems = sum(finding.state == "problem" for finding in findings)
    notes = sum(finding.state == "warning" for finding in findings)
    if problems:
        click.echo(f"\n{problems} of {len(findings)} checks found something wrong")
        return 1
    also = f", {notes} with a note" if notes else ""
    click.echo(f"\n{len(findings)} checks, nothing wrong{also}")
    return 0


def _local(options: dict[str, Any]) -> Iterator[Finding]:
    from etlkit.cli.doctor_checks.installation import check_installation
    from etlkit.cli.doctor_checks.local_world import check_local_world

    yield from check_installation()
    extra = list(check_installation("local"))[1:]  # Python was looked at already
    yield from extra
    if not any(finding.state == "problem" for finding in extra):
        yield from check_local_world(Path(options["local_dir"]), options["local_location"])


def _cloud(options: dict[str, Any]) -> Iterator[Finding]:
    from etlkit.cli.doctor_checks.emulator import check_emulator, is_emulated
    from etlkit.cli.doctor_checks.google_apis import Hosts
    from etlkit.cli.doctor_checks.google_cloud import check_google_cloud, find_account
    from etlkit.cli.doctor_checks.installation import check_installation
    from etlkit.runner import environment

    yield from check_installation()
    settings = environment(project=options["project"], location=options["location"])
    if is_emulated(settings):
        yield from check_emulator(settings)
        return
    account = find_account()
    if isinstance(account, Finding):
        yield account
        return
    datasets = list(dict.fromkeys(filter(None, (options["work_dataset"], options["target"]))))
    yield from check_google_cloud(account, settings, datasets, options["mode"], Hosts())


def _told(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Print each finding when it is there: some take seconds."""
    for finding in findings:
        word, color = _LOOKS[finding.state]
        first, *rest = _lines(finding.text)
        click.echo(f"{click.style(f'{word:<6}', fg=color)}{finding.subject:<{_WIDTH}}{first}")
        for line in rest:
            click.echo(f"{'':<6}{'':<{_WIDTH}}{line}")
        for line in finding.mend:
            click.echo(f"{'':<6}{'':<{_WIDTH}}{click.style(line, bold=True)}")
        yield finding


def _lines(text: str) -> list[str]:
    """The text folded on a terminal, so that it stays beside its subject."""
    if not sys.stdout.isatty():
        return [text]
    width = max(get_terminal_size().columns - 6 - _WIDTH, 30)
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]

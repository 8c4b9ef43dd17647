"""`etlkit init`: begin a project that runs and passes its tests at once."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import click

from etlkit.cli.options import CONTEXT, FilledOption
from etlkit.cli.scaffold.files import made_from, write_all
from etlkit.cli.scaffold.projects import PROJECTS
from etlkit.cli.scaffold.requirement import Requirement
from etlkit.errors import ConfigError

_PROGRAM = re.compile(r"\b(?=(etlkit|python) )")
"""Where a program of the project's environment begins in a command."""

_ONLY_HERE = """
## Elsewhere

`pyproject.toml` names the etlkit on the machine where this project was made. To install the project
anywhere else, e.g. by `.github/workflows/test.yml`, build a wheel in a clone of etlkit with
`pip wheel --no-deps .`. Begin with `etlkit init --etlkit THE.whl`, or put the address of the wheel into
`pyproject.toml`.
"""


@click.command(context_settings=CONTEXT)
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "--template",
    type=click.Choice(list(PROJECTS)),
    default="blank",
    show_default=True,
    help="What the project begins with: a transform; Cloud Vision; calls to a web API; SQL.",
)
@click.option(
    "--etlkit",
    "source",
    cls=FilledOption,
    metavar="WHEEL|DIR|URL",
    help="The etlkit that the project installs (default: from where this one was installed). A "
    "wheel is copied into the project.",
)
def command(folder: Path, template: str, source: str | None) -> None:
    """Begin a project in DIR: a transform, a job and tests, which run on this machine at once."""
    project = PROJECTS[template]
    requirement = Requirement.of(source)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; choose a new folder")
    if folder.is_dir() and any(each.name != ".git" for each in folder.iterdir()):
        raise ConfigError(f"{folder} exists and is not empty; choose a new folder")
    values = {
        "project": _name(folder.resolve().name),
        "about": project.about,
        "job": project.job,
        "job_name": project.job.replace("_", "-"),
        "commands": "\n".join(project.commands),
        "run": "\n".join(f"\t{_PROGRAM.sub(r'$(BIN)/', line)}" for line in project.commands),
        "etlkit": requirement.text(),
        "etlkit_dev": requirement.text("local,report,testing"),
        "install": _ONLY_HERE if requirement.is_of_this_machine else "",
    }
    files = made_from("common", values) | made_from(template, values) | requirement.files()
    write_all(folder, files)
    _say(folder, sorted(map(str, files)), project.commands)


def _say(folder: Path, files: Sequence[str], commands: Sequence[str]) -> None:
    click.echo(f"{folder}: {len(files)} files")
    for each in files:
        click.echo(f"  {each}")
    click.echo("\nTo run the job on this machine, and its tests:")
    into = [f"cd {shlex.quote(str(folder))}"] if folder.resolve() != Path.cwd() else []
    click.echo("\n".join(f"  {line}" for line in (*into, *commands, "python -m pytest")))


def _name(folder: str) -> str:
    """A name that a Python project may have.

    Source: https://packaging.python.org/en/latest/specifications/name-normalization/
    """
    name = re.sub(r"[^a-z0-9]+", "-", folder.lower()).strip("-")
    return name or "my-project"

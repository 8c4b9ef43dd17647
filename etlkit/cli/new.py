"""`etlkit new`: add a transform, a job or a datamart to a project, with its test."""

from __future__ import annotations

import keyword
from pathlib import Path

import click

from etlkit.cli.options import CONTEXT, FilledOption
from etlkit.cli.scaffold.files import made_from, write_all
from etlkit.errors import ConfigError

_MAX_NAME_BYTES = 200
"""A file's name may have 255 bytes on most file systems, and `test_….py` is one."""


@click.group(context_settings=CONTEXT)
def command() -> None:
    """Add a file with its test to the project in this folder."""


@command.command("transform", context_settings=CONTEXT)
@click.argument("name")
def transform(name: str) -> None:
    """Add transforms/NAME.py: a class that turns one row into another."""
    _add("transform", {"name": _module(name)})


@command.command("job", context_settings=CONTEXT)
@click.argument("name")
@click.option(
    "--transform",
    "of",
    cls=FilledOption,
    metavar="NAME",
    help="The transform that it runs (default: NAME).",
)
def job(name: str, of: str | None) -> None:
    """Add jobs/NAME.py: where the rows of a transform come from, and where they go."""
    transform = _module(of or name)
    if not Path("transforms", f"{transform}.py").is_file():
        raise ConfigError(
            f"there is no transforms/{transform}.py: make it with `etlkit new transform {transform}`, "
            "or name another one with --transform"
        )
    _add("job", {"name": _module(name), "transform": transform})
    if transform != name:
        click.echo(
            f"\nThe query in jobs/{name}.py is an example; put the columns there that "
            f"transforms/{transform}.py reads."
        )


@command.command("datamart", context_settings=CONTEXT)
@click.argument("name")
def datamart(name: str) -> None:
    """Add jobs/NAME.py and jobs/sql/NAME.sql: a table that SQL computes inside BigQuery."""
    _add("datamart", {"name": _module(name)})


def _add(kind: str, values: dict[str, str]) -> None:
    if not any(Path(folder).is_dir() for folder in ("transforms", "jobs")):
        raise ConfigError(
            "there is neither transforms/ nor jobs/ in this folder: go to the project's folder, or "
            "begin one with `etlkit init DIR`"
        )
    title = values["name"].replace("_", " ").strip().capitalize()
    files = made_from(f"new/{kind}", {**values, "title": title})
    write_all(Path(), files)
    for path in files:
        click.echo(f"made {path}")


def _module(name: str) -> str:
    """The name if a module can have it."""
    if keyword.iskeyword(name):
        reason = "it is a word of Python's own"
    elif name.startswith("__"):
        reason = "Python has names like this for itself"
    elif len(name.encode()) > _MAX_NAME_BYTES:
        reason = f"it has more than {_MAX_NAME_BYTES} bytes"
    elif not name.isidentifier():
        reason = "it may have letters, digits and underscores, and begins with no digit"
    else:
        return name
    raise ConfigError(
        f"{name[:_MAX_NAME_BYTES]!r} cannot be the name of a module: {reason}; e.g. photo_labels"
    )

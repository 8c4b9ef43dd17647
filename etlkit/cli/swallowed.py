"""A job's name that stands behind an option with an optional value: `--preview jobs.x`."""

from __future__ import annotations

import re
from typing import Any

import click

from etlkit.cli.options import spelled

PREVIEW_ROWS = 10
"""Rows of a preview by default."""

_DEFAULTS: dict[str, Any] = {"preview": PREVIEW_ROWS, "resume": "last"}
"""The options that may take the job's name for their value, and their value without one."""

_TARGET = re.compile(r"\w+(\.\w+)+(:\w+)?|[^:]*[/\\][^:]*(:\w+)?")
"""A dotted name or a path. Ids of runs, `last`, `auto` and numbers have neither dots nor slashes."""


class RowsOrTarget(click.IntRange):
    """A number of rows. The name of a job is let through, for `swallowed_target`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See `click.ParamType.convert`."""
        if isinstance(value, str) and _TARGET.fullmatch(value):
            return value
        return super().convert(value, param, ctx)


def swallowed_target(target: str | None, options: dict[str, Any]) -> str | None:
    """The job that is named, also where an option took its name for its own value.

    Args:
        target: The argument; None = there is none.
        options: `preview` or `resume` gets its default if its value is the job's name.

    Raises:
        click.UsageError: A value is neither what the option takes nor the only name of a job.
    """
    for name, default in _DEFAULTS.items():
        value = options[name]
        if not isinstance(value, str) or not _TARGET.fullmatch(value):
            continue
        if target is not None or options["script"] is not None:
            raise click.UsageError(
                f"{spelled(name)} got {value}, which looks like the name of a job, and the job is "
                f"{target or options['script']}"
            )
        target, options[name] = value, default
    return target

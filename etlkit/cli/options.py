"""The options that several commands share, and help texts that group options by subject."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from etlkit.api.run import Settings

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
"""Settings of every command: `-h` works too, and help uses up to 100 columns of a wide terminal."""

_F = TypeVar("_F", bound=Callable[..., Any])


class FilledOption(click.Option):
    """An option whose value is not empty.

    An empty value comes from a shell variable that is not set: `--diff "$REV"` must not become a run.
    """

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        """See `click.Parameter.type_cast_value`."""
        given = value if isinstance(value, (list, tuple)) else (value,)
        if any(isinstance(each, str) and not each for each in given):
            raise click.BadParameter("the value is empty", ctx=ctx, param=self)
        return super().type_cast_value(ctx, value)


class Option(FilledOption):
    """An option that the help text lists under a heading of its own.

    Args:
        section: The heading.
    """

    def __init__(self, *args: Any, section: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section


class Command(click.Command):
    """A command whose help text lists the options by section, in the order of their declaration."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """See `click.Command.format_options`."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if isinstance(parameter, click.Option) and record is not None:
                heading = getattr(parameter, "section", "Help")
                sections.setdefault(heading, []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)


def option(*names: str, **attributes: Any) -> Callable[[_F], _F]:
    """Declare an option; `section` is the heading of the help text that it stands under."""
    return click.option(*names, cls=Option, **attributes)


_WHERE = "Where to run"

local_option = option(
    "--local",
    is_flag=True,
    section=_WHERE,
    help="Use the local BigQuery on this machine; needs no Google Cloud.",
)
local_dir_option = option(
    "--local-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".etlkit"),
    show_default=True,
    section=_WHERE,
    help="Folder of the local tables, buckets and log.",
)
local_location_option = option(
    "--local-location",
    metavar="NAME",
    section=_WHERE,
    help="Where the datasets of the local BigQuery are, e.g. asia-northeast1 (default: US).",
)
project_option = option(
    "--project",
    metavar="ID",
    section=_WHERE,
    help="Google Cloud project to bill (default: that of the credentials).",
)
location_option = option(
    "--location",
    metavar="NAME",
    section=_WHERE,
    help="BigQuery location, e.g. US or asia-northeast1 (default: where the data is).",
)
work_dataset_option = option(
    "--work-dataset",
    metavar="DATASET",
    default="etlkit_work",
    show_default=True,
    section=_WHERE,
    help="Dataset of the ledger.",
)
debug_option = option("--debug", is_flag=True, section="Output", help="Show SQL and tracebacks.")


@contextmanager
def chosen_settings(options: dict[str, Any]) -> Iterator[Settings]:
    """Give the settings that the shared options ask for; start the local world for `--local`.

    Args:
        options: Values of `local`, `local_dir`, `local_location`, `project` and `location`.
    """
    from contextlib import ExitStack

    from etlkit.bigquery.client import import_without_pandas
    from etlkit.runner import environment, local_world

    with ExitStack() as stack:
        if options["local"]:
            stack.enter_context(
                local_world(options["local_dir"], location=options["local_location"])
            )
        # Only in this process, which is ours: a user's own imports stay as they are.
        import_without_pandas()
        yield environment(project=options["project"], location=options["location"])


_SPELLED = {
    "against": "--diff",
    "as_json": "--json",
    "engine_args": "--engine-arg",
    "from_task": "--from",
    "graph_format": "--format",
    "html_file": "--html",
    "report_file": "--report",
}
"""Options whose values have another name in Python, where many a name is taken."""


def spelled(name: str) -> str:
    """An option's name as a user writes it: `local_dir` is `--local-dir`."""
    return _SPELLED.get(name) or f"--{name.replace('_', '-')}"

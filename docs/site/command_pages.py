"""The page of all commands and options, made from the commands themselves."""

import inspect

import click

from etlkit.cli import root

PATH = "reference/commands.md"
BEGINNING = """# All commands and options

This page is made from the commands when the site is built: it says what `--help` says.
[Command lines](cli.md) explains more, with exit statuses, reports and environment variables.
"""


def page():
    """The whole page as Markdown."""
    return BEGINNING + "\n".join(_sections(root.command, "etlkit", None))


def _sections(command, name, parent):
    context = click.Context(command, info_name=name.rsplit(" ", 1)[-1], parent=parent)
    yield f"\n## `{name}`\n"
    yield f"```text\n{command.get_usage(context).removeprefix('Usage: ')}\n```\n"
    yield inspect.cleandoc(command.help or "").replace("\b\n", "") + "\n"
    yield "| Option | Meaning |\n|---|---|"
    for option in command.get_params(context):
        shown = option.get_help_record(context) if isinstance(option, click.Option) else None
        if shown is not None:
            yield f"| `{_cell(shown[0])}` | {_text(shown[1])} |"
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            yield from _sections(command.get_command(context, child), f"{name} {child}", context)


def _cell(text):
    return " ".join(text.split()).replace("|", "\\|")


def _text(text):
    return _cell(text).replace("<", "&lt;").replace("*", "\\*")

"""The table of changes: what was there before beside what is there after, in groups of lines."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from etlkit.cli.row_changes import STYLES, Change
from etlkit.cli.tables import printable

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

_PIPE_WIDTH = 120
"""Columns of a table that goes into a file or another program, unless `COLUMNS` says otherwise."""


@dataclass(frozen=True, slots=True)
class Group:
    """Lines of a table that belong together.

    Attributes:
        label: What stands beside the first of them.
        lines: Sign, place, and two texts.
        state: Of the whole group, e.g. `skipped`; empty = nothing to say.
        reason: Why; empty likewise.
        context: What is not worth a line each, e.g. the unchanged columns; empty likewise.
    """

    label: str
    lines: Sequence[Change]
    state: str = ""
    reason: str = ""
    context: str = ""


def table_width(stream: TextIO) -> int:
    """Columns that a table may take: those of the terminal."""
    if stream.isatty() or os.environ.get("COLUMNS", "").isdecimal():
        return shutil.get_terminal_size().columns
    return _PIPE_WIDTH


def empty_table(stream: TextIO, *, show_lines: bool = False) -> Table:
    """A table with a frame that the stream's encoding has."""
    from rich.box import ASCII2, SQUARE
    from rich.table import Table

    return Table(box=SQUARE if has_unicode(stream) else ASCII2, show_lines=show_lines)


def has_unicode(stream: TextIO) -> bool:
    """Whether arrows and frames can be written."""
    return (stream.encoding or "").lower().startswith("utf")


def print_grid(stream: TextIO, table: Table) -> None:
    """Print a table as wide as the terminal at most."""
    from rich.console import Console

    # Without a height rich ignores the width on a dumb terminal.
    console = Console(file=stream, width=table_width(stream), height=25, highlight=False)
    console.print(table)


def print_groups(stream: TextIO, titles: tuple[str, str], groups: Iterable[Group]) -> None:
    """Print groups of lines, with a rule between them.

    Args:
        stream: Where to print.
        titles: What stands above the two texts.
        groups: In order.
    """
    from rich.text import Text

    table = empty_table(stream)
    table.add_column("row", overflow="fold", max_width=12)
    table.add_column("column", overflow="fold", max_width=30)
    for title in titles:
        table.add_column(title, overflow="fold", ratio=1)
    for group in groups:
        lines = [
            *([_context(group)] if group.context or group.state else []),
            *map(_line, group.lines),
        ]
        for number, (name, before, after) in enumerate(lines):
            table.add_row(Text("" if number else group.label), name, before, after)
        table.add_section()
    print_grid(stream, table)


def _context(group: Group) -> tuple[Text, Text, Text]:
    from rich.text import Text

    color = {"skipped": "cyan", "rejected": "red"}.get(group.state, "dim")
    word = group.state or "(unchanged)"
    reason = printable(group.reason)
    return Text(word, style=color), Text(group.context, style="dim"), Text(reason, style=color)


def _line(line: Change) -> tuple[Text, Text, Text]:
    from rich.text import Text

    sign = f"{line.sign} " if line.sign else ""
    name = Text(f"{sign}{printable(line.column + line.place)}", style=STYLES[line.sign])
    before = Text(line.before, style="red" if line.sign in {"~", "-"} else "")
    return name, before, Text(line.after, style="green" if line.sign else "")

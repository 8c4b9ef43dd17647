"""The one table printer: a grid, or one line a value where the columns would be too narrow."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TextIO

# A table wider than this many terminals is printed row by row. In a grid its columns would be only a
# few letters wide.
_MAX_FOLDS = 2

_BORDER_WIDTH = 3

_LEAST_FOLDED_WIDTH = 8
"""A column that may be folded gets as much, beside those that may not; or it is left out."""


def print_table(
    stream: TextIO,
    names: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    title: str | None = None,
    numeric: Collection[str] = (),
    unbroken: Collection[str] = (),
    droppable: Sequence[str] = (),
) -> None:
    """Print a table. No value is cut; letters that the stream cannot write are escaped.

    Args:
        stream: Where to print. On a terminal the table fits its width; elsewhere no cell is folded.
        names: Column names.
        rows: Cells as text, one for each column.
        title: A line above the table; None = none.
        numeric: Columns to align to the right.
        unbroken: Columns whose cells are never folded, e.g. ids that people copy.
        droppable: Columns that are left out of a grid for which the terminal is too narrow, in that
            order; a line below says so.
    """
    encoding = stream.encoding or "utf-8"

    def writable(text: str) -> str:
        return printable(text).encode(encoding, "backslashreplace").decode(encoding)

    names, numeric, unbroken, droppable = (
        [*map(writable, each)] for each in (names, numeric, unbroken, droppable)
    )
    cells = [[writable(cell) for cell in row] for row in rows]
    widths = {
        name: max(len(name), *(_longest_line(row[i]) for row in cells), 0)
        for i, name in enumerate(names)
    }
    natural = _natural_width(widths.values())
    width = shutil.get_terminal_size().columns if stream.isatty() else natural
    if title is not None:
        stream.write(f"{writable(title)}\n")
    kept = _that_fit(widths, width, unbroken, droppable) if unbroken else list(names)
    if kept is None or _natural_width(widths[name] for name in kept) > width * _MAX_FOLDS:
        _print_records(stream, names, cells)
        return
    shown = [[row[i] for i, name in enumerate(names) if name in kept] for row in cells]
    _print_grid(stream, kept, shown, width, numeric, unbroken)
    if left_out := [name for name in names if name not in kept]:
        stream.write(f"(no room for: {', '.join(left_out)})\n")


def _that_fit(
    widths: Mapping[str, int], width: int, unbroken: Collection[str], droppable: Sequence[str]
) -> list[str] | None:
    """The columns of a grid in which no cell that must not be folded is cut; None = it has no room."""
    kept = list(widths)
    drop = (name for name in droppable if name in widths)
    while _least_width({name: widths[name] for name in kept}, unbroken) > width:
        dropped = next(drop, None)
        if dropped is None:
            return None
        kept.remove(dropped)
    return kept


def _natural_width(widths: Iterable[int]) -> int:
    """Of a grid with columns this wide, without folded cells."""
    return sum(each + _BORDER_WIDTH for each in widths) + 1


def _least_width(widths: Mapping[str, int], unbroken: Collection[str]) -> int:
    return _natural_width(
        each if name in unbroken else min(each, _LEAST_FOLDED_WIDTH)
        for name, each in widths.items()
    )


def printable(text: str) -> str:
    """Escape control characters, so that data cannot control the terminal."""
    return "".join(
        letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1] for letter in text
    )


def _print_records(stream: TextIO, names: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    """Print one line for each value. The terminal wraps long lines at its full width."""
    label_width = max(map(len, names))
    for number, row in enumerate(cells, start=1):
        stream.write(f"-- row {number} --\n")
        stream.writelines(
            f"{name:>{label_width}}: {cell}\n" for name, cell in zip(names, row, strict=True)
        )


def _print_grid(
    stream: TextIO,
    names: Sequence[str],
    cells: Sequence[Sequence[str]],
    width: int,
    numeric: Collection[str],
    unbroken: Collection[str],
) -> None:
    from rich.box import ASCII2, SQUARE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    encoding = (stream.encoding or "").lower()
    grid = Table(box=SQUARE if encoding.startswith("utf") else ASCII2)
    for name in names:
        grid.add_column(
            Text(name),
            overflow="fold",
            no_wrap=name in unbroken,
            justify="right" if name in numeric else "left",
        )
    for row in cells:
        grid.add_row(*map(Text, row))
    # Without a height rich ignores the width on a dumb terminal.
    Console(file=stream, width=width, height=25, highlight=False).print(grid)


def _longest_line(text: str) -> int:
    return max(map(len, text.split("\n")))

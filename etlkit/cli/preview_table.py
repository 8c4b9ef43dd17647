"""The table of a preview: a grid where the terminal has room for it, else a few lines for each row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from etlkit.cli.change_table import (
    Group,
    empty_table,
    has_unicode,
    print_grid,
    print_groups,
    table_width,
)
from etlkit.cli.row_changes import (
    MAX_ROW,
    MAX_VALUE,
    STYLES,
    Change,
    Sign,
    changes,
    cut,
    without_row,
)
from etlkit.cli.tables import printable

if TYPE_CHECKING:
    from rich.table import Table

    from etlkit.engine.preview import PreviewRow

_MAX_CELL = 34
"""A longer text of a grid is folded at this many letters."""

_MAX_FOLDS = 3
"""Where a text would be folded more often, lines are easier to read than a grid of towers."""

_BORDER = 3
_STATE_STYLES = {"": "", "skipped": "cyan", "rejected": "red"}


@dataclass(frozen=True, slots=True)
class Line:
    """One source row and one of the target rows that it became.

    Attributes:
        label: The row's number, with that of the part if it became several.
        state: `skipped`, `rejected`, or empty.
        cells: Its columns.
        reason: Why it was rejected; empty likewise.
    """

    label: str
    state: str
    cells: Sequence[Change]
    reason: str = ""


def print_preview(stream: TextIO, rows: Iterable[PreviewRow]) -> None:
    """Print rows before and after as one table, and what its signs mean."""
    lines = list(_lines(rows))
    if not lines:
        stream.write("no rows\n")
        return
    grid = _Grid(lines, "→" if has_unicode(stream) else "->")
    if grid.fits(table_width(stream)):
        print_grid(stream, grid.table(stream))
        for line in lines:
            if line.reason:
                stream.write(f"row {line.label} rejected: {printable(line.reason)}\n")
    else:
        print_groups(stream, ("before", "after"), map(_group, lines))
    stream.write("~ changed  + added  - removed\n")


def _lines(rows: Iterable[PreviewRow]) -> Iterator[Line]:
    for number, row in enumerate(rows, 1):
        if not row.after:
            state = "skipped" if row.error is None else "rejected"
            same = changes(row.before, row.before)
            yield Line(str(number), state, same, without_row(row.error or ""))
        for part, after in enumerate(row.after, 1):
            of = f" ({part}/{len(row.after)})" if len(row.after) > 1 else ""
            yield Line(f"{number}{of}", "", changes(row.before, after))


def _group(line: Line) -> Group:
    same = [f"{c.column} {cut(c.before, MAX_VALUE)}" for c in line.cells if not c.sign]
    return Group(
        line.label,
        [change for change in line.cells if change.sign],
        state=line.state,
        reason=line.reason,
        context=cut(", ".join(same), MAX_ROW),
    )


class _Grid:
    """A table with a column for each column of the rows.

    Args:
        lines: Its lines.
        arrow: What stands between a short value and what it became.
    """

    def __init__(self, lines: Sequence[Line], arrow: str) -> None:
        self._lines = lines
        self._arrow = arrow
        self._cells = [self._of(line) for line in lines]
        self._names = list(dict.fromkeys(name for cells in self._cells for name in cells))
        kept = {each.column for line in lines for each in line.cells if each.sign != "+"}
        self._added = set(self._names) - kept

    def _of(self, line: Line) -> dict[str, tuple[Sign, str]]:
        """Sign and text of each column; the places of a nested one stand below each other."""
        found: dict[str, tuple[Sign, str]] = {}
        for change in line.cells:
            text, before = self._text(change), found.get(change.column)
            found[change.column] = (
                (change.sign, text) if before is None else ("~", f"{before[1]}\n{text}")
            )
        return found

    def _text(self, change: Change) -> str:
        place = f"{change.place} " if change.place else ""
        if change.sign == "~" and change.before != change.after:
            short = f"~ {place}{change.before} {self._arrow} {change.after}"
            long = f"- {place}{change.before}\n+ {place}{change.after}"
            return short if len(short) <= _MAX_CELL else long
        sign = f"{change.sign} " if change.sign else ""
        return f"{sign}{place}{change.after or change.before}"

    def fits(self, width: int) -> bool:
        """Whether no column has to be narrower than its texts are, or than `_MAX_CELL`."""
        widest = self._widest()
        if max(widest.values(), default=0) > _MAX_CELL * _MAX_FOLDS:
            return False
        own = [min(max(n, len(name) + 2), _MAX_CELL) + _BORDER for name, n in widest.items()]
        label = max(len(f"{line.label}{line.state}") for line in self._lines)
        return sum(own) + max(label, len("row")) + _BORDER + 1 <= width

    def _widest(self) -> Mapping[str, int]:
        """Letters of the longest line in each column."""
        return {
            name: max(
                len(line)
                for cells in self._cells
                for line in cells.get(name, ("", ""))[1].split("\n")
            )
            for name in self._names
        }

    def table(self, stream: TextIO) -> Table:
        """The table, for a console."""
        from rich.text import Text

        folded = any("\n" in text for cells in self._cells for _, text in cells.values())
        table = empty_table(stream, show_lines=folded)
        table.add_column("row", overflow="fold")
        for name in self._names:
            sign: Sign = "+" if name in self._added else ""
            title = f"{sign} {printable(name)}" if sign else printable(name)
            table.add_column(Text(title, style=STYLES[sign]), overflow="fold", max_width=_MAX_CELL)
        for line, cells in zip(self._lines, self._cells, strict=True):
            color = _STATE_STYLES[line.state]
            row = [cells.get(name, ("", "")) for name in self._names]
            texts = [Text(text, style=STYLES[sign] or color) for sign, text in row]
            table.add_row(Text(f"{line.label} {line.state}".strip(), style=color), *texts)
        return table

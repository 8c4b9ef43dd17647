"""The SQL that is analyzed, and where each character of it stands in the user's own file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from etlkit.sql_check.python_literals import literal_offsets

Edit = tuple[int, int, str]
"""Start and end in the user's text, and what stands there instead."""

_TAB_WIDTH = 8
"""GoogleSQL counts a tab as a step to the next multiple of it."""

_NEWLINE = re.compile(r"\r\n|\n|\r")
_WORD = re.compile(r"(?:`[^`\n]*`|[\w$@]+)(?:\.(?:`[^`\n]*`|[\w$@]+))*|'[^'\n]*'|\"[^\"\n]*\"")


@dataclass(frozen=True)
class Place:
    """A position in a user's file, or in a text of SQL whose file is not known.

    Attributes:
        file: The file; None = it is not known.
        line: 1 = the first; None = not known.
        column: 1 = the first character; None = not known.
        excerpt: The whole line; empty = not known.
        width: How many characters the error is about, at least 1.
        what: The part of the job, e.g. `source query`; empty = the file says it.
        caret: Where in the excerpt the error is, 1 = first; None = at `column`.
    """

    file: str | None
    line: int | None = None
    column: int | None = None
    excerpt: str = ""
    width: int = 1
    what: str = ""
    caret: int | None = None


@dataclass(frozen=True)
class Origin:
    """Where a text of SQL comes from.

    Attributes:
        file: An SQL file, or the Python module that holds the text as a literal; None = not known.
        what: The part of the job, e.g. `source query`.
    """

    file: Path | None
    what: str

    def place(self, text: str, offset: int) -> Place:
        """The place of a character of the text.

        Args:
            text: The SQL as the user wrote it.
            offset: 0 = its first character.
        """
        width = _width(text, offset)
        if self.file is None or self.file.suffix != ".py":
            shown = None if self.file is None else str(self.file)
            return replace(_in_text(text, offset), file=shown, width=width, what=self.what)
        try:
            module = self.file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            module = ""
        offsets = literal_offsets(module, text)
        if offsets is None:  # the module computes it: lines count from its own beginning
            found = _in_text(text, offset)
            what = f"{self.what}, line {found.line}, column {found.column}"
            return Place(str(self.file), None, None, found.excerpt, width, what, found.column)
        found = _in_text(module, offsets[min(offset, len(offsets) - 1)])
        return replace(found, file=str(self.file), width=width, what=self.what)


def _in_text(text: str, offset: int) -> Place:
    start = max(text.rfind("\n", 0, offset), -1) + 1
    end = text.find("\n", offset)
    excerpt = text[start : len(text) if end < 0 else end].rstrip("\r")
    return Place(None, text.count("\n", 0, offset) + 1, offset - start + 1, excerpt)


def _width(text: str, offset: int) -> int:
    word = _WORD.match(text, offset)
    return len(word[0]) if word else 1


@dataclass(frozen=True)
class SqlText:
    """A text of SQL with changes that keep its positions.

    Attributes:
        written: As the user wrote it.
        origin: Where it stands.
        edits: What is replaced in it, by position; none inside of another one.
    """

    written: str
    origin: Origin
    edits: tuple[Edit, ...] = field(default=())

    @property
    def sql(self) -> str:
        """What is analyzed."""
        parts, position = [], 0
        for start, end, new in self.edits:
            parts += [self.written[position:start], new]
            position = end
        return "".join([*parts, self.written[position:]])

    def edited(self, edits: Sequence[Edit]) -> SqlText:
        """The text with more replacements; one that touches another takes its place."""
        kept = [old for old in self.edits if not any(_overlap(old, new) for new in edits)]
        return replace(self, edits=tuple(sorted([*kept, *edits], key=lambda each: each[:2])))

    def part(self, start: int, end: int) -> SqlText:
        """One statement of the text: all around it is left out, positions stay."""
        inside = [each for each in self.edits if start <= each[0] and each[1] <= end]
        around = [(0, start, ""), (end, len(self.written), "")]
        return replace(self, edits=(around[0], *inside, around[1]))

    def written_offset(self, line: int, column: int) -> int:
        """The position in the user's text of a line and column of `sql`, as GoogleSQL counts them."""
        offset = _offset(self.sql, line, column)
        moved = 0
        for start, end, new in self.edits:
            begins = start + moved
            if offset < begins:
                break
            if offset < begins + len(new):
                return start
            moved += len(new) - (end - start)
        return min(offset - moved, len(self.written))

    def place(self, line: int | None, column: int | None) -> Place:
        """Where a line and column of `sql` stand in the user's file; None = the whole text."""
        if line is None or column is None:
            first = next((end for start, end, _ in self.edits if start == 0), 0)
            return self.origin.place(self.written, first)
        return self.origin.place(self.written, self.written_offset(line, column))


def _overlap(one: Edit, other: Edit) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _offset(sql: str, line: int, column: int) -> int:
    """The position of a line and column, both from 1."""
    start = 0
    for _ in range(line - 1):
        newline = _NEWLINE.search(sql, start)
        if newline is None:
            return len(sql)
        start = newline.end()
    reached = 1
    for offset in range(start, len(sql)):
        if reached >= column:
            return offset
        is_tab = sql[offset] == "\t"
        reached += _TAB_WIDTH - (reached - 1) % _TAB_WIDTH if is_tab else 1
    return len(sql)

"""What differs between two rows, as signs and texts: `~` changed, `+` added, `-` removed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from etlkit.cli.sql_output import to_json_value
from etlkit.cli.tables import printable
from etlkit.engine.comparison import is_same

Sign = Literal["", "~", "+", "-"]

STYLES: dict[str, str] = {"~": "yellow", "+": "green", "-": "red", "": ""}
"""Colours of the signs, for those who see them."""

MAX_TEXT = 200
"""Characters of a value; the rest is counted."""

_BEFORE_CHANGE = 30
"""Characters that are shown before the first difference of two long texts."""

MAX_VALUE, MAX_ROW = 30, 100
"""Letters of a value and of a row, where a row is only to be told from others."""

_ROW = re.compile(r"^row (?:\d+|with id \S+)(?: \(id [^)]*\))?(?:: |, )")

_MAX_PARTS = 4
"""Places of a nested value that are shown with what was there before and after."""


@dataclass(frozen=True, slots=True)
class Change:
    """One column of a row, or one place within a nested value, before and after.

    Attributes:
        column: The column's name.
        sign: Empty = the same.
        before: As text; empty = it is not there.
        after: Likewise.
        place: Within the column, as `.address.city` or `[2]`; empty = all of it.
    """

    column: str
    sign: Sign
    before: str
    after: str
    place: str = ""


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """All columns of two rows, those of the first one first; a nested value is taken apart."""
    names = list(dict.fromkeys([*before, *after]))
    return [change for name in names for change in _column(name, before, after)]


def _column(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    if name not in after:
        yield Change(name, "-", value_text(before[name]), "")
    elif name not in before:
        yield Change(name, "+", "", value_text(after[name]))
    elif is_same(before[name], after[name]):
        text = value_text(before[name])
        yield Change(name, "", text, text)
    else:
        parts = list(_parts(name, "", before[name], after[name]))
        yield from parts[:_MAX_PARTS]
        if len(parts) > _MAX_PARTS:
            text = f"{len(parts) - _MAX_PARTS:,} more places"
            yield Change(name, "~", text, text, " …")


def _parts(name: str, place: str, before: Any, after: Any) -> Iterator[Change]:
    """The places in which two values differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in dict.fromkeys([*before, *after]):
            yield from _part(name, f"{place}.{key}", before, after, key)
    elif isinstance(before, list) and isinstance(after, list):
        one, other = dict(enumerate(before)), dict(enumerate(after))
        for index in range(max(len(one), len(other))):
            yield from _part(name, f"{place}[{index}]", one, other, index)
    else:
        yield Change(name, "~", *_two_texts(before, after), place)


def _part(
    name: str, place: str, before: Mapping[Any, Any], after: Mapping[Any, Any], key: Any
) -> Iterator[Change]:
    if key not in before:
        yield Change(name, "+", "", value_text(after[key]), place)
    elif key not in after:
        yield Change(name, "-", value_text(before[key]), "", place)
    elif not is_same(before[key], after[key]):
        yield from _parts(name, place, before[key], after[key])


def _two_texts(before: Any, after: Any) -> tuple[str, str]:
    """Two values that differ, cut so that their first difference is visible."""
    one, other = _whole_text(before), _whole_text(after)
    pairs = enumerate(zip(one, other, strict=False))
    same = next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))
    start = same - _BEFORE_CHANGE if same > MAX_TEXT - _BEFORE_CHANGE else 0
    return _cut_text(one, start), _cut_text(other, start)


def value_text(value: Any) -> str:
    """A value on one line; nested ones as JSON, long ones cut."""
    return _cut_text(_whole_text(value))


def _whole_text(value: Any) -> str:
    if value is None:
        return "NULL"
    plain = to_json_value(value)
    text = plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)
    return printable(text.replace("\n", "\\n"))


def _cut_text(text: str, start: int = 0) -> str:
    if len(text) <= MAX_TEXT:
        return text
    end = "…" if len(text) > start + MAX_TEXT else ""
    shown = f"{'…' if start else ''}{text[start : start + MAX_TEXT]}{end}"
    return f"{shown} ({len(text):,} chars)"


def short_row(row: Mapping[str, Any]) -> str:
    """A row on one line, to tell it from others: long values and many columns are cut."""
    return cut(
        ", ".join(f"{name} {cut(value_text(v), MAX_VALUE)}" for name, v in row.items()), MAX_ROW
    )


def cut(text: str, most: int) -> str:
    """A text, with a dot-dot-dot where it is longer."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def without_row(message: str) -> str:
    """The message of a row's error without number and id of the row, which stands beside it."""
    return _ROW.sub("", message)

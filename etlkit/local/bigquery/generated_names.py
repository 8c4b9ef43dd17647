"""Statements that differ only in generated names are the same statement for the analyzer.

The tables of a run have its id in their names, so that the statements of two runs never have the same
text. Here each such part of a name is replaced by a number, in the order in which they come: what is
known about one statement is known about all that are left the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Any, Final

from etlkit.local.bigquery.sql_names import Scan

_IN_NAMES: Final = re.compile(r"_([0-9a-f]*[0-9][0-9a-f]*)(?![A-Za-z0-9])")
"""A part of a name behind `_`, in hexadecimal digits. No function of BigQuery has such a part."""

_IN_STRINGS: Final = re.compile(
    r"\b(\d{8}_\d{9}_[0-9a-f]{8}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    r"|(?=[0-9a-f]*[a-f])(?=[0-9a-f]*[0-9])[0-9a-f]{12,})\b"
)
"""Ids of runs, UUIDs and tokens. Other texts may mean something to the analyzer, such as a date."""

_HIDDEN: Final = re.compile(r"qz(\d+)zq")


class Renaming:
    """The generated parts of the names of one statement, and what stands for them."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def text(self, scan: Scan) -> str:
        """The text of a statement with its names replaced, and without comments."""
        return "".join(map(self._piece, scan.pieces))

    def _piece(self, piece: tuple[str, str]) -> str:
        kind, text = piece
        if kind == "path":
            return self.hide(text)
        if kind == "string":
            return _IN_STRINGS.sub(lambda match: self._number(match[1]), text)
        return " " if kind == "comment" else text

    def hide(self, name: str) -> str:
        """A name, or any text of names, with its generated parts replaced."""
        return _IN_NAMES.sub(lambda match: f"_{self._number(match[1])}", name)

    def show(self, name: str) -> str:
        """The inverse of `hide`."""
        if "qz" not in name:
            return name
        parts = [*self._numbers]
        return _HIDDEN.sub(lambda match: parts[int(match[1])], name)

    def _number(self, part: str) -> str:
        return f"qz{self._numbers.setdefault(part, len(self._numbers))}zq"


def mapped(value: Any, change: Callable[[str], str]) -> Any:
    """A value with all texts within it changed: in tuples, sets, mappings and data classes."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, tuple):
        return tuple(mapped(each, change) for each in value)
    if isinstance(value, frozenset):
        return frozenset(mapped(each, change) for each in value)
    if isinstance(value, Mapping):
        return {mapped(k, change): mapped(v, change) for k, v in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return type(value)(
            **{name: mapped(getattr(value, name), change) for name in _names(type(value))}
        )
    return value


@lru_cache(maxsize=32)
def _names(kind: type[Any]) -> tuple[str, ...]:
    return tuple(each.name for each in fields(kind))

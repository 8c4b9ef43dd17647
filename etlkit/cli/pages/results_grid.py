"""A table as a grid that sorts and searches: DataTables, as the package itables ships it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final, TypeAlias

from etlkit.bigquery.result_rows import ResultColumn, ResultRows
from etlkit.cli.sql_output import to_json_value

Cell: TypeAlias = str | int | float | bool | None

MAX_CELL: Final = 300
"""Characters of a cell; the rest is left out."""

MAX_GRID_BYTES: Final = 12_000_000
MAX_GRID_ROWS: Final = 20_000
"""The browser needs about a second to make a grid of so many rows."""

_SAFE_INTEGER: Final = 2**53
"""Larger integers lose digits in JavaScript; as text they stay what they are."""

_NUMBERS: Final = frozenset({"INT64", "FLOAT64", "NUMERIC", "BIGNUMERIC"})
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_EXPORT: Final = re.compile(r"\bexport\{(?P<names>[^{}]+)\};?")


@dataclass(frozen=True)
class Grid:
    """The rows of a grid.

    Attributes:
        names: Of the columns.
        types: Of the columns, as people write them.
        numeric: Whether each column has numbers.
        rows: Cells by row; None = NULL.
        num_cut: Cells that are cut.
        num_left_out: Rows that were read but do not fit.
    """

    names: Sequence[str]
    types: Sequence[str]
    numeric: Sequence[bool]
    rows: Sequence[Sequence[Cell]]
    num_cut: int
    num_left_out: int


def make_grid(result: ResultRows) -> Grid:
    """Convert rows to cells, as many as fit a page."""
    rows: list[list[Cell]] = []
    num_bytes = num_cut = 0
    for values in result.rows[:MAX_GRID_ROWS]:
        cells = [_cell(*each) for each in zip(result.columns, values, strict=True)]
        long = [isinstance(cell, str) and len(cell) > MAX_CELL for cell in cells]
        cells = [_cut(cell) if is_long else cell for cell, is_long in zip(cells, long, strict=True)]
        num_bytes += sum(len(str(cell)) + 4 for cell in cells)
        if num_bytes > MAX_GRID_BYTES:
            break
        num_cut += sum(long)
        rows.append(cells)
    return Grid(
        names=[column.name for column in result.columns],
        types=[column.shown_type for column in result.columns],
        numeric=[column.type in _NUMBERS and not column.is_repeated for column in result.columns],
        rows=rows,
        num_cut=num_cut,
        num_left_out=len(result.rows) - len(rows),
    )


def _cut(cell: Cell) -> str:
    text = str(cell)
    return f"{text[:MAX_CELL]}… ({len(text):,} characters)"


def _cell(column: ResultColumn, value: Any) -> Cell:
    """A value as the grid shows it: numbers and NULL stay, the rest becomes text."""
    if value is None:
        return None
    if isinstance(value, bytes):
        return f"{len(value):,} bytes: {to_json_value(value[:64])}{'…' if len(value) > 64 else ''}"
    plain = to_json_value(value)
    if isinstance(plain, bool):
        return str(plain).lower()
    if isinstance(plain, int):
        return plain if abs(plain) <= _SAFE_INTEGER else str(plain)
    if isinstance(plain, float | str) and column.type != "JSON":
        return plain
    return json.dumps(plain, ensure_ascii=False)


def grid_style() -> str:
    """The CSS of DataTables."""
    return _file("dt_bundle.css")


@cache
def grid_script() -> str:
    """DataTables as a script: it sets `window.DataTable`.

    itables ships a module, whose names end at its last statement. Here they end with a function, so
    that the page's policy can name the script by its hash and other scripts can use it. Control
    characters, which a page must not have, are spelled out.

    Raises:
        RuntimeError: itables ships something else than it did.
    """
    bundle = _CONTROLS.sub(lambda each: f"\\x{ord(each[0]):02x}", _file("dt_bundle.js"))
    found = _EXPORT.search(bundle)
    names = dict(re.findall(r"([\w$]+) as ([\w$]+)", found["names"])) if found else {}
    table = next((name for name, public in names.items() if public == "default"), None)
    if found is None or table is None:
        raise RuntimeError("itables ships its DataTables in another form; install itables<3")
    end = f"window.DataTable={table};"
    return f'(()=>{{"use strict";{bundle[: found.start()]}{end}{bundle[found.end() :]}\n}})();'


def _file(name: str) -> str:
    return (files("itables") / "html" / name).read_text(encoding="utf-8")

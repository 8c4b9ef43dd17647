"""Prints rows for a person (`table`) or for a program (`json`, `csv`)."""

from __future__ import annotations

import base64
import csv
import json
import math
from datetime import date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TextIO

from etlkit.api.quantities import number_of
from etlkit.cli.tables import print_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

FORMATS = ("table", "json", "csv")

_NULL = "NULL"
_NUMBERS = (int, float, Decimal)

_NON_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def write_rows(
    stream: TextIO,
    format_name: str,
    names: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    counted: bool = True,
) -> None:
    """Print rows.

    No value is cut. `json` is one array of objects. `json` and `csv` are written row by row; `table`
    reads all rows first, to know how wide its columns are.

    Args:
        stream: Where to print. On a terminal the table fits its width.
        format_name: One of `FORMATS`.
        names: Column names.
        rows: Values as the BigQuery client returns them; None = NULL.
        counted: Whether a line below a `table` says how many there are.
    """
    if format_name == "json":
        _write_json(stream, names, rows)
    elif format_name == "csv":
        _write_csv(stream, names, rows)
    else:
        num_rows = _write_table(stream, names, rows)
        if counted:
            stream.write(f"({number_of(num_rows, 'row')})\n")


def to_json_value(value: Any) -> Any:
    """Convert a value to one that `json` can write.

    Bytes become base64. Dates, times, NaN and infinities become strings, as in BigQuery's `TO_JSON`.
    NUMERIC becomes a string too, because a JSON number could lose digits.
    """
    if isinstance(value, dict):
        return {str(key): to_json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json_value(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return _NON_FINITE[str(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return _scalar_text(value)


def _scalar_text(value: Any) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date | time):
        return value.isoformat()
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def to_text(value: Any) -> str:
    """Convert a value to text: strings stay as they are, others become JSON; None becomes ""."""
    if value is None:
        return ""
    plain = to_json_value(value)
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def _write_json(stream: TextIO, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    separator = "["
    for row in rows:
        item = dict(zip(names, map(to_json_value, row), strict=True))
        stream.write(f"{separator}\n  {json.dumps(item)}")
        separator = ","
    stream.write("[]\n" if separator == "[" else "\n]\n")


def _write_csv(stream: TextIO, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(map(to_text, row) for row in rows)


def _write_table(stream: TextIO, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> int:
    table = list(rows)
    cells = [[_NULL if value is None else to_text(value) for value in row] for row in table]
    numeric = {
        name
        for name, *values in zip(names, *table, strict=True)
        if values and all(value is None or isinstance(value, _NUMBERS) for value in values)
    }
    print_table(stream, names, cells, numeric=numeric)
    return len(cells)

"""The types of CSV columns, guessed from the cells, and BigQuery's names for columns without."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
"""Up to 18 digits always fit INT64; one with a plus or leading zeros is a code, not a number."""

_FLOAT = re.compile(r"-?((0|[1-9][0-9]*)(\.[0-9]+)?|\.[0-9]+)([eE][+-]?[0-9]{1,2})?")
_BOOL = re.compile(r"true|false", re.IGNORECASE)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DATETIME = re.compile(_DATE.pattern + r"[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?")
ZONE = r" ?(Z|UTC|[+-][0-9]{2}(:?[0-9]{2})?)$"
_TIMESTAMP = re.compile(_DATETIME.pattern + ZONE)

_MAX_EXACT = 15
"""Digits of a whole number that a float keeps; a longer one among floats would be rounded."""

_MAX_PRINTED = 17
"""Digits that programs print of a float; what has more is no float."""

_PREFIXES = {"FLOAT64": "double"}


def guess_type(cells: Iterable[str]) -> str:
    """The narrowest type that every cell fits; STRING if there are none."""
    kinds = set(map(_kind, cells))
    if len(kinds) == 1:
        return kinds.pop().removeprefix("LONG_")
    if kinds and kinds <= {"INT64", "FLOAT64"}:
        return "FLOAT64"
    return "INT64" if kinds and kinds <= {"INT64", "LONG_INT64"} else "STRING"


def _kind(cell: str) -> str:
    if _INTEGER.fullmatch(cell):
        return "INT64" if len(cell.lstrip("-")) <= _MAX_EXACT else "LONG_INT64"
    if _FLOAT.fullmatch(cell):
        digits = re.sub(r"[eE].*|[^0-9]", "", cell).lstrip("0")
        return "FLOAT64" if len(digits) <= _MAX_PRINTED else "STRING"
    if _BOOL.fullmatch(cell):
        return "BOOL"
    for pattern, kind in ((_DATE, "DATE"), (_DATETIME, "DATETIME"), (_TIMESTAMP, "TIMESTAMP")):
        if pattern.fullmatch(cell):
            return kind if _is_in_calendar(cell) else "STRING"
    return "STRING"


def _is_in_calendar(cell: str) -> bool:
    try:
        datetime.fromisoformat(re.sub(r" ?UTC$", "Z", cell).replace(" +", "+").replace(" -", "-"))
    except ValueError:
        return False
    return True


def autodetect_names(types: Sequence[str]) -> list[str]:
    """What BigQuery's autodetection calls columns without names, e.g. `int64_field_0`."""
    return [
        f"{_PREFIXES.get(kind, kind.lower())}_field_{position}"
        for position, kind in enumerate(types)
    ]

"""What the Storage Write API takes for a JSON column."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from etlkit.local.bigquery.rules.registry import Asked, rule
from etlkit.local.bigquery.rules.type_parameters import sent_columns

if TYPE_CHECKING:
    import pyarrow as pa
    from bqemulator.catalog.models import TableFieldSchema

MAX_LEVELS: Final = 500

_SMALLEST: Final = -(1 << 63)
_LARGEST: Final = (1 << 64) - 1
_SOURCE: Final = "reference/standard-sql/data-types#json_type"


@rule(
    Asked.APPEND,
    "JSON is valid, has integers from -2^63 to 2^64 - 1, and at most 500 levels.",
    _SOURCE,
)
def json_limits(rows: pa.Table, fields: Sequence[TableFieldSchema]) -> Iterator[tuple[int, str]]:
    """Name the rows with other JSON."""
    for field, column in sent_columns(rows, fields):
        if field.type != "JSON" or field.mode == "REPEATED":
            continue
        for index, text in enumerate(column.to_pylist()):
            fault = None if text is None else _fault(text)
            if fault is not None:
                yield index, f"Invalid JSON value for field {field.name}: {fault}"


def _fault(text: str) -> str | None:
    """Why a text is not taken; None = it is."""
    if _levels(text) > MAX_LEVELS:
        return f"the maximum nesting depth of {MAX_LEVELS} is exceeded"
    try:
        json.loads(text, parse_int=_integer, parse_constant=_constant)
    except ValueError as error:
        return str(error)
    return None


def _integer(text: str) -> int:
    number = int(text)
    if not _SMALLEST <= number <= _LARGEST:
        raise ValueError(f"the number {text} cannot be stored")
    return number


def _constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def _levels(text: str) -> int:
    """How deep arrays and objects are in each other. A loop: Python's parser would run out of stack."""
    deepest = depth = 0
    is_string = is_escaped = False
    for character in text:
        if is_string:
            is_string = is_escaped or character != '"'
            is_escaped = character == "\\" and not is_escaped
        elif character == '"':
            is_string = True
        elif character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest

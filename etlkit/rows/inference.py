"""Columns from rows: what a new key's values say about its type."""

from __future__ import annotations

from datetime import date, datetime, time
from decimal import Decimal
from itertools import chain
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from etlkit.errors import RowSchemaError
from etlkit.rows.columns import Column
from etlkit.rows.scalar import RefusedError, type_name
from etlkit.rows.scalars import INT64_MAX, INT64_MIN, decimal_fits, json_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from etlkit.rows.row import Row

# The first match wins: bool is an Integral, datetime is a date.
_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "BOOL"),
    (Integral, "INT64"),
    (Real, "FLOAT64"),
    (Decimal, "NUMERIC"),
    (str, "STRING"),
    ((bytes, bytearray, memoryview), "BYTES"),
    (datetime, "TIMESTAMP"),
    (date, "DATE"),
    (time, "TIME"),
    (dict, "JSON"),
    ((list, tuple), "ARRAY"),
)


def infer_columns(rows: Sequence[Row], known: Mapping[str, Column]) -> tuple[Column, ...]:
    """The columns of rows whose keys are not all columns yet.

    | Values of a new key (None aside) | Type |
    |---|---|
    | bool, str, bytes, date, time | BOOL, STRING, BYTES, DATE, TIME |
    | int | INT64; NUMERIC or BIGNUMERIC if one is beyond 64 bits |
    | float, or int and float | FLOAT64 |
    | Decimal, or int and Decimal | NUMERIC; BIGNUMERIC if one does not fit exactly |
    | datetime | TIMESTAMP if aware, DATETIME if naive |
    | dict; lists of dicts, of lists, of several types or with None; only empty lists | JSON |
    | lists of one of the scalar rows above | ARRAY of its type |
    | any other mix | JSON if JSON can hold all of them |
    | only None | STRING |

    Args:
        rows: Dicts; the more, the better the types of rare keys.
        known: Columns that keep their definition, by name. One that no row has is not in the
            result: the transform dropped it.

    Returns:
        One nullable (or repeated) column per key, in order of first appearance.

    Raises:
        RowSchemaError: A key is no str or differs from another only in case; a value is of a type
            no column can hold; or the values of a key do not go together.
    """
    columns = []
    for name in _keys(rows, known):
        if name in known:
            columns.append(known[name])
            continue
        values = [row[name] for row in rows if row.get(name) is not None]
        columns.append(_infer(name, values))
    return tuple(columns)


def _keys(rows: Sequence[Row], known: Mapping[str, Column]) -> list[str]:
    spelled = {name.casefold(): name for name in known}
    seen: dict[str, None] = {}
    for row in rows:
        for key in row:
            if key in seen:
                continue
            if not isinstance(key, str):
                raise RowSchemaError(
                    f"a key is a {type_name(type(key))}; column names are str", column=repr(key)
                )
            other = spelled.setdefault(key.casefold(), key)
            if other != key:
                raise RowSchemaError(
                    f"the key differs only in case from {other!r}, and BigQuery takes them for "
                    "one column; write one of them everywhere",
                    column=key,
                )
            seen[key] = None
    return list(seen)


def _infer(name: str, values: list[Any]) -> Column:
    if not values:
        return Column(name, "STRING")
    kinds = _kinds(name, values)
    if kinds == {"ARRAY"}:
        items = list(chain.from_iterable(values))
        filled = [item for item in items if item is not None]
        kind = _scalar(name, filled) if len(filled) == len(items) else None
        return Column(name, kind, "REPEATED") if kind else Column(name, "JSON")
    kind = _scalar(name, values)
    if kind is None and kinds != {"JSON"}:
        _check_json(name, values, kinds)
    return Column(name, kind or "JSON")


def _kinds(name: str, values: list[Any]) -> set[str]:
    """The BigQuery types (or ARRAY) that the values' Python types point to."""
    kinds = set()
    for each in set(map(type, values)):
        kind = next((kind for types, kind in _KINDS if issubclass(each, types)), None)
        if kind is None:
            raise RowSchemaError(
                f"got {type_name(each)}, which no column type holds: convert it, e.g. to a str, a "
                "list or a dict",
                column=name,
            )
        kinds.add(kind)
    return kinds


def _scalar(name: str, values: list[Any]) -> str | None:
    """The one scalar type that holds all values; None = there is none."""
    kinds = _kinds(name, values)
    if kinds == {"INT64"} and min(values) >= INT64_MIN and max(values) <= INT64_MAX:
        return "INT64"
    if kinds == {"INT64", "FLOAT64"}:
        return "FLOAT64"
    if kinds and kinds <= {"INT64", "NUMERIC"}:
        return _decimal_type(name, values)
    if kinds == {"TIMESTAMP"}:
        return _datetime_type(name, values)
    if len(kinds) == 1 and not kinds & {"JSON", "ARRAY"}:
        return kinds.pop()
    return None


def _decimal_type(name: str, values: list[Any]) -> str:
    for kind in ("NUMERIC", "BIGNUMERIC"):
        if all(decimal_fits(value, kind) for value in values):
            return kind
    raise RowSchemaError(
        "got a number that not even BIGNUMERIC holds exactly (38 digits before and after the "
        "point): round it, or write it as a str",
        column=name,
    )


def _datetime_type(name: str, values: list[datetime]) -> str:
    aware = {value.utcoffset() is not None for value in values}
    if len(aware) > 1:
        raise RowSchemaError(
            "got datetimes with and without a timezone: add one to all of them (TIMESTAMP) or "
            "remove it from all of them (DATETIME)",
            column=name,
        )
    return "TIMESTAMP" if aware.pop() else "DATETIME"


def _check_json(name: str, values: list[Any], kinds: set[str]) -> None:
    for value in values:
        try:
            json_text(value)
        except RefusedError as error:
            raise RowSchemaError(
                f"got values of several types ({', '.join(sorted(kinds))}), and not even JSON "
                f"holds all of them ({error}): convert them to one type",
                column=name,
            ) from error

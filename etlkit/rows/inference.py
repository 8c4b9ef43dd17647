"""Types of new columns, inferred from the values in rows."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from etlkit.errors import RowSchemaError
from etlkit.rows.columns import Column
from etlkit.rows.refused import RefusedError, type_name
from etlkit.rows.types import TYPES, native_class

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from etlkit.rows.row import Row


def infer_columns(rows: Sequence[Row], known: Mapping[str, Column]) -> tuple[Column, ...]:
    """The columns of rows that have keys without a known column.

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
        rows: Dicts; with more rows, the types of rare keys are more reliable.
        known: Columns that keep their definition, by name. A column that no row has is not in the
            result: the transform dropped it.

    Returns:
        One nullable (or repeated) column per key, in order of first appearance.

    Raises:
        RowSchemaError: A key is not a str, or differs from another only in case; no column can hold
            a value's type; or no column can hold all values of a key.
    """
    columns = []
    for name in _keys(rows, known):
        if name in known:
            columns.append(known[name])
            continue
        values = [row[name] for row in rows if row.get(name) is not None]
        columns.append(_infer(name, values))
    return tuple(columns)


def first_misfit(rows: Sequence[Row], infer: Callable[[Sequence[Row]], object]) -> int:
    """Position of the first row that does not go with those before it.

    Args:
        rows: `infer` raises RowSchemaError for all of them.
        infer: Finds columns for the first few.
    """
    good, bad = 0, len(rows)
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            infer(rows[:middle])
            good = middle
        except RowSchemaError:
            bad = middle
    return good


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
                    f"the key differs only in case from {other!r}, and BigQuery treats them "
                    "as one column; use one of them everywhere",
                    column=key,
                )
            seen[key] = None
    return list(seen)


def _infer(name: str, values: list[Any]) -> Column:
    if not values:
        return Column(name, "STRING")
    classes = _native_classes(name, values)
    if classes == {list}:
        items = list(chain.from_iterable(values))
        filled = [item for item in items if item is not None]
        kind = _scalar(name, filled) if len(filled) == len(items) else None
        # A list of dicts is one JSON value, not an array of them.
        if kind is None or kind == "JSON":
            return Column(name, "JSON")
        return Column(name, kind, "REPEATED")
    kind = _scalar(name, values)
    if kind is None:
        _check_json(name, values)
    return Column(name, kind or "JSON")


def _native_classes(name: str, values: list[Any]) -> set[type]:
    """The classes in the registry that the values are of; `list` for lists and tuples."""
    classes = set()
    for each in set(map(type, values)):
        native = list if issubclass(each, (list, tuple)) else native_class(each)
        if native is None:
            raise RowSchemaError(
                f"got {type_name(each)}, which no column type holds: convert it, e.g. to a str, a "
                "list or a dict",
                column=name,
            )
        classes.add(native)
    return classes


def _scalar(name: str, values: list[Any]) -> str | None:
    """The first type in the registry that holds all values; None = their classes do not go together.

    Raises:
        RowSchemaError: There is a type for the classes, but a value does not fit it.
    """
    classes = _native_classes(name, values)
    candidates = [
        each
        for each in TYPES.values()
        if classes.intersection(each.infers) and classes <= {*each.infers, *each.mixes}
    ]
    for each in candidates:
        try:
            if each.fits is None or all(map(each.fits, values)):
                return each.name
        except RefusedError as error:
            raise RowSchemaError(str(error), column=name) from error
        except Exception as error:  # a class of the user's, e.g. a timezone
            raise RowSchemaError(
                f"got a value that is no {each.name}: {type_name(type(error))}", column=name
            ) from error
    if candidates:
        raise RowSchemaError(candidates[-1].misfit, column=name)
    return None


def _check_json(name: str, values: list[Any]) -> None:
    for value in values:
        try:
            TYPES["JSON"].clean(value)
        except RefusedError as error:
            names = ", ".join(sorted({type_name(type(each)) for each in values}))
            raise RowSchemaError(
                f"got values of several types ({names}), and not even JSON holds all of them "
                f"({error}): convert them to one type",
                column=name,
            ) from error

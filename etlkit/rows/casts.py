"""Casts of Arrow arrays to the types of columns, without loss, and checks of what is in them.

Arrow's own casts lose more than etlkit may: the time of a day, digits, fields of a struct, the zone of
an instant. Here a cast is one of the following, or it is refused:

- a type that holds all values of the array's type, e.g. int32 -> INT64: by Arrow
- from text: as a CSV cell; to text: as Arrow writes the value
- between floats and decimals: by way of their text, so that 0.1 stays 0.1
- any other within numbers, or within dates and times: by Arrow, if casting back gives the same values
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from etlkit.errors import SourceError
from etlkit.rows.codecs import limit_of
from etlkit.rows.columns import Column, arrow_schema, arrow_type
from etlkit.rows.refused import RefusedError
from etlkit.rows.types import STRUCT, TYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from etlkit.rows.types import ScalarType

_TIMES = frozenset({"DATE", "DATETIME", "TIME", "TIMESTAMP"})
_DECIMALS = frozenset({"NUMERIC", "BIGNUMERIC"})
_TEXTS = frozenset({"STRING", "JSON"})
"""Any value has a text; whether it is JSON is checked afterwards."""


class MisfitError(ValueError):
    """A value, or all values, of an array do not fit a column.

    Attributes:
        column: The column's name.
        index: Position of the first such value in the array, 0 = first; None = its type does not fit.
        reason: What is wrong, without the value.
        detail: What a check of ours says about the value; empty = it was Arrow that refused it.
    """

    def __init__(self, column: str, index: int | None, reason: str, detail: str) -> None:
        super().__init__(reason)
        self.column = column
        self.index = index
        self.reason = reason
        self.detail = detail


def conform(batch: pa.RecordBatch, columns: Sequence[Column]) -> pa.RecordBatch:
    """Give a batch the Arrow types of `columns`, by name and without loss. No copy where they match.

    Raises:
        SourceError: A value does not fit its column's type.
        KeyError: A column is missing.
    """
    try:
        arrays = [cast(batch.column(column.name), column) for column in columns]
    except MisfitError as error:
        raise SourceError(f"column {error.column!r} {error.reason}", stage="read") from error
    return pa.RecordBatch.from_arrays(arrays, schema=arrow_schema(columns))


def cast(array: pa.Array, column: Column) -> pa.Array:
    """An array in the Arrow type of a column.

    Raises:
        MisfitError: It does not fit without loss.
    """
    return _first_misfit(lambda part: _cast(part, column), array, column)


def parse(array: pa.Array, column: Column) -> pa.Array:
    """An array of CSV cells in the Arrow type of a column.

    Raises:
        MisfitError: The first cell that does not fit.
    """
    if array.type == arrow_type(column):
        return array
    return _first_misfit(
        lambda part: _from_text(part, TYPES[column.type], arrow_type(column)), array, column
    )


def check(array: pa.Array, column: Column) -> None:
    """Check that rows can be read from an array in a column's Arrow type, and that BigQuery takes them.

    Raises:
        MisfitError: The first value that is refused.
    """
    _first_misfit(lambda part: _check(part, column), array, column)


def _first_misfit(work: Callable[[pa.Array], Any], array: pa.Array, column: Column) -> Any:
    """Do the work; if it fails, find at which value, by halves."""
    try:
        return work(array)
    except MemoryError:
        raise
    except Exception as error:
        found = error
    try:
        work(array.slice(0, 0))
    except Exception as error:
        raise _misfit(error, array, column, None) from found
    good, bad = 0, len(array)  # the first `good` values are fine, the first `bad` are not
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            work(array.slice(good, middle - good))
            good = middle
        except Exception as error:
            bad, found = middle, error
    raise _misfit(found, array, column, good) from found


def _misfit(error: Exception, array: pa.Array, column: Column, index: int | None) -> MisfitError:
    detail = str(error) if isinstance(error, RefusedError) else ""
    if detail:
        reason = f"is {array.type}, read as {column.parameterized_ddl}: {detail}"
    elif array.type == arrow_type(column):
        reason = f"is {array.type}, and the bytes are not those of such a value"
    else:
        reason = f"is {array.type}, and a value of it does not fit {column.ddl} without loss"
    return MisfitError(column.name, index, reason, detail)


def _cast(array: pa.Array, column: Column) -> pa.Array:
    kind = arrow_type(column)
    if array.type == kind:
        return _without_null_lists(array)
    array = _plain(array)
    if pa.types.is_null(array.type):
        return _without_null_lists(pa.nulls(len(array), kind))
    if column.mode == "REPEATED":
        return _cast_list(array, column)
    if column.type == STRUCT:
        return _cast_struct(array, column)
    return array if array.type == kind else _cast_scalar(array, TYPES[column.type], kind)


def _plain(array: pa.Array) -> pa.Array:
    """The array without the encodings that no type of BigQuery has."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        array = array.dictionary_decode()
    if pa.types.is_fixed_size_binary(kind):
        array = array.cast(pa.binary())
    elif pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        array = array.cast(pa.list_(kind.value_type))
    return array


def _cast_list(array: pa.Array, column: Column) -> pa.Array:
    if not pa.types.is_list(array.type):
        raise TypeError("it is no list")
    element = Column(column.name, column.type, fields=column.fields)
    lengths = array.value_lengths().fill_null(0).to_pylist()
    offsets = pa.array(accumulate(lengths, initial=0), pa.int32())
    return pa.ListArray.from_arrays(offsets, _cast(array.flatten(), element))


def _cast_struct(array: pa.Array, column: Column) -> pa.Array:
    if not pa.types.is_struct(array.type):
        raise TypeError("it is no struct")
    there = {field.name: values for field, values in zip(array.type, array.flatten(), strict=True)}
    if lost := [name for name in there if name not in {field.name for field in column.fields}]:
        raise RefusedError(f"the type has no field {', '.join(lost)}")
    nothing = pa.nulls(len(array))
    children = [_cast(there.get(field.name, nothing), field) for field in column.fields]
    mask = array.is_null() if array.null_count else None
    fields = [pa.field(field.name, arrow_type(field)) for field in column.fields]
    return pa.StructArray.from_arrays(children, fields=fields, mask=mask)


def _cast_scalar(array: pa.Array, to: ScalarType, kind: pa.DataType) -> pa.Array:
    of = pa.types
    here = next((each.name for each in TYPES.values() if each.holds(of, array.type)), None)
    if here == "STRING" and to.name != "BYTES":
        return _from_text(array.cast(pa.string()), to, kind)
    if to.name in _TEXTS:
        return array.cast(pa.string())
    if here is None:
        raise TypeError("no type of BigQuery holds such values")
    if here != to.name and {here, to.name} & _TIMES:
        _refuse_other_times(here, to.name)
    if (here in _DECIMALS and to.name == "FLOAT64") or (here == "FLOAT64" and to.name in _DECIMALS):
        return _from_text(array.cast(pa.string()), to, kind)
    made = array.cast(kind)
    if here == to.name == "FLOAT64":
        return made  # every float of 16 or 32 bits is one of 64 bits
    # Not back to a decimal of few digits: Arrow asks for room for any integer.
    exact = pa.decimal256(76, 38) if of.is_decimal(array.type) else array.type
    if not _is_same(made.cast(exact), array.cast(exact)):
        raise RefusedError("the value would change")
    return made


def _refuse_other_times(here: str, there: str) -> None:
    """Raise unless the values of a type of dates and times can be those of another one.

    A DATETIME is a TIMESTAMP in UTC, as in CSV files. An instant is on no day and at no time of day
    without a zone, so that it becomes nothing else.
    """
    if not {here, there} <= _TIMES or here == "TIMESTAMP":
        raise RefusedError(f"{here} does not become {there}")


def _from_text(array: pa.Array, to: ScalarType, kind: pa.DataType) -> pa.Array:
    return array.cast(kind) if to.from_text is None else to.from_text(array, kind)


def _is_same(one: pa.Array, other: pa.Array) -> bool:
    if one.equals(other):
        return True
    # NaN is never equal to itself.
    same = pc.or_kleene(
        pc.equal(one, other), pc.and_(pc.not_equal(one, one), pc.not_equal(other, other))
    )
    return bool(one.null_count == other.null_count and pc.all(same).as_py())


def _without_null_lists(array: pa.Array) -> pa.Array:
    """Empty lists in place of NULL ones, which BigQuery does not have. No copy where there are none."""
    if not pa.types.is_list(array.type) or not array.null_count:
        return array
    lengths = array.value_lengths().fill_null(0).to_pylist()
    offsets = pa.array(accumulate(lengths, initial=0), pa.int32())
    return pa.ListArray.from_arrays(offsets, array.flatten(), type=array.type)


def _check(array: pa.Array, column: Column) -> None:
    if column.mode == "REPEATED":
        items = array.flatten()
        if items.null_count:
            raise RefusedError("an element of the list is NULL, which no ARRAY of BigQuery has")
        _check(items, Column(column.name, column.type, "NULLABLE", column.fields))
        return
    if column.mode == "REQUIRED" and array.null_count:
        raise RefusedError("it is NULL, but the column is NOT NULL")
    if column.fields:
        rows = array.drop_null() if array.null_count else array
        for field, values in zip(column.fields, rows.flatten(), strict=True):
            _check(values, field)
        return
    scalar = TYPES[column.type]
    if scalar.check is not None:
        scalar.check(array)
    limit = limit_of(column)
    if limit is not None and (wrong := limit(array)) is not None:
        raise RefusedError(wrong)

"""Codecs: all values of a column <-> one Arrow array, also for ARRAY and STRUCT.

Nested values are flattened and encoded column by column, so a field inside a STRUCT inside an ARRAY
is checked and encoded as fast as a column of its own.
"""

from __future__ import annotations

from itertools import accumulate, chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from etlkit.errors import RowSchemaError, SourceError
from etlkit.rows.columns import Column, arrow_type
from etlkit.rows.flat_lists import FlatLists
from etlkit.rows.limits import Check
from etlkit.rows.refused import RefusedError, type_name
from etlkit.rows.row_code import row_maker
from etlkit.rows.types import TYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_MAX_NAMES_SHOWN = 10


class Codec(Protocol):
    """Decodes and encodes one column, or one field inside it."""

    def decode(self, array: Any) -> list[Any]:
        """Arrow -> the same number of Python values; null = None, a null ARRAY = [].

        Raises:
            SourceError: The array is not of the column's Arrow type.
        """

    def read(self, array: Any) -> list[Any]:
        """As `decode`, of an array of a type that `decode` has taken before."""

    def encode(self, values: Sequence[Any]) -> Any:
        """Python values -> Arrow array of the same length; None = null. Does not check REQUIRED.

        Raises:
            RowSchemaError: A value does not fit. Has `column` (a path like `address.zip`), but no row.
        """

    def encode_leaves(self, leaves: Sequence[list[Any]]) -> Any:
        """As `encode`, of the `leaves` of `FlatLists`."""


def codec_for(column: Column, path: str) -> Codec:
    """The codec of a column.

    Args:
        column: The column or field.
        path: Its name in messages.
    """
    element: Codec = _StructCodec(column, path) if column.fields else _ScalarCodec(column, path)
    return _ArrayCodec(element, path) if column.mode == "REPEATED" else element


def unknown_key(key: Any, names: Iterable[str], path: str) -> RowSchemaError:
    """The error for a key that is not in `names`; `path` is their prefix, e.g. `address.`."""
    if not isinstance(key, str):
        return RowSchemaError(
            f"a key is a {type_name(type(key))}; column names are str", column=path + repr(key)
        )
    known = list(names)
    column = path + key
    for name in known:
        if name.casefold() == key.casefold():
            return RowSchemaError(
                f"the key differs only in case from the column {path + name!r}, and BigQuery treats "
                f"them as one; write {name!r}",
                column=column,
            )
    shown = ", ".join(known[:_MAX_NAMES_SHOWN]) + (", …" if len(known) > _MAX_NAMES_SHOWN else "")
    return RowSchemaError(
        f"no column has this name; there are {shown or 'none'}. Delete the key, or add the column "
        "to output_schema",
        column=column,
    )


def missing_value(path: str) -> RowSchemaError:
    """The error for a REQUIRED column without a value."""
    return RowSchemaError("it is None or missing, but the column is NOT NULL", column=path)


def _expected(what: str, value: Any, path: str) -> RowSchemaError:
    return RowSchemaError(f"expected {what}, got {type_name(type(value))}", column=path)


def limit_of(column: Column) -> Check | None:
    """The check of a column's length or digits; None = the type's full range."""
    limit = None if column.fields else TYPES[column.type].limit
    return limit(*column.parameters) if limit is not None and column.parameters else None


class _ScalarCodec:
    def __init__(self, column: Column, path: str) -> None:
        self._path = path
        self._type = TYPES[column.type]
        self._limit = limit_of(column)
        self._exact = self._type.exact
        self._build = self._type.build
        self._arrow = self._type.arrow(pa)
        self.read: Callable[[Any], list[Any]] = self._type.read

    def decode(self, array: Any) -> list[Any]:
        if array.type != self._arrow:
            raise SourceError(
                f"column {self._path!r} arrived as Arrow {array.type}, expected {self._arrow}",
                stage="read",
            )
        return self.read(array)

    def encode(self, values: Sequence[Any]) -> Any:
        array = self._encoded(values)
        if self._limit is not None and (wrong := self._limit(array)) is not None:
            raise RowSchemaError(wrong, column=self._path)
        return array

    def encode_leaves(self, leaves: Sequence[list[Any]]) -> Any:
        return self.encode(leaves[0])

    def _encoded(self, values: Sequence[Any]) -> Any:
        kinds = set(map(type, values))
        nulls = type(None) in kinds
        kinds.discard(type(None))
        if kinds <= self._exact:
            try:
                return self._build(values, nulls, self._arrow)
            except Exception:  # noqa: S110 - clean() finds the value and says what is wrong  # nosec B110
                pass
        cleaned = self._cleaned(values)
        try:
            return self._build(cleaned, nulls, self._arrow)
        except MemoryError:
            raise
        except Exception as error:
            raise self._refusal(error) from error

    def _cleaned(self, values: Sequence[Any]) -> list[Any]:
        clean = self._type.clean
        try:
            return [None if value is None else clean(value) for value in values]
        except MemoryError:
            raise
        except Exception as error:
            raise self._refusal(error) from error

    def _refusal(self, error: Exception) -> RowSchemaError:
        """The error of a row; a class of the user's may raise anything, e.g. a timezone."""
        is_ours = isinstance(error, RefusedError)
        what = str(error) if is_ours else f"got a value that raises {type_name(type(error))}"
        return RowSchemaError(
            f"expected {self._type.name} ({self._type.expected}), {what}", column=self._path
        )


class _ArrayCodec:
    def __init__(self, element: Codec, path: str) -> None:
        self._element = element
        self._path = path

    def decode(self, array: Any) -> list[Any]:
        if not pa.types.is_list(array.type):
            raise SourceError(
                f"column {self._path!r} arrived as Arrow {array.type}, expected a list",
                stage="read",
            )
        if not len(array):
            return []  # an empty list array may come without a single offset
        offsets = array.offsets.to_pylist()
        first = offsets[0]
        items = self._element.decode(array.values.slice(first, offsets[-1] - first))
        ends = [end - first for end in offsets[1:]] if first else offsets[1:]
        lists, start = list[Any](), 0
        for end in ends:  # faster than a pair of offsets for each
            lists.append(items[start:end])
            start = end
        if array.null_count:
            valid = array.is_valid().to_pylist()
            return [each if ok else [] for each, ok in zip(lists, valid, strict=True)]
        return lists

    def read(self, array: Any) -> list[Any]:
        return self.decode(array)

    def encode(self, values: Sequence[Any]) -> Any:
        if isinstance(values, FlatLists):
            offsets = pa.array(values.offsets(), pa.int32())
            return self._made(offsets, self._element.encode_leaves(values.leaves))
        lists = values
        if not set(map(type, values)) <= {list}:
            for value in values:
                if value is not None and not isinstance(value, list | tuple):
                    raise _expected("ARRAY (a list)", value, self._path)
            lists = [() if value is None else value for value in values]
        offsets = pa.array(accumulate(map(len, lists), initial=0), pa.int32())
        return self._made(offsets, self._element.encode(list(chain.from_iterable(lists))))

    def encode_leaves(self, leaves: Sequence[list[Any]]) -> Any:  # noqa: ARG002 - of a Protocol
        raise AssertionError("BigQuery has no lists in lists")

    def _made(self, offsets: Any, items: Any) -> Any:
        if items.null_count:
            raise RowSchemaError(
                "an element of the list is None, but BigQuery arrays cannot hold NULL; leave it out",
                column=self._path,
            )
        return pa.ListArray.from_arrays(offsets, items)


class _StructCodec:
    def __init__(self, column: Column, path: str) -> None:
        self._path = path
        self._names = tuple(field.name for field in column.fields)
        self._known = frozenset(self._names)
        self._codecs = tuple(codec_for(f, f"{path}.{f.name}") for f in column.fields)
        self._required = tuple(field.mode == "REQUIRED" for field in column.fields)
        self._fields = [pa.field(field.name, arrow_type(field)) for field in column.fields]
        self._make = row_maker(self._names)

    def decode(self, array: Any) -> list[Any]:
        kind = array.type
        places = (
            [kind.get_field_index(name) for name in self._names]
            if pa.types.is_struct(kind)
            else [-1]
        )
        if min(places) < 0:
            raise SourceError(
                f"column {self._path!r} arrived as Arrow {kind}, expected a struct of "
                f"{', '.join(self._names)}",
                stage="read",
            )
        # Unlike field(), flatten() makes fields null where the struct is null, and respects slices.
        children = array.flatten()
        columns = [c.decode(children[i]) for c, i in zip(self._codecs, places, strict=True)]
        made: list[Any] = self._make(*columns)
        if array.null_count:
            valid = array.is_valid().to_pylist()
            return [each if ok else None for each, ok in zip(made, valid, strict=True)]
        return made

    def read(self, array: Any) -> list[Any]:
        return self.decode(array)

    def encode(self, values: Sequence[Any]) -> Any:
        return self._made(*self._columns(values))

    def encode_leaves(self, leaves: Sequence[list[Any]]) -> Any:
        return self._made(leaves, None)

    def _made(self, columns: Sequence[list[Any]], mask: Any) -> Any:
        num_nulls = 0 if mask is None else mask.true_count
        arrays = []
        for name, codec, required, column in zip(
            self._names, self._codecs, self._required, columns, strict=True
        ):
            array = codec.encode(column)
            if required and array.null_count > num_nulls:
                raise missing_value(f"{self._path}.{name}")
            arrays.append(array)
        return pa.StructArray.from_arrays(arrays, fields=self._fields, mask=mask)

    def _columns(self, values: Sequence[Any]) -> tuple[list[list[Any]], Any]:
        """The values of each field, and which structs are null; None = none is."""
        if set(map(type, values)) <= {dict} and set(map(len, values)) <= {len(self._names)}:
            try:
                return [list(map(itemgetter(name), values)) for name in self._names], None
            except KeyError:
                pass  # it has as many keys as there are fields, but not the same ones
        num_nulls = 0
        for value in values:
            if value is None:
                num_nulls += 1
            elif not isinstance(value, dict):
                raise _expected("STRUCT (a dict)", value, self._path)
            elif not value.keys() <= self._known:
                key = next(key for key in value if key not in self._known)
                raise unknown_key(key, self._names, f"{self._path}.")
        columns = [
            [None if value is None else value.get(name) for value in values] for name in self._names
        ]
        mask = pa.array([value is None for value in values], pa.bool_()) if num_nulls else None
        return columns, mask

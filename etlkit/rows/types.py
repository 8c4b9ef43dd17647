"""The registry of BigQuery's types: one row says all that etlkit knows about a type.

Columns, type texts, codecs, inference, rejected rows, files and query parameters read it from here.
To add a type: add its row to `_ROWS`, its values to `tests/unit/rows/test_types.py`, and a line to
`docs/reference/types.md`.

pyarrow is not imported: the fields that need it get it as an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from functools import lru_cache
from numbers import Integral, Real
from types import MappingProxyType
from typing import Any, Final, cast

from etlkit.errors import ConfigError
from etlkit.rows import datetimes, json_values, limits, numbers, strings
from etlkit.rows.refused import RefusedError

_CACHED_CLASSES = 128

_NUMERIC_DIGITS = (38, 9)
_BIGNUMERIC_DIGITS = (76, 38)
"""Digits in all and after the point. BigQuery's BIGNUMERIC has a part of a 77th digit, Arrow's
decimal256 does not: https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#decimal_types"""


def _to_arrow(values: Sequence[Any], _nulls: bool, kind: Any) -> Any:
    import pyarrow as pa

    return pa.array(values, kind)


def _to_pylist(array: Any) -> list[Any]:
    values: list[Any] = array.to_pylist()
    return values


def _accepts(clean: Callable[[Any], Any]) -> Callable[[Any], bool]:
    def accepts(value: Any) -> bool:
        try:
            clean(value)
        except RefusedError:
            return False
        return True

    return accepts


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalarType:
    """One BigQuery type that is not a STRUCT or ARRAY.

    pyarrow converts more than it should: it takes bytes for strings, floats for integers, datetimes
    for dates, naive datetimes as UTC. So `build` gets a whole column only if all its values have one
    of the `exact` Python types. Otherwise each value passes `clean`, which refuses or normalises it.

    Attributes:
        name: BigQuery's standard name, which is also its DDL text and its query parameter type.
        aliases: Other names that BigQuery accepts or that its REST API answers with.
        rest_name: What the REST API calls it in a schema, if it is not `name`.
        max_parameters: How many numbers may follow the name in brackets: 2 for `NUMERIC(10, 2)`.
        max_digits: Of a decimal type: digits before and after the point, at most.
        limit: Parameters -> a check of an Arrow array: what is wrong with its values; None = nothing.
        expected: The Python value it wants, for messages.
        exact: The Python types that `build` takes without `clean`.
        clean: One value (not None) -> the value that `build` takes; raises RefusedError.
        is_comparable: Whether BigQuery's `=` takes it, so that it can be a key.
        is_mutable: Whether rows can change a value in place, so that identity proves nothing.
        arrow: The pyarrow module -> the Arrow type that BigQuery's Storage API uses.
        build: Values, whether None is among them, Arrow type -> array. Raises anything if a value
            cannot be stored although its type is exact (an int beyond 64 bits): `clean` says which.
        read: Array -> values; null = None.
        infers: Python classes whose values point to this type when a new key has no type yet.
        mixes: Python classes whose values may stand among those of `infers`.
        fits: Whether a value of these classes fits; None = every value does. The first type in the
            registry that all values fit is taken.
        misfit: What is wrong if no type fits; only the last type for a Python class needs it.
        to_json: Value -> JSON value, for rejected rows; None = they are the same.
        from_json: JSON value -> value, for rejected rows and JSON Lines; None = they are the same.
        holds: `pyarrow.types` and an Arrow type -> whether a file's column of it has this type.
        looks_like: Whether a CSV cell has this type beyond doubt; None = it is never guessed.
        guessed_name: How BigQuery's own guess names a CSV column of this type, if not by `name`.
        from_text: Array of CSV cells as text, Arrow type -> array. Raises if a cell does not fit.
            None = pyarrow's CSV reader converts the cells itself.
        check: An array of a file, in the type's Arrow type: raises if a value cannot be read, or is
            none of BigQuery's. None = there are no such values.
        narrower: Types whose values may stand in a column of this type, each if it fits exactly.
    """

    name: str
    aliases: tuple[str, ...] = ()
    rest_name: str | None = None
    max_parameters: int = 0
    max_digits: tuple[int, int] = (0, 0)
    limit: Callable[..., Callable[[Any], str | None]] | None = None
    expected: str
    exact: frozenset[type]
    clean: Callable[[Any], Any]
    is_comparable: bool = True
    is_mutable: bool = False
    arrow: Callable[[Any], Any]
    build: Callable[[Sequence[Any], bool, Any], Any] = _to_arrow
    read: Callable[[Any], list[Any]] = _to_pylist
    infers: tuple[type, ...] = ()
    mixes: tuple[type, ...] = ()
    fits: Callable[[Any], bool] | None = None
    misfit: str = ""
    to_json: Callable[[Any], Any] | None = None
    from_json: Callable[[Any], Any] | None = None
    holds: Callable[[Any, Any], bool] = lambda _of, _kind: False
    looks_like: Callable[[str], bool] | None = None
    guessed_name: str | None = None
    from_text: Callable[[Any, Any], Any] | None = None
    check: Callable[[Any], None] | None = None
    narrower: tuple[str, ...] = ()

    def allows(self, parameters: Sequence[int]) -> bool:
        """Whether BigQuery has the type with these parameters.

        Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#parameterized_data_types
        """
        if not 1 <= len(parameters) <= self.max_parameters:
            return False
        if self.max_digits == (0, 0):
            return parameters[0] >= 1
        precision, scale = (*parameters, 0)[:2]
        before, after = self.max_digits
        return scale <= after and max(1, scale) <= precision <= scale + before


_clean_numeric = numbers.decimal_cleaner(*_NUMERIC_DIGITS, wider="BIGNUMERIC")
_clean_bignumeric = numbers.decimal_cleaner(*_BIGNUMERIC_DIGITS, wider="STRING")
_holds_numeric = numbers.holds_decimal(*_NUMERIC_DIGITS)

_ROWS = (
    ScalarType(
        name="INT64",
        aliases=("BIGINT", "BYTEINT", "INT", "INTEGER", "SMALLINT", "TINYINT"),
        rest_name="INTEGER",
        expected="an int",
        exact=frozenset({int}),
        clean=numbers.clean_int,
        arrow=lambda pa: pa.int64(),
        infers=(Integral,),
        fits=_accepts(numbers.clean_int),
        holds=lambda of, kind: of.is_integer(kind) and not of.is_uint64(kind),
        looks_like=numbers.looks_like_int,
    ),
    ScalarType(
        name="FLOAT64",
        aliases=("FLOAT",),
        rest_name="FLOAT",
        expected="a float",
        exact=frozenset({float}),
        clean=numbers.clean_float,
        arrow=lambda pa: pa.float64(),
        infers=(Real,),
        mixes=(Integral,),
        to_json=numbers.float_to_json,
        from_json=numbers.float_from_json,
        holds=lambda of, kind: of.is_floating(kind),
        looks_like=numbers.looks_like_float,
        guessed_name="double",
        from_text=numbers.floats_from_text,
        narrower=("INT64",),
    ),
    ScalarType(
        name="NUMERIC",
        aliases=("DECIMAL",),
        max_parameters=2,
        max_digits=(29, 9),
        limit=limits.digits,
        expected="a decimal.Decimal or int",
        exact=frozenset({Decimal, int}),
        clean=_clean_numeric,
        arrow=lambda pa: pa.decimal128(*_NUMERIC_DIGITS),
        read=numbers.read_decimals,
        infers=(Decimal, Integral),
        fits=_accepts(_clean_numeric),
        to_json=numbers.decimal_to_json,
        from_json=numbers.decimal_from_json,
        holds=lambda of, kind: of.is_uint64(kind) or _holds_numeric(of, kind),
        check=strings.check_buffers,
        narrower=("INT64",),
    ),
    ScalarType(
        name="BIGNUMERIC",
        aliases=("BIGDECIMAL",),
        max_parameters=2,
        max_digits=(38, 38),
        limit=limits.digits,
        expected="a decimal.Decimal or int",
        exact=frozenset({Decimal, int}),
        clean=_clean_bignumeric,
        arrow=lambda pa: pa.decimal256(*_BIGNUMERIC_DIGITS),
        read=numbers.read_decimals,
        infers=(Decimal, Integral),
        fits=_accepts(_clean_bignumeric),
        misfit="got a number that not even BIGNUMERIC holds exactly (38 digits before and after the "
        "point): round it, or write it as a str",
        from_json=numbers.decimal_from_json,
        holds=numbers.holds_decimal(*_BIGNUMERIC_DIGITS),
        from_text=numbers.decimals_from_text,
        check=strings.check_buffers,
        narrower=("INT64", "NUMERIC"),
    ),
    ScalarType(
        name="BOOL",
        aliases=("BOOLEAN",),
        rest_name="BOOLEAN",
        expected="a bool",
        exact=frozenset({bool}),
        clean=numbers.clean_bool,
        arrow=lambda pa: pa.bool_(),
        infers=(bool,),
        holds=lambda of, kind: of.is_boolean(kind),
        looks_like=numbers.looks_like_bool,
    ),
    ScalarType(
        name="STRING",
        max_parameters=1,
        limit=limits.characters,
        expected="a str",
        exact=frozenset({str}),
        clean=strings.clean_str,
        arrow=lambda pa: pa.string(),
        infers=(str,),
        holds=lambda of, kind: (
            of.is_string(kind)
            or of.is_large_string(kind)
            or of.is_string_view(kind)
            or of.is_null(kind)
        ),
        check=strings.check_buffers,
    ),
    ScalarType(
        name="BYTES",
        max_parameters=1,
        limit=limits.num_bytes,
        expected="bytes",
        exact=frozenset({bytes}),
        clean=strings.clean_bytes,
        arrow=lambda pa: pa.binary(),
        infers=(bytes, bytearray, memoryview),
        to_json=strings.bytes_to_json,
        from_json=strings.bytes_from_json,
        holds=lambda of, kind: (
            of.is_binary(kind)
            or of.is_large_binary(kind)
            or of.is_binary_view(kind)
            or of.is_fixed_size_binary(kind)
        ),
        from_text=strings.bytes_from_text,
    ),
    ScalarType(
        name="DATE",
        expected="a datetime.date",
        exact=frozenset({date}),
        clean=datetimes.clean_date,
        arrow=lambda pa: pa.date32(),
        read=datetimes.read_date,
        infers=(date,),
        to_json=datetimes.to_json,
        from_json=date.fromisoformat,
        holds=lambda of, kind: of.is_date(kind),
        looks_like=datetimes.looks_like_date,
        check=datetimes.check_dates,
    ),
    ScalarType(
        name="DATETIME",
        expected="a datetime without a timezone",
        exact=frozenset({datetime}),
        clean=datetimes.clean_datetime,
        arrow=lambda pa: pa.timestamp("us"),
        build=datetimes.build_since(datetimes.NAIVE_EPOCH),
        read=datetimes.read_since(datetimes.NAIVE_EPOCH),
        infers=(datetime,),
        fits=datetimes.has_no_zone,
        to_json=datetimes.to_json,
        from_json=datetimes.datetime_from_json,
        holds=lambda of, kind: of.is_timestamp(kind) and kind.tz is None,
        looks_like=datetimes.looks_like_datetime,
        check=datetimes.check_datetimes,
    ),
    ScalarType(
        name="TIME",
        expected="a datetime.time",
        exact=frozenset({time}),
        clean=datetimes.clean_time,
        arrow=lambda pa: pa.time64("us"),
        build=datetimes.build_time,
        read=datetimes.read_time,
        infers=(time,),
        to_json=datetimes.to_json,
        from_json=datetimes.time_from_json,
        holds=lambda of, kind: of.is_time(kind),
        from_text=datetimes.times_from_text,
        check=datetimes.check_times,
    ),
    ScalarType(
        name="TIMESTAMP",
        expected="a datetime with a timezone",
        exact=frozenset({datetime}),
        clean=datetimes.clean_timestamp,
        arrow=lambda pa: pa.timestamp("us", tz="UTC"),
        build=datetimes.build_since(datetimes.EPOCH),
        read=datetimes.read_since(datetimes.EPOCH),
        infers=(datetime,),
        fits=datetimes.has_zone,
        misfit="got datetimes with and without a timezone: add one to all of them (TIMESTAMP) or "
        "remove it from all of them (DATETIME)",
        to_json=datetimes.to_json,
        from_json=datetimes.timestamp_from_json,
        holds=lambda of, kind: of.is_timestamp(kind) and kind.tz is not None,
        looks_like=datetimes.looks_like_timestamp,
        from_text=datetimes.timestamps_from_text,
        check=datetimes.check_datetimes,
    ),
    # A JSON null and an SQL NULL both read as None, and None is always written as NULL.
    ScalarType(
        name="JSON",
        expected="a value json.dumps takes",
        exact=frozenset(),
        clean=json_values.json_text,
        is_comparable=False,
        is_mutable=True,
        arrow=lambda pa: pa.string(),
        read=json_values.read_json,
        infers=(dict,),
        from_text=json_values.json_from_text,
        check=json_values.check_json,
    ),
    # WKT or GeoJSON text, passed as it is.
    ScalarType(
        name="GEOGRAPHY",
        expected="a str",
        exact=frozenset({str}),
        clean=strings.clean_str,
        is_comparable=False,
        arrow=lambda pa: pa.string(),
        check=strings.check_buffers,
    ),
)

TYPES: Final = MappingProxyType({each.name: each for each in _ROWS})
"""The registry, by standard name. INTERVAL and RANGE are not in it: etlkit could promise no Python
value for them."""

STRUCT: Final = "STRUCT"
_STRUCT_ALIAS = "RECORD"

NAMES: Final = (*TYPES, STRUCT)
"""Every type that a column can have; a repeated column is an ARRAY of it."""

ALIASES: Final = MappingProxyType(
    {alias: each.name for each in _ROWS for alias in each.aliases} | {_STRUCT_ALIAS: STRUCT}
)
"""Other names for types, and what they mean."""

REST_NAMES: Final = MappingProxyType(
    {each.name: each.rest_name or each.name for each in _ROWS} | {STRUCT: _STRUCT_ALIAS}
)
"""Standard name -> the name in schemas of BigQuery's REST API, which still speaks legacy SQL."""


def standard_name(name: str, column: str) -> str:
    """BigQuery's standard name for a type name or alias, in any case.

    Args:
        name: A type name without parameters, e.g. `INTEGER`.
        column: Which column is meant, for the message.

    Raises:
        ConfigError: No such type; lists the allowed ones.
    """
    upper = name.upper()
    standard = ALIASES.get(upper, upper)
    if standard not in NAMES:
        raise ConfigError(
            f"column {column!r}: type {name!r} is not supported; allowed are {', '.join(NAMES)}, "
            "ARRAY<type>, and the aliases " + ", ".join(sorted(ALIASES))
        )
    return standard


def common_type(one: str, other: str) -> str | None:
    """The type that holds the values of two types; None = there is none, or only with a loss."""
    if one == other or other in TYPES[one].narrower:
        return one
    return other if one in TYPES[other].narrower else None


def native_class(kind: type) -> type | None:
    """The most specific class in any `infers` that `kind` is, e.g. `bool` for bool, not `Integral`.

    None = no type takes such values.
    """
    return _native_class(cast("Hashable", kind))


@lru_cache(_CACHED_CLASSES)
def _native_class(kind: Any) -> type | None:
    found: type | None = None
    for each in _ROWS:
        for native in each.infers:
            if issubclass(kind, native) and (found is None or issubclass(native, found)):
                found = native
    return found

"""Ask GoogleSQL's reference evaluator for the answers of expressions."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from decimal import Context, Decimal
from functools import lru_cache
from typing import Any, Final

from etlkit.local.bigquery import googlesql
from tests.reference.answers import ERROR, Interval, written

EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_DIGITS: Final = Context(prec=90)
_SCALES: Final = {"NUMERIC": -9, "BIGNUMERIC": -38}
BATCH: Final = 60
"""So many expressions are evaluated as one query."""

_FEW: Final = 12
"""A failing batch of this many is asked one by one."""


class NullElementError(Exception):
    """BigQuery writes no array with a NULL element into a result."""


def answers(expressions: Sequence[str]) -> list[str]:
    """The answer of each expression, in the form of `tests.reference.answers`."""
    if not expressions:
        return []
    try:
        columns, cells = _evaluate("SELECT " + ",\n".join(expressions))
    except googlesql.GoogleSqlError as error:
        if len(expressions) == 1:
            return [f"{ERROR}{error.message}"]
        size = 1 if len(expressions) <= _FEW else len(expressions) // 2
        return [
            answer
            for start in range(0, len(expressions), size)
            for answer in answers(expressions[start : start + size])
        ]
    return [_answer(_kind(column.type), cell) for column, cell in zip(columns, cells, strict=True)]


def in_batches(expressions: Sequence[str]) -> list[str]:
    """The answers of any number of expressions."""
    batches = (expressions[at : at + BATCH] for at in range(0, len(expressions), BATCH))
    return [answer for batch in batches for answer in answers(batch)]


def _answer(kind: Any, cell: Any) -> str:
    try:
        return written(kind, _value(kind, cell))
    except NullElementError:
        return f"{ERROR}Array cannot have a null element"


@lru_cache(maxsize=1)
def _request() -> Any:
    from zetasql.wasi._pb2.zetasql.local_service import local_service_pb2 as service

    request = service.PrepareQueryRequest(registered_catalog_id=googlesql.builtin_catalog_id())
    request.options.CopyFrom(googlesql.analyzer_options())
    request.descriptor_pool_list.definitions.add().builtin.SetInParent()
    return request


def _evaluate(sql: str) -> tuple[list[Any], list[Any]]:
    """The columns and the cells of a query's only row."""
    from google.protobuf import empty_pb2
    from zetasql.wasi._pb2.zetasql.local_service import local_service_pb2 as service

    engine, request = googlesql.engine(), _request()
    request.sql = sql
    prepared = engine.call("PrepareQuery", request, service.PrepareQueryResponse).prepared
    number = prepared.prepared_query_id
    try:
        evaluation = service.EvaluateQueryRequest(prepared_query_id=number)
        result = engine.call("EvaluateQuery", evaluation, service.EvaluateQueryResponse)
    finally:
        dismissal = service.UnprepareQueryRequest(prepared_query_id=number)
        engine.call("UnprepareQuery", dismissal, empty_pb2.Empty)
    return list(prepared.columns), list(result.content.table_data.row[0].cell)


def _kind(proto: Any) -> Any:
    """A `TypeProto` as in `tests.reference.answers`."""
    from zetasql.wasi._pb2.zetasql.public import type_pb2

    name = type_pb2.TypeKind.Name(proto.type_kind).removeprefix("TYPE_")
    if name == "ARRAY":
        return ["ARRAY", _kind(proto.array_type.element_type)]
    if name == "STRUCT":
        fields = enumerate(proto.struct_type.field, 1)
        return [
            "STRUCT",
            [[f.field_name or f"_field_{at}", _kind(f.field_type)] for at, f in fields],
        ]
    return "FLOAT64" if name == "DOUBLE" else name


def _value(kind: Any, cell: Any) -> Any:
    """A `ValueProto` as Google's client gives such a value."""
    which = cell.WhichOneof("value")
    if which is None:
        return None
    raw = getattr(cell, which)
    if not isinstance(kind, str):
        return _nested(kind, raw)
    if kind in _SCALES:
        unscaled = int.from_bytes(raw, "little", signed=True)
        return Decimal(unscaled).scaleb(_SCALES[kind], _DIGITS)
    reader = _READERS.get(kind)
    return raw if reader is None else reader(raw)


def _nested(kind: Any, raw: Any) -> list[Any]:
    if kind[0] == "STRUCT":
        return [_value(each, cell) for (_, each), cell in zip(kind[1], raw.field, strict=True)]
    if any(cell.WhichOneof("value") is None for cell in raw.element):
        raise NullElementError
    return [_value(kind[1], cell) for cell in raw.element]


def _date(days: int) -> dt.date:
    return EPOCH.date() + dt.timedelta(days=days)


def _timestamp(raw: Any) -> dt.datetime:
    return EPOCH + dt.timedelta(seconds=raw.seconds, microseconds=raw.nanos // 1000)


def _clock(bits: int) -> tuple[int, int, int]:
    return bits >> 12 & 0x1F, bits >> 6 & 0x3F, bits & 0x3F


def _time(raw: int) -> dt.time:
    return dt.time(*_clock(raw >> 30), (raw & 0x3FFFFFFF) // 1000)


def _datetime(raw: Any) -> dt.datetime:
    bits = raw.bit_field_datetime_seconds
    day = bits >> 26, bits >> 22 & 0xF, bits >> 17 & 0x1F
    return dt.datetime(*day, *_clock(bits), raw.nanos // 1000)  # noqa: DTZ001 - DATETIME has no zone


def _interval(raw: bytes) -> Interval:
    # https://github.com/google/zetasql/blob/master/zetasql/public/interval_value.h: microseconds,
    # days, and 32 bits of which the sign, the months and the parts of a microsecond are packed.
    micros = int.from_bytes(raw[:8], "little", signed=True)
    days = int.from_bytes(raw[8:12], "little", signed=True)
    packed = int.from_bytes(raw[12:16], "little")
    months = packed >> 13 & 0x3FFFF
    return Interval(-months if packed >> 31 else months, days, micros)


_READERS: Final = {
    "DATE": _date,
    "TIMESTAMP": _timestamp,
    "TIME": _time,
    "DATETIME": _datetime,
    "INTERVAL": _interval,
    "JSON": json.loads,
}

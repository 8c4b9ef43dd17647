"""What stands around an Etl in a Python UDF of BigQuery. Its text goes there, without this docstring.

It needs Python's own library only, under names that no user's code has: etlkit is not installed where
BigQuery runs Python. The row comes as the text of `TO_JSON_STRING`, and the answer is the JSON of
`etlkit.serving.envelope`, as text.
"""

import base64 as _etlkit_base64
import datetime as _etlkit_datetime  # noqa: ICN001 - a user's code may call its own `dt`
import decimal as _etlkit_decimal
import json as _etlkit_json
import math as _etlkit_math
import threading as _etlkit_threading
import typing as _etlkit_typing

_etlkit_own = _etlkit_threading.local()


class EtlBase:
    """Stands for etlkit's, whose hooks these are."""

    def __init_subclass__(cls, **_: object) -> None:
        """Accept the arguments that etlkit's takes."""
        super().__init_subclass__()

    def before_action(self) -> None:
        """Prepare."""


def _etlkit_read(value: _etlkit_typing.Any, kind: _etlkit_typing.Any) -> _etlkit_typing.Any:
    """A native value of its JSON value; `kind` is a type, `[kind]` or a dict of fields."""
    if isinstance(kind, list):
        return [_etlkit_read(each, kind[0]) for each in value or []]
    if value is None:
        return None
    if isinstance(kind, dict):
        return {name: _etlkit_read(value.get(name), inner) for name, inner in kind.items()}
    if kind in {"NUMERIC", "BIGNUMERIC"}:
        return _etlkit_decimal.Decimal(value if isinstance(value, str) else repr(value))
    if kind == "TIMESTAMP":
        moment = _etlkit_datetime.datetime.fromisoformat(value)
        return moment if moment.tzinfo else moment.replace(tzinfo=_etlkit_datetime.timezone.utc)  # noqa: UP017
    readers: dict[str, _etlkit_typing.Callable[[_etlkit_typing.Any], _etlkit_typing.Any]] = {
        "INT64": int,
        "FLOAT64": float,
        "BYTES": _etlkit_base64.b64decode,
        "DATE": _etlkit_datetime.date.fromisoformat,
        "DATETIME": _etlkit_datetime.datetime.fromisoformat,
        "TIME": _etlkit_datetime.time.fromisoformat,
    }
    return readers[kind](value) if kind in readers else value


def _etlkit_time(value: _etlkit_typing.Any) -> str:
    parts = ["milliseconds", "microseconds"][value.microsecond % 1000 > 0]
    return str(value.isoformat(timespec=parts if value.microsecond else "seconds"))


def _etlkit_write(value: _etlkit_typing.Any) -> _etlkit_typing.Any:  # noqa: PLR0911 - by type
    """A JSON value of a native one, as `TO_JSON_STRING` would write it."""
    if isinstance(value, dict):
        return {name: _etlkit_write(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_etlkit_write(each) for each in value]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if abs(value) <= 2**53 else str(value)
    if isinstance(value, float) and not _etlkit_math.isfinite(value):
        return "NaN" if _etlkit_math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, _etlkit_decimal.Decimal):
        is_whole = value == value.to_integral_value() and abs(value) <= 2**53
        return int(value) if is_whole else format(value.normalize(), "f")
    if isinstance(value, (bytes, bytearray)):
        return _etlkit_base64.b64encode(value).decode("ascii")
    if isinstance(value, _etlkit_datetime.datetime) and value.tzinfo is not None:
        value = value.astimezone(_etlkit_datetime.timezone.utc).replace(tzinfo=None)  # noqa: UP017
        return f"{_etlkit_time(value)}Z"
    if isinstance(value, (_etlkit_datetime.datetime, _etlkit_datetime.time)):
        return _etlkit_time(value)
    return value.isoformat() if isinstance(value, _etlkit_datetime.date) else value


def _etlkit_answer(
    make: _etlkit_typing.Callable[[], _etlkit_typing.Any], columns: _etlkit_typing.Any, row: str
) -> str:
    """Run one row; `make` gives an Etl for a thread that has none."""
    try:
        if not hasattr(_etlkit_own, "etl"):
            etl = make()
            etl.before_action()
            _etlkit_own.etl = etl
        given = _etlkit_read(_etlkit_json.loads(row), columns)
        value = _etlkit_own.etl.transform_row(given)
        if value is not None and not isinstance(value, dict):
            value = list(value)
        answer = {"ok": True, "value": _etlkit_write(value), "error": None}
        return _etlkit_json.dumps(answer, ensure_ascii=False, allow_nan=False)
    except Exception as error:
        name = type(error).__name__
        found = {
            "class": name,
            "code": None,
            "message": f"{name}: {error}"[:1000],
            "attempts": 1,
            "retryable": False,
        }
        answer = {"ok": False, "value": None, "error": found}
        return _etlkit_json.dumps(answer, ensure_ascii=False)

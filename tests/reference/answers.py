"""What an expression answers, in one written form for the evaluator and for the local server.

An answer is the type and the value, e.g. `ARRAY<INT64> [1, 2]`, or `ERROR` and the sentence.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

ERROR: Final = "ERROR "
_FLOAT: Final = re.compile(r"-?\d+\.?\d*(?:e[+-]?\d+)?")
_SAFE_DIGITS: Final = 1e-14
"""Libraries differ in the last bits of transcendental functions."""
_DAY: Final = 86_400_000_000


@dataclass(frozen=True)
class Interval:
    """A value of INTERVAL."""

    months: int
    days: int
    micros: int

    def __str__(self) -> str:
        """`Y-M D H:M:S.f`, as BigQuery writes it; 24 hours are a day, as in Google's client."""
        years, months = divmod(abs(self.months), 12)
        whole_days = abs(self.micros) // _DAY
        days = self.days + (-whole_days if self.micros < 0 else whole_days)
        seconds, micros = divmod(abs(self.micros) % _DAY, 1_000_000)
        minutes, seconds = divmod(seconds, 60)
        hours, minutes = divmod(minutes, 60)
        fraction = f".{micros:06d}".rstrip("0") if micros else ""
        signs = "-" if self.months < 0 else "", "-" if self.micros < 0 else ""
        clock = f"{signs[1]}{hours}:{minutes}:{seconds}{fraction}"
        return f"{signs[0]}{years}-{months} {days} {clock}"


def is_error(answer: str) -> bool:
    """Whether the expression is refused."""
    return answer.startswith(ERROR)


def agree(reference: str, local: str) -> bool:
    """Whether two answers are the same. Of errors the sentences may differ, of floats the last bits."""
    if is_error(reference) or is_error(local):
        return is_error(reference) and is_error(local)
    if reference == local:
        return True
    if "FLOAT64" not in reference:
        return False
    numbers = [_FLOAT.findall(answer) for answer in (reference, local)]
    same_text = _FLOAT.sub("#", reference) == _FLOAT.sub("#", local)
    return same_text and all(
        math.isclose(float(one), float(other), rel_tol=_SAFE_DIGITS)
        for one, other in zip(*numbers, strict=True)
    )


def written(kind: Any, value: Any) -> str:
    """The answer of a value.

    Args:
        kind: The name of a type, `["ARRAY", element]`, or `["STRUCT", [[name, kind], ...]]`.
        value: As Google's client gives it; a STRUCT may be a list of its values, too.
    """
    return f"{written_type(kind)} {written_value(kind, value)}"


def written_type(kind: Any) -> str:
    """The type in SQL."""
    if isinstance(kind, str):
        return kind
    if kind[0] == "ARRAY":
        return f"ARRAY<{written_type(kind[1])}>"
    fields = ", ".join(f"{name} {written_type(each)}" for name, each in kind[1])
    return f"STRUCT<{fields}>"


def written_value(kind: Any, value: Any) -> str:
    """The value, much as SQL writes it. An ARRAY that is NULL is empty, as in all results."""
    if not isinstance(kind, str) and kind[0] == "ARRAY":
        return "[" + ", ".join(written_value(kind[1], each) for each in value or ()) + "]"
    if value is None:  # Google's client gives JSON's null like SQL's NULL
        return "NULL"
    if kind == "JSON":
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    if not isinstance(kind, str):
        values = list(value.values()) if isinstance(value, dict) else value
        pairs = zip(kind[1], values, strict=True)
        return "(" + ", ".join(written_value(each, one) for (_, each), one in pairs) + ")"
    return _written_scalar(value)


def _written_scalar(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, Decimal):
        return f"{value.normalize() + 0:f}"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, dt.date | dt.time):
        return value.isoformat().replace("+00:00", "Z")
    return str(value)

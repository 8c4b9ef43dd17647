"""`CAST(… AS STRING FORMAT '…')`, and texts of BYTES.

Real BigQuery: elements such as YYYY and HH24 write a date, time, datetime or timestamp, and HEX or
BASE64 BYTES. The emulator: a syntax error.
https://cloud.google.com/bigquery/docs/reference/standard-sql/format-elements

What remains: formats of numbers, and BASE32.
"""

from __future__ import annotations

import re
from datetime import date, datetime, time
from typing import Any, Final

from sqlglot import exp

from etlkit.local.bigquery.patches.own_functions import PREFIX, OwnFunctions, call

_ELEMENT: Final = re.compile(
    r'"(?P<text>(?:[^"\\]|\\.)*)"|YYYY|YYY|YY|Y|RRRR|RR|MONTH|MON|MM|DAY|DY|DDD|DD|D|HH24|HH12|HH|MI|SSSSS|SS'
    r"|FF\d|A\.M\.|P\.M\.|AM|PM|TZH|TZM|[-./,'; :]",
    re.IGNORECASE,
)
_NOON: Final = 12
_BYTES: Final = {
    "HEX": ("bytes_hex", "hex_bytes"),
    "BASE64": ("bytes_base64", "base64_bytes"),
    "UTF-8": ("bytes_text", "text_bytes"),
    "UTF8": ("bytes_text", "text_bytes"),
    "ASCII": ("bytes_text", "text_bytes"),
}


def _written(text: str, pattern: str) -> str:
    """A moment as a format says.

    Args:
        text: As DuckDB writes a DATE, TIME, TIMESTAMP or TIMESTAMPTZ.
        pattern: The format.
    """
    if ":" in text and "-" not in text[:5]:
        moment = datetime.combine(date.min, time.fromisoformat(text))
    else:
        moment = datetime.fromisoformat(text)
    parts, at = [], 0
    while at < len(pattern):
        match = _ELEMENT.match(pattern, at)
        if match is None:
            raise ValueError(f"Cannot find matched format element at '{pattern[at:]}'")
        quoted = match["text"]
        parts.append(_element(moment, match[0]) if quoted is None else quoted)
        at = match.end()
    return "".join(parts)


def _element(moment: datetime, element: str) -> str:
    name = element.upper()
    if name in _NAMES:
        return _in_case(moment.strftime(_NAMES[name]), element)
    if name in {"AM", "PM", "A.M.", "P.M."}:
        half = "AM" if moment.hour < _NOON else "PM"
        return _in_case(f"{half[0]}.M." if "." in name else half, element)
    if name.startswith("FF"):
        return f"{moment.microsecond:06d}000"[: int(name[2:])]
    numbers = _NUMBERS.get(name)
    return element if numbers is None else numbers(moment)


def _in_case(text: str, element: str) -> str:
    if element.isupper():
        return text.upper()
    return text.lower() if element[0].islower() else text.capitalize()


_NAMES: Final = {"MONTH": "%B", "MON": "%b", "DAY": "%A", "DY": "%a"}
_NUMBERS: Final[dict[str, Any]] = {
    "YYYY": lambda t: f"{t.year:04d}",
    "RRRR": lambda t: f"{t.year:04d}",
    "YYY": lambda t: f"{t.year % 1000:03d}",
    "YY": lambda t: f"{t.year % 100:02d}",
    "RR": lambda t: f"{t.year % 100:02d}",
    "Y": lambda t: f"{t.year % 10}",
    "MM": lambda t: f"{t.month:02d}",
    "DDD": lambda t: f"{t.timetuple().tm_yday:03d}",
    "DD": lambda t: f"{t.day:02d}",
    "D": lambda t: f"{t.isoweekday() % 7 + 1}",
    "HH24": lambda t: f"{t.hour:02d}",
    "HH12": lambda t: f"{(t.hour + 11) % 12 + 1:02d}",
    "HH": lambda t: f"{(t.hour + 11) % 12 + 1:02d}",
    "MI": lambda t: f"{t.minute:02d}",
    "SSSSS": lambda t: f"{t.hour * 3600 + t.minute * 60 + t.second:05d}",
    "SS": lambda t: f"{t.second:02d}",
    "TZH": lambda _: "+00",
    "TZM": lambda _: "00",
}


def _cast(node: Any) -> exp.Expression | None:
    pattern, zone = node.args.get("format"), None
    if isinstance(pattern, exp.AtTimeZone):
        pattern, zone = pattern.this, pattern.args["zone"]
    if pattern is None:
        return None
    made = _formatted(node, pattern, zone)
    if made is None or not isinstance(node, exp.TryCast) or node.find(exp.Query):
        return made
    return call("try", made)


def _read_in_zone(node: Any) -> exp.Expression | None:
    """`CAST(text AS TIMESTAMP FORMAT '…' AT TIME ZONE '…')`."""
    zone = node.args.get("zone")
    if zone is None:
        return None
    local = node.copy()
    local.set("zone", None)
    return call("from_zone", exp.cast(local, exp.DType.TIMESTAMP), zone)


def _formatted(node: Any, pattern: Any, zone: Any) -> exp.Expression | None:
    is_text = node.to.is_type(exp.DType.TEXT, exp.DType.VARCHAR)
    names = _BYTES.get(pattern.name.upper())
    if names is not None and (is_text or node.to.is_type(exp.DType.VARBINARY, exp.DType.BINARY)):
        return call(names[0] if is_text else names[1], node.this)
    if not is_text:
        return None
    value = node.this if zone is None else call("at_zone", node.this, zone)
    return call("cast_format", value, pattern)


FUNCTIONS: Final = OwnFunctions(
    marks=r"\bformat\b",
    rewrites={exp.Cast: _cast, exp.TryCast: _cast, exp.StrToTime: _read_in_zone},
    functions=[("moment_format", _written, ["VARCHAR", "VARCHAR"], "VARCHAR")],
    macros=[
        f"cast_format(x, f) AS {PREFIX}moment_format(CAST(x AS VARCHAR), f)",
        "bytes_hex(x) AS lower(hex(x))",
        "hex_bytes(x) AS unhex(x)",
        "bytes_base64(x) AS to_base64(x)",
        "base64_bytes(x) AS from_base64(x)",
        "bytes_text(x) AS decode(x)",
        "text_bytes(x) AS encode(x)",
    ],
)
"""See the module."""

"""What the fuzz tests share: how many cases there are, values of every type, and damage to files.

`ETLKIT_FUZZ` is the number of cases of each test, `ETLKIT_SEED` says which ones: `make fuzz SEED=7`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st

from etlkit import EtlkitError, SourceError
from tests.source_rows import Read, read_source

NUM_CASES = int(os.environ.get("ETLKIT_FUZZ", "25"))
SEED = int(os.environ.get("ETLKIT_SEED", "1"))


def fuzz(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test with as many cases as asked for, the same ones each time."""
    made = settings(
        max_examples=NUM_CASES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )(test)
    return seed(SEED)(made)


@dataclass(frozen=True)
class Sort:
    """Values of one BigQuery type.

    Attributes:
        values: Values of the type, without None.
        cell: A value as the text of a CSV cell.
        json: A value as JSON text.
    """

    values: st.SearchStrategy[Any]
    cell: Callable[[Any], str]
    json: Callable[[Any], str]


def _quoted(cell: Callable[[Any], str]) -> Callable[[Any], str]:
    return lambda value: json.dumps(cell(value))


def _base64(value: bytes) -> str:
    import base64

    return base64.b64encode(value).decode()


def _decimals(before: int, after: int) -> st.SearchStrategy[Decimal]:
    whole = st.integers(-(10 ** (before + after)) + 1, 10 ** (before + after) - 1)
    return st.builds(lambda number: Decimal(f"{number}E-{after}"), whole) | st.decimals(
        -1000, 1000, places=min(after, 4), allow_nan=False
    )


text = st.text(
    st.characters(exclude_characters="\r\0", exclude_categories=["Cs", "Co"]), max_size=8
)
_times = st.times()
_naive = st.datetimes()
_aware = st.datetimes(timezones=st.just(UTC))
_leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text
)
json_values = st.recursive(
    _leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3)
)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


SORTS = {
    "INT64": Sort(st.integers(-(2**63), 2**63 - 1), str, str),
    "FLOAT64": Sort(st.floats(allow_nan=False, allow_infinity=False), repr, repr),
    "NUMERIC": Sort(_decimals(29, 9), "{:f}".format, "{:f}".format),
    "BIGNUMERIC": Sort(_decimals(38, 38), "{:f}".format, "{:f}".format),
    "BOOL": Sort(st.booleans(), lambda value: str(value).lower(), _json),
    "STRING": Sort(text, str, _json),
    "BYTES": Sort(st.binary(max_size=8), _base64, _quoted(_base64)),
    "DATE": Sort(st.dates(), date.isoformat, _quoted(date.isoformat)),
    "TIME": Sort(_times, time.isoformat, _quoted(time.isoformat)),
    "DATETIME": Sort(_naive, datetime.isoformat, _quoted(datetime.isoformat)),
    "TIMESTAMP": Sort(_aware, datetime.isoformat, _quoted(datetime.isoformat)),
    "JSON": Sort(json_values.filter(lambda value: value is not None), _json, _json),
    "GEOGRAPHY": Sort(st.sampled_from(["POINT(1 2)", "LINESTRING(0 0, 1 1)"]), str, _json),
}
"""By BigQuery's name. A year before 1000 has four digits in ISO texts, as BigQuery wants it."""


@st.composite
def typed_rows(draw: st.DrawFn, kinds: Any = tuple(SORTS)) -> tuple[dict[str, str], list[dict]]:
    """Columns with a type each, and rows of them; None is among the values."""
    chosen = draw(st.lists(st.sampled_from(sorted(kinds)), min_size=1, max_size=4))
    types = {f"c{at}": kind for at, kind in enumerate(chosen)}
    row = st.fixed_dictionaries(
        {name: st.none() | SORTS[kind].values for name, kind in types.items()}
    )
    return types, draw(st.lists(row, min_size=1, max_size=6))


@st.composite
def damages(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Damage to a file: bytes that are changed, lost, doubled or put in; or its end is lost."""
    places = draw(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=4))
    what = draw(st.sampled_from(["flip", "lose", "double", "insert", "cut"]))
    size = draw(st.integers(1, 12))
    filling = draw(
        st.binary(min_size=1, max_size=12) | st.sampled_from([b'"', b"\n", b"\0", b"\xff"])
    )

    def damaged(data: bytes) -> bytes:
        for place in places:
            at = int(place * len(data))
            end = at + size
            data = {
                "flip": data[:at] + bytes(each ^ 0xFF for each in data[at:end]) + data[end:],
                "lose": data[:at] + data[end:],
                "double": data[:end] + data[at:],
                "insert": data[:at] + filling + data[at:],
                "cut": data[:at],
            }[what]
        return data

    return damaged


def prints_as(number: float, exact: Decimal) -> bool:
    """Whether a float, printed with as many digits as a decimal number has, is that number."""
    digits = len("".join(map(str, exact.as_tuple().digits)).strip("0"))
    return number == exact or Decimal(f"{number:.{max(digits, 1) - 1}e}") == exact


def read_or_place(source: Any) -> Read | None:
    """Read a source; None = a value of it was refused, with its line or row."""
    try:
        return read_source(source)
    except SourceError as error:
        message = str(error)
    assert PLACE.search(message), message
    return None


def read_or_refuse(source: Any, name: str) -> Read | None:
    """Read a source; None = it was refused, with the file's name in the message, and in text.

    Whatever else is raised fails the test.
    """
    try:
        return read_source(source)
    except EtlkitError as error:
        message = str(error)
    message.encode()
    assert name in message, message
    return None


PLACE = re.compile(r"(:\d+|, row \d+): ")
"""What a message about a value has in it: a line or a row."""

import gzip
import json
from datetime import UTC, date, datetime, time
from decimal import Decimal

import pytest

from etlkit import JsonlSource, SourceError


@pytest.fixture
def write(tmp_path):
    """Write rows, or text as it is, and return the path."""

    def call(content, name="a.jsonl"):
        path = tmp_path / name
        if isinstance(content, list):
            content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in content)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return call


def test_types_come_from_the_values(read, write):
    """Types follow the rules for new columns; a missing key is NULL; objects are JSON."""
    rows = [
        {"i": 1, "f": 1, "s": "猫", "o": {"a": [1, None]}, "l": [1, 2], "b": True},
        {"i": 2**40, "f": 0.5, "s": None, "o": None, "l": [], "late": "x"},
    ]
    types, ids, found = read(JsonlSource(write(rows)))
    assert types == {
        "i": "INT64", "f": "FLOAT64", "s": "STRING", "o": "JSON", "l": "ARRAY<INT64>",
        "b": "BOOL", "late": "STRING",
    }  # fmt: skip
    assert found[0] == {**rows[0], "f": 1.0, "late": None}
    assert found[1] == {**rows[1], "b": None}
    assert len(set(ids)) == 2


def test_declared_types_win(read, write):
    """Values that JSON writes as text get their declared type, also in ARRAY and STRUCT."""
    types = {
        "n": "NUMERIC", "by": "BYTES", "d": "DATE", "t": "TIME", "dt": "DATETIME",
        "ts": "TIMESTAMP", "days": "ARRAY<DATE>", "js": "ARRAY<JSON>",
        "p": "STRUCT<`at` TIMESTAMP, `n` INT64>",
        "absent": "INT64",
    }  # fmt: skip
    row = {
        "n": 0.1, "by": "AAE=", "d": "2024-02-29", "t": "12:00:00", "dt": "2024-01-31T12:00:00",
        "ts": "2024-01-31T12:00:00", "days": ["2024-01-01"], "js": [],
        "p": {"at": "2024-01-31T12:00:00+09:00", "n": 3},
    }  # fmt: skip
    found, _, (got, empty) = read(JsonlSource(write([row, {}]), types=types))
    assert found == {name: found[name] for name in types}
    assert got == {
        "n": Decimal("0.1"),
        "by": b"\x00\x01",
        "d": date(2024, 2, 29),
        "t": time(12),
        "dt": datetime(2024, 1, 31, 12),  # noqa: DTZ001 - a DATETIME has no zone
        "ts": datetime(2024, 1, 31, 12, tzinfo=UTC),
        "days": [date(2024, 1, 1)],
        "js": [],
        "p": {"at": datetime(2024, 1, 31, 3, tzinfo=UTC), "n": 3},
        "absent": None,
    }
    assert empty == {**dict.fromkeys(types), "days": [], "js": []}


def test_lines_and_encodings(read, write):
    """Empty lines are skipped; a byte order mark, other encodings and compression work."""
    text = '{"n": "猫"}\r\n\r\n{"n": "犬"}'
    expected = [{"n": "猫"}, {"n": "犬"}]
    assert read(JsonlSource(write(text.encode("utf-8-sig")))).rows == expected
    assert read(JsonlSource(write(text.encode("cp932")), encoding="cp932")).rows == expected
    assert read(JsonlSource(write(gzip.compress(text.encode()), "a.jsonl.gz"))).rows == expected


def test_unknown_keys_can_be_left_out(read, write):
    """A key that only a late row has is an error with its line, unless keys are ignored."""
    path = write([{"n": n} for n in range(1500)] + [{"n": 1, "late": "secret"}])
    with pytest.raises(SourceError, match=r"a\.jsonl:1501: .*late.*ignore_unknown=True"):
        read(JsonlSource(path))
    rows = read(JsonlSource(path, ignore_unknown=True)).rows
    assert rows[-1] == {"n": 1}
    rows = read(JsonlSource(path, types={"late": "STRING"})).rows
    assert rows[-1] == {"n": 1, "late": "secret"}


GOOD = '{"n": 1}\n' * 1200


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (GOOD + '{"n": \n', {}, r"a\.jsonl:1201: not one JSON object on a line"),
        (GOOD + "\n[1]\n", {}, r"a\.jsonl:1202: a row must be a JSON object, this is a list"),
        (GOOD + '{"n": NaN}\n', {}, r"a\.jsonl:1201: .*NaN is not JSON; write null"),
        (GOOD + '{"n": 1} {"n": 2}\n', {}, r"a\.jsonl:1201: .*Extra data"),
        (GOOD + '{"n": "secret"}\n', {}, r"a\.jsonl:1201: column 'n': .* set them with types"),
        (
            '{"d": "secret"}\n',
            {"types": {"d": "DATE"}},
            r"a\.jsonl:1: column 'd': the value is not of",
        ),
        ('{"n": 1}\n{"n": "secret"}\n', {"types": {"n": "INT64"}}, r"a\.jsonl:2: column 'n'"),
        (
            '{"f": 0.5}\n{"f": "NaN"}\n',
            {"types": {"f": "FLOAT64"}},
            r"a\.jsonl:2: column 'f': expected FLOAT64",
        ),
        ('{"n": 1}\n{"n": 1' + "0" * 80 + "}\n", {}, r"column 'n'.*types"),
        ('{"n": "猫"}\n'.encode("cp932"), {}, "is not in utf-8"),
    ],
)
def test_bad_lines_say_where(read, write, content, options, message):
    """The message has file, line, column and what to do, but not the value."""
    with pytest.raises(SourceError, match=message) as caught:
        read(JsonlSource(write(content), **options))
    assert "secret" not in str(caught.value)

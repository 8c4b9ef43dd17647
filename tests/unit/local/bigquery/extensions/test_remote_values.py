from datetime import UTC, date, datetime, time
from decimal import Decimal

import pytest

from etlkit.local.bigquery.extensions.remote_calls import is_loopback
from etlkit.local.bigquery.extensions.remote_values import decode, encode


@pytest.mark.parametrize(
    ("kind", "value", "in_json"),
    [
        ("INT64", 2**53, 2**53),
        ("INT64", 2**53 + 1, str(2**53 + 1)),
        ("INT64", -(2**63), str(-(2**63))),
        ("FLOAT64", float("inf"), "Infinity"),
        ("FLOAT64", 0.5, 0.5),
        ("NUMERIC", Decimal("1.500000000"), "1.5"),
        ("NUMERIC", Decimal("2.000000000"), 2),
        ("NUMERIC", Decimal(10) ** 20, "100000000000000000000"),
        ("BYTES", b"\x00\xff", "AP8="),
        ("DATE", date(2024, 1, 2), "2024-01-02"),
        ("DATETIME", datetime(2024, 1, 2, 3, 4, 5), "2024-01-02T03:04:05"),  # noqa: DTZ001
        ("TIME", time(3, 4, 5, 6), "03:04:05.000006"),
        ("TIMESTAMP", datetime(2024, 1, 2, 3, 4, 5, 500_000, UTC), "2024-01-02T03:04:05.500Z"),
    ],
)
def test_an_encoded_value_is_decoded_to_the_same_value(kind, value, in_json):
    """Each type has the JSON form of BigQuery."""
    assert encode(value, kind) == in_json
    assert decode(in_json, kind) == value


def test_null_is_null_in_every_type():
    """NULL is None as argument and as reply."""
    assert encode(None, "JSON") is None
    assert decode(None, "INT64") is None


@pytest.mark.parametrize(
    ("kind", "reply"),
    [
        ("INT64", "x"),
        ("INT64", 1.5),
        ("INT64", True),
        ("INT64", 2**63),
        ("FLOAT64", []),
        ("BOOL", 1),
        ("STRING", 1),
        ("BYTES", "?"),
        ("DATE", "yesterday"),
        ("DATETIME", "2024-01-01T00:00:00Z"),
        ("TIMESTAMP", 1),
        ("NUMERIC", "x"),
    ],
)
def test_a_reply_of_another_type_is_refused(kind, reply):
    """Values are not converted to another type."""
    with pytest.raises(ValueError, match=f"Failed to coerce output value .* to type {kind}"):
        decode(reply, kind)


@pytest.mark.parametrize(
    ("url", "is_ours"),
    [
        ("http://127.0.0.1:8080/x", True),
        ("http://localhost/", True),
        ("http://[::1]:1/", True),
        ("https://127.0.0.2/", True),
        ("http://127.0.0.1@example.com/", False),
        ("http://localhost.example.com/", False),
        ("http://10.0.0.1/", False),
        ("ftp://127.0.0.1/", False),
        ("127.0.0.1:80", False),
        ("http://[::1", False),
        ("", False),
    ],
)
def test_loopback(url, is_ours):
    """Only the host of a URL counts, whatever is before or after it."""
    assert is_loopback(url) is is_ours

"""Fake rows: valid in every type, the same for the same seed, hard values first."""

import math

import pytest

from etlkit import ConfigError
from etlkit.rows.batches import RowDecoder, RowEncoder
from etlkit.rows.columns import parse_schema
from etlkit.rows.types import TYPES
from etlkit.testing import assert_rows, fake_rows
from etlkit.testing.fake_values import FAKE_TYPES

SCHEMA = {
    **{f"a_{name}": name for name in TYPES},
    **{f"list_{name}": f"ARRAY<{name}>" for name in TYPES},
    "id": "INT64 NOT NULL",
    "price": "NUMERIC(5, 2)",
    "big": "BIGNUMERIC(40, 3)",
    "short": "STRING(3)",
    "few": "BYTES(4)",
    "person": "STRUCT<name STRING, tags ARRAY<STRING>>",
    "people": "ARRAY<STRUCT<name STRING, age INT64>>",
}


def test_every_type_has_values():
    """The registry of types and the one of fake values have the same names."""
    assert FAKE_TYPES.keys() == TYPES.keys()


@pytest.mark.parametrize("seed", range(5))
def test_rows_are_what_a_source_would_give(seed):
    """They go into Arrow and back without a change, whatever the type, its length and its digits."""
    rows = fake_rows(SCHEMA, 60, seed=seed)
    assert len(rows) == 60
    columns = parse_schema(SCHEMA)
    assert_rows(RowDecoder(columns).decode(RowEncoder(columns).encode(rows)).rows, rows)


def test_the_same_seed_gives_the_same_rows():
    """In other processes, too: nothing depends on hashes or on the clock."""
    assert_rows(fake_rows(SCHEMA, seed=7), fake_rows(SCHEMA, seed=7))
    with pytest.raises(AssertionError):
        assert_rows(fake_rows(SCHEMA, seed=7), fake_rows(SCHEMA, seed=8))


def test_rows_begin_with_a_plain_one_one_of_nulls_and_edges():
    """A few rows are enough to meet what code trips over."""
    plain, empty, *rest = fake_rows({"id": "INT64 NOT NULL", "n": "INT64", "x": "FLOAT64"}, 12)
    assert plain["id"] == 1
    assert None not in plain.values()
    assert (empty["n"], empty["x"]) == (None, None)
    assert empty["id"] is not None
    assert {row["n"] for row in rest} >= {0, -1, 2**63 - 1, -(2**63)}
    assert any(math.isnan(row["x"]) for row in rest if row["x"] is not None)


def test_nulls_and_edges_can_be_left_out():
    """Then all values are plausible ones."""
    rows = fake_rows(
        {"id": "INT64", "uri": "STRING", "email": "STRING"}, 200, nulls=False, edges=False
    )
    assert [row["id"] for row in rows][:3] == [1, 3, 4]
    assert all(row["uri"].startswith("gs://") for row in rows)
    assert all("@" in row["email"] for row in rows)


def test_a_struct_in_a_list_has_all_of_its_fields():
    """Also in the edge rows."""
    rows = fake_rows({"people": "ARRAY<STRUCT<name STRING, age INT64>>"}, 30)
    assert all(person.keys() == {"name", "age"} for row in rows for person in row["people"])
    assert any(len(row["people"]) > 1 for row in rows)


def test_an_unknown_type_is_refused():
    """With the types that there are."""
    with pytest.raises(ConfigError, match="INTERVAL"):
        fake_rows({"x": "INTERVAL"})

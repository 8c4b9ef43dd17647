"""Partitioning and clustering: judged as soon as the columns are known."""

import pytest

from etlkit import ConfigError, Definition, RangePartitioning, SinkError, TimePartitioning
from etlkit.rows.columns import Column, parse_schema

COLUMNS = parse_schema(
    {
        "d": "DATE",
        "ts": "TIMESTAMP",
        "n": "INT64",
        "f": "FLOAT64",
        "j": "JSON",
        "s": "STRING",
        "list": "ARRAY<STRING>",
        "record": "STRUCT<a INT64>",
    }
)


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        (Definition(TimePartitioning("d", "HOUR")), "by d: it is DATE, and must be TIMESTAMP or"),
        (Definition(TimePartitioning("s")), "by s: it is STRING, and must be DATE or TIMESTAMP"),
        (Definition(TimePartitioning("nope")), "by nope: the rows have no such column"),
        (Definition(RangePartitioning("s", 0, 9, 1)), "by s: it is STRING, and must be INT64"),
        (Definition(clustering=("f",)), "cannot cluster by f: it is FLOAT64"),
        (Definition(clustering=("j",)), "cannot cluster by j: it is JSON"),
        (Definition(clustering=("list",)), "cannot cluster by list: it is ARRAY<STRING>"),
        (Definition(clustering=("record",)), "cannot cluster by record: it is STRUCT"),
        (Definition(clustering=("s", "nope")), "cannot cluster by nope: the rows have no such"),
    ],
)
def test_columns_that_bigquery_does_not_partition_or_cluster_by(definition, message):
    """The sentence names column, type and what is possible."""
    with pytest.raises(SinkError, match=message):
        definition.check_columns(COLUMNS)


def test_columns_that_go():
    """Each unit with its types, and clustering by several columns."""
    Definition(TimePartitioning("ts", "HOUR"), clustering=("s", "n", "d")).check_columns(COLUMNS)
    Definition(TimePartitioning()).check_columns(COLUMNS)
    Definition(RangePartitioning("n", 0, 10_000, 1)).check_columns(COLUMNS)


def test_of_some_columns_only_those_are_judged():
    """While the transform may still add a column, a missing one is no error."""
    definition = Definition(TimePartitioning("made"), clustering=("s",))
    definition.check_columns(COLUMNS, complete=False)
    with pytest.raises(SinkError, match="by made"):
        definition.check_columns([Column("made", "BOOL")], complete=False)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RangePartitioning("n", 0, 10_001, 1), "10,001 partitions.*interval of 2 or more"),
        (lambda: Definition(clustering=("a", "b", "c", "d", "e")), "at most 4"),
        (lambda: Definition(clustering=("a", "a")), "twice"),
    ],
)
def test_definitions_that_no_table_can_have(make, message):
    """They cannot be made."""
    with pytest.raises(ConfigError, match=message):
        make()

"""Modes: how a table's columns may change, and the DML that BigQuery takes of them."""

from dataclasses import replace
from typing import get_args

import pytest

from etlkit import (
    BigQuerySink,
    ConfigError,
    Definition,
    RangePartitioning,
    SinkError,
    TimePartitioning,
)
from etlkit.bigquery.modes import MODES, ExistingTable, ModeName, Rows
from etlkit.bigquery.names import TableName
from etlkit.rows.columns import parse_schema

NAME = TableName("p", "d", "t")


def table(definition=None, **columns):
    schema = parse_schema(columns or {"k": "INT64", "v": "STRING"})
    return ExistingTable(NAME, schema, definition or Definition())


def statements(mode, there, **options):
    sink = BigQuerySink("d.t", mode=mode, **options)
    return MODES[mode].statements(sink, there, Rows("SELECT 1", there.columns))


def test_editors_and_type_checkers_know_every_mode():
    """The names of the type are those of the modes."""
    assert list(get_args(ModeName)) == list(MODES)


BY_DAY = Definition(TimePartitioning("k", require_filter=True))
BY_LOAD_TIME = Definition(TimePartitioning(require_filter=True))
BY_RANGE = Definition(RangePartitioning("k", 0, 9, 1, require_filter=True))


@pytest.mark.parametrize(
    ("definition", "condition"),
    [
        (BY_DAY, "(T.`k` IS NULL OR T.`k` IS NOT NULL)"),
        (BY_RANGE, "(T.`k` IS NULL OR T.`k` IS NOT NULL)"),
        (BY_LOAD_TIME, "(_PARTITIONTIME IS NULL OR _PARTITIONTIME IS NOT NULL)"),
    ],
)
def test_a_required_partition_filter_is_given(definition, condition):
    """TRUNCATE is refused on such a table, and a MERGE without a filter as well."""
    emptied, _ = statements("replace", table(definition))
    assert emptied == f"DELETE FROM `p.d.t` AS T WHERE {condition}"
    (merged,) = statements("merge", table(definition), merge_keys=("k",))
    assert f" AND {condition}\n" in merged


def test_a_table_that_requires_no_filter_is_truncated():
    """TRUNCATE costs nothing."""
    emptied, _ = statements("replace", table())
    assert emptied == "TRUNCATE TABLE `p.d.t`"


@pytest.mark.parametrize("mode", ["append", "append_direct", "merge"])
def test_rows_may_lack_a_required_column_that_has_a_default(mode):
    """BigQuery fills it in; without a default it is refused."""
    there = table(k="INT64", v="STRING NOT NULL")
    rows = parse_schema({"k": "INT64"})
    with pytest.raises(SinkError, match="no value for required column v"):
        MODES[mode].evolve(there, rows, "add_columns")
    MODES[mode].evolve(replace(there, defaults=frozenset({"v"})), rows, "add_columns")


def test_replace_alters_what_changed_and_nothing_else():
    """`CREATE OR REPLACE` would lose descriptions, policies, defaults and keys."""
    there = table(gone="STRING NOT NULL", k="INT64", v="STRING")
    changed = MODES["replace"].evolve(
        there, parse_schema({"k": "NUMERIC", "v": "STRING", "new": "STRING(3)"}), "add_columns"
    )
    assert changed.before == (
        "ADD COLUMN IF NOT EXISTS `new` STRING(3)",
        "ALTER COLUMN `gone` DROP NOT NULL",
        "ALTER COLUMN `k` SET DATA TYPE NUMERIC",
    )
    assert changed.after == ("DROP COLUMN IF EXISTS `gone`",)


@pytest.mark.parametrize(
    ("definition", "columns", "message"),
    [
        (
            None,
            {"k": "STRING", "v": "STRING"},
            "k is INT64, the rows have STRING, and BigQuery cannot",
        ),
        (BY_RANGE, {"v": "STRING"}, "k is not in the rows, but the table is partitioned"),
        (
            Definition(clustering=("v",)),
            {"k": "INT64", "v": "INT64"},
            "partitioned or clustered by",
        ),
    ],
)
def test_what_alter_cannot_do_is_refused(definition, columns, message):
    """With the way out."""
    with pytest.raises(SinkError, match=message):
        MODES["replace"].evolve(table(definition), parse_schema(columns), "add_columns")


@pytest.mark.parametrize("there", [Definition(), Definition(clustering=("v",)), BY_DAY])
def test_another_layout_needs_a_drop(there):
    """BigQuery cannot replace a table with another partitioning or clustering."""
    wanted = Definition(TimePartitioning("k", "MONTH"))
    sink = BigQuerySink("d.t", mode="delete_in_advance", definition=wanted)
    with pytest.raises(SinkError, match=r"partitioning is .*allow_drop=True"):
        MODES["delete_in_advance"].check_target(sink, table(there))


@pytest.mark.parametrize("kind", ["JSON", "GEOGRAPHY", "STRUCT<a INT64>", "ARRAY<INT64>"])
def test_keys_that_bigquery_cannot_compare(kind):
    """They are refused with the table at open, or with the columns of the rows."""
    sink = BigQuerySink("d.t", mode="merge", merge_keys=("k",))
    there = table(k=kind)
    with pytest.raises(SinkError, match=r"merge key k is .*which BigQuery cannot compare"):
        MODES["merge"].check_target(sink, there)
    with pytest.raises(SinkError, match=r"merge key k is .*which BigQuery cannot compare"):
        MODES["merge"].check_columns(sink, there.columns)


@pytest.mark.parametrize("kind", ["INT64", "STRING(3)", "FLOAT64", "BYTES", "TIMESTAMP", "NUMERIC"])
def test_keys_that_it_can(kind):
    """NaN is equal to nothing, so rows with it are added again: documented."""
    sink = BigQuerySink("d.t", mode="merge", merge_keys=("k",))
    MODES["merge"].check_target(sink, table(k=kind))
    MODES["merge"].check_columns(sink, parse_schema({"k": kind}))


@pytest.mark.parametrize(
    "text", ["SELECT 1", "CREATE TEMP TABLE x (a INT64)", "DELETE FROM d.t WHERE TRUE; COMMIT"]
)
def test_before_load_is_dml(text):
    """Anything else cannot be undone with the transaction."""
    with pytest.raises(ConfigError, match="before_load takes INSERT, UPDATE, DELETE, MERGE"):
        BigQuerySink("d.t", before_load=text)


def test_before_load_as_statements():
    """Semicolons and comments behind them are left out."""
    text = "DELETE FROM d.t WHERE v = ';'; -- one\nUPDATE d.t SET k = 1 WHERE TRUE; /* two */"
    assert statements("append", table(), before_load=text)[:2] == [
        "DELETE FROM d.t WHERE v = ';'",
        "UPDATE d.t SET k = 1 WHERE TRUE",
    ]

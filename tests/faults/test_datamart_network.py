"""Connections that break at each step of a datamart: no statement runs twice, no row is doubled."""

import itertools

import pytest

from etlkit import Datamart
from etlkit.runner import run_datamart
from etlkit.testing.fault_proxy import Fault

NUMBERS = itertools.count(1)
STEPS = {
    "start": b"_start_",
    "staging": b'_stage"',
    "count": b"COUNT(*) AS n",
    "publish": b"_publish_",
    "drop of a work table": b"DELETE /",
}
DISPOSITIONS = {
    "append": {},
    "scd_type_2": {"merge_keys": ("k",), "incremental_column": "seq"},
}


@pytest.fixture(scope="module")
def marts(run):
    run("CREATE SCHEMA IF NOT EXISTS marts")
    return "marts"


@pytest.fixture
def insert(marts, through_proxy):
    """Run a query into a table, through faults, and see that each of them struck."""

    def run_it(sql, table, disposition, faults=()):
        job = Datamart(
            sql=sql,
            query_mode="insert",
            destination=f"{marts}.{table}",
            write_disposition=disposition,
            **DISPOSITIONS[disposition],
        )
        report = run_datamart(job, name=table, settings=through_proxy(rest=faults))
        assert all(fault.struck == fault.times for fault in faults)
        assert report.state == "published"

    return run_it


@pytest.mark.parametrize("disposition", DISPOSITIONS)
def test_every_answer_is_lost_once(insert, run, marts, disposition):
    """The work is found again, not done twice."""
    table = f"t_{next(NUMBERS)}"
    insert("SELECT 1 AS k, 'a' AS v, 1 AS seq", table, disposition)
    faults = [Fault(marker) for marker in STEPS.values()]
    new = "SELECT 1 AS k, 'b' AS v, 2 AS seq UNION ALL SELECT 2, 'c', 1"
    insert(new, table, disposition, faults)
    assert sorted(run(f"SELECT k, v FROM {marts}.{table}")) == [(1, "a"), (1, "b"), (2, "c")]


def test_the_answer_to_the_creation_of_the_table_is_lost(insert, run, marts):
    """The table is there, and it is this run's own."""
    table = f"t_{next(NUMBERS)}"
    faults = [Fault(b'_create_target"')]
    insert("SELECT 1 AS k, 'a' AS v, 1 AS seq", table, "scd_type_2", faults)
    assert run(f"SELECT k, v FROM {marts}.{table}") == [(1, "a")]


@pytest.mark.parametrize("at", ["request", "answer"])
def test_a_statement_is_cut(through_proxy, run, marts, at):
    """An INSERT must not run twice because nobody heard that it did; its numbers are told."""
    table = f"{marts}.t_{next(NUMBERS)}"
    faults = [Fault(marker, at=at) for marker in (b'_statement_2"', b"_publish_")]
    job = Datamart(sql=f"CREATE TABLE {table} (n INT64); INSERT INTO {table} VALUES (1), (2);")
    report = run_datamart(job, settings=through_proxy(rest=faults))
    assert all(fault.struck == 1 for fault in faults)
    assert (report.state, report.statements[1].rows) == ("published", 2)
    assert sorted(run(f"SELECT n FROM {table}")) == [(1,), (2,)]
    ledger = f"SELECT state FROM etlkit_work.runs WHERE run_id = '{report.run_id}'"
    assert run(ledger) == [("published",)]

"""Datamarts on given rows, in the local BigQuery."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from etlkit import ConfigError, Datamart, StatementError, String, run_datamart
from etlkit.testing import assert_rows, datamart_rows, freeze_time

NOW = datetime(2026, 1, 2, 20, tzinfo=UTC)


@pytest.fixture
def local(local_server, monkeypatch):
    """Google's clients in this process go to the shared server."""
    for name, value in local_server.endpoints.environ().items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def sales(dataset, local):
    """Sales of the last day by day, in Tokyo."""
    return dataset, Datamart(
        sql=f"""
            SELECT DATE(sold_at, 'Asia/Tokyo') AS day, SUM(amount) AS amount
            FROM {dataset}.orders
            WHERE DATE(sold_at, 'Asia/Tokyo') >= CURRENT_DATE('Asia/Tokyo') - 1
            GROUP BY day
        """,
        query_mode="insert",
        destination=f"{dataset}.sales",
        write_disposition="append",
    )


def test_the_destination_of_given_rows_at_a_given_time(sales):
    """The tables are made anew each time, also the destination of an append."""
    dataset, job = sales
    orders = [
        {"sold_at": datetime(2026, 1, 1, 14, tzinfo=UTC), "amount": Decimal(1)},
        {"sold_at": datetime(2026, 1, 1, 15, tzinfo=UTC), "amount": Decimal(2)},
        {"sold_at": datetime(2026, 1, 2, 15, tzinfo=UTC), "amount": Decimal(4)},
    ]
    expected = [
        {"day": date(2026, 1, 2), "amount": Decimal(2)},
        {"day": date(2026, 1, 3), "amount": Decimal(4)},
    ]
    given = {f"{dataset}.orders": orders}
    assert_rows(datamart_rows(job, given, now=NOW), expected, by="day")
    with freeze_time(NOW):
        assert_rows(datamart_rows(job, given), expected, by="day")
    later = datetime(2026, 1, 3, 20, tzinfo=UTC)
    assert_rows(datamart_rows(job, {f"{dataset}.orders": orders}, now=later), expected[1:])


def test_an_empty_table_has_the_types_that_are_said(sales):
    """A table may be named in `schemas` alone."""
    dataset, job = sales
    types = {"sold_at": "TIMESTAMP NOT NULL", "amount": "NUMERIC"}
    assert datamart_rows(job, schemas={f"{dataset}.orders": types}, now=NOW) == []
    with pytest.raises(ConfigError, match=r"say its columns \(schemas; in YAML schema\)"):
        datamart_rows(job, {f"{dataset}.orders": []}, now=NOW)


def test_tables_of_an_earlier_test_are_not_seen(sales, monkeypatch):
    """A misspelt name must not pass on rows that are left; in one test, tables stay."""
    dataset, job = sales
    orders = [{"sold_at": NOW, "amount": 1.5}]
    monkeypatch.setenv("PYTEST_CURRENT_TEST", "test_one (call)")
    rows = datamart_rows(job, {f"{dataset}.orders": orders}, now=NOW)
    assert datamart_rows(job, now=NOW) == rows
    monkeypatch.setenv("PYTEST_CURRENT_TEST", "test_two (call)")
    with pytest.raises(StatementError, match=f"{dataset}.orders"):
        datamart_rows(job, {f"{dataset}.orderz": orders}, now=NOW)


def test_tables_that_a_fixture_makes_are_seen(sales, monkeypatch):
    """Also where an earlier test has made tables of the same names."""
    dataset, job = sales
    orders = [{"sold_at": NOW, "amount": 1.5}]
    monkeypatch.setenv("PYTEST_CURRENT_TEST", "test_one (call)")
    datamart_rows(job, {f"{dataset}.orders": [{"sold_at": NOW, "amount": 9.0}]}, now=NOW)
    monkeypatch.setenv("PYTEST_CURRENT_TEST", "test_two (setup)")
    rows = datamart_rows(job, {f"{dataset}.orders": orders}, now=NOW)
    monkeypatch.setenv("PYTEST_CURRENT_TEST", "test_two (call)")
    assert datamart_rows(job, now=NOW) == rows


def test_a_run_is_refused_while_the_clock_stands_still(sales):
    """It would wait for ever, or find its own tables expired."""
    _, job = sales
    with freeze_time(NOW), pytest.raises(ConfigError, match="freeze_time cannot be around a run"):
        run_datamart(job)


def test_the_last_select_of_a_query(dataset, local):
    """With values for variables, and every kind of type."""
    job = Datamart(
        sql=f"CREATE OR REPLACE TABLE {dataset}.t AS SELECT '$word$' AS word; SELECT 1;"
        f"SELECT word, g.* FROM {dataset}.t, {dataset}.given AS g ORDER BY id",
        variables={"word": String("dog")},
    )
    given = [
        {"id": 1, "j": {"a": [1, None]}, "tags": ["x"], "s": {"n": 1.5}},
        {"id": 2, "j": None, "tags": [], "s": None},
    ]
    types = {"id": "INT64", "j": "JSON", "tags": "ARRAY<STRING>", "s": "STRUCT<n FLOAT64>"}
    rows = datamart_rows(
        job,
        {f"{dataset}.given": given},
        schemas={f"{dataset}.given": types},
        variables={"word": "cat"},
    )
    assert_rows(rows, [{"word": "cat", **row} for row in given])


def test_sql_that_is_wrong_is_an_error_of_the_statement(sales):
    """BigQuery's own words: the local BigQuery refuses what BigQuery refuses."""
    dataset, job = sales
    with pytest.raises(StatementError, match="amount"):
        datamart_rows(job, {f"{dataset}.orders": [{"sold_at": NOW, "price": 1}]}, now=NOW)


def test_tables_of_real_bigquery_are_never_made_anew(monkeypatch):
    """Without the local BigQuery nothing is run."""
    monkeypatch.delenv("BIGQUERY_EMULATOR_HOST", raising=False)
    with pytest.raises(ConfigError, match="on the local BigQuery only"):
        datamart_rows(Datamart(sql="SELECT 1 AS n"))

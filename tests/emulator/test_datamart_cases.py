"""Tests of datamarts in YAML, as pytest collects and runs them."""

import os
import subprocess
import sys
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path

import pytest

import etlkit
from etlkit import ConfigError
from etlkit.rows.columns import parse_schema
from etlkit.testing.datamart_cases import read_cases, typed

ROOT = Path(etlkit.__file__).parents[1]
JOB = """
from etlkit import Datamart
job = Datamart(
    sql=\"\"\"
        SELECT DATE(ordered_at) AS day, SUM(amount * IFNULL(rate, 1)) AS amount, ANY_VALUE(tags) AS tags
        FROM DATASET.orders LEFT JOIN DATASET.rates AS r ON r.of_day = DATE(ordered_at)
        WHERE DATE(ordered_at) >= CURRENT_DATE() - 1
        GROUP BY day
    \"\"\",
    query_mode="insert",
    destination="DATASET.sales",
    write_disposition="truncate",
)
"""
CASES = """
unit_tests:
  - name: only_the_last_day_counts
    description: Orders of yesterday and today, at their day's rate.
    datamart: jobs.sales
    now: 2026-01-03T09:00:00Z
    given:
      - input: DATASET.orders
        schema: {ordered_at: TIMESTAMP, amount: NUMERIC, tags: ARRAY<STRING>}
        rows:
          - {ordered_at: 2026-01-01T09:00:00Z, amount: 10, tags: [a]}
          - {ordered_at: 2026-01-02 09:00:00, amount: 7, tags: []}
          - {ordered_at: 2026-01-03, amount: 1.5, tags: [b]}
      - input: DATASET.rates
        format: csv
        schema: {of_day: DATE, rate: NUMERIC}
        rows: |
          of_day,rate
          2026-01-02,0.5
    expect:
      by: day
      rows:
        - {day: 2026-01-02, amount: 3.5}
        - {day: 2026-01-03, amount: WANTED}
  - name: no_orders_at_all
    datamart: jobs/sales.py
    given:
      - input: DATASET.orders
        schema: {ordered_at: TIMESTAMP, amount: NUMERIC, tags: ARRAY<STRING>}
      - {input: DATASET.rates, fixture: rates.csv, schema: {of_day: DATE, rate: NUMERIC}}
    expect: {rows: []}
  - name: a_fixture_that_is_gone
    datamart: jobs.sales
    given:
      - input: DATASET.orders
        fixture: orders.csv
    expect: {rows: []}
  - name: a_key_that_no_row_has
    datamart: jobs.sales
    now: 2026-01-03
    given:
      - {input: DATASET.orders, schema: {ordered_at: TIMESTAMP, amount: NUMERIC, tags: ARRAY<STRING>}}
      - {input: DATASET.rates, fixture: rates.csv, schema: {of_day: DATE, rate: NUMERIC}}
    expect: {rows: [{day: 2026-01-03}], by: dax}
  - name: a_job_that_is_gone
    datamart: jobs.nosuch
    expect: {rows: []}
"""
CONFTEST = """
import os, pytest

@pytest.fixture(scope="session")
def local_bigquery():
    yield dict(os.environ)  # the test that started this pytest has a server
"""


@pytest.fixture
def project(tmp_path, dataset):
    """A project with a datamart and its tests; gives a function that runs them."""
    for name, text in {
        "jobs/sales.py": JOB,
        "tests/conftest.py": CONFTEST,
        "tests/sales.etlkit.yml": CASES,
        "tests/rates.csv": "of_day,rate\n2026-01-02,2\n",
        "tests/other.yml": "not: ours",
    }.items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text.replace("DATASET", dataset))
    return tmp_path


@pytest.fixture
def run(project, local_server):
    def run_pytest(wanted):
        file = project / "tests/sales.etlkit.yml"
        file.write_text(file.read_text().replace("WANTED", wanted))
        environ = {**os.environ, **local_server.endpoints.environ(), "PYTHONPATH": str(ROOT)}
        environ.pop("PYTEST_ADDOPTS", None)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-p", "no:bqemulator"],
            cwd=project,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=150,
        )
        return done.returncode, done.stdout

    return run_pytest


def test_cases_run_and_a_difference_can_be_read(run):
    """Tests have the names of the file; only the expected columns are compared, by their types."""
    status, out = run("2")
    assert status == 1
    assert "sales.etlkit.yml::only_the_last_day_counts FAILED" in out
    assert "sales.etlkit.yml::no_orders_at_all PASSED" in out
    assert "row day=datetime.date(2026, 1, 3)" in out
    assert "amount: Decimal('1.500000000'), expected Decimal('2')" in out
    assert "Traceback" not in out
    assert "4 failed, 1 passed" in out
    fixture = (
        "sales.etlkit.yml:36, test 'a_fixture_that_is_gone', given: fixture orders.csv: No such"
    )
    assert f"\n{fixture} file or directory\n" in out
    assert "\nsales.etlkit.yml:38, test 'a_key_that_no_row_has': a row has no dax: {'day'" in out
    assert "sales.etlkit.yml:45, test 'a_job_that_is_gone': no module 'jobs.nosuch'" in out


FILES = {
    "- x": "x.etlkit.yml: it needs a list unit_tests",
    "unit_tests: 3": "it needs a list unit_tests",
    "unit_tests: [": "x.etlkit.yml is not YAML",
    "\x00": "x.etlkit.yml is not YAML",
}


@pytest.mark.parametrize("text", FILES)
def test_a_file_of_another_form_is_refused(tmp_path, text):
    """The message says what is allowed."""
    file = tmp_path / "x.etlkit.yml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=FILES[text]):
        read_cases(file)
    with pytest.raises(ConfigError, match=r"nosuch\.etlkit\.yml: No such file"):
        read_cases(tmp_path / "nosuch.etlkit.yml")


RIGHT = "{name: right, datamart: b, expect: {rows: []}}"
TESTS = {
    "3": ":3, test 'test 2': it is a mapping with some of name",
    "{name: a}": ":3, test 'a': datamart is missing",
    "{name: a, datamart: b,\n   model: c}": ":4, test 'a': unknown 'model'; it is one of name",
    "{name: a, datamart: b, expect: {}}": ": expect is missing",
    "{name: a, datamart: b, expect: {by: c}}": "expect: it needs rows or a fixture",
    "{name: a, datamart: b,\n   expect: {\n    fixture: c.csv}}": (
        ":5, test 'a', expect: fixture c.csv: No such file"
    ),
    "{name: a, datamart: b, expect: {fixture: c.txt}}": "fixture c.txt: it is a .csv or a .jsonl",
    "{name: a, datamart: b, expect: {fixture: bad.jsonl}}": "fixture bad.jsonl, line 2: Expecting",
    "{name: a, datamart: b, expect: {fixture: list.jsonl}}": "list.jsonl, line 1: it is an object",
    "{name: a, datamart: b, expect: {fixture: latin.csv}}": "fixture latin.csv: it is not UTF-8",
    "{name: a, datamart: b, expect: {fixture: long.csv}}": "long.csv, row 2: it has more or fewer",
    "{name: a, datamart: b, expect: {fixture: cell.csv}}": "cell.csv, row 1: while parsing",
    "{name: a, datamart: b, expect: {rows: [1]}}": "rows is a list of mappings",
    "{name: a, datamart: b, expect: {rows: [], format: xml}}": "format is one of dict, csv",
    "{name: a, datamart: b, now: soon, expect: {rows: []}}": "now is a time",
    "{name: a, datamart: b, given: x, expect: {rows: []}}": "given: it is a list of tables",
    "{name: a, datamart: b, given: [{rows: []}], expect: {rows: []}}": "given: input is missing",
    "{name: a, datamart: b, given: [{input: t, schema: {a: NOPE}}], expect: {rows: []}}": (
        "given, schema: column 'a': type 'NOPE' is not supported"
    ),
    """{name: a, datamart: b, expect: {rows: []},
       given: [{input: t, rows: [{c: 1}], schema: {a: INT64}}]}""": "schema has no column 'c'",
    "{name: a, datamart: b, given: [{input: t}, {input: t}], expect: {rows: []}}": "t is given twice",
    "{name: a, datamart: b, expect: {rows: [{n: 1,\n   n: 2}]}}": (
        ":4, test 'a': the key 'n' is there twice"
    ),
    "{name: a, datamart: b, expect: {rows: [], ordered: maybe}}": "ordered is true or false",
    RIGHT: ":3, test 'right': another test has this name",
}


@pytest.mark.parametrize("text", TESTS)
def test_a_test_that_cannot_be_read_fails_alone(tmp_path, text):
    """With file and line; the others of its file are read."""
    (tmp_path / "bad.jsonl").write_text('{"a": 1}\n{"a":\n')
    (tmp_path / "list.jsonl").write_text("[1]\n")
    (tmp_path / "latin.csv").write_bytes(b"a\n\xe9\n")
    (tmp_path / "long.csv").write_text("a,b\n1,2\n1,2,3\n")
    (tmp_path / "cell.csv").write_text("a\n[1\n")
    file = tmp_path / "x.etlkit.yml"
    file.write_text(f"unit_tests:\n - {RIGHT}\n - {text}\n - {RIGHT.replace('right', 'last')}\n")
    (_, first), (_, wrong), (name, last) = read_cases(file)
    assert (name, first.where) == ("last", "x.etlkit.yml:2, test 'right'")
    assert last.datamart == "b"
    assert str(wrong).startswith("x.etlkit.yml:")
    assert TESTS[text] in str(wrong)


def test_values_of_yaml_become_those_of_the_columns():
    """YAML knows texts, numbers, dates and times; BigQuery knows more."""
    columns = parse_schema(
        {
            "at": "TIMESTAMP",
            "local": "DATETIME",
            "day": "DATE",
            "hour": "TIME",
            "price": "NUMERIC",
            "share": "FLOAT64",
            "raw": "BYTES",
            "name": "STRING",
            "tags": "ARRAY<STRUCT<n NUMERIC>>",
        }
    )
    given = {
        "at": date(2026, 1, 2),
        "local": date(2026, 1, 2),
        "day": "2026-01-02",
        "hour": 10 * 3600 + 30 * 60,  # 10:30:00 as YAML 1.1 reads it
        "price": 1.5,
        "share": 1,
        "raw": "AQI=",
        "name": 7,
        "tags": [{"n": 2}],
    }
    assert typed([given, {"tags": None, "other": 1}], columns, "x") == [
        {
            "at": datetime(2026, 1, 2, tzinfo=UTC),
            "local": datetime(2026, 1, 2),  # noqa: DTZ001 - DATETIME has no zone
            "day": date(2026, 1, 2),
            "hour": time(10, 30),
            "price": Decimal("1.5"),
            "share": 1.0,
            "raw": b"\x01\x02",
            "name": "7",
            "tags": [{"n": Decimal(2)}],
        },
        {"tags": [], "other": 1},
    ]
    with pytest.raises(ConfigError, match="row 1: day is DATE, and 'soon' is none"):
        typed([{"day": "soon"}], columns, "x")

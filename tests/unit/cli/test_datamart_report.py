"""The report of a datamart for a person."""

import io
import logging
import sys

import click
import pytest

from etlkit import DatamartReport, StatementReport
from etlkit.bigquery.result_rows import ResultColumn, ResultRows
from etlkit.cli.datamart_report import show_datamart, show_rows
from etlkit.cli.logs import JsonFormatter, configure_logging


@pytest.fixture
def logs():
    """The log of the command line, in either format."""
    logger = logging.getLogger("etlkit")

    def start(formatter=None):
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(formatter or logging.Formatter("%(message)s"))
        logger.handlers[:], logger.propagate = [handler], False
        logger.setLevel(logging.INFO)

    return start


def script():
    """A script with two jobs of its own."""
    numbers = {"state": "done", "seconds": 1.5, "bytes_billed": 10 * 2**20, "slot_ms": 4321}
    children = [
        StatementReport(number=1, line=3, statement="SELECT [bold]1", rows=7, **numbers),
        StatementReport(number=2, line=3, statement="INSERT \x1b[31mx", rows=1234, **numbers),
    ]
    parent = StatementReport(number=1, line=3, statement="BEGIN " + "x" * 80, children=children)
    parent.state, parent.statement_type = "done", "SCRIPT"
    return DatamartReport(run_id="r", job="mart", state="published", statements=[parent])


def test_the_jobs_of_a_script_stand_below_it(logs, capsys):
    """Child jobs have their figures; brackets and control characters are only text; long SQL is cut."""
    logs()
    show_datamart(script())
    seen = capsys.readouterr().err
    lines = {line.split("│")[1].strip(): line for line in seen.splitlines() if "│" in line}
    assert list(lines) == ["#", "1", "1.1", "1.2"]
    assert "SELECT [bold]1" in lines["1.1"]
    assert "10.0 MiB" in lines["1.1"]
    assert "4.3 s" in lines["1.1"]
    assert "1,234" in lines["1.2"]
    assert "\x1b[31m" not in seen
    assert "BEGIN " + "x" * 54 + "…" in lines["1"]
    assert "cost" not in seen


def test_json_logs_have_no_table(logs, capsys):
    """With JSON logs there is a line for each row of the table and for each note."""
    logs(JsonFormatter())
    report = script()
    report.warnings = ["a column was left out"]
    report.estimated_cost = 1.25
    show_datamart(report)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5
    assert '"level": "warning"' in lines[0]
    assert "1.2 | INSERT" in lines[3]
    assert "1.2500 USD" in lines[4]


def test_an_insert_says_where_the_rows_are(logs, capsys):
    """The target is named, and a statement that could not be validated says why."""
    logs()
    report = DatamartReport(run_id="r", job="m", state="published", target="p.d.t")
    report.rows_published = 1200
    report.statements = [StatementReport(number=1, line=1, statement="SELECT 1")]
    report.statements[0].state, report.statements[0].error = "unchecked", "needs another"
    show_datamart(report)
    seen = capsys.readouterr().err
    assert "published 1,200 rows to p.d.t" in seen
    assert "statement 1 needs another" in seen


@pytest.mark.parametrize(
    ("num_there", "table", "line"),
    [
        (
            50,
            "p._a.b",
            "2 of 50 rows of statement 3. BigQuery keeps all of them for 24 hours in p._a.b",
        ),
        (2, None, "2 rows of statement 3. They are in no table: query_mode='insert' writes them"),
    ],
)
def test_the_rows_of_a_select_are_shown_with_their_place(num_there, table, line, capsys):
    """A table, how many rows there are, and where all of them are."""
    configure_logging(logging.INFO)
    columns = (ResultColumn("n", "INT64"), ResultColumn("t", "STRING"))
    statement = StatementReport(number=3, line=1, statement="SELECT", result_table=table)
    show_rows(statement, ResultRows(columns, [(1, "a"), (2, None)], num_there))
    seen = capsys.readouterr().err
    assert "│ 2 │ NULL │" in seen
    assert line in seen


def test_a_narrow_terminal_keeps_the_state_and_the_price(logs, monkeypatch):
    """Columns are left out before a statement becomes one line a value."""

    class Terminal(io.StringIO):
        encoding = "utf-8"

        def isatty(self):
            return True

    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    logs()
    report = script()
    for statement in (*report.statements, *report.statements[0].children):
        statement.statement_type, statement.estimated_cost = "CREATE_TABLE_AS_SELECT", 0.1234
        statement.bytes_processed = 10 * 2**20
    show_datamart(report)
    shown = click.unstyle(terminal.getvalue()).splitlines()
    assert max(map(len, shown)) <= 80
    assert all(name in shown[2] for name in ("statement", "state", "billed", "cost"))
    assert any(line.startswith("(no room for: ") for line in shown)

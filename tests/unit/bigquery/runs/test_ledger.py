import json
import math

import pytest
from google.cloud import bigquery

from etlkit.bigquery.runs.ledger import MAX_ERROR_CHARS, MAX_VARIABLES_CHARS, Ledger, counts_of_row
from etlkit.bigquery.sql import ledger as ledger_sql
from tests.unit.bigquery.fake_connection import DATASET, FakeConnection


@pytest.fixture
def connection():
    return FakeConnection()


@pytest.fixture
def ledger(connection):
    return Ledger(connection, DATASET)


def values(parameters):
    return {parameter.name: parameter.value for parameter in parameters}


def test_a_new_ledger_is_partitioned_clustered_and_never_expires(connection, ledger):
    """Without a job: events below, a view on top."""
    assert not ledger.is_made()
    ledger.make()
    events = connection.find_table(ledger.events)
    assert events.time_partitioning.field == "event_at"
    assert events.clustering_fields == ["job", "run_id"]
    assert events.expires is None
    assert connection.find_table(ledger.runs).view_query == ledger_sql.runs_view(ledger.events)
    assert ledger.is_made()
    assert connection.statements == []


def test_a_ledger_that_is_there_is_left_alone(connection, ledger):
    """No request changes it."""
    ledger.make()
    before = {name: table["etag"] for name, table in connection.tables.items()}
    ledger.make()
    assert {name: table["etag"] for name, table in connection.tables.items()} == before


def test_a_ledger_that_lacks_a_column_gets_it(connection, ledger):
    """A later version may write more; what is there stays in front."""
    ledger.make()
    events = connection.tables[str(ledger.events)]
    fields = events["schema"]["fields"]
    events["schema"]["fields"] = [each for each in fields if each["name"] != "retry_of"]
    ledger.make()
    names = [each.name for each in connection.find_table(ledger.events).schema]
    assert names[-1] == "retry_of"
    assert sorted(names) == sorted(each["name"] for each in fields)


def test_two_runs_that_bring_a_ledger_up_to_date_at_once_both_succeed(connection, ledger):
    """The first ones of a later version, in the same moment: columns and view are changed once."""
    ledger.make()
    events = connection.tables[str(ledger.events)]
    fields = [each["name"] for each in events["schema"]["fields"]]
    events["schema"]["fields"] = events["schema"]["fields"][:-3]
    connection.tables[str(ledger.runs)]["view"]["query"] = "SELECT 1"
    updates = []

    def other_is_faster(kind, name):
        if kind == "update_table":
            updates.append(name)
            connection.on_request = None
            Ledger(connection, DATASET).make()
            connection.on_request = other_is_faster if len(updates) < 2 else None

    connection.on_request = other_is_faster
    ledger.make()
    assert [each.name for each in connection.find_table(ledger.events).schema] == fields
    assert connection.find_table(ledger.runs).view_query == ledger_sql.runs_view(ledger.events)
    assert updates


def test_an_older_view_is_brought_up_to_date(connection, ledger):
    """The view is etlkit's own."""
    ledger.make()
    connection.tables[str(ledger.runs)]["view"]["query"] = "SELECT 1"
    ledger.make()
    assert connection.find_table(ledger.runs).view_query == ledger_sql.runs_view(ledger.events)


def test_a_ledger_of_the_first_form_is_copied_and_then_dropped(connection, ledger):
    """In this order: killed in between, it is copied again, without the rows that are copied."""
    old = bigquery.Table(
        str(ledger.runs),
        schema=[bigquery.SchemaField(n, "STRING") for n in ("run_id", "job", "heartbeat_at")],
    )
    connection.make_table(old)
    assert not ledger.is_made()
    ledger.make()
    (statement,) = connection.statements
    assert "heartbeat_at" not in statement.sql
    assert f"WHERE old.run_id NOT IN (SELECT run_id FROM {ledger.events.sql})" in statement.sql
    assert ledger.is_made()


def test_an_event_is_one_insert(ledger):
    """Nothing in the ledger is ever changed: many runs share it."""
    text, parameters = ledger.event("published", {"run_id": "r", "read": 3, "variables": {"a": 1}})
    assert text.startswith(f"INSERT INTO {ledger.events.sql} (event_at, event, etlkit_version,")
    assert "CURRENT_TIMESTAMP()" in text  # BigQuery's clock
    for verb in ("UPDATE", "DELETE", "MERGE", "TRUNCATE"):
        assert verb not in text
    given = values(parameters)
    assert (given["event"], given["run_id"], given["read"]) == ("published", "r", 3)
    assert json.loads(given["variables"]) == {"a": 1}


def test_values_travel_as_parameters(ledger):
    """A text of any length or content is no part of the statement."""
    text, parameters = ledger.event("failed", {"run_id": "r", "error": "it's `bad`; DROP"})
    assert "DROP" not in text
    assert values(parameters)["error"] == "it's `bad`; DROP"


def test_a_long_error_is_cut(ledger):
    """A row of the ledger is for people."""
    _, parameters = ledger.event("failed", {"error": "x" * 10 * MAX_ERROR_CHARS})
    assert len(values(parameters)["error"]) == MAX_ERROR_CHARS


def test_many_variables_are_cut(ledger):
    """60,000 ids as a parameter would not fit into a statement."""
    _, parameters = ledger.event("started", {"variables": {"ids": list(range(60_000))}})
    text = values(parameters)["variables"]
    assert len(text) < 2 * MAX_VARIABLES_CHARS
    assert json.loads(text)["truncated"].startswith('{"ids": [0, 1, 2')


@pytest.mark.parametrize(("value", "written"), [(math.nan, "nan"), (-math.inf, "-inf"), (1.5, 1.5)])
def test_variables_that_json_lacks_are_text(ledger, value, written):
    """NaN and infinity, also within lists and dicts."""
    _, parameters = ledger.event("started", {"variables": {"a": [value], "b": {"c": value}}})
    assert json.loads(values(parameters)["variables"]) == {"a": [written], "b": {"c": written}}


def test_runs_are_sorted_by_bigquerys_clock(connection, ledger):
    """Run ids tell the time of the machine that made them."""
    ledger.find("job = @value", "j")
    (statement,) = connection.statements
    assert statement.sql.endswith("WHERE job = @value\nORDER BY began_at, run_id")
    assert statement.parameters == {"value": "j"}
    assert "MIN(event_at) OVER (PARTITION BY run_id) AS began_at" in ledger_sql.runs_view(
        ledger.events
    )


def test_counts_that_are_not_there_are_0():
    """A run that has only begun."""
    names = ("read", "written", "skipped", "rejected", "rows_published")
    assert counts_of_row(dict.fromkeys(names)) == dict.fromkeys(names, 0)

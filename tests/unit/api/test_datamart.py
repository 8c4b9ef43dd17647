"""Datamarts as descriptions: which options go together, their plans, and their order."""

from datetime import UTC, datetime

import pytest

from etlkit import (
    BigQuerySink,
    BigQuerySource,
    Check,
    ConfigError,
    Datamart,
    Definition,
    EtlBase,
    Lookback,
    String,
    Timestamp,
    TransferJob,
)
from etlkit.bigquery.datamart import sql
from etlkit.bigquery.datamart.insert import sink_options
from etlkit.bigquery.datamart.plan import in_order, make_plan
from etlkit.engine.expansion import expand_transfer

NOW = datetime(2024, 3, 31, 15, 30, tzinfo=UTC)
INSERT = {"sql": "SELECT 1 AS id", "query_mode": "insert", "destination": "a.b"}
MERGE = {"write_disposition": "incremental", "merge_keys": ("id",), "on_matched_action": "upsert"}
SCD = {"write_disposition": "scd_type_2", "merge_keys": ("id",), "incremental_column": "at"}


def planned(job, **options):
    return make_plan(job, queued_at=NOW, started_at=NOW, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "either sql='…' or file="),
        ({"sql": "SELECT 1", "file": "x.sql"}, "either sql='…' or file="),
        ({"sql": " "}, "is empty"),
        ({"sql": "SELECT 1", "query_mode": "run"}, "query_mode='run'.*'query', 'insert'"),
        ({"sql": "SELECT 1", "destination": "a.b"}, "destination goes with query_mode='insert'"),
        ({"sql": "SELECT 1", "checks": [Check("SELECT 1 FROM {staged}")]}, "checks goes with"),
        ({"sql": "SELECT 1", "query_mode": "insert"}, "needs destination="),
        (INSERT, "write_disposition=None.*'append', 'truncate', 'incremental', 'scd_type_2'"),
        (INSERT | {"write_disposition": "replace"}, "write_disposition='replace'.*'truncate'"),
        (INSERT | MERGE | {"merge_keys": ()}, "'incremental' needs merge_keys"),
        (INSERT | MERGE | {"merge_keys": "id"}, r"write \('id',\)"),
        (INSERT | MERGE | {"on_matched_action": None}, "needs on_matched_action"),
        (INSERT | MERGE | {"on_matched_action": "update"}, "'update'.*'upsert', 'skip'"),
        (INSERT | MERGE | {"before_load": "DELETE x"}, "before_load goes with .*append"),
        (INSERT | MERGE | {"is_runnable_concurrently": True}, "must be False"),
        (INSERT | MERGE | {"schema_evolution": "add"}, "'fail', 'detect_only', 'auto_add_column'"),
        (INSERT | SCD | {"incremental_column": None}, "needs incremental_column"),
        (INSERT | MERGE | {"incremental_column": "at"}, "goes with .*scd_type_2"),
        (
            INSERT | {"write_disposition": "append", "lookback": Lookback(column="d", start=1)},
            "lookback goes with .*incremental or scd_type_2",
        ),
        (INSERT | {"write_disposition": "append", "location": "US"}, "location goes with"),
        ({"sql": "SELECT 1", "variables": {"1a": "x"}}, "a name has letters"),
        ({"sql": "SELECT 1", "depends_on": "a"}, r"write \('a',\)"),
    ],
)
def test_what_does_not_go_together_is_refused_when_it_is_made(options, message):
    """Options that do not go together are found without I/O; the message has the allowed values."""
    with pytest.raises(ConfigError, match=message):
        Datamart(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": 1, "end": 2}, "start ≥ end ≥ 0"),
        ({"start": 1, "end": -1}, "start ≥ end ≥ 0"),
        ({"start": 1, "unit": "weeks"}, "'days', 'hours'"),
        ({"start": 1, "column_type": "STRING"}, "'TIMESTAMP', 'DATETIME', 'DATE'"),
        ({"start": 1, "column_type": "DATE", "unit": "hours"}, "a DATE has no hours"),
    ],
)
def test_bad_periods(options, message):
    """A period without sense is a configuration error."""
    with pytest.raises(ConfigError, match=message):
        Lookback(column="d", **options)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {},
            "`d` >= TIMESTAMP '2024-03-28 00:00:00.000000+00:00' AND `d` < TIMESTAMP '2024-04-01 ",
        ),
        ({"end": 1}, "AND `d` < TIMESTAMP '2024-03-31 00:00:00.000000+00:00'"),
        ({"column_type": "DATE"}, "`d` >= DATE '2024-03-28' AND `d` < DATE '2024-04-01'"),
        (
            {"column_type": "DATE", "time_zone": "Asia/Tokyo"},
            "`d` >= DATE '2024-03-29' AND `d` < DATE '2024-04-02'",
        ),
        (
            {"time_zone": "Asia/Tokyo"},
            "`d` >= TIMESTAMP '2024-03-28 15:00:00.000000+00:00' AND `d` < TIMESTAMP '2024-04-01 15",
        ),
        (
            {"unit": "hours", "column_type": "DATETIME", "time_zone": "Asia/Tokyo"},
            "`d` >= DATETIME '2024-03-31 21:30:00.000000' AND `d` < DATETIME '2024-04-01 00:30:00",
        ),
    ],
)
def test_a_period_wraps_the_query(options, expected):
    """Days are whole days of the zone, first and last included; hours count back from the run."""
    wrapped = sql.wrapped("SELECT 1 -- x", Lookback(column="d", start=3, **options), NOW)
    assert wrapped.startswith("SELECT * FROM (\nSELECT 1 -- x\n)\nWHERE ")
    assert expected in wrapped


def test_a_plan_has_the_statements_with_their_places_and_parameters(tmp_path):
    """Each statement gets only the parameters that it uses."""
    path = tmp_path / "x.sql"
    path.write_text("-- head\nCREATE TABLE a_$d$ AS SELECT $n$;\n\n SELECT '$d$';\n")
    job = Datamart(file=path, variables={"d": Timestamp(format="%Y%m%d"), "n": 1})
    first, second = planned(job, given={"n": "2"}, loop={"d": "20240101"}).steps
    assert (first.sql, first.parameters) == ("CREATE TABLE a_20240101 AS SELECT @n", {"n": 2})
    assert (second.sql, second.parameters) == ("SELECT @d", {"d": "20240101"})
    assert (second.number, second.statement.line, second.statement.column) == (2, 4, 2)


def test_variables_in_destination_before_load_and_checks():
    """They become names in the destination and literals in the publishing script."""
    job = Datamart(
        sql="SELECT 1 AS id",
        query_mode="insert",
        destination="a.b_$d$",
        write_disposition="append",
        before_load="DELETE FROM a.b_$d$ WHERE who = $who$",
        checks=["SELECT 1 FROM {staged} WHERE who != $who$"],
        variables={"d": "2024", "who": String("it's")},
    )
    found = planned(job).job
    assert found.destination == "a.b_2024"
    assert found.checks == (Check("SELECT 1 FROM {staged} WHERE who != 'it\\'s'"),)
    assert found.before_load == "DELETE FROM a.b_2024 WHERE who = 'it\\'s'"


@pytest.mark.parametrize(
    ("job", "message"),
    [
        (Datamart(file="no/such.sql"), "cannot read no/such.sql: No such file"),
        (Datamart(sql="SELECT $b$", variables={"a": "1"}), r"unknown variable \$b\$"),
        (Datamart(sql="SELECT 1 -- $a$", variables={"a": "1"}), r"\$a\$ is not used anywhere"),
        (
            Datamart(**INSERT | MERGE | {"sql": "SELECT 1; SELECT 2"}),
            "takes one SELECT, this has 2",
        ),
        (Datamart(**INSERT | MERGE | {"sql": "DECLARE x INT64;"}), "takes one SELECT; scripts"),
    ],
)
def test_plans_that_cannot_be_made(job, message):
    """Before any connection."""
    with pytest.raises(ConfigError, match=message):
        planned(job)


def test_a_file_that_is_no_text(tmp_path):
    """The message says so without the content."""
    (tmp_path / "x.sql").write_bytes(b"SELECT '\xff'")
    with pytest.raises(ConfigError, match="it is not UTF-8 text"):
        planned(Datamart(file=tmp_path / "x.sql"))


def test_every_disposition_is_one_of_a_transfers_modes():
    """Every disposition is published by the code of a transfer's mode."""
    skip = INSERT | MERGE | {"on_matched_action": "skip"}
    jobs = [INSERT | {"write_disposition": w} for w in ("append", "truncate")]
    options = [sink_options(Datamart(**job)) for job in [*jobs, INSERT | MERGE, skip, INSERT | SCD]]
    assert [(o.mode, o.merge_update_columns) for o in options] == [
        ("append", None),
        ("replace", None),
        ("merge", None),
        ("merge", ()),
        ("append", None),
    ]


def test_a_definition_of_another_kind():
    """A dict is not a definition; the error names the class."""
    job = Datamart(**INSERT, write_disposition="append", definition={"clustering": "a"})
    with pytest.raises(ConfigError, match=r"definition is a dict; give etlkit.Definition"):
        sink_options(job)
    good = Datamart(**INSERT, write_disposition="append", definition=Definition(clustering=("id",)))
    assert sink_options(good).definition.clustering == ("id",)


def named(name, *needs):
    return Datamart(sql="SELECT 1", name=name, depends_on=needs)


def test_datamarts_come_after_those_they_need():
    """The order in which they are given does not matter."""
    jobs = [named("report", "sales", "users"), named("sales", "raw"), named("users"), named("raw")]
    order = [job.name for job in in_order(jobs)]
    assert sorted(order) == ["raw", "report", "sales", "users"]
    assert order.index("raw") < order.index("sales") < order.index("report")
    assert order.index("users") < order.index("report")


@pytest.mark.parametrize(
    ("jobs", "message"),
    [
        (
            [named("a", "b"), named("b", "c"), named("c", "a")],
            "in a circle: .*a -> b -> c|b -> c -> a",
        ),
        ([named("a", "a")], "in a circle: a -> a"),
        ([named("a", "x")], "'a' depends on x; there are: a"),
        ([named("a"), named("a")], "got 'a' twice"),
        ([named(None)], "need names of their own"),
    ],
)
def test_orders_that_cannot_be(jobs, message):
    """A circle is named, in the direction of the dependencies."""
    with pytest.raises(ConfigError, match=message):
        in_order(jobs)


class Same(EtlBase):
    def transform_row(self, row):
        return row


def transfer(query="SELECT $n$ AS n", table="a.t_$day$", **options):
    return TransferJob(
        source=BigQuerySource(query, options.pop("parameters", {})),
        transform=Same,
        sink=BigQuerySink(table, **options.pop("sink", {})),
        **options,
    )


def expanded(job, **options):
    return expand_transfer(job, queued_at=NOW, started_at=NOW, **options)


def test_the_variables_of_a_transfer():
    """Query, table and before_load are expanded; the resulting job has no variables."""
    before = {"sink": {"before_load": "DELETE FROM a.t_$day$ WHERE n = $n$"}}
    job = transfer(variables={"n": 1, "day": Timestamp(format="%Y%m%d")}, **before)
    found, worth = expanded(job, given={"n": "2"})
    assert (found.source.query, found.source.parameters) == ("SELECT @n AS n", {"n": 2})
    assert found.sink.table == "a.t_20240331"
    assert found.sink.before_load == "DELETE FROM a.t_20240331 WHERE n = 2"
    assert worth == {"n": 2, "day": "20240331"}
    assert expanded(found) == (found, {})


@pytest.mark.parametrize(
    ("job", "message"),
    [
        (transfer(), r"unknown variable \$n\$; the job has none"),
        (transfer(variables={"n": 1}), r"unknown variable \$day\$; the job has \$n\$"),
        (
            transfer(variables={"n": 1, "day": "1", "more": "x"}),
            r"\$more\$ is not used anywhere; used: \$day\$, \$n\$",
        ),
        (
            transfer(variables={"n": 1, "day": "1"}, parameters={"n": 1}),
            "n is a variable and a query parameter",
        ),
        (transfer(variables={"n": 1, "day": "a`b"}), "cannot be part of a name"),
    ],
)
def test_variables_of_a_transfer_that_cannot_be(job, message):
    """Before any connection."""
    with pytest.raises(ConfigError, match=message):
        expanded(job)

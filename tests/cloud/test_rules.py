"""BigQuery's rules one by one: it refuses the statement itself, and etlkit does not send it.

The numbers are those of the table in `docs/guides/cloud-tests.md`, which also says where rules are
tested that nobody can provoke on a real project. Words of BigQuery are matched loosely: the test is
that it refuses.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import pyarrow as pa
import pytest
from google.api_core.exceptions import ClientError, GoogleAPICallError, NotFound
from google.api_core.retry import Retry, if_exception_type
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import types

from etlkit import (
    BigQuerySink,
    BigQuerySource,
    Definition,
    EtlBase,
    EtlkitError,
    JsonlSource,
    RangePartitioning,
    TimePartitioning,
    TransferJob,
)
from etlkit.bigquery.client import Connection
from etlkit.runner import run_job
from tests.bench.cost import MIN_QUERY_BYTES

LENIENT = "Less strict than BigQuery"
PRICES = "Accounts, permissions, quotas, prices"


class Counting(EtlBase):
    """Counts its calls: what is refused early costs none."""

    calls = 0

    def transform_row(self, row):
        Counting.calls += 1
        return row


@pytest.fixture
def sql(run, dataset):
    """Run SQL over the test's dataset DS."""
    return lambda text, **options: run(text.replace("DS", dataset), **options)


@pytest.fixture
def refused(sql):
    """BigQuery refuses the SQL; gives its words."""

    def send(text, **options):
        with pytest.raises(ClientError) as caught:
            sql(text, **options)
        return str(caught.value)

    return send


@pytest.fixture
def transfer(world, dataset):
    """Run a query, or another source, into the table `target`."""

    def run_transfer(query="", *, source=None, job=None, table="target", **sink):
        work = {"work_dataset": world.work}
        transfer_job = TransferJob(
            source=source or BigQuerySource(query.replace("DS", dataset), **work),
            transform=Counting,
            sink=BigQuerySink(f"{dataset}.{table}", **work, **sink),
            name=f"{dataset}_{table[:9]}",
            **(job or {}),
        )
        return run_job(transfer_job, settings=world.settings)

    return run_transfer


@pytest.fixture
def refused_early(transfer):
    """The run is refused, with these words, before the transform was called."""

    def run_refused(*arguments, match, **options):
        Counting.calls = 0
        with pytest.raises(EtlkitError, match=match):
            transfer(*arguments, **options)
        assert Counting.calls == 0

    return run_refused


@pytest.fixture
def sent(monkeypatch):
    """The SQL of all jobs that etlkit sends."""
    texts = []
    send = Connection.query

    def note(self, text, purpose, **more):
        texts.append(text)
        return send(self, text, purpose, **more)

    monkeypatch.setattr(Connection, "query", note)
    return texts


@pytest.fixture
def append(world, dataset):
    """Append one Arrow table over the Storage Write API; gives BigQuery's words if it refuses."""
    connection = Connection(world.settings, job_prefix=dataset)
    client = connection.writer()

    # A table made a moment ago may be unknown to the write service for a while.
    @Retry(if_exception_type(NotFound), timeout=60.0)
    def append_rows(rows, **options):
        stream = f"projects/{connection.project}/datasets/{dataset}/tables/target/streams/_default"
        request = types.AppendRowsRequest(write_stream=stream, **options)
        request.arrow_rows.writer_schema.serialized_schema = rows.schema.serialize().to_pybytes()
        (batch,) = rows.to_batches()
        request.arrow_rows.rows.serialized_record_batch = batch.serialize().to_pybytes()
        metadata = [("x-goog-request-params", f"write_stream={stream}")]
        try:
            (answer,) = client.append_rows(iter([request]), metadata=metadata)
        except NotFound:
            raise
        except GoogleAPICallError as error:
            return str(error)
        words = [answer.error.message, *(row.message for row in answer.row_errors)]
        return " ".join(filter(None, words)) or None

    yield append_rows
    connection.close()


# 1 ------------------------------------------------------------------------------------------


def test_01_conflicting_transactions_are_cancelled(bq, sql, refused, dataset):
    """While a transaction changes a table, another one that does so is cancelled; INSERTs go on."""
    sql("CREATE TABLE DS.t AS SELECT 1 AS a")
    begin = f"BEGIN TRANSACTION; UPDATE {dataset}.t SET a = 2 WHERE TRUE"
    first = bq.query(begin, job_config=bigquery.QueryJobConfig(create_session=True))
    first.result()
    session = bigquery.ConnectionProperty("session_id", first.session_info.session_id)
    try:
        sql("INSERT INTO DS.t (a) VALUES (3)")
        refused("BEGIN TRANSACTION; UPDATE DS.t SET a = 4 WHERE TRUE; COMMIT TRANSACTION")
    finally:
        config = bigquery.QueryJobConfig(connection_properties=[session])
        bq.query("CALL BQ.ABORT_SESSION()", job_config=config).result()


def test_01_runs_at_once_mutate_no_table_together(transfer, sent, world):
    """Each run changes its own guard and its own target; the ledger only gets INSERTs."""
    with ThreadPoolExecutor(3) as pool:
        tables = [f"target_{number}" for number in range(3)]
        reports = list(pool.map(lambda name: transfer("SELECT 1 AS a", table=name), tables))
    assert [report.state for report in reports] == ["published"] * 3
    ledger = [text for text in sent if f"{world.work}.run_events`" in text]
    assert ledger
    for text in ledger:
        for verb in ("UPDATE", "DELETE FROM", "MERGE INTO", "TRUNCATE TABLE"):
            assert f"{verb} `{world.client.project}.{world.work}.run_events`" not in text


# 2 ------------------------------------------------------------------------------------------


def test_02_ddl_is_refused_in_a_transaction(refused):
    """No table is created inside of a transaction."""
    words = refused("BEGIN TRANSACTION; CREATE TABLE DS.t (a INT64); COMMIT TRANSACTION")
    assert "transaction" in words.lower()


def test_02_rows_never_travel_in_ddl(transfer, sent, sql):
    """A missing target is created empty, and filled in the fenced transaction."""
    transfer("SELECT 1 AS a")
    assert sql("SELECT a FROM DS.target") == [(1,)]
    (create,) = [text for text in sent if "target` (" in text and text.startswith("CREATE")]
    assert "SELECT" not in create
    (publish,) = [text for text in sent if "INSERT INTO" in text and "target`" in text]
    assert publish.startswith("BEGIN TRANSACTION")
    assert "CREATE" not in publish
    assert "ALTER" not in publish


# 3 ------------------------------------------------------------------------------------------


def test_03_another_partitioning_cannot_replace(refused, sql):
    """CREATE OR REPLACE must keep partitioning."""
    sql("CREATE TABLE DS.t (a INT64, d DATE) PARTITION BY d")
    assert "partition" in refused("CREATE OR REPLACE TABLE DS.t (a INT64, d DATE)")


def test_03_another_clustering_cannot_replace(refused, sql):
    """CREATE OR REPLACE must keep clustering."""
    sql("CREATE TABLE DS.t (a INT64, b INT64) CLUSTER BY a")
    assert "cluster" in refused("CREATE OR REPLACE TABLE DS.t (a INT64, b INT64) CLUSTER BY b")


def test_03_another_layout_is_refused_early_or_dropped(refused_early, transfer, bq, dataset):
    """Known when the run opens; done by drop and create where the job allows it."""
    query = "SELECT 1 AS a, DATE '2026-01-02' AS d"
    transfer(query)
    layout = {
        "mode": "delete_in_advance",
        "definition": Definition(partitioning=TimePartitioning("d")),
    }
    refused_early(query, match="allow_drop=True", **layout)
    transfer(query, **layout, allow_drop=True)
    assert bq.get_table(f"{dataset}.target").time_partitioning.field == "d"


# 4, 5 ---------------------------------------------------------------------------------------

BY_DAY = "CREATE TABLE DS.target (a INT64, d DATE) PARTITION BY d"
BY_LOAD = "CREATE TABLE DS.target (a INT64, d DATE) PARTITION BY _PARTITIONDATE"
FILTERED = " OPTIONS (require_partition_filter = TRUE)"


@pytest.mark.parametrize("create", [BY_DAY, BY_LOAD], ids=["column", "load time"])
@pytest.mark.parametrize(
    "statement",
    [
        "TRUNCATE TABLE DS.target",
        "DELETE FROM DS.target WHERE TRUE",
        "SELECT a FROM DS.target",
        "UPDATE DS.target SET a = 2 WHERE a = 1",
    ],
    ids=lambda text: text.split()[0],
)
def test_04_05_a_required_partition_filter(refused, sql, create, statement):
    """Statements without a filter on the partitions are refused, TRUNCATE always."""
    sql(create + FILTERED)
    refused(statement)


@pytest.mark.parametrize("create", [BY_DAY, BY_LOAD], ids=["column", "load time"])
def test_04_05_every_mode_filters(transfer, sql, create):
    """Modes publish to tables that require a filter."""
    sql(create + FILTERED)
    row = "SELECT {} AS a, DATE '2026-01-02' AS d"
    transfer(row.format(1))
    transfer(row.format(2), mode="replace")
    transfer(row.format(2) + " UNION ALL " + row.format(3), mode="merge", merge_keys=("a",))
    column = "d" if create == BY_DAY else "_PARTITIONTIME"
    where = f"{column} IS NULL OR {column} IS NOT NULL"
    assert sql(f"SELECT a FROM DS.target WHERE {where} ORDER BY a") == [(2,), (3,)]


# 6 ------------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(world, dataset):
    """A dataset in another location."""
    name = f"{dataset}_elsewhere"
    world.make_dataset(name, location="US" if world.location == "EU" else "EU")
    return name


def test_06_locations_do_not_mix(refused, sql, elsewhere, bq, world):
    """A query sees the tables of one location."""
    bq.create_table(
        bigquery.Table(f"{bq.project}.{elsewhere}.t", schema=[bigquery.SchemaField("a", "INT64")])
    )
    assert "location" in refused(f"CREATE TABLE DS.t AS SELECT a FROM {elsewhere}.t").lower()


def test_06_a_target_elsewhere_is_refused_early(world, elsewhere):
    """The run says so when it opens, before any call."""
    Counting.calls = 0
    job = TransferJob(
        source=BigQuerySource("SELECT 1 AS a", work_dataset=world.work),
        transform=Counting,
        sink=BigQuerySink(f"{elsewhere}.target", work_dataset=world.work),
        name=f"{elsewhere}_job",
    )
    with pytest.raises(EtlkitError, match="is in "):
        run_job(job, settings=world.settings)
    assert Counting.calls == 0


# 7, 8, 9 ------------------------------------------------------------------------------------


def test_07_an_unknown_column_cannot_be_appended(append, sql):
    """The Storage Write API refuses columns that it does not see in the table."""
    sql("CREATE TABLE DS.target (a INT64)")
    assert append(pa.table({"a": [1], "late": ["x"]})) is not None
    assert sql("SELECT COUNT(*) FROM DS.target") == [(0,)]


def test_07_a_new_column_is_waited_for(transfer, sql):
    """`append_direct` adds the column and repeats until the write service sees it."""
    sql("CREATE TABLE DS.target (a INT64)")
    transfer("SELECT 1 AS a, 'x' AS late", mode="append_direct")
    assert sql("SELECT a, late FROM DS.target") == [(1, "x")]


def test_08_a_column_that_is_not_sent_is_null(append, sql):
    """Unless the request says that it gets its default."""
    sql("CREATE TABLE DS.target (a INT64, b INT64 DEFAULT 7)")
    assert append(pa.table({"a": [1]})) is None
    default = types.AppendRowsRequest.MissingValueInterpretation.DEFAULT_VALUE
    assert append(pa.table({"a": [2]}), default_missing_value_interpretation=default) is None
    assert sql("SELECT a, b FROM DS.target ORDER BY a") == [(1, None), (2, 7)]


@pytest.mark.parametrize("mode", ["append", "append_direct"])
def test_08_defaults_are_kept(transfer, sql, mode):
    """A column that the rows lack gets its default in every mode."""
    sql("CREATE TABLE DS.target (a INT64, b INT64 DEFAULT 7)")
    transfer("SELECT 1 AS a", mode=mode)
    assert sql("SELECT a, b FROM DS.target") == [(1, 7)]


@pytest.mark.parametrize("mode", ["append", "append_direct", "merge"])
def test_08_a_required_column_with_a_default_may_be_missing(transfer, sql, mode):
    """It is not a column that the rows must have."""
    sql("CREATE TABLE DS.target (a INT64, b INT64 DEFAULT 7 NOT NULL)")
    transfer("SELECT 1 AS a", mode=mode, **({"merge_keys": ("a",)} if mode == "merge" else {}))
    assert sql("SELECT a, b FROM DS.target") == [(1, 7)]


@pytest.mark.parametrize("mode", ["append", "append_direct"])
def test_08_a_null_of_the_rows_stays_null(transfer, sql, mode):
    """The default is for columns that the rows lack, in every mode."""
    sql("CREATE TABLE DS.target (a INT64, b INT64 DEFAULT 7)")
    transfer("SELECT 1 AS a, CAST(NULL AS INT64) AS b", mode=mode)
    assert sql("SELECT a, b FROM DS.target") == [(1, None)]


NARROW = "CREATE TABLE DS.target (a STRING(3), b INT64 NOT NULL, c NUMERIC(5, 2))"


@pytest.mark.parametrize(
    ("a", "b", "c"),
    [
        pytest.param("abcd", 1, 1, id="STRING(3)"),
        pytest.param("abc", 1, 123456, id="NUMERIC(5, 2)"),
    ],
)
def test_09_a_value_that_does_not_fit_is_refused(append, refused, sql, a, b, c):
    """By the Storage Write API and by DML."""
    sql(NARROW)
    refused(f"INSERT INTO DS.target (a, b, c) VALUES ('{a}', {b}, {c})")
    numeric = pa.array([c], pa.decimal128(38, 9))
    assert append(pa.table({"a": [a], "b": [b], "c": numeric})) is not None


def test_09_a_null_that_must_not_be_is_refused(append, refused, sql):
    """By the Storage Write API and by DML."""
    sql(NARROW)
    refused("INSERT INTO DS.target (a, b) VALUES ('abc', NULL)")
    rows = {"a": ["abc"], "b": pa.array([None], pa.int64())}
    assert append(pa.table(rows)) is not None


def test_09_such_a_value_is_a_row_error(transfer, sql):
    """Found when the row is staged: it is rejected, and the others are published."""
    sql(NARROW)
    query = "SELECT 'abc' AS a, 1 AS b UNION ALL SELECT 'abcd', 1 UNION ALL SELECT 'abc', NULL"
    report = transfer(query, job={"on_row_error": "reject"})
    assert (report.written, report.rejected) == (1, 2)
    assert sql("SELECT a, b FROM DS.target") == [("abc", 1)]


# 10 -----------------------------------------------------------------------------------------


def test_10_a_text_above_a_megabyte_is_refused(refused):
    """It must travel as a query parameter."""
    refused(f"SELECT '{'x' * 1_200_000}' AS a")


def test_10_large_parameters_reach_the_ledger_cut(world, transfer, sql, run):
    """1.2 MB of ids do not make the text of a statement too long; NaN does not make it no JSON."""
    parameters = {"ids": [f"{n:0600}" for n in range(2_000)], "x": float("nan")}
    query = "SELECT COUNT(*) AS a FROM UNNEST(@ids) AS id WHERE NOT IS_NAN(@x) OR TRUE"
    source = BigQuerySource(query, parameters=parameters, work_dataset=world.work)
    report = transfer(source=source)
    assert sql("SELECT a FROM DS.target") == [(2_000,)]
    kept = f"SELECT LENGTH(TO_JSON_STRING(variables)) FROM {world.work}.runs"
    ((length,),) = run(f"{kept} WHERE run_id = '{report.run_id}'")
    assert length < 200_000


# 11 -----------------------------------------------------------------------------------------


def test_11_create_or_replace_loses_what_it_does_not_name(sql, bq, dataset):
    """Description, labels and required columns are gone."""
    options = "OPTIONS (description = 'mine', labels = [('team', 'x')])"
    sql(f"CREATE TABLE DS.t (a INT64 NOT NULL) {options}")
    sql("CREATE OR REPLACE TABLE DS.t AS SELECT 1 AS a")
    table = bq.get_table(f"{dataset}.t")
    assert (table.description, table.labels) == (None, {})
    assert table.schema[0].mode == "NULLABLE"


def test_11_replace_keeps_them(transfer, sql, bq, dataset):
    """Changed columns are altered; the table and what it has stay."""
    options = "OPTIONS (description = 'mine', labels = [('team', 'x')])"
    sql(f"CREATE TABLE DS.target (a INT64 NOT NULL, b STRING(3), gone INT64) {options}")
    before = bq.get_table(f"{dataset}.target")
    transfer("SELECT 1 AS a, 'x' AS b, 2.5 AS c", mode="replace")
    table = bq.get_table(f"{dataset}.target")
    assert table.created == before.created
    assert (table.description, table.labels["team"]) == ("mine", "x")
    assert [(field.name, field.mode) for field in table.schema] == [
        ("a", "REQUIRED"),
        ("b", "NULLABLE"),
        ("c", "NULLABLE"),
    ]


# 12 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", ["JSON '1'", "ST_GEOGPOINT(1, 2)", "[1]"], ids=["JSON", "GEOGRAPHY", "ARRAY"]
)
def test_12_some_types_cannot_be_compared(refused, value):
    """There is no equality, so they are no keys."""
    refused(f"SELECT a FROM (SELECT {value} AS a) WHERE a = a")


@pytest.mark.differs(LENIENT)
def test_12_nan_is_not_equal_to_itself(sql):
    """A row with such a key is never found again."""
    assert sql("SELECT a = a FROM (SELECT CAST('nan' AS FLOAT64) AS a)") == [(False,)]


def test_12_such_a_merge_key_is_refused_early(refused_early, sql):
    """Before any call is paid for."""
    sql("CREATE TABLE DS.target (a JSON, b INT64)")
    keys = {"mode": "merge", "merge_keys": ("a",)}
    refused_early("SELECT JSON '1' AS a, 1 AS b", match="JSON", **keys)


# 13 -----------------------------------------------------------------------------------------

DAYS = "SELECT d FROM UNNEST(GENERATE_DATE_ARRAY('2000-01-01', '2013-01-01')) AS d"


def test_13_a_statement_touches_4000_partitions(refused, sql):
    """4,750 days are too many."""
    sql("CREATE TABLE DS.t (d DATE) PARTITION BY d")
    assert "partition" in refused(f"INSERT INTO DS.t (d) {DAYS}").lower()


def test_13_too_many_partitions_are_told(transfer, sql):
    """The audit counts them, and says what to do."""
    sql("CREATE TABLE DS.target (d DATE) PARTITION BY d")
    with pytest.raises(EtlkitError, match=r"4,?000"):
        transfer(DAYS)
    assert sql("SELECT COUNT(*) FROM DS.target") == [(0,)]


# 14, 15, 16, 17, 18: definitions and queries -------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE DS.t (a INT64) OPTIONS (labels = [('Team', 'x')])",
        "CREATE TABLE DS.t (a INT64) OPTIONS (labels = [('team', 'A value')])",
        "CREATE TABLE DS.t AS SELECT 1, 2",
        "CREATE TABLE DS.t (a INT64, b INT64, c INT64, d INT64, e INT64) CLUSTER BY a, b, c, d, e",
        "CREATE TABLE DS.t (a FLOAT64) CLUSTER BY a",
        "CREATE TABLE DS.t (a JSON) CLUSTER BY a",
        "CREATE TABLE DS.t (a FLOAT64) PARTITION BY a",
        "CREATE TABLE DS.t (a DATE) PARTITION BY DATE_TRUNC(a, HOUR)",
        "CREATE TABLE DS.t (a INT64) PARTITION BY RANGE_BUCKET(a, GENERATE_ARRAY(0, 20000, 1))",
    ],
    ids=[
        "14 label key",
        "14 label value",
        "15 unnamed columns",
        "18 five clustering columns",
        "18 clustering by FLOAT64",
        "18 clustering by JSON",
        "18 partitions by FLOAT64",
        "18 hours of a DATE",
        "18 20,000 ranges",
    ],
)
def test_14_15_18_definitions_are_refused(refused, statement):
    """BigQuery creates no such table."""
    refused(statement)


def test_16_comments_and_functions_do_not_fit_into_ctas(refused):
    """What a dry run calls a query is a syntax error inside of CREATE TABLE AS."""
    refused("CREATE TABLE DS.t AS SELECT * FROM (SELECT 1 AS a; -- end\n)")
    refused("CREATE TABLE DS.t AS CREATE TEMP FUNCTION f(x INT64) AS (x + 1); SELECT f(1) AS a")


@pytest.mark.parametrize("name", ["t$20240101", "t*", "t@0", "t;x"])
def test_17_some_names_are_refused(bq, dataset, name):
    """`$`, `*` and `@` are decorators."""
    table = bigquery.Table(
        bigquery.TableReference(bigquery.DatasetReference(bq.project, dataset), name),
        schema=[bigquery.SchemaField("a", "INT64")],
    )
    with pytest.raises(ClientError):
        bq.create_table(table)


A_DATE = "SELECT DATE '2026-01-02' AS a"
AN_INTEGER = "SELECT 1 AS a"


@pytest.mark.parametrize(
    ("query", "options"),
    [
        pytest.param(
            AN_INTEGER,
            lambda: {"definition": Definition(labels={"Team": "x"})},
            id="14 label key",
        ),
        pytest.param("SELECT 1, 2", dict, id="15 unnamed columns"),
        pytest.param(
            AN_INTEGER,
            lambda: {"definition": Definition(clustering=tuple("abcde"))},
            id="18 five clustering columns",
        ),
        pytest.param(
            "SELECT 1.5 AS a",
            lambda: {"definition": Definition(clustering=("a",))},
            id="18 clustering by FLOAT64",
        ),
        pytest.param(
            A_DATE,
            lambda: {"definition": Definition(TimePartitioning("a", "HOUR"))},
            id="18 hours of a DATE",
        ),
        pytest.param(
            AN_INTEGER,
            lambda: {"definition": Definition(RangePartitioning("a", 0, 20_000, 1))},
            id="18 20,000 ranges",
        ),
        pytest.param(AN_INTEGER, lambda: {"table": "t$20240101"}, id="17 $"),
        pytest.param(AN_INTEGER, lambda: {"table": "t*"}, id="17 *"),
        pytest.param(AN_INTEGER, lambda: {"table": "t;x"}, id="17 ;"),
    ],
)
def test_14_15_17_18_etlkit_refuses_them_early(transfer, query, options):
    """Before any call is paid for."""
    Counting.calls = 0
    with pytest.raises(EtlkitError):
        transfer(query, **options())
    assert Counting.calls == 0


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("SELECT 2 AS a; -- end", id="semicolon"),
        pytest.param("SELECT 2 AS a -- end", id="comment"),
        pytest.param(
            "CREATE TEMP FUNCTION twice(x INT64) AS (2 * x); SELECT twice(1) AS a",
            id="temporary function",
        ),
    ],
)
def test_16_queries_run_as_users_write_them(transfer, sql, query):
    """The snapshot takes them apart by tokens."""
    transfer(query)
    assert sql("SELECT a FROM DS.target") == [(2,)]


@pytest.mark.parametrize(
    "name",
    [
        "my table",
        "表",
        "a-b",
    ],
)
def test_17_names_that_are_allowed(transfer, sql, name):
    """Spaces, dashes and letters of all languages."""
    transfer("SELECT 1 AS a", table=name)
    assert sql(f"SELECT a FROM `DS.{name}`") == [(1,)]


# 19 -----------------------------------------------------------------------------------------

WIDE = json.dumps({"n": 2**80})
DEEP = "[" * 600 + "]" * 600


@pytest.mark.parametrize("text", [WIDE, DEEP], ids=["wide number", "600 levels"])
def test_19_some_json_cannot_be_appended(append, sql, text):
    """Integers beyond 64 bits, and more than 500 levels."""
    sql("CREATE TABLE DS.target (j JSON)")
    assert append(pa.table({"j": [text]})) is not None


class BadJson(EtlBase):
    output_schema: ClassVar = {"n": "INT64", "j": "JSON"}

    def transform_row(self, row):
        deep = []
        for _ in range(600):
            deep = [deep]
        return {"n": row["n"], "j": {1: {"fine": 1}, 2: {"n": 2**80}, 3: deep}[row["n"]]}


def test_19_such_json_is_a_row_error(world, dataset, sql):
    """The row is rejected, and the others are published."""
    query = "SELECT n FROM UNNEST([1, 2, 3]) AS n"
    job = TransferJob(
        source=BigQuerySource(query, work_dataset=world.work),
        transform=BadJson,
        sink=BigQuerySink(f"{dataset}.target", work_dataset=world.work),
        name=f"{dataset}_json",
        on_row_error="reject",
    )
    report = run_job(job, settings=world.settings)
    assert (report.written, report.rejected) == (1, 2)
    assert sql("SELECT n FROM DS.target") == [(1,)]


# 20: see test_ledger.py ----------------------------------------------------------------------


# 21 -----------------------------------------------------------------------------------------


def test_21_an_array_holds_no_null(refused):
    """In a result."""
    refused("SELECT [1, NULL] AS a")


def test_21_a_repeated_column_has_no_null(transfer, sql):
    """A None is staged as an empty list."""
    sql("CREATE TABLE DS.target (n INT64, tags ARRAY<STRING>)")
    query = "SELECT n, IF(n = 1, ['x'], NULL) AS tags FROM UNNEST([1, 2]) AS n"
    transfer(query)
    assert sql("SELECT n, tags FROM DS.target ORDER BY n") == [(1, ["x"]), (2, [])]


# 22 -----------------------------------------------------------------------------------------


@pytest.mark.differs(PRICES)
def test_22_a_dry_run_may_answer_from_the_cache(world, sql, dataset, bq):
    """An estimate must not: etlkit's dry runs leave the cache out."""
    sql("CREATE TABLE DS.t AS SELECT n FROM UNNEST(GENERATE_ARRAY(1, 1000)) AS n")
    query = f"SELECT SUM(n) AS n FROM {dataset}.t"
    bq.query(query).result()
    config = bigquery.QueryJobConfig(dry_run=True, use_query_cache=True)
    assert bq.query(query, job_config=config).total_bytes_processed == 0
    connection = Connection(world.settings, job_prefix=dataset)
    assert connection.dry_run(query).total_bytes_processed == 8 * 1000
    connection.close()


# 23 -----------------------------------------------------------------------------------------


def test_23_a_job_is_found_and_cancelled_where_it_runs(world, dataset, bq):
    """Outside of US and EU a job is unknown without its location; a run keeps that of its jobs."""
    connection = Connection(world.settings, job_prefix=dataset)
    job = connection.query("SELECT 1 AS a", "located")
    assert connection.location == job.location
    assert bq.get_job(job.job_id, location=connection.location).state == "DONE"
    connection.close()
    if world.location.upper() not in {"US", "EU"}:
        nowhere = bigquery.Client(project=bq.project, credentials=bq._credentials)
        with nowhere, pytest.raises(NotFound):
            nowhere.get_job(job.job_id)


# 24, 25, 27: tests/unit and tests/faults ------------------------------------------------------


# 26 -----------------------------------------------------------------------------------------


@pytest.mark.differs(PRICES)
def test_26_each_table_of_a_query_is_billed_10_mb(bq, sql, dataset):
    """Even if it has one row."""
    sql("CREATE TABLE DS.a AS SELECT 1 AS n; CREATE TABLE DS.b AS SELECT 1 AS n")
    config = bigquery.QueryJobConfig(use_query_cache=False)
    query = f"SELECT a.n FROM {dataset}.a JOIN {dataset}.b USING (n)"
    job = bq.query(query, job_config=config)
    job.result()
    assert job.total_bytes_billed == 2 * MIN_QUERY_BYTES


# what the local server would let pass: values and types ---------------------------------------


@pytest.mark.parametrize(
    "expression",
    [
        "'1' = 1",
        "CURRENT_TIMESTAMP() < CURRENT_DATETIME()",
        "PARSE_JSON('NaN')",
        pytest.param("CAST('1e400' AS FLOAT64)", marks=pytest.mark.differs(LENIENT)),
        "(SELECT SUM(n) FROM UNNEST([9223372036854775807, 1]) AS n)",
    ],
)
def test_expressions_are_refused(refused, expression):
    """Types without a common supertype, and values that their type does not have."""
    refused(f"SELECT {expression} AS a")


@pytest.mark.parametrize("value", ["JSON '1'", "ST_GEOGPOINT(1, 2)"], ids=["JSON", "GEOGRAPHY"])
def test_12_some_types_cannot_be_grouped(refused, value):
    """Nor be made distinct."""
    refused(f"SELECT a FROM (SELECT {value} AS a) GROUP BY a")
    refused(f"SELECT DISTINCT a FROM (SELECT {value} AS a)")


def test_update_and_delete_need_a_where_clause(refused, sql):
    """WHERE TRUE is one."""
    sql("CREATE TABLE DS.t AS SELECT 1 AS a")
    assert "WHERE" in refused("UPDATE DS.t SET a = 2")
    assert "WHERE" in refused("DELETE FROM DS.t")


def test_06_a_file_source_adopts_the_location_of_the_target(transfer, tmp_path, sql):
    """Nothing else says where the work tables have to be."""
    (tmp_path / "rows.jsonl").write_text('{"a": 1, "seen": "x"}\n')
    transfer(source=JsonlSource(str(tmp_path / "rows.jsonl")))
    assert sql("SELECT a, seen FROM DS.target") == [(1, "x")]

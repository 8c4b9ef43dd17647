import itertools

import pytest
from google.api_core.exceptions import BadRequest, Conflict, NotFound
from google.cloud import bigquery

BUCKET_NUMBERS = itertools.count(1)


@pytest.fixture
def objects(local_server, run, dataset) -> str:
    """An object table over one object, of three bytes."""
    folder = local_server.local_dir / "buckets" / f"extensions-{next(BUCKET_NUMBERS)}"
    folder.mkdir(parents=True)
    (folder / "a.txt").write_bytes(b"abc")
    run(
        f"CREATE EXTERNAL TABLE {dataset}.objects WITH CONNECTION DEFAULT "
        f"OPTIONS(uris=['gs://{folder.name}/*'], object_metadata='SIMPLE')"
    )
    return f"{dataset}.objects"


@pytest.fixture
def dry_run(bq):
    def run_dry(sql: str, **options) -> bigquery.QueryJob:
        return bq.query(sql, bigquery.QueryJobConfig(dry_run=True, **options), retry=None)

    return run_dry


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE {d}.new AS SELECT nothing FROM {d}.t",
        "CREATE VIEW {d}.new AS SELECT nothing FROM {d}.t",
        "INSERT INTO {d}.t (n) SELECT nothing FROM {d}.t",
        "UPDATE {d}.t SET n = nothing WHERE TRUE",
        "DELETE FROM {d}.t WHERE nothing = 1",
        "MERGE {d}.t USING {d}.t AS s ON t.n = s.nothing WHEN MATCHED THEN DELETE",
    ],
)
def test_a_dry_run_checks_statements_that_write(dry_run, run, dataset, sql):
    """Real BigQuery resolves every name; the emulator only looked at the first words."""
    run(f"CREATE TABLE {dataset}.t AS SELECT 1 AS n")
    with pytest.raises(BadRequest, match="nothing"):
        dry_run(sql.format(d=dataset))
    assert run(f"SELECT n FROM {dataset}.t") == [(1,)]


def test_a_dry_run_of_a_statement_that_writes_writes_nothing(bq, dry_run, run, dataset, objects):
    """Its type is reported, and nothing exists afterwards."""
    job = dry_run(f"CREATE TABLE {dataset}.copy AS SELECT data FROM {objects}")
    assert job.statement_type == "CREATE_TABLE_AS_SELECT"
    dry_run(f"CREATE VIEW {dataset}.v AS SELECT LENGTH(data) AS n FROM {objects}")
    parameter = bigquery.ScalarQueryParameter("n", "INT64", 1)
    run(f"CREATE TABLE {dataset}.t AS SELECT 1 AS n")
    job = dry_run(f"DELETE FROM {dataset}.t WHERE n = @n", query_parameters=[parameter])
    assert job.statement_type == "DELETE"
    assert run(f"SELECT n FROM {dataset}.t") == [(1,)]
    assert sorted(table.table_id for table in bq.list_tables(dataset)) == ["objects", "t"]


def test_a_dry_run_of_a_query_has_its_columns(dry_run, objects):
    """This includes a query that only the extensions understand."""
    job = dry_run(f"SELECT *, LENGTH(data) AS n FROM {objects}")
    assert [field.name for field in job.schema][-2:] == ["metadata", "n"]


def test_assert_is_a_statement(bq):
    """Real BigQuery runs ASSERT outside of scripts; the emulator did not have it."""
    job = bq.query("ASSERT (SELECT COUNT(*) FROM UNNEST([1, 2])) = 2 AS 'two';")
    job.result()
    assert job.statement_type == "ASSERT"
    with pytest.raises(BadRequest, match="Assertion failed: not one"):
        bq.query("ASSERT 1 = 2 AS 'not one'", job_retry=None).result()


@pytest.mark.parametrize(
    ("clause", "names"),
    [
        ("SUM(n) FOR q IN ('Q1', 'Q2')", ["y", "Q1", "Q2"]),
        ("SUM(n) AS total FOR q IN ('Q1' AS first, 'Q2')", ["y", "total_first", "total_Q2"]),
        (
            "SUM(n) AS total, COUNT(*) AS num FOR q IN ('Q1', 'Q2')",
            ["y", "total_Q1", "num_Q1", "total_Q2", "num_Q2"],
        ),
        ("SUM(n) FOR y IN (2020, 2021 AS last, -1)", ["q", "_2020", "last", "minus_1"]),
    ],
)
def test_the_columns_of_a_pivot_have_bigquery_s_names(bq, run, dataset, clause, names):
    """The aggregate's alias comes first, and numbers follow an underscore."""
    run(f"CREATE TABLE {dataset}.t AS SELECT 'Q1' AS q, 2020 AS y, 1 AS n")
    rows = bq.query_and_wait(f"SELECT p.* FROM {dataset}.t PIVOT({clause}) AS p")
    assert [field.name for field in rows.schema] == names
    assert [row[names[1]] for row in rows if row[names[0]] in {2020, "Q1"}] == [1]


def test_unpivot(run):
    """UNPIVOT turns columns into rows."""
    sql = "SELECT k, v FROM (SELECT 1 AS a, 2 AS b) UNPIVOT(v FOR k IN (a, b))"
    assert run(sql) == [("a", 1), ("b", 2)]


def test_json_functions_take_a_path_of_fields(run):
    """JSON_VALUE and JSON_QUERY accept `x.y`, and JSON_VALUE needs no second argument."""
    sql = """SELECT JSON_VALUE(x.a.b), JSON_VALUE(x.a, '$.b'), JSON_QUERY(x.a, '$') IS NULL
    FROM (SELECT JSON '{"a": {"b": "c"}}' AS x)"""
    assert run(sql) == [("c", "c", False)]


def test_a_view_that_needs_hooks_is_created_as_its_statement_says(bq, run, dataset, objects):
    """OR REPLACE, IF NOT EXISTS and an existing name are respected; the schema has its columns."""
    sql = f"CREATE VIEW {dataset}.v AS SELECT uri, LENGTH(data) AS n FROM {objects}"
    job = bq.query(sql)
    job.result()
    assert (job.statement_type, job.ddl_operation_performed) == ("CREATE_VIEW", "CREATE")
    view = bq.get_table(f"{dataset}.v")
    assert [(field.name, field.field_type) for field in view.schema] == [
        ("uri", "STRING"),
        ("n", "INTEGER"),
    ]
    assert "LENGTH(data)" in view.view_query
    with pytest.raises(Conflict, match=f"Already Exists: Table local:{dataset}.v"):
        run(sql)
    run(sql.replace("CREATE VIEW", "CREATE VIEW IF NOT EXISTS"))
    run(sql.replace("CREATE VIEW", "CREATE OR REPLACE VIEW").replace(" AS n", " + 1 AS n"))
    assert run(f"SELECT n FROM {dataset}.v") == [(4,)]
    run(f"DROP VIEW {dataset}.v")
    with pytest.raises(NotFound):
        run(f"SELECT n FROM {dataset}.v")


def test_a_view_that_needs_hooks_is_only_read_by_queries(run, dataset, objects, read_table):
    """The Storage Read API refuses it, as the real one refuses every view."""
    run(f"CREATE VIEW {dataset}.v AS SELECT LENGTH(data) AS n FROM {objects}")
    with pytest.raises(Exception, match="view"):
        read_table(f"{dataset}.v")


def test_hooks_see_the_statements_of_scripts_and_procedures(run, dataset, objects):
    """The pseudo-column works in IF, LOOP, FOR, EXECUTE IMMEDIATE and CALL."""
    run(
        f"CREATE PROCEDURE {dataset}.p(OUT size INT64) "
        f"BEGIN SET size = (SELECT LENGTH(data) FROM {objects}); END"
    )
    rows = run(f"""
    DECLARE size, total INT64 DEFAULT 0;
    CALL {dataset}.p(size);
    IF (SELECT LENGTH(data) FROM {objects}) = 3 THEN
      FOR each IN (SELECT LENGTH(data) AS n FROM {objects}) DO
        SET total = total + each.n;
      END FOR;
    END IF;
    EXECUTE IMMEDIATE 'SELECT LENGTH(data) FROM {objects}' INTO total;
    SELECT size, total;
    """)
    assert rows == [(3, 3)]


def test_ddl_of_extensions_is_refused_in_a_transaction(run, dataset, objects):
    """A transaction refuses it like other DDL of permanent objects."""
    with pytest.raises(BadRequest, match="DDL statements are not supported in a transaction"):
        run(f"BEGIN TRANSACTION; DROP EXTERNAL TABLE {objects}; COMMIT TRANSACTION")
    assert run(f"SELECT COUNT(*) FROM {objects}") == [(1,)]


def test_an_error_in_a_transaction_reaches_the_client(run, objects):
    """Cleaning up after a statement does not hide its error."""
    with pytest.raises(BadRequest, match="ivision by zero"):
        run(f"BEGIN TRANSACTION; SELECT 1 / (LENGTH(data) - 3) FROM {objects}; COMMIT TRANSACTION")
    assert run(f"SELECT LENGTH(data) FROM {objects}") == [(3,)]


def test_dml_takes_rows_from_object_tables(run, dataset, objects):
    """INSERT … SELECT and MERGE … USING may read them."""
    run(f"CREATE TABLE {dataset}.t (uri STRING, n INT64)")
    run(f"INSERT INTO {dataset}.t (uri, n) SELECT uri, LENGTH(data) FROM {objects}")
    run(
        f"MERGE {dataset}.t AS t USING {objects} AS o ON t.uri = o.uri "
        "WHEN MATCHED THEN UPDATE SET n = t.n + LENGTH(o.data)"
    )
    assert run(f"SELECT n FROM {dataset}.t") == [(6,)]

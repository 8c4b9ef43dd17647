"""What BigQuery refuses of definitions and statements, over the official client.

`rule` names the rule of `etlkit local rules`.
"""

import pytest
from google.api_core.exceptions import BadRequest, NotFound, PreconditionFailed
from google.cloud import bigquery

PARTITION_BY = "PARTITION BY expression must be DATE"
DAYS = "SELECT d, 1 AS n FROM UNNEST(GENERATE_DATE_ARRAY('{}', '{}')) AS d"
COLUMNS = (
    "(d DATE, ts TIMESTAMP, dt DATETIME, n INT64, f FLOAT64, s STRING, a ARRAY<INT64>, j JSON)"
)


def field(name, kind, **options):
    return bigquery.SchemaField(name, kind, **options)


@pytest.fixture
def refused(run, dataset):
    """BigQuery refuses the SQL, in which DS is the dataset; gives its words."""

    def send(sql, kind=BadRequest, **options):
        with pytest.raises(kind) as caught:
            run(sql.replace("DS", dataset), **options)
        return caught.value.message

    return send


@pytest.fixture
def sql(run, dataset):
    return lambda text, **options: run(text.replace("DS", dataset), **options)


def exists(bq, table):
    try:
        return bq.get_table(table)
    except NotFound:
        return None


@pytest.mark.rule("time_column", "ranges", "clustering_count", "clustering_types")
@pytest.mark.parametrize(
    ("layout", "words"),
    [
        ("PARTITION BY f", "PARTITION BY expression "),
        ("PARTITION BY ts", PARTITION_BY),
        ("PARTITION BY DATE_TRUNC(d, HOUR)", "DATE_TRUNC does not support the HOUR"),
        ("PARTITION BY RANGE_BUCKET(s, GENERATE_ARRAY(0, 10, 1))", "No matching signature for"),
        ("PARTITION BY RANGE_BUCKET(n, GENERATE_ARRAY(0, 20000, 1))", "at most 10000 ranges"),
        ("PARTITION BY gone", "Unrecognized name: gone"),
        ("CLUSTER BY d, ts, dt, n, s", "maximum number of clustering columns is 4"),
        ("CLUSTER BY f", "CLUSTER BY expression may not be a floating point type"),
        ("CLUSTER BY a", "Field a has type ARRAY, which is not supported for clustering"),
        ("CLUSTER BY j", "CLUSTER BY expression must be groupable, but type is JSON"),
        ("CLUSTER BY gone", "Unrecognized name: gone"),
    ],
)
def test_layouts_that_no_table_has(bq, refused, dataset, layout, words):
    """A refused statement leaves no table."""
    assert words in refused(f"CREATE TABLE DS.t {COLUMNS} {layout}")
    assert exists(bq, f"{dataset}.t") is None


@pytest.mark.rule("time_column", "ranges", "clustering_types")
def test_layouts_that_tables_have(sql):
    """Every unit that a type has, and every type with an order."""
    for number, layout in enumerate(
        [
            "PARTITION BY d CLUSTER BY d, ts, dt, n",
            "PARTITION BY DATE(ts) CLUSTER BY s",
            "PARTITION BY TIMESTAMP_TRUNC(ts, HOUR)",
            "PARTITION BY DATETIME_TRUNC(dt, HOUR)",
            "PARTITION BY DATE_TRUNC(d, YEAR)",
            "PARTITION BY RANGE_BUCKET(n, GENERATE_ARRAY(0, 10000, 1))",
            "PARTITION BY _PARTITIONDATE",
        ]
    ):
        sql(f"CREATE TABLE DS.t{number} {COLUMNS} {layout}")


@pytest.mark.rule("time_column", "clustering_types")
def test_layouts_are_judged_by_the_columns_of_a_query(bq, run, refused, dataset):
    """CREATE TABLE AS, and the same in a script; nothing is replaced by what is refused."""
    run(f"CREATE TABLE {dataset}.t CLUSTER BY n AS SELECT 7 AS n")
    for statement in (
        "CREATE TABLE DS.u PARTITION BY x AS SELECT 1.5 AS x",
        "CREATE TABLE DS.u CLUSTER BY x AS SELECT [1] AS x",
        "SELECT 1; CREATE TABLE DS.u CLUSTER BY x AS SELECT 1.5e0 AS x",
        "CREATE TABLE DS.u (x FLOAT64) CLUSTER BY x AS SELECT 1.5e0",
        "CREATE OR REPLACE TABLE DS.t CLUSTER BY n AS SELECT 1.5e0 AS n",
        "EXECUTE IMMEDIATE 'CREATE OR REPLACE TABLE DS.t CLUSTER BY n AS SELECT 1.5e0 AS n'",
    ):
        refused(statement)
    assert exists(bq, f"{dataset}.u") is None
    assert run(f"SELECT n FROM {dataset}.t") == [(7,)]


@pytest.mark.rule("time_column", "ranges", "clustering_count", "clustering_types")
def test_layouts_of_tables_from_rest(bq, dataset):
    """The same rules hold for tables.insert."""
    for number, change in enumerate(
        [
            {"timePartitioning": {"type": "DAY", "field": "x"}},
            {"timePartitioning": {"type": "HOUR", "field": "d"}},
            {"rangePartitioning": {"field": "d", "range": {"start": 0, "end": 9, "interval": 1}}},
            {"clustering": {"fields": ["x"]}},
            {"clustering": {"fields": ["d", "n", "s", "t", "u"]}},
        ]
    ):
        table = bigquery.Table(
            f"local.{dataset}.t{number}",
            schema=[
                field("d", "DATE"),
                field("x", "FLOAT64"),
                *(field(c, "INT64") for c in "nstu"),
            ],
        )
        resource = bigquery.Table.from_api_repr(table.to_api_repr() | change)
        with pytest.raises(BadRequest):
            bq.create_table(resource)
        assert exists(bq, f"{dataset}.t{number}") is None


@pytest.mark.rule("same_partitioning")
def test_an_update_keeps_the_partitioning(bq, run, dataset):
    """Expiration may change, the column may not."""
    run(f"CREATE TABLE {dataset}.t (d DATE, e DATE) PARTITION BY d")
    table = bq.get_table(f"{dataset}.t")
    table.time_partitioning = bigquery.TimePartitioning(field="e")
    with pytest.raises(BadRequest, match="Cannot change partitioning spec"):
        bq.update_table(table, ["time_partitioning"])
    table.time_partitioning = bigquery.TimePartitioning(field="d", expiration_ms=86_400_000)
    assert bq.update_table(table, ["time_partitioning"]).time_partitioning.field == "d"


@pytest.mark.rule("same_layout", "required_filter", "queue_length", "conflicting_transaction")
def test_rules_with_files_of_their_own():
    """See test_patches_partitions.py and test_patches_conflicts.py."""
    from tests.emulator import test_patches_conflicts, test_patches_partitions

    assert test_patches_conflicts.MAX_WAITING == 20
    assert test_patches_partitions.SPECS


@pytest.mark.rule("required_filter")
def test_a_filter_is_required_through_views_and_in_expressions(sql, refused, bq, dataset):
    """Of the view's query or of the query that reads it; and wherever a script reads the table."""
    sql(
        "CREATE TABLE DS.t (d DATE, n INT64) PARTITION BY d OPTIONS (require_partition_filter = TRUE)"
    )
    sql("CREATE VIEW DS.v AS SELECT d, n FROM DS.t")
    sql("CREATE VIEW DS.renamed AS SELECT d AS day, n FROM DS.t")
    sql("CREATE VIEW DS.filtered AS SELECT n FROM DS.t WHERE d > '2026-01-01'")
    view = bigquery.Table(f"local.{dataset}.api")
    view.view_query = f"SELECT * FROM `{dataset}.v`"
    bq.create_table(view)
    for statement in (
        "SELECT n FROM DS.v",
        "SELECT n FROM DS.api",
        "SELECT n FROM DS.renamed WHERE n = 1",
        "IF (SELECT COUNT(*) FROM DS.t) > 0 THEN SELECT 1; END IF",
        "DECLARE n INT64 DEFAULT (SELECT MAX(n) FROM DS.t); SELECT n",
        "SELECT 1; TRUNCATE TABLE DS.t",
    ):
        assert "without a filter over column(s) 'd'" in refused(statement)
    for statement in (
        "SELECT n FROM DS.v WHERE d = '2026-01-02'",
        "SELECT n FROM DS.api WHERE d = '2026-01-02'",
        "SELECT n FROM DS.renamed WHERE day = '2026-01-02'",
        "SELECT n FROM DS.filtered",
        "IF (SELECT COUNT(*) FROM DS.t WHERE d IS NULL) = 0 THEN SELECT 1; END IF",
    ):
        sql(statement)


@pytest.mark.rule("where_clause")
def test_update_and_delete_have_a_where_clause(sql, refused):
    """WHERE TRUE is enough."""
    sql("CREATE TABLE DS.t AS SELECT 1 AS n")
    assert "UPDATE must have a WHERE clause" in refused("UPDATE DS.t SET n = 2")
    assert "DELETE must have a WHERE clause" in refused("DELETE FROM DS.t")
    assert "DELETE must have a WHERE clause" in refused("SELECT 1; DELETE DS.t")
    sql("UPDATE DS.t SET n = 2 WHERE TRUE")
    assert sql("SELECT n FROM DS.t") == [(2,)]


@pytest.mark.rule("named_columns")
def test_columns_of_tables_and_views_have_names(sql, refused):
    """A query with a destination names them itself."""
    assert "column 2 has no name" in refused("CREATE TABLE DS.t AS SELECT 1 AS a, 2")
    assert "column 1 has no name" in refused("CREATE VIEW DS.t AS SELECT COUNT(*) FROM UNNEST([1])")
    sql("CREATE TABLE DS.t (n INT64) AS SELECT 1")
    sql("CREATE TABLE DS.u AS SELECT *, n AS m FROM DS.t")
    assert sql("SELECT * FROM DS.u") == [(1, 1)]


@pytest.mark.rule("named_columns")
def test_a_destination_names_unnamed_columns(bq, run, dataset):
    """`f0_`, `f1_`, …."""
    run("SELECT 1, 'x' AS s, 2", destination=f"local.{dataset}.t")
    assert [column.name for column in bq.get_table(f"{dataset}.t").schema] == ["f0_", "s", "f1_"]


@pytest.mark.rule("query_length")
def test_a_long_text_is_refused(refused, bq):
    """By jobs.insert and jobs.query; comments count."""
    long = f"SELECT 1 -- {'x' * 1_048_576}"
    assert "maximum standard SQL query length is 1024.00K characters" in refused(long)
    with pytest.raises(BadRequest, match="query is too large"):
        bq.query_and_wait(long, retry=None)


@pytest.mark.rule("ddl_in_transaction")
def test_ddl_is_refused_in_a_transaction(refused, bq, dataset):
    """The transaction is rolled back."""
    for ddl in ("CREATE TABLE DS.t (n INT64)", "CREATE OR REPLACE VIEW DS.t AS SELECT 1 AS n"):
        words = refused(f"BEGIN TRANSACTION; {ddl}; COMMIT TRANSACTION")
        assert "DDL statements are not supported in a transaction" in words
        assert exists(bq, f"{dataset}.t") is None


@pytest.mark.rule("label_characters", "label_count")
def test_labels(bq, run, refused, dataset):
    """Of tables, datasets and jobs, in SQL and over REST."""
    wrong = [{"Team": "x"}, {"team": "X"}, {"1a": "x"}, {"a b": ""}, {"a": "x" * 64}]
    wrong.append({f"k{number}": "" for number in range(65)})
    run(f"CREATE TABLE {dataset}.t (n INT64) OPTIONS (labels = [('größe-1_', '')])")
    table, home = bq.get_table(f"{dataset}.t"), bq.get_dataset(dataset)
    for labels in wrong:
        table.labels = home.labels = labels
        with pytest.raises(BadRequest):
            bq.update_table(table, ["labels"])
        with pytest.raises(BadRequest):
            bq.update_dataset(home, ["labels"])
        with pytest.raises(BadRequest):
            run("SELECT 1", labels=labels)
    refused("CREATE TABLE DS.u (n INT64) OPTIONS (labels = [('Team', 'x')])")
    refused("ALTER TABLE DS.t SET OPTIONS (labels = [('team', 'X')])")
    assert exists(bq, f"{dataset}.u") is None
    assert bq.get_table(f"{dataset}.t").labels == {"größe-1_": ""}


@pytest.mark.rule("table_name", "column_names", "dataset_name")
def test_names(bq, run, dataset):
    """Of datasets, tables and columns."""
    for name in ("a b", "a-b", "é", "x" * 1025):
        with pytest.raises(BadRequest, match="Invalid dataset ID"):
            bq.create_dataset(bigquery.Dataset(f"local.{name}"))
    for name in ("t$20240101", "t*", "t@0", "t;x", 't"x', "t`x", "x" * 1025):
        path = f"/projects/local/datasets/{dataset}/tables"
        body = {"tableReference": {"tableId": name}, "schema": {"fields": []}}
        with pytest.raises(BadRequest):
            bq._call_api(retry=None, method="POST", path=path, data=body)
    for name in ("a.b", "_TABLE_x", "_partition", "__root__", "a!b", "", "x" * 301):
        with pytest.raises(BadRequest):
            bq.create_table(bigquery.Table(f"local.{dataset}.t", schema=[field(name, "INT64")]))
    twice = bigquery.Table(f"local.{dataset}.t", schema=[field("n", "INT64"), field("N", "INT64")])
    with pytest.raises(BadRequest, match="already exists in schema"):
        bq.create_table(twice)
    for name in ("my table", "表 1", "a-b", "naïve_", "x" * 255):
        run(f"CREATE TABLE `{dataset}.{name}` AS SELECT 1 AS `größe & maß`")
        assert run(f"SELECT `größe & maß` FROM `local.{dataset}.{name}`") == [(1,)]
        bq.delete_table(f"{dataset}.{name}")


@pytest.mark.rule("stale_etag")
def test_etags_have_a_file_of_their_own(bq, dataset):
    """See test_patches_etags.py."""
    first, second = bq.get_dataset(dataset), bq.get_dataset(dataset)
    first.description, second.description = "first", "second"
    bq.update_dataset(first, ["description"])
    with pytest.raises(PreconditionFailed, match="did not meet condition IF_MATCH"):
        bq.update_dataset(second, ["description"])


@pytest.mark.rule("partitions_of_a_job", "partitions_of_a_table")
def test_too_many_partitions(sql, refused):
    """4,000 of a job, 10,000 of a table; nothing of a refused job stays."""
    sql("CREATE TABLE DS.t (d DATE, n INT64) PARTITION BY d")
    many = DAYS.format("2000-01-01", "2012-01-01")
    words = "Too many partitions produced by query, allowed 4000"
    assert words in refused(f"INSERT INTO DS.t (d, n) {many}")
    assert words in refused(f"CREATE TABLE DS.u PARTITION BY d AS {many}")
    assert words in refused(
        f"MERGE DS.t AS t USING ({many}) AS s ON t.d = s.d "
        "WHEN NOT MATCHED THEN INSERT (d, n) VALUES (d, n)"
    )
    assert words in refused(f"SELECT 1; INSERT INTO DS.t (d, n) {many}")
    assert sql("SELECT COUNT(*) FROM DS.t") == [(0,)]
    for first, last in (("2000", "2009"), ("2010", "2019")):
        sql(f"INSERT INTO DS.t (d, n) {DAYS.format(f'{first}-01-01', f'{last}-12-31')}")
    sql(f"INSERT INTO DS.t (d, n) {DAYS.format('1995-01-01', '2004-01-01')}")
    more = DAYS.format("2020-01-01", "2029-12-31")
    assert "allowed 10000" in refused(f"INSERT INTO DS.t (d, n) {more}")
    sql("CREATE TABLE DS.months PARTITION BY DATE_TRUNC(d, MONTH) AS " + many)


@pytest.mark.rule("partitions_of_a_job")
def test_rows_of_a_caught_error_are_gone(sql, refused):
    """In a transaction whose error a handler catches, too: only ROLLBACK can follow."""
    sql("CREATE TABLE DS.t (d DATE, n INT64) PARTITION BY d")
    many = DAYS.format("2000-01-01", "2012-01-01")
    refused(
        f"BEGIN TRANSACTION; BEGIN INSERT INTO DS.t (d, n) {many}; "
        "EXCEPTION WHEN ERROR THEN SELECT 1; END; COMMIT TRANSACTION"
    )
    assert sql("SELECT COUNT(*) FROM DS.t") == [(0,)]

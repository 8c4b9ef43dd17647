import base64
import hashlib
import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from google.api_core.exceptions import BadRequest, Conflict, GoogleAPICallError, NotFound
from google.cloud import bigquery

from etlkit.errors import ConfigError
from etlkit.local.bigquery.object_table import create_object_table
from etlkit.local.buckets import Buckets

COLUMNS = [
    ("uri", "STRING", "NULLABLE"),
    ("generation", "INTEGER", "NULLABLE"),
    ("content_type", "STRING", "NULLABLE"),
    ("size", "INTEGER", "NULLABLE"),
    ("md5_hash", "STRING", "NULLABLE"),
    ("updated", "TIMESTAMP", "NULLABLE"),
    ("metadata", "RECORD", "REPEATED"),
]
BUCKET_NUMBERS = itertools.count(1)


@pytest.fixture
def buckets(local_server) -> Buckets:
    return Buckets(local_server.local_dir / "buckets")


@pytest.fixture
def bucket() -> str:
    """The name of a bucket that no other test uses."""
    return f"objects-{next(BUCKET_NUMBERS)}"


@pytest.fixture
def put(buckets: Buckets, bucket: str, tmp_path: Path):
    """Store a small object with this name."""

    def put_object(name: str, content: bytes = b"x") -> Path:
        file = tmp_path / "file"
        file.write_bytes(content)
        buckets.put([file], f"gs://{bucket}/{name}")
        return buckets.get(f"gs://{bucket}/{name}").path

    return put_object


@pytest.fixture
def create(run, dataset, bucket):
    """Create an object table with more options, and return its name."""

    def create_table(name: str = "t", *, replace: str = "OR REPLACE", more: str = "") -> str:
        run(
            f"CREATE {replace} EXTERNAL TABLE {dataset}.{name} WITH CONNECTION us.photos "
            f"OPTIONS(uris=['gs://{bucket}/*'], object_metadata='SIMPLE'{more})"
        )
        return f"{dataset}.{name}"

    return create_table


def columns(bq: bigquery.Client, table: str) -> list[tuple[str, str, str]]:
    return [(field.name, field.field_type, field.mode) for field in bq.get_table(table).schema]


def test_a_handwritten_statement_runs(bq, dataset, bucket, put):
    """A statement may have # comments, double quotes, one uri, and a comment at the end."""
    put("cat.jpg")
    job = bq.query(f"""  # the pictures
CREATE OR REPLACE EXTERNAL TABLE
  {dataset}.object_table
# 接続は先に作っておく
WITH CONNECTION `us.my-conn` OPTIONS(uris="gs://{bucket}/*",
    object_metadata="SIMPLE")
    #max_staleness = INTERVAL 1 HOUR)
    ;
""")
    job.result()
    assert job.statement_type == "CREATE_EXTERNAL_TABLE"
    assert job.ddl_operation_performed == "CREATE"
    assert str(job.ddl_target_table) == f"local.{dataset}.object_table"
    table = bq.get_table(f"{dataset}.object_table")
    assert table.table_type == "EXTERNAL"
    shown = table.to_api_repr()["externalDataConfiguration"]
    assert shown["sourceUris"] == [f"gs://{bucket}/*"]
    assert (shown["objectMetadata"], shown["connectionId"]) == ("SIMPLE", "local.us.my-conn")


def test_each_object_is_a_row_with_its_metadata(bq, dataset, run, put, bucket, create):
    """The table has BigQuery's seven columns with the metadata of each object."""
    before = datetime.now(UTC)
    put("cats/猫 'é`.jpg", b"meow")
    table = create()
    assert columns(bq, table) == COLUMNS
    (row,) = run(f"SELECT * FROM {table}")
    uri, generation, content_type, size, md5_hash, updated, metadata = row
    assert uri == f"gs://{bucket}/cats/猫 'é`.jpg"
    assert (content_type, size, metadata) == ("image/jpeg", 4, [])
    assert md5_hash == base64.b64encode(hashlib.md5(b"meow").digest()).decode()  # noqa: S324
    assert before - timedelta(seconds=1) <= updated <= datetime.now(UTC)
    assert generation == round(updated.timestamp() * 1_000_000)
    shown = run(f"SELECT COUNT(*) FROM {dataset}.INFORMATION_SCHEMA.COLUMNS WHERE table_name = 't'")
    assert shown == [(7,)]


def test_the_table_shows_the_bucket_as_it_is_at_each_query(run, put, create):
    """Without metadata caching, new and changed objects show at once."""
    first = put("a.jpg", b"1")
    table = create()
    put("b.jpg", b"22")
    assert run(f"SELECT COUNT(*), SUM(size) FROM {table}") == [(2, 3)]
    first.unlink()
    put("b.jpg", b"333")
    assert run(f"SELECT size, data FROM {table}") == [(3, b"333")]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT uri, data FROM {t} ORDER BY uri",
        "SELECT uri, DATA FROM {t} ORDER BY uri",
        "SELECT o.uri, o.data FROM {t} AS o ORDER BY 1",
        "SELECT t.uri, t.Data FROM {t} ORDER BY 1",
        "SELECT a.uri, b.data FROM {t} AS a JOIN {t} AS b USING (uri) ORDER BY 1",
        "SELECT a.uri, b.data FROM {t} AS a, {t} AS b WHERE a.uri = b.uri ORDER BY 1",
        "WITH x AS (SELECT uri, data FROM {t}) SELECT uri, data FROM x ORDER BY 1",
        "WITH x AS (SELECT *, data FROM {t}) SELECT uri, data FROM x ORDER BY 1",
        "SELECT uri, d FROM (SELECT uri, data AS d FROM {t}) ORDER BY 1",
        "SELECT uri, (SELECT data) FROM {t} ORDER BY uri",
        "SELECT uri, (SELECT data FROM UNNEST([1])) AS d FROM {t} ORDER BY uri",
        "SELECT uri, (SELECT x.data FROM {t} AS x WHERE x.uri = t.uri) AS d FROM {t} ORDER BY uri",
        "SELECT uri, d FROM {t}, UNNEST([t.data]) AS d ORDER BY uri",
        "SELECT uri, data FROM {t} WHERE LENGTH(data) < 9 ORDER BY uri",
        "SELECT uri, ANY_VALUE(data) FROM {t} GROUP BY uri ORDER BY uri",
        "SELECT uri, data FROM {t} QUALIFY ROW_NUMBER() OVER (PARTITION BY uri) = 1 ORDER BY uri",
        (
            "SELECT uri, data FROM {t} WHERE size = 1 UNION ALL "
            "SELECT uri, data FROM {t} WHERE size = 2 ORDER BY uri"
        ),
        "EXECUTE IMMEDIATE 'SELECT uri, data FROM {t} WHERE size > ? ORDER BY uri' USING 0",
        "DECLARE n INT64 DEFAULT 0; SELECT uri, data FROM {t} WHERE size > n ORDER BY uri",
    ],
)
def test_data_is_the_content_wherever_a_query_names_it(run, put, bucket, create, query):
    """It works in any case, with any alias, in CTEs, joins, subqueries and scripts."""
    put("a.jpg", b"1")
    put("b.jpg", b"22")
    rows = run(query.format(t=create()))
    assert rows == [(f"gs://{bucket}/a.jpg", b"1"), (f"gs://{bucket}/b.jpg", b"22")]


def test_data_is_in_no_star(bq, run, put, create):
    """`*` has only the seven columns, also next to `data`; a CTE of `*` has no `data`."""
    put("a.jpg", b"1")
    table = create()
    names = [name for name, *_ in COLUMNS]
    job = bq.query(f"SELECT *, data FROM {table}").result()
    assert [field.name for field in job.schema] == [*names, "data"]
    job = bq.query(f"SELECT o.*, LENGTH(o.data) AS n FROM {table} AS o").result()
    assert [field.name for field in job.schema] == [*names, "n"]
    with pytest.raises(BadRequest, match="Unrecognized name: data"):
        run(f"WITH x AS (SELECT * FROM {table}) SELECT data FROM x")


def test_an_ordinary_column_may_have_that_name(run, dataset, put, create):
    """`data` alone is ambiguous beside another column of that name, or in two object tables."""
    put("a.jpg", b"1")
    table = create()
    run(f"CREATE TABLE {dataset}.own AS SELECT 'mine' AS data, 1 AS size")
    assert run(f"SELECT own.data FROM {table} JOIN {dataset}.own USING (size)") == [("mine",)]
    assert run(f"SELECT t.data FROM {table} JOIN {dataset}.own USING (size)") == [(b"1",)]
    for sources in (f"{table} AS a, {table} AS b", f"{table} JOIN {dataset}.own USING (size)"):
        with pytest.raises(BadRequest, match="Column name data is ambiguous"):
            run(f"SELECT data FROM {sources}")


def test_tables_and_views_can_be_created_from_it(run, dataset, put, create):
    """CREATE TABLE AS copies contents; a view reads them at each query, also through another view."""
    put("a.jpg", b"1")
    table = create()
    run(f"CREATE TABLE {dataset}.copy AS SELECT uri, data FROM {table}")
    run(f"CREATE VIEW {dataset}.sizes AS SELECT LENGTH(data) AS n FROM {table}")
    run(f"CREATE VIEW {dataset}.more AS SELECT n + 1 AS m FROM {dataset}.sizes")
    put("a.jpg", b"333")
    assert run(f"SELECT data FROM {dataset}.copy") == [(b"1",)]
    assert run(f"SELECT n FROM {dataset}.sizes") == [(3,)]
    assert run(f"SELECT x.m FROM {dataset}.more AS x") == [(4,)]


def test_it_can_be_read_over_the_storage_api(put, create, read_table):
    """The Storage Read API shows the current objects."""
    put("a.jpg", b"1")
    table = create()
    put("b.jpg", b"22")
    assert sorted(read_table(table).column("size").to_pylist()) == [1, 2]


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("INSERT INTO {t} (uri) VALUES ('x')", "DML over table local:{t} is not supported"),
        ("UPDATE {t} SET uri = 'x' WHERE TRUE", "DML over table local:{t} is not supported"),
        ("DELETE FROM {t} WHERE TRUE", "DML over table local:{t} is not supported"),
        ("TRUNCATE TABLE {t}", "DML over table local:{t} is not supported"),
        (
            "MERGE {t} USING (SELECT 'x' AS u) ON uri = u WHEN MATCHED THEN DELETE",
            "DML over table local:{t} is not supported",
        ),
        ("BEGIN DELETE FROM {t} WHERE TRUE; END", "DML over table local:{t} is not supported"),
        ("DROP TABLE {t}", "local:{t} is not allowed for this operation because it is currently"),
        ("CREATE OR REPLACE TABLE {t} AS SELECT 1 AS n", "because it is currently a EXTERNAL"),
        ("CREATE OR REPLACE VIEW {t} AS SELECT 1 AS n", "because it is currently a EXTERNAL"),
        ("DROP VIEW {t}", "because it is currently a EXTERNAL"),
        ("ALTER TABLE {t} ADD COLUMN n INT64", "because it is currently a EXTERNAL"),
    ],
)
def test_it_is_read_only(run, put, create, statement, message):
    """No statement changes it or replaces it by another table or view."""
    put("a.jpg")
    table = create()
    with pytest.raises(BadRequest, match=message.format(t=table)):
        run(statement.format(t=table))
    assert run(f"SELECT COUNT(*) FROM {table}") == [(1,)]


def test_rows_cannot_be_added_to_it_over_the_apis(bq, run, dataset, put, create, append):
    """insertAll, load jobs, copy jobs, AppendRows and destinations of queries are refused."""
    put("a.jpg")
    table = create()
    run(f"CREATE TABLE {dataset}.rows AS SELECT 'x' AS uri")
    with pytest.raises(BadRequest, match="Cannot add rows to a table of type EXTERNAL"):
        bq.insert_rows_json(table, [{"uri": "x"}], retry=None)
    config = bigquery.LoadJobConfig(autodetect=True)
    with pytest.raises(BadRequest, match="currently a EXTERNAL"):
        bq.load_table_from_json([{"uri": "x"}], table, job_config=config).result()
    with pytest.raises(BadRequest, match="currently a EXTERNAL"):
        bq.copy_table(f"{dataset}.rows", table, retry=None).result()
    with pytest.raises(BadRequest, match="currently a EXTERNAL"):
        run("SELECT 'x' AS uri", destination=f"local.{table}", write_disposition="WRITE_APPEND")
    (answer,) = append(table, pa.table({"uri": ["x"]}))
    assert "Cannot add rows to a table of type EXTERNAL" in answer.error.message
    assert run(f"SELECT COUNT(*) FROM {table}") == [(1,)]


def test_it_is_created_and_dropped_as_the_statement_says(bq, run, dataset, put, create):
    """OR REPLACE, IF NOT EXISTS and IF EXISTS work, and jobs report the operation."""
    put("a.jpg")
    table = create(replace="")
    with pytest.raises(Conflict, match=f"Already Exists: Table local:{table}"):
        create(replace="")
    with pytest.raises(Conflict, match=f"Already Exists: Table local:{table}"):
        run(f"CREATE TABLE {table} AS SELECT 1 AS n")
    run(f"CREATE TABLE {dataset}.plain AS SELECT 1 AS n")
    for wrong in ("plain", "t"):
        kind = "EXTERNAL TABLE" if wrong == "plain" else "TABLE"
        with pytest.raises(BadRequest, match="is not allowed for this operation"):
            run(f"DROP {kind} {dataset}.{wrong}")
    with pytest.raises(BadRequest, match="because it is currently a TABLE"):
        create("plain")
    job = bq.query(f"DROP EXTERNAL TABLE {table}")
    job.result()
    assert (job.statement_type, job.ddl_operation_performed) == ("DROP_EXTERNAL_TABLE", "DROP")
    with pytest.raises(NotFound, match=f"Not found: Table local:{table}"):
        run(f"DROP EXTERNAL TABLE {table}")
    run(f"DROP EXTERNAL TABLE IF EXISTS {table}")


def test_it_is_listed_and_deleted_over_rest(bq, dataset, put, create):
    """`tables.list` shows EXTERNAL; `tables.delete` deletes the table, and the objects stay."""
    file = put("a.jpg")
    table = create()
    assert [each.table_type for each in bq.list_tables(dataset)] == ["EXTERNAL"]
    bq.delete_table(table)
    assert list(bq.list_tables(dataset)) == []
    with pytest.raises(NotFound):
        bq.get_table(table)
    assert file.exists()


def test_a_dry_run_checks_it_and_creates_nothing(bq, dataset, bucket, put):
    """A dry run reports the type of the statement, and fails if the bucket does not exist."""
    put("a.jpg")
    config = bigquery.QueryJobConfig(dry_run=True)
    sql = (
        f"CREATE EXTERNAL TABLE {dataset}.t WITH CONNECTION DEFAULT "
        "OPTIONS(uris=['gs://{}/*'], object_metadata='SIMPLE')"
    )
    assert bq.query(sql.format(bucket), config).statement_type == "CREATE_EXTERNAL_TABLE"
    with pytest.raises(NotFound, match="no bucket gs://nowhere-at-all"):
        bq.query(sql.format("nowhere-at-all"), config)
    assert list(bq.list_tables(dataset)) == []


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("OPTIONS(uris=['gs://{b}/*'], object_metadata='SIMPLE')", "must have a connection"),
        ("WITH CONNECTION DEFAULT OPTIONS(object_metadata='SIMPLE')", "needs option uris"),
        (
            "WITH CONNECTION DEFAULT OPTIONS(uris=['http://x/*'], object_metadata='SIMPLE')",
            "Invalid uri 'http://x/\\*'",
        ),
        (
            "WITH CONNECTION DEFAULT OPTIONS(uris=['gs://{b}/*/*'], object_metadata='SIMPLE')",
            "one '\\*', after the bucket",
        ),
        (
            "WITH CONNECTION DEFAULT OPTIONS(uris=['gs://gone-{b}/*'], object_metadata='SIMPLE')",
            "Not found: URI gs://gone-{b}/",
        ),
        (
            "WITH CONNECTION DEFAULT OPTIONS(uris=['gs://{b}/*'], object_metadata='FULL')",
            "Invalid value 'FULL' for option object_metadata",
        ),
        (
            "WITH CONNECTION DEFAULT OPTIONS(uris=['gs://{b}/*'], object_metadata='SIMPLE', n=1)",
            "Unknown option: n",
        ),
        (
            (
                "WITH CONNECTION DEFAULT OPTIONS(uris=['gs://{b}/*'], object_metadata='SIMPLE', "
                "metadata_cache_mode='AUTOMATIC')"
            ),
            "metadata_cache_mode needs option max_staleness",
        ),
        (
            (
                "WITH CONNECTION DEFAULT OPTIONS(uris=['gs://{b}/*'], object_metadata='SIMPLE', "
                "max_staleness=INTERVAL 1 MINUTE, metadata_cache_mode='MANUAL')"
            ),
            "between 30 minutes and 7 days",
        ),
    ],
)
def test_a_wrong_statement_is_refused(run, dataset, bucket, put, statement, message):
    """A missing connection, wrong addresses, and unknown options and values are named."""
    put("a.jpg")
    with pytest.raises(GoogleAPICallError, match=message.format(b=bucket)):
        run(f"CREATE EXTERNAL TABLE {dataset}.t " + statement.format(b=bucket))


def test_several_addresses_add_up_and_an_object_counts_once(run, dataset, bucket, put):
    """Patterns and full names may overlap; a full name matches only itself, or nothing."""
    for name in ("a.jpg", "a.jpg.bak", "b.jpg"):
        put(name)
    uris = [f"gs://{bucket}/{name}" for name in ("b.*", "*.jpg", "a.jpg", "gone.jpg", "*.gif")]
    run(
        f"CREATE EXTERNAL TABLE {dataset}.t WITH CONNECTION `us.photos` "
        f"OPTIONS(uris={uris}, object_metadata='SIMPLE')"
    )
    rows = run(f"SELECT uri FROM {dataset}.t ORDER BY uri")
    assert rows == [(f"gs://{bucket}/a.jpg",), (f"gs://{bucket}/b.jpg",)]


def test_a_manual_cache_changes_only_by_a_call(bq, run, put, create):
    """Queries read the bucket until the first call, and then the cache until the next call."""
    more = ", max_staleness=INTERVAL 1 HOUR, metadata_cache_mode='MANUAL'"
    put("a.jpg")
    table = create(more=more)
    count = f"SELECT COUNT(*) FROM {table}"
    put("b.jpg")
    assert run(count) == [(2,)]
    run(f"CALL BQ.REFRESH_EXTERNAL_METADATA_CACHE('local.{table}')")
    put("c.jpg")
    assert run(count) == [(2,)]
    run(f"CALL BQ.REFRESH_EXTERNAL_METADATA_CACHE('{table}')")
    assert run(count) == [(3,)]
    shown = bq.get_table(table).to_api_repr()
    assert shown["externalDataConfiguration"]["metadataCacheMode"] == "MANUAL"
    assert shown["maxStaleness"] == "0-0 0 1:0:0"


def test_an_automatic_cache_cannot_be_refreshed_by_a_call(run, put, create):
    """It is filled when the table is created, and used within its maximum staleness."""
    more = ", max_staleness=INTERVAL '0-0 0 4:0:0' YEAR TO SECOND, metadata_cache_mode='AUTOMATIC'"
    put("a.jpg")
    table = create(more=more)
    put("b.jpg")
    assert run(f"SELECT COUNT(*) FROM {table}") == [(1,)]
    with pytest.raises(BadRequest, match="must have metadata_cache_mode MANUAL"):
        run(f"CALL BQ.REFRESH_EXTERNAL_METADATA_CACHE('local.{table}')")


def test_the_command_creates_the_table_and_its_dataset(bq, run, buckets, bucket, put):
    """The first call creates both; a second call replaces the table."""
    put("a.jpg")
    table = f"made_for_{bucket.replace('-', '_')}.t"
    assert create_object_table(bq, table, [f"gs://{bucket}/*"], buckets) == 1
    assert create_object_table(bq, table, [f"gs://{bucket}/*.png"], buckets) == 0
    assert columns(bq, table) == COLUMNS
    assert run(f"SELECT COUNT(*) FROM {table}") == [(0,)]


def test_the_command_only_replaces_external_tables(bq, run, dataset, buckets, bucket, put):
    """It refuses to replace a view or another table."""
    put("a.jpg")
    run(f"CREATE VIEW {dataset}.t AS SELECT 1 AS other")
    with pytest.raises(ConfigError, match=r"\.t is a VIEW; drop it"):
        create_object_table(bq, f"{dataset}.t", [f"gs://{bucket}/*"], buckets)
    assert run(f"SELECT * FROM {dataset}.t") == [(1,)]


def test_many_objects_are_all_there(run, put, create):
    """Thousands of objects, each with its MD5."""
    folder = put("0.txt").parent
    for number in range(1, 5000):
        (folder / f"{number}.txt").write_bytes(b"%d" % number)
    counts = run(f"SELECT COUNT(DISTINCT uri), COUNT(DISTINCT md5_hash) FROM {create()}")
    assert counts == [(5000, 5000)]


@pytest.mark.parametrize(
    ("table", "uris", "message"),
    [
        ("objects", ["gs://{b}/*"], "write dataset.table"),
        ("a.b.c.d", ["gs://{b}/*"], "write dataset.table"),
        ("ds`; DROP.t", ["gs://{b}/*"], "write dataset.table"),
        ("ds.t`x", ["gs://{b}/*"], "write dataset.table"),
        ("ds.t", [], "at least one address"),
        ("ds.t", ["photos/*"], "not an address in a bucket"),
        ("ds.t", ["gs://elsewhere/*"], "no bucket gs://elsewhere"),
        ("ds.t", ["gs://{b}/gone.jpg"], "no object gs://{b}/gone.jpg"),
    ],
)
def test_the_command_says_what_is_wrong_before_anything_is_made(
    bq, buckets, bucket, put, table, uris, message
):
    """A bad name, address or bucket is a configuration error, and no dataset is left behind."""
    put("a.jpg")
    with pytest.raises(ConfigError, match=message.format(b=bucket)):
        create_object_table(bq, table, [uri.format(b=bucket) for uri in uris], buckets)
    assert "ds" not in [dataset.dataset_id for dataset in bq.list_datasets()]

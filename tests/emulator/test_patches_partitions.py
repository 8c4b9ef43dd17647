import pytest
from google.api_core.exceptions import BadRequest
from google.cloud import bigquery

REPLACED = (
    "Cannot replace a table with a different partitioning spec. Instead, DROP the table, and then "
    "recreate it. New partitioning spec is {new} and existing spec is {old}"
)
NONE = ""
DAY = "PARTITION BY d"
MONTH = "PARTITION BY DATE_TRUNC(d, MONTH)"
RANGE = "PARTITION BY RANGE_BUCKET(k, GENERATE_ARRAY(0, 100, 10))"
CLUSTER = "CLUSTER BY k, s"

SPECS = {
    NONE: "none",
    DAY: "interval(type:day,field:d)",
    MONTH: "interval(type:month,field:d)",
    RANGE: "range(type:integer,field:k,start:0,end:100,interval:10)",
    CLUSTER: "clustering(k,s)",
    f"{DAY} {CLUSTER}": "interval(type:day,field:d) clustering(k,s)",
    "PARTITION BY _PARTITIONDATE": "interval(type:day)",
}

ROW = "SELECT DATE '2026-01-02' AS d, 1 AS k, 'x' AS s"


@pytest.fixture
def table(run, dataset) -> str:
    """A table that requires a filter on its column `d`."""
    run(
        f"CREATE TABLE {dataset}.t PARTITION BY d OPTIONS(require_partition_filter = TRUE) AS {ROW}"
    )
    return f"{dataset}.t"


@pytest.fixture
def unfiltered(table) -> str:
    """What BigQuery says of a statement without the filter."""
    return (
        f"Cannot query over table 'local.{table}' without a filter over column.s. 'd' that can be "
        "used for partition elimination"
    )


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("other", [NONE, DAY, RANGE, CLUSTER])
def test_replacing_a_table_keeps_its_partitioning(run, dataset, spec, other):
    """Real BigQuery: CREATE OR REPLACE TABLE refuses another partitioning or clustering."""
    columns = "(d DATE, k INT64, s STRING)"
    run(f"CREATE TABLE {dataset}.t {columns} {spec}")
    replace = f"CREATE OR REPLACE TABLE {dataset}.t {columns} {other}"
    if spec == other:
        run(replace)
        return
    with pytest.raises(BadRequest) as refused:
        run(replace)
    assert REPLACED.format(new=SPECS[other], old=SPECS[spec]) in refused.value.message
    run(f"DROP TABLE {dataset}.t")
    run(replace)


def test_replacing_in_a_script_and_a_dry_run_is_refused_too(run, dataset):
    """Real BigQuery: the rule holds for every statement; other tables keep their spec."""
    run(f"CREATE TABLE {dataset}.t PARTITION BY d AS {ROW}")
    replace = f"CREATE OR REPLACE TABLE {dataset}.t AS {ROW}"
    for sql in (f"SELECT 1; {replace}", f'EXECUTE IMMEDIATE "{replace}"'):
        with pytest.raises(
            BadRequest, match="Cannot replace a table with a different partitioning"
        ):
            run(sql)
    with pytest.raises(BadRequest, match="Cannot replace a table with a different partitioning"):
        run(replace, dry_run=True)
    run(f"CREATE OR REPLACE TABLE {dataset}.u AS {ROW}")
    run(f"CREATE OR REPLACE TABLE {dataset}.u AS SELECT 1 AS other")


def test_replacing_by_a_copy_takes_the_spec_of_the_source(run, dataset):
    """Real BigQuery: LIKE, COPY and CLONE take partitioning and clustering from their source."""
    run(f"CREATE TABLE {dataset}.t PARTITION BY d AS {ROW}")
    run(f"CREATE TABLE {dataset}.same PARTITION BY d AS {ROW}")
    run(f"CREATE TABLE {dataset}.other AS {ROW}")
    for how in ("LIKE", "COPY", "CLONE"):
        with pytest.raises(BadRequest, match="New partitioning spec is none and existing spec is"):
            run(f"CREATE OR REPLACE TABLE {dataset}.t {how} {dataset}.other")
    run(f"CREATE OR REPLACE TABLE {dataset}.t LIKE {dataset}.same")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM {t}",
        "SELECT COUNT(*) FROM {t} WHERE k = 1",
        "SELECT * FROM {t} WHERE d = '2026-01-02' OR k = 1",
        "SELECT * FROM {t} WHERE d = (SELECT MAX(day) FROM UNNEST([DATE '2026-01-02']) AS day)",
        "SELECT a.k FROM {t} AS a JOIN {t} AS b ON a.d = b.d WHERE a.d = '2026-01-02'",
        "WITH w AS (SELECT * FROM {t}) SELECT * FROM w",
        "SELECT 1; SELECT * FROM {t}",
        "CREATE TABLE {t}_2 AS SELECT * FROM {t}",
        "INSERT INTO {t} SELECT * FROM {t}",
        "UPDATE {t} SET k = 2 WHERE TRUE",
        "DELETE FROM {t} WHERE k = 1",
        "DELETE FROM {t} WHERE TRUE",
        "MERGE {t} AS t USING (SELECT 1 AS k) AS s ON t.k = s.k WHEN MATCHED THEN DELETE",
        "MERGE {t} t USING (SELECT CURRENT_DATE() AS d) s ON t.d = s.d WHEN MATCHED THEN DELETE",
        "TRUNCATE TABLE {t}",
        "BEGIN TRANSACTION; TRUNCATE TABLE {t}; COMMIT TRANSACTION",
    ],
)
def test_statement_without_the_filter_is_refused(run, table, unfiltered, sql):
    """Real BigQuery: a required filter is asked of everything that reads or changes rows."""
    with pytest.raises(BadRequest, match=unfiltered):
        run(sql.format(t=table))
    assert run(f"SELECT k FROM {table} WHERE d IS NOT NULL") == [(1,)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM {t} WHERE d = '2026-01-02'",
        "SELECT * FROM {t} WHERE k = 1 AND (d > '2026-01-01' AND s = 'x')",
        "SELECT * FROM {t} WHERE d IS NULL OR d IS NOT NULL",
        "SELECT * FROM {t} WHERE D BETWEEN '2026-01-01' AND '2026-02-01'",
        "SELECT * FROM (SELECT * FROM {t}) AS x WHERE x.d = '2026-01-02'",
        "WITH w AS (SELECT * FROM {t}) SELECT * FROM w WHERE d = '2026-01-02'",
        "SELECT t.k FROM {t} AS t JOIN UNNEST([1]) AS n ON n = t.k AND t.d = '2026-01-02'",
        "DECLARE day DATE DEFAULT '2026-01-02'; SELECT * FROM {t} WHERE d = day",
        "INSERT INTO {t} (d, k) VALUES ('2026-01-03', 2)",
        "UPDATE {t} SET k = 2 WHERE d = '2026-01-02'",
        "DELETE FROM {t} WHERE d IS NULL OR d IS NOT NULL",
        "MERGE {t} USING (SELECT 1) ON d IS NULL OR d IS NOT NULL WHEN MATCHED THEN DELETE",
        "ALTER TABLE {t} ADD COLUMN more STRING",
        "CREATE OR REPLACE TABLE {t} PARTITION BY d AS SELECT DATE '2026-01-02' AS d",
        "CREATE TABLE {t}_2 LIKE {t}",
        "CREATE VIEW {t}_v AS SELECT * FROM {t}",
        "DROP TABLE {t}",
    ],
)
def test_statement_with_the_filter_runs(run, table, sql):
    """Real BigQuery: a condition that only needs the column is a filter."""
    run(sql.format(t=table))


def test_filter_on_the_time_of_loading(run, dataset):
    """Real BigQuery: the columns of such a table are `_PARTITIONTIME` and its like."""
    run(
        f"CREATE TABLE {dataset}.t (n INT64) PARTITION BY _PARTITIONDATE "
        "OPTIONS(require_partition_filter = TRUE)"
    )
    columns = "'_PARTITION_LOAD_TIME', '_PARTITIONDATE', '_PARTITIONTIME'"
    with pytest.raises(BadRequest, match=f"without a filter over column.s. {columns} that can be"):
        run(f"SELECT * FROM {dataset}.t WHERE n = 1")
    run(f"DELETE FROM {dataset}.t WHERE _PARTITIONTIME IS NULL OR _PARTITIONTIME IS NOT NULL")


def test_filter_is_required_and_not_required_by_ddl(bq, run, table, unfiltered):
    """Real BigQuery: ALTER TABLE SET OPTIONS changes what is required."""
    run(f"ALTER TABLE {table} SET OPTIONS(require_partition_filter = FALSE)")
    assert run(f"SELECT k FROM {table}") == [(1,)]
    assert not bq.get_table(table).require_partition_filter
    run(
        f"ALTER TABLE {table} SET OPTIONS(require_partition_filter = TRUE, "
        "partition_expiration_days = 3)"
    )
    with pytest.raises(BadRequest, match=unfiltered):
        run(f"SELECT k FROM {table}")
    assert bq.get_table(table).time_partitioning.expiration_ms == 3 * 86_400_000


def test_filter_is_required_at_both_places_of_the_resource(bq, dataset):
    """Real BigQuery: the field of the table and the deprecated one of its partitioning are one."""
    for place in ("table", "partitioning"):
        table = bigquery.Table(
            f"local.{dataset}.{place}", schema=[bigquery.SchemaField("d", "DATE")]
        )
        table.time_partitioning = bigquery.TimePartitioning(field="d")
        resource = table.to_api_repr()
        if place == "table":
            resource["requirePartitionFilter"] = True
        else:
            resource["timePartitioning"]["requirePartitionFilter"] = True
        made = bq.create_table(bigquery.Table.from_api_repr(resource)).to_api_repr()
        assert made["requirePartitionFilter"] is True
        assert made["timePartitioning"]["requirePartitionFilter"] is True
        with pytest.raises(BadRequest, match="without a filter over column"):
            bq.query(f"SELECT * FROM {dataset}.{place}", retry=None).result(retry=None)
        table = bq.get_table(f"{dataset}.{place}")
        table.require_partition_filter = False
        updated = bq.update_table(table, ["require_partition_filter"])
        assert not updated.require_partition_filter
        assert updated.time_partitioning.field == "d"
        bq.query(f"SELECT * FROM {dataset}.{place}").result()


def test_ranges_show_in_the_resource(bq, run, dataset):
    """Real BigQuery: the resource has partitions by ranges of integers, also of tables from REST."""
    run(f"CREATE TABLE {dataset}.t (k INT64) {RANGE}")
    ranges = bq.get_table(f"{dataset}.t").range_partitioning
    assert (ranges.field, ranges.range_.start, ranges.range_.end) == ("k", 0, 100)
    assert ranges.range_.interval == 10
    table = bigquery.Table(f"local.{dataset}.u", schema=[bigquery.SchemaField("k", "INT64")])
    table.range_partitioning = ranges
    assert bq.create_table(table).range_partitioning == ranges

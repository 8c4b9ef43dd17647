import datetime as dt

import pyarrow as pa
import pytest
from google.api_core.exceptions import NotFound

WEEK = dt.timedelta(days=7)


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def test_options_of_create_table_show(bq, run, dataset):
    """Real BigQuery: expiration, labels, description and clustering are in the resource."""
    run(
        f"CREATE TABLE {dataset}.t (a INT64) CLUSTER BY a OPTIONS("
        "expiration_timestamp=TIMESTAMP_ADD(CURRENT_TIMESTAMP(), INTERVAL 7 DAY), "
        "labels=[('team', 'etl'), ('kind', 'work')], description='work of a run')"
    )
    table = bq.get_table(f"{dataset}.t")
    assert abs(table.expires - (now() + WEEK)) < dt.timedelta(minutes=1)
    assert table.labels == {"team": "etl", "kind": "work"}
    assert table.description == "work of a run"
    assert table.clustering_fields == ["a"]
    assert table.location == "US"
    assert bq.get_dataset(dataset).location == "US"


def test_a_list_of_tables_shows_their_options(bq, run, dataset):
    """Real BigQuery: `tables.list` has labels, partitions, clustering and expiration of each table."""
    run(
        f"CREATE TABLE {dataset}.t (a INT64, d DATE) PARTITION BY d CLUSTER BY a OPTIONS("
        "expiration_timestamp=TIMESTAMP '2100-01-02 03:04:05 UTC', labels=[('team', 'etl')])"
    )
    run(f"CREATE TABLE {dataset}.u (a INT64)")
    listed, plain = sorted(bq.list_tables(dataset), key=lambda each: each.table_id)
    assert listed.labels == {"team": "etl"}
    assert listed.expires == dt.datetime(2100, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    assert listed.time_partitioning.field == "d"
    assert listed.clustering_fields == ["a"]
    assert (plain.labels, plain.expires, plain.clustering_fields) == ({}, None, None)


def test_options_are_changed_by_ddl_and_rest(bq, run, dataset):
    """Real BigQuery: ALTER TABLE SET OPTIONS and `tables.patch` change the same things."""
    run(f"CREATE TABLE {dataset}.t AS SELECT 1 AS a")
    assert bq.get_table(f"{dataset}.t").expires is None
    run(
        f"ALTER TABLE {dataset}.t SET OPTIONS("
        "expiration_timestamp=TIMESTAMP '2100-01-02 03:04:05 UTC', labels=[('a', 'b')])"
    )
    table = bq.get_table(f"{dataset}.t")
    assert table.expires == dt.datetime(2100, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    table.expires, table.labels = None, {"a": None, "c": "d"}
    bq.update_table(table, ["expires", "labels"])
    assert bq.get_table(f"{dataset}.t").expires is None
    assert bq.get_table(f"{dataset}.t").labels == {"c": "d"}
    with pytest.raises(NotFound):
        run(f"ALTER TABLE {dataset}.nope SET OPTIONS(description='x')")


def test_if_not_exists_does_not_change_the_table(bq, run, dataset):
    """Real BigQuery: CREATE TABLE IF NOT EXISTS changes nothing about a table that exists."""
    run(f"CREATE TABLE {dataset}.t (a INT64) OPTIONS(description='first')")
    run(f"CREATE TABLE IF NOT EXISTS {dataset}.t (b STRING) OPTIONS(description='second')")
    table = bq.get_table(f"{dataset}.t")
    assert (table.description, [field.name for field in table.schema]) == ("first", ["a"])


def test_expired_table_is_gone(bq, run, dataset):
    """Real BigQuery: a table is deleted when it expires."""
    run(f"CREATE TABLE {dataset}.t AS SELECT 1 AS a")
    table = bq.get_table(f"{dataset}.t")
    table.expires = now() - dt.timedelta(seconds=1)
    bq.update_table(table, ["expires"])
    with pytest.raises(NotFound):
        bq.get_table(f"{dataset}.t")
    with pytest.raises(NotFound):
        run(f"SELECT * FROM {dataset}.t")


def test_num_rows_is_as_of_now(append, bq, run, dataset):
    """Real BigQuery: the count follows CTAS, DML and appends."""

    def count() -> int:
        return bq.get_table(f"{dataset}.t").num_rows

    run(f"CREATE TABLE {dataset}.t AS SELECT n FROM UNNEST([1, 2, 3]) AS n")
    assert count() == 3
    run(f"DELETE FROM {dataset}.t WHERE n = 1")
    assert count() == 2
    append(f"{dataset}.t", pa.table({"n": pa.array([4, 5], pa.int64())}))
    assert count() == 4
    run(f"TRUNCATE TABLE {dataset}.t")
    assert count() == 0


def test_view_shows_its_query(bq, run, dataset):
    """Real BigQuery: a view's resource has its SQL."""
    run(f"CREATE VIEW {dataset}.v AS SELECT 1 AS a")
    assert bq.get_table(f"{dataset}.v").view_query.startswith("SELECT 1")


def test_time_travel_reaches_back_to_before_a_statement(run, dataset):
    """Real BigQuery: FOR SYSTEM_TIME AS OF shows the table as it was then."""
    run(f"CREATE TABLE {dataset}.t AS SELECT 1 AS a")
    run(f"INSERT INTO {dataset}.t VALUES (2)")
    ((before,),) = run("SELECT CURRENT_TIMESTAMP()")
    run(f"INSERT INTO {dataset}.t VALUES (3)")
    rows = run(
        f"SELECT COUNT(*) FROM {dataset}.t FOR SYSTEM_TIME AS OF TIMESTAMP '{before.isoformat()}'"
    )
    assert rows == [(2,)]

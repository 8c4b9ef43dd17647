import pytest
from google.cloud import bigquery


@pytest.fixture
def table(run, dataset):
    run(f"CREATE TABLE {dataset}.t (n INT64 NOT NULL, old STRING)")
    run(f"INSERT INTO {dataset}.t VALUES (1, 'x')")
    return f"{dataset}.t"


def names(bq, table):
    return [(each.name, each.field_type) for each in bq.get_table(table).schema]


def test_an_alter_adds_several_columns(run, bq, table):
    """Real BigQuery: a list of ADD COLUMN, with types of its own."""
    run(f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS a INT64, ADD COLUMN b ARRAY<STRING>")
    assert names(bq, table)[2:] == [("a", "INTEGER"), ("b", "STRING")]
    assert bq.get_table(table).schema[3].mode == "REPEATED"
    assert run(f"SELECT n, a FROM {table}") == [(1, None)]


def test_an_alter_drops_several_columns(run, bq, table):
    """Real BigQuery: a list of DROP COLUMN."""
    run(f"ALTER TABLE {table} ADD COLUMN a INT64")
    run(f"ALTER TABLE {table} DROP COLUMN old, DROP COLUMN IF EXISTS a, DROP COLUMN IF EXISTS gone")
    assert names(bq, table) == [("n", "INTEGER")]


def test_an_alter_changes_several_columns(run, bq, table):
    """Real BigQuery: a list of ALTER COLUMN."""
    run(f"ALTER TABLE {table} ALTER COLUMN n DROP NOT NULL, ALTER COLUMN n SET DATA TYPE NUMERIC")
    (n, _) = bq.get_table(table).schema
    assert (n.field_type, n.mode) == ("NUMERIC", "NULLABLE")


def test_an_alter_of_several_actions_stands_in_a_script(run, bq, table):
    """As the clean-up of a run is sent."""
    bq.query_and_wait(
        f"ALTER TABLE {table} ADD COLUMN a INT64, ADD COLUMN b INT64;\n"
        f"ALTER TABLE {table} DROP COLUMN old, DROP COLUMN a"
    )
    assert names(bq, table) == [("n", "INTEGER"), ("b", "INTEGER")]
    assert isinstance(bq.get_table(table), bigquery.Table)

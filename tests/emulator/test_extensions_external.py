import itertools

import pytest
from google.api_core.exceptions import BadRequest, GoogleAPICallError, NotFound
from google.cloud import bigquery

BUCKET_NUMBERS = itertools.count(1)


@pytest.fixture
def bucket(local_server):
    """The folder of a bucket that no other test uses."""
    folder = local_server.local_dir / "buckets" / f"external-{next(BUCKET_NUMBERS)}"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def create(run, dataset, bucket):
    """Create an external table over the bucket, and return its name."""

    def create_table(pattern: str, columns: str = "", **options) -> str:
        given = {"uris": [f"gs://{bucket.name}/{pattern}"], **options}
        shown = ", ".join(f"{name}={value!r}" for name, value in given.items())
        run(f"CREATE OR REPLACE EXTERNAL TABLE {dataset}.t {columns} OPTIONS({shown})")
        return f"{dataset}.t"

    return create_table


def test_a_csv_without_a_header_gets_bigquery_s_names(bq, run, bucket, create):
    """As in load jobs: `int64_field_0`, and the first row is data."""
    (bucket / "labels.csv").write_text("0,background\n1,cat\n")
    table = create("labels.csv", format="CSV")
    assert run(f"SELECT string_field_1 FROM {table} WHERE int64_field_0 = 0") == [("background",)]
    shown = bq.get_table(table)
    assert (shown.table_type, [field.name for field in shown.schema]) == (
        "EXTERNAL",
        ["int64_field_0", "string_field_1"],
    )
    assert shown.external_data_configuration.source_format == "CSV"


def test_declared_columns_and_csv_options(run, bucket, create):
    """Declared columns are read by position."""
    (bucket / "a.csv").write_text("n|s\n1|x\n2|-\n")
    options = {"skip_leading_rows": 1, "field_delimiter": "|", "null_marker": "-"}
    table = create("*.csv", "(n INT64, s STRING)", format="CSV", **options)
    assert run(f"SELECT n, s FROM {table} ORDER BY n") == [(1, "x"), (2, None)]


def test_the_files_are_read_at_each_query(run, dataset, bucket, create):
    """New, changed and deleted files show at once, also through a view."""
    (bucket / "1.jsonl").write_text('{"n": 1, "a": [1, 2]}\n')
    table = create("*.jsonl", format="NEWLINE_DELIMITED_JSON")
    run(f"CREATE VIEW {dataset}.v AS SELECT n FROM {table}")
    (bucket / "2.jsonl").write_text('{"n": 2, "a": []}\n')
    assert run(f"SELECT n, a FROM {table} ORDER BY n") == [(1, [1, 2]), (2, [])]
    (bucket / "1.jsonl").unlink()
    assert run(f"SELECT n FROM {dataset}.v") == [(2,)]
    (bucket / "2.jsonl").unlink()
    assert run(f"SELECT n FROM {table}") == []


def test_it_is_read_only_and_dropped_by_its_own_statement(run, bucket, create):
    """Like an object table, it refuses other statements."""
    (bucket / "a.csv").write_text("1\n")
    table = create("a.csv", format="CSV")
    with pytest.raises(BadRequest, match=f"DML over table local:{table} is not supported"):
        run(f"DELETE FROM {table} WHERE TRUE")
    with pytest.raises(BadRequest, match="because it is currently a EXTERNAL"):
        run(f"DROP TABLE {table}")
    run(f"DROP EXTERNAL TABLE {table}")
    with pytest.raises(NotFound):
        run(f"SELECT * FROM {table}")


@pytest.mark.parametrize(
    ("pattern", "options", "message"),
    [
        ("a.csv", {"format": "GOOGLE_SHEETS"}, "no external tables of format GOOGLE_SHEETS"),
        ("a.csv", {}, "no external tables of format NULL"),
        ("a.csv", {"format": "CSV", "n": 1}, "not know the option n of external tables"),
        ("gone.csv", {"format": "CSV"}, "gone.csv: matches no object"),
    ],
)
def test_a_wrong_statement_is_refused(bucket, create, pattern, options, message):
    """Unknown formats, unknown options and missing files are named in the message."""
    (bucket / "a.csv").write_text("1\n")
    with pytest.raises(GoogleAPICallError, match=message):
        create(pattern, **options)


def test_external_tables_are_created_over_rest(bq, run, dataset, bucket):
    """`tables.insert` with externalDataConfiguration creates external tables and object tables."""
    (bucket / "a.csv").write_text("n\n1\n")
    config = bigquery.ExternalConfig("CSV")
    config.source_uris = [f"gs://{bucket.name}/*.csv"]
    config.autodetect = True
    table = bigquery.Table(f"local.{dataset}.files")
    table.external_data_configuration = config
    assert bq.create_table(table).table_type == "EXTERNAL"
    assert run(f"SELECT n FROM {dataset}.files") == [(1,)]
    resource = {
        "tableReference": {"projectId": "local", "datasetId": dataset, "tableId": "objects"},
        "externalDataConfiguration": {
            "sourceUris": [f"gs://{bucket.name}/*"],
            "objectMetadata": "SIMPLE",
            "connectionId": "local.us.c",
        },
    }
    bq.create_table(bigquery.Table.from_api_repr(resource))
    assert run(f"SELECT data FROM {dataset}.objects") == [(b"n\n1\n",)]


def test_views_are_created_and_deleted_over_rest(bq, run, dataset, bucket):
    """`tables.insert` with a query creates a view, and `tables.delete` deletes it."""
    view = bigquery.Table(f"local.{dataset}.v")
    view.view_query = "SELECT 1 AS n"
    assert bq.create_table(view).table_type == "VIEW"
    assert run(f"SELECT n FROM {dataset}.v") == [(1,)]
    bq.delete_table(f"{dataset}.v")
    assert list(bq.list_tables(dataset)) == []

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from google.cloud import bigquery

from etlkit.errors import ConfigError
from etlkit.local.buckets import Buckets
from etlkit.local.object_table import create_object_table

COLUMNS = [
    ("uri", "STRING", "NULLABLE"),
    ("generation", "INTEGER", "NULLABLE"),
    ("content_type", "STRING", "NULLABLE"),
    ("size", "INTEGER", "NULLABLE"),
    ("md5_hash", "STRING", "NULLABLE"),
    ("updated", "TIMESTAMP", "NULLABLE"),
    ("metadata", "RECORD", "REPEATED"),
]
INTEGER_NAMES = {"INT64": "INTEGER"}


@pytest.fixture
def buckets(tmp_path: Path) -> Buckets:
    return Buckets(tmp_path / "buckets")


@pytest.fixture
def put(buckets: Buckets, tmp_path: Path):
    """Put a small object of this name."""

    def put_object(name: str, content: bytes = b"x") -> None:
        file = tmp_path / "file"
        file.write_bytes(content)
        buckets.put([file], f"gs://photos/{name}")

    return put_object


def columns(bq: bigquery.Client, table: str) -> list[tuple[str, str, str]]:
    return [
        (field.name, INTEGER_NAMES.get(field.field_type, field.field_type), field.mode)
        for field in bq.get_table(table).schema
    ]


def test_each_object_is_a_row_with_its_metadata(bq, dataset, run, buckets, put):
    """The table has BigQuery's seven columns, and a row tells what the object is."""
    before = datetime.now(UTC)
    put("cats/猫 'é`.jpg", b"meow")
    assert create_object_table(bq, f"{dataset}.objects", ["gs://photos/*"], buckets) == 1
    assert columns(bq, f"{dataset}.objects") == COLUMNS
    (row,) = run(f"SELECT * FROM {dataset}.objects")
    uri, generation, content_type, size, md5_hash, updated, metadata = row
    assert uri == "gs://photos/cats/猫 'é`.jpg"
    assert (content_type, size, metadata) == ("image/jpeg", 4, [])
    assert md5_hash == base64.b64encode(hashlib.md5(b"meow").digest()).decode()  # noqa: S324
    assert before - timedelta(seconds=1) <= updated <= datetime.now(UTC)
    assert generation == round(updated.timestamp() * 1_000_000)


def test_the_dataset_is_created_if_missing(bq, buckets, put):
    """The first object table of a dataset needs no other step."""
    put("a.jpg")
    assert create_object_table(bq, "made_for_objects.t", ["gs://photos/*"], buckets) == 1
    assert bq.get_table("made_for_objects.t").num_rows == 1


def test_a_second_call_replaces_rows_and_columns(bq, dataset, run, buckets, put):
    """A call shows the bucket as it is now, whatever the table was before."""
    run(f"CREATE TABLE {dataset}.t AS SELECT 1 AS other")
    put("a.jpg")
    create_object_table(bq, f"{dataset}.t", ["gs://photos/*"], buckets)
    put("b.jpg")
    buckets.get("gs://photos/a.jpg").path.unlink()
    create_object_table(bq, f"{dataset}.t", ["gs://photos/*"], buckets)
    assert columns(bq, f"{dataset}.t") == COLUMNS
    assert run(f"SELECT uri FROM {dataset}.t") == [("gs://photos/b.jpg",)]


def test_a_view_is_not_replaced(bq, dataset, run, buckets, put):
    """A view in the place of the table is somebody's work: it stays, and a message says so."""
    run(f"CREATE VIEW {dataset}.t AS SELECT 1 AS other")
    put("a.jpg")
    with pytest.raises(ConfigError, match=r"\.t is a VIEW; drop it"):
        create_object_table(bq, f"{dataset}.t", ["gs://photos/*"], buckets)
    assert run(f"SELECT * FROM {dataset}.t") == [(1,)]


def test_nothing_that_matches_is_an_empty_table(bq, dataset, run, buckets, put):
    """A pattern without a match empties the table and keeps its columns."""
    put("a.jpg")
    create_object_table(bq, f"{dataset}.t", ["gs://photos/*"], buckets)
    assert create_object_table(bq, f"{dataset}.t", ["gs://photos/*.png"], buckets) == 0
    assert columns(bq, f"{dataset}.t") == COLUMNS
    assert run(f"SELECT COUNT(*) FROM {dataset}.t") == [(0,)]


def test_addresses_add_up_and_an_object_counts_once(bq, dataset, run, buckets, put):
    """Patterns and full names may overlap; a full name is not a prefix."""
    for name in ("a.jpg", "a.jpg.bak", "b.jpg"):
        put(name)
    uris = ["gs://photos/b.*", "gs://photos/*.jpg", "gs://photos/a.jpg"]
    assert create_object_table(bq, f"{dataset}.t", uris, buckets) == 2
    rows = run(f"SELECT uri FROM {dataset}.t ORDER BY uri")
    assert rows == [("gs://photos/a.jpg",), ("gs://photos/b.jpg",)]


def test_many_objects_are_all_there(bq, dataset, run, buckets, put):
    """Thousands of objects go through one load."""
    put("0.txt")
    folder = buckets.root / "photos"
    for number in range(1, 5000):
        (folder / f"{number}.txt").write_bytes(b"%d" % number)
    assert create_object_table(bq, f"{dataset}.t", ["gs://photos/*"], buckets) == 5000
    assert run(f"SELECT COUNT(DISTINCT uri), COUNT(DISTINCT md5_hash) FROM {dataset}.t") == [
        (5000, 5000)
    ]


@pytest.mark.parametrize(
    ("table", "uris", "message"),
    [
        ("objects", ["gs://photos/*"], "write dataset.table"),
        ("a.b.c.d", ["gs://photos/*"], "write dataset.table"),
        ("ds`; DROP.t", ["gs://photos/*"], "write dataset.table"),
        ("ds.t`x", ["gs://photos/*"], "write dataset.table"),
        ("ds.t", [], "at least one address"),
        ("ds.t", ["photos/*"], "not an address in a bucket"),
        ("ds.t", ["gs://elsewhere/*"], "no bucket gs://elsewhere"),
        ("ds.t", ["gs://photos/gone.jpg"], "no object gs://photos/gone.jpg"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_made(bq, buckets, put, table, uris, message):
    """A bad name, address or bucket is a configuration error, and no dataset is left behind."""
    put("a.jpg")
    with pytest.raises(ConfigError, match=message):
        create_object_table(bq, table, uris, buckets)
    assert "ds" not in [dataset.dataset_id for dataset in bq.list_datasets()]

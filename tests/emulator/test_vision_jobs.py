"""Photos through Vision into tables, in each of the three shapes, over both protocols."""

from pathlib import Path

import pytest

from etlkit import BigQuerySink, BigQuerySource, TransferJob
from etlkit.cli.run import main
from etlkit.local.buckets import Buckets
from etlkit.runner import environment, local_world, run_job
from etlkit.vision import Long, VisionEtl

ROOT = Path(__file__).parents[2]
PHOTOS = sorted((ROOT / "photos").glob("*.jpg"))


@pytest.fixture
def object_table(local_server, run):
    """The object table that the jobs read."""
    Buckets(local_server.local_dir / "buckets").put(PHOTOS, "gs://bqml-vision/")
    run("CREATE SCHEMA IF NOT EXISTS bqml_vision")
    run(
        "CREATE OR REPLACE EXTERNAL TABLE bqml_vision.object_table "
        "WITH CONNECTION `us.bucket_connection` "
        "OPTIONS (object_metadata = 'SIMPLE', uris = ['gs://bqml-vision/*'])"
    )


@pytest.fixture
def start(local_server, monkeypatch):
    """Run a job module in the local world."""
    monkeypatch.syspath_prepend(ROOT)

    def run_module(module):
        assert main([module, "--local", "--local-dir", str(local_server.local_dir)]) == 0

    return run_module


def test_labels_in_columns(object_table, start, run):
    """Best first, and empty cells where there are fewer."""
    start("jobs.vision_wide")
    rows = run("SELECT * FROM bqml_vision.vision_labels_wide ORDER BY uri")
    assert len(rows) == len(PHOTOS)
    for _, *cells in rows:
        names, scores = cells[::2], cells[1::2]
        assert [name is None for name in names] == [score is None for score in scores]
        found = [score for score in scores if score is not None]
        assert found == sorted(found, reverse=True)
    assert any(None in row for row in rows)


class Objects(VisionEtl):
    features = ("OBJECT_LOCALIZATION",)
    shape = Long()


def test_objects_in_rows(object_table, local_server, run, dataset):
    """A row for each object, its box a struct of four numbers."""
    job = TransferJob(
        name="objects_in_rows",
        source=BigQuerySource("SELECT uri FROM bqml_vision.object_table"),
        transform=Objects,
        sink=BigQuerySink(f"{dataset}.objects", mode="replace"),
    )
    with local_world(local_server.local_dir):
        report = run_job(job, settings=environment())
    assert (report.written, report.skipped) == (3, 2)
    (cat,) = run(
        f"SELECT rank, mid, name, score, box.x_min, box.x_max FROM {dataset}.objects "
        "WHERE uri LIKE '%chelsea%'"
    )
    rank, mid, name, score, x_min, x_max = cat
    assert (rank, mid, name) == (1, "/m/01yrx", "Cat")
    assert score > 0.8
    assert 0 <= x_min < 0.1
    assert 0.9 < x_max <= 1

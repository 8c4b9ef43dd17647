"""A pipeline of SQL over photos, written by hand: our statements, and the article's to the letter.

In the article's statements only the placeholders for bucket and connection are filled in.
"""

from dataclasses import dataclass
from pathlib import Path

import pytest
from google.cloud import bigquery

from etlkit.local.buckets import Buckets
from tests import article

ROOT = Path(__file__).parents[2]
OURS = ROOT / "tests" / "data" / "photos_pipeline"

PLACEHOLDERS = {
    "作成した外部コネクタ名": "us.bucket_connection",
    "具体的に読み込みたいバケットやフォルダ": "article-photos",
    "モデル配置したバケット名": "article-model",
}

CATS = {"tabby", "tiger cat", "Persian cat", "Siamese cat", "Egyptian cat"}


@dataclass(frozen=True)
class Pipeline:
    """One wording of the statements, and the names that they use."""

    dataset: str
    labels: str
    photos: str
    model: str

    def statement(self, name: str) -> str:
        """The text of a statement."""
        if self.dataset == "gallery":
            return (OURS / name).read_text(encoding="utf-8")
        text = article.statement(name)
        for placeholder, value in PLACEHOLDERS.items():
            text = text.replace(placeholder, value)
        return text


PIPELINES = {
    "ours": Pipeline("gallery", "class_names", "gallery-pictures", "gallery-model"),
    "article": Pipeline("bqml_vision", "label", "article-photos", "article-model"),
}


@pytest.fixture(scope="module", params=PIPELINES)
def pipeline(request, local_server, bq):
    """What exists before the first query: a cat in a bucket, a model in another, both as tables."""
    words = PIPELINES[request.param]
    statements = [words.statement(name) for name in ("object_table.sql", "create_model.sql")]
    buckets = Buckets(local_server.local_dir / "buckets")
    buckets.put([ROOT / "photos" / "chelsea.jpg"], f"gs://{words.photos}/")
    models = ROOT / "etlkit" / "local" / "models"
    model = sorted((models / "savedmodel_resnet_stand_in").iterdir())
    buckets.put(model, f"gs://{words.model}/", recursive=True)
    bq.create_dataset(words.dataset, exists_ok=True)
    # People load the list of classes by hand, without naming its columns.
    config = bigquery.LoadJobConfig(source_format="CSV", autodetect=True)
    with (models / "imagenet_labels_1001.csv").open("rb") as stream:
        table = f"{words.dataset}.{words.labels}"
        bq.load_table_from_file(stream, table, job_config=config).result()
    for statement in statements:
        bq.query(statement).result()
    yield words
    bq.delete_dataset(words.dataset, delete_contents=True)


def test_the_source_query(bq, pipeline):
    """The metadata of the object table can be selected, with a comma before FROM."""
    text = pipeline.statement("source.sql")
    assert "updated,\nfrom" in text
    (row,) = bq.query(text).result()
    assert row["uri"] == f"gs://{pipeline.photos}/chelsea.jpg"
    assert row["content_type"] == "image/jpeg"
    assert row["size"] == (ROOT / "photos" / "chelsea.jpg").stat().st_size


def test_the_prediction(bq, pipeline):
    """The prediction is one row: 1001 scores, and the columns of the query beside them."""
    (row,) = bq.query(pipeline.statement("predict.sql")).result()
    assert row["uri"] == f"gs://{pipeline.photos}/chelsea.jpg"
    assert len(row["activation_49"]) == 1001
    assert sum(row["activation_49"]) == pytest.approx(1, abs=1e-3)


def test_the_ranking(bq, pipeline):
    """The best classes are cats.

    `ROW_NUMBER() OVER ()` numbers rows without an order, so BigQuery promises nothing about it.
    The job `jobs.resnet_ranking` shows the right way.
    """
    rows = list(bq.query(pipeline.statement("ranking.sql")).result())
    assert len(rows) == 1001
    assert {row["label"] for row in rows[:3]} <= CATS
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)

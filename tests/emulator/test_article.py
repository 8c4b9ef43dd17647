"""The article's SQL, letter for letter: only the placeholders for bucket and connection are filled in.

The statements are read out of the article itself where it lies beside the checkout, else from the
copies in tests/data/article.
"""

from pathlib import Path

import pytest
from google.cloud import bigquery

from etlkit.local.buckets import Buckets

ROOT = Path(__file__).parents[2]
COPIES = ROOT / "tests" / "data" / "article"
SEED = ROOT.parent / "shared" / "seed"

# First and last line of each statement in the article.
STATEMENTS = {
    "object_table.sql": ("  # CREATE an object TABLE\n", "    ;\n"),
    "create_model.sql": ("CREATE MODEL bqml_vision.resnet\n", "/*');\n"),
    "predict.sql": ("SELECT *\nFROM ML.PREDICT(\n", ");\n"),
    "ranking.sql": ("WITH predict AS(\n", "    t_score.score desc\n"),
    "source.sql": ("select\n  uri,\n", "  `bqml_vision.object_table`\n"),
}
PLACEHOLDERS = {
    "作成した外部コネクタ名": "us.bucket_connection",
    "具体的に読み込みたいバケットやフォルダ": "article-photos",
    "モデル配置したバケット名": "article-model",
}

CATS = {"tabby", "tiger cat", "Persian cat", "Siamese cat", "Egyptian cat"}


def in_the_article(name):
    """A statement as the article prints it; None = the article is not there."""
    for page in SEED.glob("*.txt"):
        text = page.read_text(encoding="utf-8")
        first, last = STATEMENTS[name]
        start = text.index(first)
        return text[start : text.index(last, start) + len(last)]
    return None


def statement(name):
    text = in_the_article(name) or (COPIES / name).read_text(encoding="utf-8")
    for placeholder, value in PLACEHOLDERS.items():
        text = text.replace(placeholder, value)
    return text


@pytest.mark.parametrize("name", STATEMENTS)
def test_the_copies_are_the_articles_words(name):
    """What is tested here is what the article prints, to the letter."""
    printed = in_the_article(name)
    if printed is None:
        pytest.skip("the article is not beside this checkout")
    assert (COPIES / name).read_text(encoding="utf-8") == printed


@pytest.fixture(scope="module")
def world(local_server, bq):
    """What the article has before its first statement: a cat in a bucket, a model in another."""
    buckets = Buckets(local_server.local_dir / "buckets")
    buckets.put([ROOT / "photos" / "chelsea.jpg"], "gs://article-photos/")
    models = ROOT / "etlkit" / "local" / "models"
    model = sorted((models / "savedmodel_resnet_stand_in").iterdir())
    buckets.put(model, "gs://article-model/", recursive=True)
    bq.create_dataset("bqml_vision", exists_ok=True)
    # In the article somebody loads the list of classes by hand, without naming its columns.
    config = bigquery.LoadJobConfig(source_format="CSV", autodetect=True)
    with (models / "imagenet_labels_1001.csv").open("rb") as stream:
        bq.load_table_from_file(stream, "bqml_vision.label", job_config=config).result()
    bq.query(statement("object_table.sql")).result()
    bq.query(statement("create_model.sql")).result()
    yield bq
    bq.delete_dataset("bqml_vision", delete_contents=True)


def test_the_source_query(world):
    """The metadata of the object table; the comma before FROM is the article's."""
    (row,) = world.query(statement("source.sql")).result()
    assert row["uri"] == "gs://article-photos/chelsea.jpg"
    assert row["content_type"] == "image/jpeg"
    assert row["size"] == (ROOT / "photos" / "chelsea.jpg").stat().st_size


def test_the_prediction(world):
    """One row, with the scores of 1001 classes, and the columns of the query beside it."""
    (row,) = world.query(statement("predict.sql")).result()
    assert row["uri"] == "gs://article-photos/chelsea.jpg"
    assert len(row["activation_49"]) == 1001
    assert sum(row["activation_49"]) == pytest.approx(1, abs=1e-3)


def test_the_ranking(world):
    """The first rows are cats.

    `ROW_NUMBER() OVER ()` numbers rows that have no order, about which BigQuery promises nothing;
    the job `jobs.resnet_ranking` does it right.
    """
    rows = list(world.query(statement("ranking.sql")).result())
    assert len(rows) == 1001
    assert {row["label"] for row in rows[:3]} <= CATS
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)

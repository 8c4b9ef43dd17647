"""The jobs of the repository run one after the other over five photos."""

import itertools
import json
from collections import defaultdict
from pathlib import Path

import pytest

from etlkit.cli.run import main
from etlkit.local.buckets import Buckets

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "etlkit" / "local" / "models"
PHOTOS = sorted((ROOT / "photos").glob("*.jpg"))
JOBS = ("object_table", "resnet_model", "resnet_predict", "labels", "resnet_ranking")
VISION_JOBS = ("vision_objects", "vision_long", "vision_labels")
COMPARISON = ("label_terms", "model_answers", "model_agreement", "disagreements")


@pytest.fixture(scope="module")
def run_job(local_server):
    """Run a job as a person does, from the folder of the repository."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)

        def run(name, *options):
            local = ["--local", "--local-dir", str(local_server.local_dir), "--quiet"]
            return main([f"jobs.{name}", *local, *options])

        yield run


@pytest.fixture(scope="module")
def world(local_server, bq, run_job):
    """Every job has run, in the order of the pipeline."""
    buckets = Buckets(local_server.local_dir / "buckets")
    buckets.put(PHOTOS, "gs://bqml-vision/")
    model = sorted((MODELS / "savedmodel_resnet_stand_in").iterdir())
    buckets.put(model, "gs://resnet-model/", recursive=True)
    for name in (*JOBS, *VISION_JOBS, *COMPARISON):
        assert run_job(name) == 0, name
    yield bq
    bq.delete_dataset("bqml_vision", delete_contents=True)


@pytest.fixture(scope="module")
def model_says():
    """The model's 1001 scores of each photo when it is called directly, by uri."""
    import numpy as np
    import openvino
    from PIL import Image

    core = openvino.Core()
    compiled = core.compile_model(
        MODELS / "savedmodel_resnet_stand_in", "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    scores = {}
    for photo in PHOTOS:
        with Image.open(photo) as image:
            square = image.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR)
        tensor = np.asarray(square, np.float32)[None] / 255
        scores[f"gs://bqml-vision/{photo.name}"] = next(iter(compiled(tensor).values()))[0]
    return scores


def test_the_best_class_of_each_photo_is_the_models(world, model_says):
    """The first rank of each photo is the model's best class."""
    labels = dict(
        world.query("SELECT int64_field_0, string_field_1 FROM bqml_vision.label").result()
    )
    rows = world.query("SELECT uri, label FROM bqml_vision.resnet_ranking WHERE rank = 1").result()
    best = {uri: labels[int(scores.argmax()) + 1] for uri, scores in model_says.items()}
    assert dict(row.values() for row in rows) == best


def test_every_photo_has_five_ranks(world):
    """Ranks are 1 to 5 for each photo, best score first."""
    rows = world.query("""
        SELECT uri, ARRAY_AGG(rank ORDER BY score DESC) AS ranks
        FROM bqml_vision.resnet_ranking GROUP BY uri
    """).result()
    assert {row["uri"]: row["ranks"] for row in rows} == {
        f"gs://bqml-vision/{photo.name}": [1, 2, 3, 4, 5] for photo in PHOTOS
    }


def test_objects_as_rows(world):
    """The long form of Vision's answers has the cat and its position."""
    (row,) = world.query("""
        SELECT name, x_min, y_max FROM bqml_vision.vision_objects_long
        WHERE uri = 'gs://bqml-vision/chelsea.jpg' AND rank = 1
    """).result()
    assert row["name"] == "Cat"
    assert 0 <= row["x_min"] < 0.05
    assert row["y_max"] > 0.9


def agreement_of(answers, wider):
    """The agreement per photo, computed from the definition in the guide."""
    terms = defaultdict(lambda: defaultdict(set))
    for row in answers:
        if row["rank"] <= 5 and row["score"] >= 0.01:
            label = row["label"].lower()
            terms[row["uri"]][row["model"]] |= {label, label.split()[-1], *wider[label]}
    result = {f"gs://bqml-vision/{photo.name}": None for photo in PHOTOS}
    for uri, by_model in terms.items():
        pairs = [bool(one & two) for one, two in itertools.combinations(by_model.values(), 2)]
        if pairs:
            result[uri] = sum(pairs) / len(pairs)
    return result


def test_the_models_are_compared(world, local_server):
    """Agreement is as the guide defines it; photos without it are in a table and in the bucket."""
    wider = defaultdict(set)
    for label, term in world.query("SELECT label, term FROM bqml_vision.label_terms").result():
        wider[label].add(term)
    assert "cat" in wider["tabby"]
    answers = list(world.query("SELECT * FROM bqml_vision.model_answers").result())
    assert {row["model"] for row in answers} == {"resnet", "vision_labels", "vision_objects"}
    expected = agreement_of(answers, wider)
    rows = list(world.query("SELECT * FROM bqml_vision.model_agreement").result())
    assert {row["uri"]: row["agreement"] for row in rows} == pytest.approx(expected)
    assert {
        expected["gs://bqml-vision/chelsea.jpg"],
        expected["gs://bqml-vision/astronaut.jpg"],
    } == {0, 1}
    copies = dict(world.query("SELECT uri, copy_uri FROM bqml_vision.disagreements").result())
    assert set(copies) == {
        uri for uri, agreement in expected.items() if agreement is not None and agreement < 0.5
    }
    for uri, copy in copies.items():
        original, copied = (local_server.local_dir / "buckets" / each[5:] for each in (uri, copy))
        assert copied.read_bytes() == original.read_bytes()


def test_a_job_that_lacks_its_table_says_which(run_job, world, capsys):
    """A job whose input table is missing fails with the table's name and exit status 1."""
    world.query("DROP TABLE bqml_vision.label").result()
    assert run_job("resnet_ranking") == 1
    printed = capsys.readouterr()
    assert "bqml_vision.label" in printed.err
    assert json.loads(printed.out.splitlines()[-1])["state"] == "failed"

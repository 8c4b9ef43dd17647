"""The workflow of the repository over five photos: what each table holds, also after a kill."""

import csv
import dataclasses
import importlib
import itertools
import json
import re
import shlex
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from google.cloud import bigquery

from etlkit import Workflow
from etlkit.cli import local
from etlkit.cli.run import main
from etlkit.local.buckets import Buckets
from etlkit.testing import FaultPlan, FaultServer
from jobs import workflow
from tests.photos_workflow import (
    DATASET,
    MODELS,
    ROOT,
    TIMEOUT_S,
    WorkflowProcess,
    contents,
    put_model,
)

PHOTOS = sorted((ROOT / "photos").glob("*.jpg"))
URIS = [f"gs://bqml-vision/{photo.name}" for photo in PHOTOS]
CAT, ASTRONAUT = "gs://bqml-vision/chelsea.jpg", "gs://bqml-vision/astronaut.jpg"


@dataclass
class World:
    """What the workflow left behind.

    Attributes:
        report: The run report.
        tables: The rows of each table, as JSON and sorted.
        page: The page of the photos.
        run_page: The page of the run.
    """

    bq: bigquery.Client
    local_dir: Path
    report: dict
    tables: dict[str, list[str]]
    page: Path
    run_page: Path

    def rows(self, sql: str) -> list[bigquery.Row]:
        return list(self.bq.query(sql).result())

    def task(self, name: str) -> dict:
        (task,) = [each for each in self.report["tasks"] if each["name"] == name]
        return task


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
def world(local_server, bq, run_job, tmp_path_factory):
    """The workflow has run, undisturbed."""
    buckets = Buckets(local_server.local_dir / "buckets")
    buckets.put(PHOTOS, "gs://bqml-vision/")
    put_model(buckets)
    bq.delete_dataset(DATASET, delete_contents=True, not_found_ok=True)
    folder = tmp_path_factory.mktemp("pages")
    report, page, run_page = (folder / name for name in ("report.json", "photos.html", "run.html"))
    pages = ["--var", f"page={page}", "--html", str(run_page)]
    assert run_job("workflow", "--report", str(report), *pages) == 0
    yield World(
        bq, local_server.local_dir, json.loads(report.read_text()), contents(bq), page, run_page
    )
    bq.delete_dataset(DATASET, delete_contents=True)


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
    for uri, photo in zip(URIS, PHOTOS, strict=True):
        with Image.open(photo) as image:
            square = image.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR)
        tensor = np.asarray(square, np.float32)[None] / 255
        scores[uri] = [float(each) for each in next(iter(compiled(tensor).values()))[0]]
    return scores


@pytest.fixture(scope="module")
def vision_says(local_server):
    """Vision's answer about each photo to one plain request, by feature and uri."""

    def ask(feature):
        wanted = [{"type": feature, "maxResults": 10}]
        images = [{"image": {"source": {"imageUri": uri}}, "features": wanted} for uri in URIS]
        url = f"{local_server.endpoints.vision}/v1/images:annotate"
        answer = requests.post(url, json={"requests": images}, timeout=30)
        return dict(zip(URIS, answer.json()["responses"], strict=True))

    return {feature: ask(feature) for feature in ("OBJECT_LOCALIZATION", "LABEL_DETECTION")}


def tasks_of(job: Workflow):
    """The jobs of a workflow and of its child workflows."""
    for task in job.tasks:
        yield task.run
        if isinstance(task.run, Workflow):
            yield from tasks_of(task.run)


def everything_before(graph):
    """All tasks before each task, however far."""
    before = {}
    for name in graph.order:
        direct = graph.before[name]
        before[name] = set(direct).union(*(before[each] for each in direct))
    return before


def test_every_job_has_a_place(monkeypatch):
    """Each module of `jobs/` is in the graph; `vision_wide` would ask what `vision_labels` asks."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "jobs"]:
        monkeypatch.delitem(sys.modules, name)  # other tests may have imported some of them anew
    placed = list(tasks_of(importlib.import_module("jobs.workflow").job))
    modules = {path.stem for path in (ROOT / "jobs").glob("*.py")} - {"workflow", "vision_wide"}
    assert len(modules) > 10
    for name in modules:
        assert any(importlib.import_module(f"jobs.{name}").job is each for each in placed), name


def test_the_edges_are_those_of_the_tables():
    """A task that reads a table comes after the one that writes it; the SQL says so, too."""
    for job in (workflow.job, workflow.compare_models.job):
        found = dataclasses.replace(job, depends="auto").graph
        assert everything_before(found) == everything_before(job.graph)


def test_all_tasks_have_succeeded(world):
    """The report tells each task, those of the comparison below theirs."""
    assert world.report["state"] == "published"
    names = [task["name"] for task in world.report["tasks"]]
    assert names == [task.name for task in workflow.job.tasks]
    children = world.task("compare_models")["children"]
    assert [task["name"] for task in children] == ["answers", "terms", "agreement", "disagreements"]
    for task in (*world.report["tasks"], *children):
        assert (task["state"], task["attempts"]) == ("succeeded", 1), task["name"]


def test_branches_overlap(world):
    """ResNet, Vision's objects and Vision's labels are asked at the same time."""
    tasks = [world.task(name) for name in ("resnet_predict", "vision_objects", "vision_labels")]
    assert max(task["started_at"] for task in tasks) < min(task["finished_at"] for task in tasks)
    first = world.task("object_table")
    assert min(task["started_at"] for task in tasks) >= first["finished_at"]


def test_predictions_are_the_models(world, model_says):
    """All 1001 scores of each photo, and of those the best five with their names."""
    predictions = dict(
        row.values()
        for row in world.rows("SELECT uri, activation_49 FROM bqml_vision.resnet_predictions")
    )
    assert set(predictions) == set(URIS)
    with (MODELS / "imagenet_labels_1001.csv").open(encoding="utf-8") as file:
        labels = [label for _, label in csv.reader(file)]
    ranking = defaultdict(list)
    sql = "SELECT uri, label, score, rank FROM bqml_vision.resnet_ranking ORDER BY uri, rank"
    for uri, *found in world.rows(sql):
        ranking[uri].append(found)
    for uri, scores in model_says.items():
        assert predictions[uri] == pytest.approx(scores, abs=1e-4)
        best = sorted(range(1001), key=lambda each: -scores[each])[:5]
        assert [label for label, _, _ in ranking[uri]] == [labels[each] for each in best]
        assert [score for _, score, _ in ranking[uri]] == pytest.approx(
            [scores[each] for each in best], abs=1e-4
        )
        assert [rank for _, _, rank in ranking[uri]] == [1, 2, 3, 4, 5]


def test_vision_s_answers_are_kept(world, vision_says):
    """What Vision answers to a plain request is in the tables, from REST and from gRPC alike."""
    for table, feature, key in (
        ("vision_objects", "OBJECT_LOCALIZATION", "localizedObjectAnnotations"),
        ("vision_labels", "LABEL_DETECTION", "labelAnnotations"),
    ):
        rows = world.rows(f"SELECT uri, response FROM bqml_vision.{table}")
        kept = {uri: response["responses"][0].get(key, []) for uri, response in rows}
        assert kept == {uri: each.get(key, []) for uri, each in vision_says[feature].items()}
        assert kept[CAT]


SIDES = ("x_min", "y_min", "x_max", "y_max")


def answer(model, uri, found, rank, *, label="description", sides=(None,) * 4):
    """A row of the long table."""
    return {
        "model": model,
        "uri": uri,
        "label": found[label],
        "score": found["score"],
        "rank": rank,
        **dict(zip(SIDES, sides, strict=True)),
    }


@pytest.fixture(scope="module")
def answers(world, vision_says):
    """The long table, computed from the ranking and from Vision's answers to plain requests."""
    ranking = world.rows("SELECT uri, label, score, rank FROM bqml_vision.resnet_ranking")
    rows = [answer("resnet", row["uri"], row, row["rank"], label="label") for row in ranking]
    for uri in URIS:
        labels = vision_says["LABEL_DETECTION"][uri].get("labelAnnotations", [])
        rows += [answer("vision_labels", uri, *each[::-1]) for each in enumerate(labels, 1)]
        objects = vision_says["OBJECT_LOCALIZATION"][uri].get("localizedObjectAnnotations", [])
        for rank, found in enumerate(objects, 1):
            corners = found["boundingPoly"]["normalizedVertices"]
            sides = [corners[corner].get(side, 0) for corner in (0, 2) for side in "xy"]
            rows.append(answer("vision_objects", uri, found, rank, label="name", sides=sides))
    return rows


def in_order(rows):
    return sorted(rows, key=lambda row: (row["model"], row["uri"], row["rank"]))


def test_each_answer_is_a_row(world, answers):
    """The long table holds what each model said about each photo, best first, and nothing else."""
    rows = [dict(row) for row in world.rows("SELECT * FROM bqml_vision.model_answers")]
    assert in_order(rows) == in_order(answers)
    long = [dict(row) for row in world.rows("SELECT * FROM bqml_vision.vision_objects_long")]
    found = [
        answer(
            "vision_objects",
            row["uri"],
            row,
            row["rank"],
            label="name",
            sides=[row[side] for side in SIDES],
        )
        for row in long
    ]
    assert in_order(found) == [row for row in in_order(answers) if row["model"] == "vision_objects"]


def test_all_results_are_joined(world, answers):
    """Each photo has one row with its metadata and all that the models said, best first."""
    rows = {row["uri"]: row for row in world.rows("SELECT * FROM bqml_vision.photo_results")}
    assert set(rows) == set(URIS)
    said = defaultdict(list)
    for row in in_order(answers):
        said[row["model"], row["uri"]].append(row)
    for photo, uri in zip(PHOTOS, URIS, strict=True):
        row = rows[uri]
        assert (row["content_type"], row["size"]) == ("image/jpeg", photo.stat().st_size)
        for column, model in (("classes", "resnet"), ("labels", "vision_labels")):
            assert row[column] == [
                {"label": each["label"], "score": each["score"]} for each in said[model, uri]
            ]
        assert row["objects"] == [
            {"name": each["label"], "score": each["score"], **{s: each[s] for s in SIDES}}
            for each in said["vision_objects", uri]
        ]


def agreement_of(answers, wider):
    """The agreement of each photo, computed from the definition in the guide."""
    terms = defaultdict(lambda: defaultdict(set))
    for row in answers:
        if row["rank"] <= 5 and row["score"] >= 0.01:
            label = row["label"].lower()
            terms[row["uri"]][row["model"]] |= {label, label.split()[-1], *wider[label]}
    agreement = dict.fromkeys(URIS)
    for uri, by_model in terms.items():
        pairs = [bool(one & other) for one, other in itertools.combinations(by_model.values(), 2)]
        if pairs:
            agreement[uri] = sum(pairs) / len(pairs)
    return agreement


@pytest.fixture(scope="module")
def wider(world):
    """The wider words of each label."""
    words = defaultdict(set)
    for label, term in world.rows("SELECT label, term FROM bqml_vision.label_terms"):
        words[label].add(term)
    assert "cat" in words["tabby"]
    assert "device" not in set().union(*words.values())
    return words


def test_the_models_are_compared(world, answers, wider):
    """Agreement is as the guide defines it; photos without it are in a table and in the bucket."""
    expected = agreement_of(answers, wider)
    assert (expected[CAT], expected[ASTRONAUT]) == (1, 0)
    rows = {row["uri"]: row for row in world.rows("SELECT * FROM bqml_vision.model_agreement")}
    assert {uri: row["agreement"] for uri, row in rows.items()} == pytest.approx(expected)
    best = {(each["uri"], each["model"]): each["label"] for each in answers if each["rank"] == 1}
    for uri, row in rows.items():
        assert {(uri, each["model"]): each["label"] for each in row["answers"]} == {
            key: label for key, label in best.items() if key[0] == uri
        }
    copies = dict(world.rows("SELECT uri, copy_uri FROM bqml_vision.disagreements"))
    assert set(copies) == {
        uri for uri, share in expected.items() if share is not None and share < 0.5
    }
    for uri, copy in copies.items():
        original, copied = (world.local_dir / "buckets" / each[5:] for each in (uri, copy))
        assert copied.read_bytes() == original.read_bytes()


def test_one_more_model_is_one_more_select(world, answers, wider):
    """The SELECT of the guide, put below the others, adds a model; everything after it is unchanged."""
    guide = (ROOT / "docs" / "guides" / "pipeline.md").read_text("utf-8")
    (more,) = re.findall(r"^```sql\n(UNION ALL\n.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    (table,) = re.findall(r"FROM (bqml_vision\.\w+)", more)
    world.rows(
        f"CREATE OR REPLACE TABLE {table} AS "
        "SELECT uri, 'Cat' AS label, 0.9 AS score, 1 AS rank FROM bqml_vision.object_table"
    )
    sql = (ROOT / "jobs" / "sql" / "model_answers.sql").read_text("utf-8")
    rows = [dict(row) for row in world.rows(f"{sql}\n{more}")]
    assert len(rows) == len(answers) + len(URIS)
    added = [row for row in rows if row not in answers]
    assert {(row["model"], row["label"], row["score"]) for row in added} == {
        ("efficientnet", "Cat", 0.9)
    }
    world.rows(f"DROP TABLE {table}")
    agreement = agreement_of(rows, wider)
    assert (agreement[CAT], agreement[ASTRONAUT]) == (1, 0)


def test_the_pages_are_written(world):
    """The page of the photos names each of them; the page of the run names each task."""
    assert world.task("page")["value"] == str(world.page)
    photos, run = (page.read_text("utf-8") for page in (world.page, world.run_page))
    for uri in URIS:
        assert uri in photos
    for task in workflow.job.tasks:
        assert task.name in run


def test_the_guide_shows_what_is_there(world, run_job, capsys):
    """Each command in the guide prints what stands below it."""
    guide = (ROOT / "docs" / "guides" / "pipeline.md").read_text("utf-8")
    shown = re.findall(r"^```text\n\$ (.*?)\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    assert len(shown) >= 5
    here = ["--local-dir", str(world.local_dir)]
    for command, lines in shown:
        words = shlex.split(command)
        if words[:3] == ["python", "-m", "etlkit.local"]:
            assert local.main([*words[3:], *here]) == 0
        else:
            assert words[:2] == ["etlkit", "run"]
            assert main(words[2:]) == 0
        assert capsys.readouterr().out == lines, command
    assert local.main(["sql", "--file", "jobs/sql/show_ranking.sql", *here]) == 0
    assert capsys.readouterr().out in guide


@pytest.fixture
def vision(vision_says):
    """Two servers that say what the local Vision says, for objects and for labels, and count calls."""

    def say(item):
        (feature,) = item.features
        return vision_says[feature][item.uri]

    with (
        FaultServer(FaultPlan.script(["hang"]), answer=say) as objects,
        FaultServer(answer=say) as labels,
    ):
        yield objects, labels


@pytest.fixture
def start(world, vision, tmp_path):
    """Start the workflow as a process."""
    processes = []

    def process(*options):
        log = tmp_path / f"{len(processes)}.log"
        processes.append(WorkflowProcess(world.local_dir, *vision, log, options))
        return processes[-1]

    yield process
    for each in processes:
        each.close()


def test_killed_and_resumed(world, vision, start, until):
    """Every table is as after the undisturbed run; only the call in flight is made again."""
    objects, labels = vision
    world.bq.delete_dataset(DATASET, delete_contents=True)
    killed = start()
    # One branch has ended, and the only call of the other is in flight.
    ended = ("labels", "resnet_ranking", "vision_labels")
    said = [*(f"{name}: succeeded" for name in ended), "vision_objects: to transform: 5 rows"]
    until(lambda: killed.has_said(*said) and objects.calls == 1, TIMEOUT_S)
    killed.close()
    report = start("--resume").end()
    assert (report["state"], report["attempt"]) == ("published", 2)
    earlier = {task["name"] for task in report["tasks"] if task["from_earlier"]}
    assert earlier == {"object_table", "resnet_model", "resnet_predict", *ended}
    assert contents(world.bq) == world.tables
    assert labels.calls_by_item == dict.fromkeys(URIS, 1)
    assert objects.calls_by_item == dict.fromkeys(URIS, 2)
    assert objects.answers_by_item == dict.fromkeys(URIS, 1)


def test_a_job_that_lacks_its_table_says_which(world, run_job, capsys):
    """A job whose input table is missing fails with the table's name and exit status 1."""
    world.rows("DROP TABLE bqml_vision.label")
    assert run_job("resnet_ranking") == 1
    printed = capsys.readouterr()
    assert "bqml_vision.label" in printed.err
    assert json.loads(printed.out.splitlines()[-1])["state"] == "failed"

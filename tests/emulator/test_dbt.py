"""dbt itself builds the project of the photos in the local BigQuery."""

import shutil
import sys
from pathlib import Path

import pytest

from etlkit import DbtBuild, JobError, Settings, TaskContext, TaskReport
from etlkit.api.run import Interrupted

PROJECT = Path(__file__).parents[2] / "jobs" / "dbt"

pytestmark = pytest.mark.skipif(
    sys.version_info >= (3, 14), reason="dbt does not start on Python 3.14: its mashumaro fails"
)


@pytest.fixture
def project(tmp_path):
    return shutil.copytree(PROJECT, tmp_path / "dbt", ignore=shutil.ignore_patterns("target"))


@pytest.fixture
def context(local_server):
    settings = Settings(environ=local_server.endpoints.environ())
    report = TaskReport(name="dbt", kind="dbt")
    return TaskContext(report=report, run_id="r", workflow="w", path=("dbt",), settings=settings)


def test_models_and_tests_are_in_the_report(bq, dataset, run, project, context):
    """Models are tables of the local BigQuery; a test that fails fails the task, in dbt's words."""
    run(f"""
        CREATE TABLE {dataset}.resnet_ranking AS
        SELECT uri, rank, 'tabby' AS label, 0.5 AS score
        FROM UNNEST(['gs://b/1.jpg', 'gs://b/2.jpg']) AS uri, UNNEST([1, 2]) AS rank;
        CREATE TABLE {dataset}.vision_objects_long AS
        SELECT 'gs://b/1.jpg' AS uri, 1 AS rank, 'Cat' AS name, 0.75 AS score;
    """)
    build = DbtBuild(project, f"{dataset}_dbt", vars={"results": dataset}, threads=2)
    build.run(context)

    nodes = {child.name: child for child in context.report.children}
    assert {child.state for child in nodes.values()} == {"succeeded"}
    assert nodes["photos"].target == f"local.{dataset}_dbt.photos"
    assert nodes["objects_by_name"].after == {"photos": ""}
    assert (nodes["objects_by_name"].rows, context.report.rows) == (1, 1)
    assert nodes["unique_photos_uri"].value == 0
    assert nodes["scores_are_shares"].details["type"] == "test"
    assert run(f"SELECT * FROM {dataset}_dbt.objects_by_name") == [("Cat", 1, 0.75)]
    tables = build.tables()
    assert tables.unclear == ()
    assert tables.reads == {f"{dataset}.resnet_ranking", f"{dataset}.vision_objects_long"}
    assert tables.writes == {f"{dataset}_dbt.photos", f"{dataset}_dbt.objects_by_name"}

    run(f"INSERT {dataset}.vision_objects_long VALUES ('gs://b/1.jpg', 1, 'Dog', 0.5)")
    context.report.children.clear()
    with pytest.raises(JobError, match=r"test unique_photos_uri: .*Got 1 result") as failed:
        build.run(context)
    assert "1 of" in str(failed.value)
    nodes = {child.name: child for child in context.report.children}
    states = {
        name: nodes[name].state for name in ("photos", "unique_photos_uri", "objects_by_name")
    }
    expected = {"photos": "succeeded", "unique_photos_uri": "failed", "objects_by_name": "not_run"}
    assert states == expected
    assert nodes["unique_photos_uri"].value == 1
    bq.delete_dataset(f"{dataset}_dbt", delete_contents=True)


def test_a_build_is_stopped_in_the_middle_of_a_query(bq, dataset, tmp_path, context, until):
    """The query is cancelled: the local BigQuery answers others at once."""
    (tmp_path / "models").mkdir()
    (tmp_path / "dbt_project.yml").write_text("name: slow\nversion: '1.0'\n")
    (tmp_path / "models" / "forever.sql").write_text(
        "SELECT COUNT(*) AS n FROM UNNEST(GENERATE_ARRAY(1, 1000000)) AS a "
        "CROSS JOIN UNNEST(GENERATE_ARRAY(1, 1000000)) AS b WHERE MOD(a * b, 7) = 3"
    )

    class Watcher:
        def task_changed(self, path, report):
            if report.state == "running":
                context.stopping.request(15)

    context.observer = Watcher()
    with pytest.raises(Interrupted):
        DbtBuild(tmp_path, dataset).run(context)
    (child,) = context.report.children
    assert (child.name, child.state) == ("forever", "interrupted")
    assert [tuple(row) for row in bq.query_and_wait("SELECT 1")] == [(1,)]

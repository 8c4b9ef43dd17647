"""`etlkit check` against the catalog of the local BigQuery, and over the repository's own jobs."""

import json
from pathlib import Path

import pytest

from etlkit.cli.root import main

ROOT = Path(__file__).parents[2]


@pytest.fixture
def check(local_server, capsys):
    """Run `etlkit check --local` with JSON; gives the exit status and the jobs by name."""

    def call(*arguments, local=True):
        where = ["--local", "--local-dir", str(local_server.local_dir)] if local else []
        status = main(["check", *map(str, arguments), *where, "--format", "json"])
        out, err = capsys.readouterr()
        assert out, err
        return status, {each["job"]: each for each in json.loads(out)["jobs"]}

    return call


def messages(jobs):
    return [each["message"] for job in jobs.values() for each in job["errors"]]


def test_tables_of_the_local_bigquery(bq, dataset, check, here):
    """Tables, views, functions and partitions are those that the server has; nothing is made."""
    bq.query_and_wait(
        f"CREATE TABLE {dataset}.orders (id INT64 NOT NULL, created TIMESTAMP, price NUMERIC) "
        "PARTITION BY DATE(created) CLUSTER BY id"
    )
    bq.query_and_wait(f"CREATE VIEW {dataset}.recent AS SELECT id, created FROM {dataset}.orders")
    bq.query_and_wait(f"CREATE FUNCTION {dataset}.twice(x INT64) RETURNS INT64 AS (x * 2)")
    (here / "good.sql").write_text(
        f"CREATE TABLE {dataset}.made AS\n"
        f"SELECT r.id, {dataset}.twice(r.id) AS twice, o.price\n"
        f"FROM {dataset}.recent AS r JOIN `local.{dataset}.orders` AS o USING (id);\n"
        f"SELECT twice FROM {dataset}.made",
        encoding="utf-8",
    )
    (here / "bad.sql").write_text(
        f"SELECT o.prize FROM {dataset}.orders AS o;\nSELECT 1 FROM {dataset}.nothing;\n"
        f"SELECT {dataset}.twice('x');\nSELECT prize FROM {dataset}.made",
        encoding="utf-8",
    )
    status, jobs = check("good.sql", "bad.sql")
    assert status == 1
    assert jobs["good.sql"]["state"] == "ok", jobs["good.sql"]
    names = ("made", "orders", "recent", "twice")
    assert jobs["good.sql"]["reads"] == [f"{dataset}.{name}" for name in names]
    assert jobs["good.sql"]["writes"] == [f"{dataset}.made"]
    found = jobs["bad.sql"]["errors"]
    assert [(each["line"], each["column"]) for each in found] == [(1, 10), (2, 15), (3, 8), (4, 8)]
    assert "is not in the local BigQuery" in found[1]["hint"]
    assert [table.table_id for table in bq.list_tables(dataset)] == ["orders", "recent"]


def test_a_datamart_that_does_not_fit_its_table(bq, dataset, check, here):
    """The target's columns, partitions and keys are compared as a run would."""
    bq.query_and_wait(f"CREATE TABLE {dataset}.target (id INT64, day DATE, name STRING)")
    (here / "mart.py").write_text(
        "from etlkit import Datamart, Definition, TimePartitioning\n"
        "job = Datamart(\n"
        "    sql='SELECT 1 AS id, DATE \"2024-01-31\" AS day, 2 AS name',\n"
        "    query_mode='insert',\n"
        f"    destination='{dataset}.target',\n"
        "    write_disposition='append',\n"
        f"    before_load='DELETE FROM {dataset}.target WHERE dai IS NULL',\n"
        "    checks=['SELECT id FROM {staged} WHERE id = name AND dy IS NULL'],\n"
        ")\n",
        encoding="utf-8",
    )
    status, jobs = check("mart.py")
    assert status == 1
    found = jobs["mart"]["errors"]
    assert [each["line"] for each in found] == [3, 7, 8]
    assert "name is STRING, the query has INT64" in found[0]["message"]
    assert found[1]["message"].startswith("Unrecognized name: dai")
    assert found[2]["message"] == "Unrecognized name: dy"


def test_the_tables_of_a_project(bq, dataset, check, here, local_server, monkeypatch):
    """`--project` asks for metadata: tables, also those of a wildcard, and what is not there."""
    for number in (1, 2):
        bq.query_and_wait(f"CREATE TABLE {dataset}.day_{number} (x INT64, y STRING)")
    for name, value in local_server.endpoints.environ().items():
        monkeypatch.setenv(name, value)
    (here / "days.sql").write_text(
        f"SELECT x, _TABLE_SUFFIX AS day FROM `local.{dataset}.day_*`;\n"
        f"SELECT d.z FROM {dataset}.day_1 AS d;\nSELECT 1 FROM {dataset}.day_3",
        encoding="utf-8",
    )
    status, jobs = check("days.sql", "--project", "local", local=False)
    assert status == 1
    found = jobs["days.sql"]["errors"]
    assert [(each["line"], each["column"]) for each in found] == [(2, 10), (3, 15)]
    assert "is not in project local" in found[1]["hint"]


def test_the_jobs_of_this_repository(check, monkeypatch):
    """All of them are checked with the schemas beside them: no mistakes, nothing left out but dbt."""
    monkeypatch.chdir(ROOT)
    status, jobs = check("jobs", "--schemas", "jobs/schemas", local=False)
    assert (status, messages(jobs)) == (0, [])
    assert {name for name, job in jobs.items() if job["state"] != "ok"} == {"jobs/dbt"}
    assert {"jobs.vision_objects", "jobs.resnet_predict", "jobs.workflow/all_classified"} <= set(
        jobs
    )
    predictions = jobs["jobs.resnet_predict"]
    assert predictions["reads"] == ["bqml_vision.object_table", "bqml_vision.resnet"]
    assert [f"{each['name']} {each['type']}" for each in predictions["columns_out"]] == [
        "uri STRING",
        "activation_49 ARRAY<FLOAT64>",
    ]
    names = list(jobs)
    assert names.index("jobs.object_table") < names.index("jobs.vision_objects")
    assert names.index("jobs.resnet_ranking") < names.index("jobs.model_answers")

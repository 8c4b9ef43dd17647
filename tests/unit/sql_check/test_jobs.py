from datetime import UTC, datetime

import pytest

from etlkit import (
    BigQuerySink,
    BigQuerySource,
    DataCheck,
    Datamart,
    EtlBase,
    Loop,
    Task,
    TaskValue,
    Timestamp,
    TransferJob,
    Workflow,
)
from etlkit.errors import ConfigError
from etlkit.sql_check.jobs import LoadedJob, list_jobs

NOON = datetime(2024, 1, 31, 12, tzinfo=UTC)


class Etl(EtlBase):
    def transform_row(self, row):
        return row


def mart(sql, destination, **more):
    return Datamart(
        sql=sql, query_mode="insert", destination=destination, write_disposition="append", **more
    )


def transfer(query, table, **more):
    return TransferJob(
        source=BigQuerySource(query), transform=Etl, sink=BigQuerySink(table), **more
    )


def names(jobs, given=None):
    listed = list_jobs([LoadedJob(n, job, None) for n, job in jobs.items()], given or {}, NOON)
    assert listed.problems == []
    return [job.name for job in listed.jobs]


def test_each_job_comes_after_those_that_make_its_tables():
    """The order is that of the tables, whatever kind of job makes them, else as given."""
    jobs = {
        "last": transfer("SELECT * FROM d.c, d.b", "d.z"),
        "c": Datamart(sql="CREATE TABLE d.c AS SELECT x FROM `p.d.b`; INSERT d.e SELECT 1"),
        "b": mart("SELECT x FROM d.a -- not d.z, nor 'd.e'", "d.b"),
        "a": transfer("SELECT 1 AS x", "p.d.a"),
        "other": mart("SELECT 1 AS x", "d.other"),
    }
    assert names(jobs) == ["a", "b", "c", "last", "other"]


def test_names_in_comments_and_literals_make_no_order():
    """Only names count."""
    jobs = {
        "first": mart("SELECT 'd.b' AS x -- feeds d.b\n/* d.b */", "d.a"),
        "second": mart("SELECT x FROM d.a", "d.b"),
    }
    assert names(jobs) == ["first", "second"]


def test_a_circle_of_tables_has_an_order_all_the_same():
    """Two jobs that read each other's tables are checked as given."""
    jobs = {"one": mart("SELECT x FROM d.b", "d.a"), "two": mart("SELECT x FROM d.a", "d.b")}
    assert sorted(names(jobs)) == ["one", "two"]


def test_variables_in_the_names_of_tables():
    """A table whose name has a value is found; one that is not known may be any."""
    jobs = {
        "reader": mart("SELECT x FROM d.t_2024", "d.out"),
        "writer": mart("SELECT 1 AS x", "d.t_$year$", variables={"year": 2024}),
    }
    assert names(jobs) == ["writer", "reader"]
    assert names(jobs, {"year": "2025"}) == ["reader", "writer"]


def test_a_job_of_a_workflow_is_checked_once():
    """Under its own name, after what the workflow says; with other values it is another job."""
    load = transfer("SELECT '$day$' AS x", "d.a", variables={"day": "1"})
    daily = Workflow(
        tasks=[
            Task("load", load, after="prepare"),
            Task("prepare", DataCheck("SELECT 1 FROM d.z")),
            Task("enough", DataCheck("SELECT 1 FROM d.a"), after="load"),
        ]
    )
    assert names({"load": load, "daily": daily}) == ["daily/prepare", "load", "daily/enough"]
    other = Workflow(tasks=[Task("load", load, variables={"day": "2"})])
    assert names({"load": load, "other": other}) == ["load", "other/load"]


def test_a_job_that_needs_its_workflow():
    """A variable that only the workflow has: the job is checked as its task."""
    job = mart("SELECT $day$ AS x", "d.a")
    daily = Workflow(tasks=[Task("make", job)], variables={"day": "1"})
    assert names({"job": job, "daily": daily}) == ["daily/make"]


def test_workflows_in_workflows_and_loops():
    """All tasks are found; what a loop or another task tells is a stand-in."""
    inner = Workflow(
        tasks=[Task("check", DataCheck("SELECT 1 WHERE $number$ > 0"))], variables={"number": 1}
    )
    outer = Workflow(
        tasks=[
            Task("count", DataCheck("SELECT 1 AS n", ">", 0)),
            Task("child", inner, after="count", variables={"number": TaskValue("count")}),
            Task(
                "days", DataCheck("SELECT $day$"), loop=Loop({"day": ["2024-01-01", "2024-01-02"]})
            ),
            Task("rows", DataCheck("SELECT $x$"), loop=Loop(query="SELECT x FROM d.t")),
            Task("python", lambda: None),
        ]
    )
    listed = list_jobs([LoadedJob("outer", outer, None)], {}, NOON)
    jobs = {job.name: job for job in listed.jobs}
    assert list(jobs) == ["outer/count", "outer/child/check", "outer/days", "outer/rows"]
    assert jobs["outer/child/check"].stand_ins == {"number"}
    assert jobs["outer/days"].values({})["day"].value == "2024-01-01"
    assert jobs["outer/rows"].values({"x": 5})["x"].value == 5
    assert jobs["outer/rows"].tables.reads == {"d.t"}


def test_values_are_given_to_the_jobs_that_have_the_variable():
    """One that no job has is a mistake."""
    jobs = {
        "a": mart("SELECT '$day$' AS x", "d.a", variables={"day": Timestamp(format="%Y%m%d")}),
        "b": mart("SELECT 1 AS x", "d.b"),
    }
    loaded = [LoadedJob(name, job, None) for name, job in jobs.items()]
    first, second = list_jobs(loaded, {"day": "20240101"}, NOON).jobs
    assert (first.given, second.given) == ({"day": "20240101"}, {})
    assert list_jobs(loaded, {}, NOON).jobs[0].values({})["day"].value == "20240131"
    with pytest.raises(ConfigError, match=r"no job of this check has a variable \$week\$"):
        list_jobs(loaded, {"week": "1"}, NOON)


def test_a_mistake_in_a_task_is_reported_with_the_others():
    """The other tasks are listed all the same."""
    inner = Workflow(tasks=[Task("check", DataCheck("SELECT $number$"))], variables={"number": 1})
    outer = Workflow(
        tasks=[
            Task("wrong", inner, variables={"number": "no number"}),
            Task("right", DataCheck("SELECT 1")),
        ]
    )
    listed = list_jobs([LoadedJob("outer", outer, None)], {}, NOON)
    assert [job.name for job in listed.jobs] == ["outer/right"]
    ((loaded, message),) = listed.problems
    assert (loaded.name, "wrong" in message, "$number$ is a int" in message) == (
        "outer",
        True,
        True,
    )

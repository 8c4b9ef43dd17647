import importlib
import re
from dataclasses import replace
from pathlib import Path

import pytest

from etlkit import (
    BigQuerySink,
    BigQuerySource,
    ConfigError,
    DataCheck,
    Datamart,
    EtlBase,
    Loop,
    String,
    Task,
    TaskValue,
    Timestamp,
    TransferJob,
    Workflow,
)

ROOT = Path(__file__).parents[3]


class Etl(EtlBase):
    def transform_row(self, row):
        return row


def make(target, *sources):
    """A datamart that makes a table of others."""
    query = " UNION ALL ".join(f"SELECT * FROM `{each}`" for each in sources) or "SELECT 1 AS x"
    return Datamart(sql=f"CREATE OR REPLACE TABLE `{target}` AS {query}")


def edges(*tasks, depends="auto", **options):
    """The edges of a workflow, as `before -> after`."""
    graph = Workflow(tasks=tasks, depends=depends, **options).graph
    return {f"{before} -> {name}" for name, befores in graph.before.items() for before in befores}


def problem(*tasks, **options):
    with pytest.raises(ConfigError) as caught:
        edges(*tasks, **options)
    return str(caught.value)


def test_a_reader_comes_after_the_writers_of_its_tables():
    """In whatever order the tasks are given, and only with depends='auto'."""
    tasks = [
        Task("report", make("d.report", "d.left", "d.right")),
        Task("right", make("d.right", "d.base")),
        Task("left", make("d.left", "p.d.base")),
        Task("base", make("d.base")),
    ]
    found = {"base -> left", "base -> right", "left -> report", "right -> report"}
    assert edges(*tasks) == found
    assert edges(*tasks, depends="explicit") == set()


def test_all_kinds_of_tasks_with_sql_take_part():
    """A transfer, a check, a loop's query and a child workflow read and write tables."""
    transfer = TransferJob(
        source=BigQuerySource("SELECT * FROM d.base"), transform=Etl, sink=BigQuerySink("d.rows")
    )
    child = Workflow(tasks=[Task("inner", make("d.out", "d.rows")), Task("more", make("d.more"))])
    loop = Loop(query="SELECT x FROM d.more")
    found = edges(
        Task("check", DataCheck("SELECT COUNT(*) FROM d.out", ">", 0)),
        Task("each", lambda: None, loop=loop),
        Task("child", child),
        Task("transfer", transfer),
        Task("base", make("d.base")),
    )
    assert found == {"base -> transfer", "transfer -> child", "child -> check", "child -> each"}


def test_what_after_says_wins():
    """A task that is said to come before the writer reads what was there before."""
    found = edges(Task("read", make("d.copy", "d.t")), Task("write", make("d.t"), after="read"))
    assert found == {"read -> write"}


def test_a_task_does_not_wait_for_itself():
    """A MERGE may read its own target."""
    assert edges(Task("merge", make("d.t", "d.t", "d.other"))) == set()


def test_the_pipeline_of_photos_finds_its_order(monkeypatch):
    """Without a single `after`, each task comes after those whose tables it reads."""
    monkeypatch.chdir(ROOT)
    job = importlib.import_module("jobs.workflow").job
    tasks = [replace(task, after=()) for task in job.tasks]
    graph = Workflow(tasks=tasks, depends="auto", variables=job.variables).graph
    tables = {name: task.runnable.tables(job.variables) for name, task in job.graph.tasks.items()}
    found = 0
    for name, befores in job.graph.before.items():
        for before in befores:
            if tables[before].writes and tables[name].reads:  # else it is no matter of tables
                assert before in graph.ancestors(name), (before, name)
                found += 1
    assert found >= 8


def test_a_circle_names_the_tables():
    """It says who reads what of whom, and what to do; nothing is put in order silently."""
    text = problem(
        Task("a", make("d.x", "d.z")), Task("b", make("d.y", "d.x")), Task("c", make("d.z", "d.y"))
    )
    assert "in a circle" in text
    for reader, table, writer in (("b", "d.x", "a"), ("c", "d.y", "b"), ("a", "d.z", "c")):
        assert f"{reader!r} reads {table}, which {writer!r} writes" in text
    assert "after=" in text


def test_a_circle_is_opened_by_after():
    """One word of order is enough."""
    found = edges(Task("a", make("d.x", "d.y"), after="b"), Task("b", make("d.y", "d.x")))
    assert found == {"b -> a"}


@pytest.mark.parametrize("depends", ["auto", "explicit"])
def test_two_writers_need_an_order(depends):
    """Both are named, and the table; a reader comes after both of them once they have one."""
    first, second = Task("first", make("d.t")), Task("second", make("p.d.t"))
    text = problem(first, second, depends=depends)
    assert "'first'" in text
    assert "'second'" in text
    assert "d.t" in text
    second = Task("second", make("d.t"), after="first")
    found = edges(first, second, Task("read", make("d.u", "d.t")), depends=depends)
    assert "first -> second" in found
    assert ({"first -> read", "second -> read"} <= found) is (depends == "auto")


def test_names_with_variables():
    """The workflow's fixed texts make names different; a text of the run fits any other."""
    texts = {"old": String("d_old", text=True), "new": String("d_new", text=True)}
    copy = Task("copy", make("$new$.t", "$old$.t"))
    assert edges(copy, Task("next", make("d.u", "d_new.t")), variables=texts) == {"copy -> next"}
    assert edges(copy, Task("next", make("d.u", "d_old.t")), variables=texts) == set()
    day = {"day": Timestamp(format="%Y%m%d", text=True)}
    daily = Task("daily", make("d.events_$day$"))
    assert edges(daily, Task("all", make("d.all", "d.events_*")), variables=day) == {"daily -> all"}


def test_values_of_a_loop_or_of_another_task_fit_any_name():
    """The job's own text does not count then."""
    job = Datamart(
        sql="CREATE TABLE `d.t_$x$` AS SELECT 1 AS y", variables={"x": String("a", text=True)}
    )
    read = Task("read", make("d.u", "d.t_b"))
    assert edges(Task("write", job), read) == set()
    assert edges(Task("write", job, variables={"x": "b"}), read) == {"write -> read"}
    assert edges(Task("write", job, loop=Loop({"x": ["b", "c"]})), read) == {"write -> read"}
    by_query = Loop(query="SELECT x FROM d.names")
    assert edges(Task("write", job, loop=by_query), read) == {"write -> read"}
    value = Task("write", job, variables={"x": TaskValue("name")})
    found = edges(Task("name", lambda: "b"), value, read)
    assert found == {"name -> write", "write -> read"}


def test_tables_that_cannot_be_read_from_the_sql_need_a_word():
    """The message has the reason and says after=; one edge, in or out, is enough."""
    dynamic = Datamart(sql="EXECUTE IMMEDIATE CONCAT('SELECT * FROM ', 'd.t')")
    text = problem(Task("dynamic", dynamic), Task("write", make("d.t")))
    assert re.search(r"'dynamic'.*EXECUTE IMMEDIATE.*after=", text)
    first = edges(Task("dynamic", dynamic, after="write"), Task("write", make("d.t")))
    last = edges(Task("dynamic", dynamic), Task("write", make("d.t"), after="dynamic"))
    assert (first, last) == ({"write -> dynamic"}, {"dynamic -> write"})
    assert edges(Task("dynamic", dynamic), depends="explicit") == set()

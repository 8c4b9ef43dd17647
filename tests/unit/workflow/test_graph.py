"""The graph of a workflow: edges, order, and tables that two tasks write."""

import pytest

from etlkit import (
    Condition,
    ConfigError,
    Datamart,
    IfElse,
    Task,
    TaskValue,
    Webhook,
    Workflow,
    all_of,
)


def nothing():
    return None


def edges(tasks, **options):
    return Workflow(tasks=tasks, **options).graph.before


def test_edges_come_from_after_branches_values_and_conditions():
    """A value or a condition that reads a task makes its reader come after it."""
    condition = all_of(
        Condition(TaskValue("load", "rejected"), ">", 0),
        Condition(TaskValue("load", "written"), ">", TaskValue("count", "value.n")),
    )
    found = edges(
        [
            Task("end", nothing, after=("bad", "good")),
            Task("way", IfElse(condition, then="bad", otherwise=["good"]), after="late"),
            Task("load", nothing),
            Task("count", nothing),
            Task("late", nothing),
            Task("good", nothing),
            Task(
                "bad", Webhook("https://h", "$n$"), variables={"n": TaskValue("load", "rejected")}
            ),
        ]
    )
    assert found["way"] == {"late": "", "load": "", "count": ""}
    assert (found["bad"], found["good"]) == ({"load": "", "way": "then"}, {"way": "otherwise"})
    assert found["end"] == {"bad": "", "good": ""}
    assert found["load"] == found["count"] == {}


def test_a_branch_wins_over_after():
    """`after` of the branch itself adds nothing; a task that both ways name is no branch."""
    condition = Condition(TaskValue("a"), "==", 1)
    found = edges(
        [
            Task("a", nothing),
            Task("way", IfElse(condition, then=("b", "both"), otherwise="both")),
            Task("b", nothing, after="way"),
            Task("both", nothing),
        ]
    )
    assert found["b"] == {"way": "then"}
    assert found["both"] == {"way": ""}


def test_tasks_are_ordered_as_they_were_given():
    """Of tasks that can begin at the same time, the first one of the list does."""
    tasks = [
        Task("z", nothing, after="a"),
        Task("m", nothing),
        Task("a", nothing),
        Task("b", nothing),
        Task("y", nothing, after="m"),
    ]
    assert Workflow(tasks=tasks).graph.order == ["m", "a", "z", "b", "y"]


def test_ancestors_and_descendants():
    """All of them, not only the next ones."""
    graph = Workflow(
        tasks=[
            Task("a", nothing),
            Task("b", nothing, after="a"),
            Task("c", nothing, after="b"),
            Task("d", nothing),
        ]
    ).graph
    assert graph.ancestors("c") == {"a", "b"}
    assert graph.descendants("a") == {"b", "c"}
    assert graph.descendants("d") == set()


def into(table):
    return Datamart(
        sql="SELECT 1 AS n", query_mode="insert", destination=table, write_disposition="append"
    )


def test_two_writers_of_a_table_need_an_order():
    """Also if only one of them names the project, and also through other tasks."""
    two = [Task("a", into("d.t")), Task("b", into("p.d.t"))]
    with pytest.raises(ConfigError, match=r"'a' and 'b' both write d\.t.*add after='a' to 'b'"):
        Workflow(tasks=two)
    ordered = [Task("a", into("d.t")), Task("m", nothing, after="a")]
    assert Workflow(tasks=[*ordered, Task("b", into("d.t"), after="m")])
    assert Workflow(tasks=[Task("a", into("d.t")), Task("b", into("e.t"))])


def test_writers_on_two_ways_never_meet():
    """They need no order, and neither do the tasks behind them; a join is on no way."""
    condition = Condition(TaskValue("a"), "==", 1)
    tasks = [
        Task("a", nothing),
        Task("way", IfElse(condition, then="x", otherwise="y")),
        Task("x", into("d.t")),
        Task("y", nothing),
        Task("after_y", into("d.t"), after="y"),
    ]
    assert Workflow(tasks=tasks)
    joined = Task("joined", into("d.t"), after=("y", "a"))
    assert Workflow(tasks=[*tasks[:4], Task("only_y", into("d.t"), after="y")])
    with pytest.raises(ConfigError, match=r"'x' and 'joined' both write d\.t"):
        Workflow(tasks=[*tasks[:4], joined])

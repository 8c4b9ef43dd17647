"""What becomes of a task, told by the tasks before it."""

import pytest

from etlkit import TaskReport
from etlkit.workflow.fates import fate_of


def fate(before, states, watched=()):
    """States are `succeeded` and so on; `then` and `otherwise` are those of a branch."""
    reports = {}
    for name, state in states.items():
        way = state if state in {"then", "otherwise"} else None
        reports[name] = TaskReport(
            name=name, kind="python", state="succeeded" if way else state, branch=way
        )
    return fate_of(before, reports, watched)


@pytest.mark.parametrize(
    ("before", "states", "expected"),
    [
        ({}, {}, "run"),
        ({"a": ""}, {"a": "waiting"}, None),
        ({"a": "", "b": ""}, {"a": "failed", "b": "running"}, None),
        ({"a": ""}, {"a": "succeeded"}, "run"),
        ({"a": ""}, {"a": "skipped"}, "run"),
        ({"a": ""}, {"a": "failed"}, "not_run"),
        ({"a": ""}, {"a": "interrupted"}, "not_run"),
        ({"a": ""}, {"a": "not_run"}, "not_run"),
        ({"a": ""}, {"a": "bypassed"}, "bypass"),
        # A branch.
        ({"w": "then"}, {"w": "then"}, "run"),
        ({"w": "then"}, {"w": "otherwise"}, "bypass"),
        ({"w": "then"}, {"w": "bypassed"}, "bypass"),
        ({"w": "then"}, {"w": "skipped"}, "run"),
        ({"w": "then"}, {"w": "failed"}, "not_run"),
        ({"w": "then", "a": ""}, {"w": "otherwise", "a": "succeeded"}, "bypass"),
        ({"w": "then", "a": ""}, {"w": "otherwise", "a": "failed"}, "bypass"),
        ({"w": "then", "a": ""}, {"w": "then", "a": "failed"}, "not_run"),
        ({"w": "then", "a": ""}, {"w": "then", "a": "bypassed"}, "run"),
        ({"w": "then", "v": "otherwise"}, {"w": "otherwise", "v": "otherwise"}, "run"),
        ({"w": "then", "v": "otherwise"}, {"w": "otherwise", "v": "then"}, "bypass"),
        ({"w": "then", "v": "then"}, {"w": "otherwise", "v": "failed"}, "not_run"),
        # A join, and all ways in bypassed.
        ({"a": "", "b": ""}, {"a": "succeeded", "b": "bypassed"}, "run"),
        ({"a": "", "b": ""}, {"a": "bypassed", "b": "bypassed"}, "bypass"),
        ({"a": "", "b": ""}, {"a": "failed", "b": "bypassed"}, "not_run"),
        # A plain edge from a branch: it has ended, whichever way it took.
        ({"w": ""}, {"w": "otherwise"}, "run"),
    ],
)
def test_fates(before, states, expected):
    """Each rule, and where two of them meet."""
    assert fate(before, states) == expected


def test_a_failure_that_is_looked_at_opens_the_way():
    """An `IfElse` that reads the state of a task comes next also after its failure."""
    assert fate({"a": ""}, {"a": "failed"}, watched={"a"}) == "run"
    assert fate({"a": ""}, {"a": "interrupted"}, watched={"a"}) == "not_run"
    assert fate({"a": ""}, {"a": "bypassed"}, watched={"a"}) == "bypass"
    assert fate({"a": "", "b": ""}, {"a": "failed", "b": "failed"}, watched={"a"}) == "not_run"


def test_a_report_may_be_ahead_of_the_run():
    """A task whose end is not recorded yet is running, whatever its report says."""
    reports = {"a": TaskReport(name="a", kind="python", state="succeeded")}
    assert fate_of({"a": ""}, reports, (), {"a"}) is None
    assert fate_of({"a": ""}, reports, (), set()) == "run"

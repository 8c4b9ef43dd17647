"""Conditions: what they look at, and when they hold."""

from datetime import UTC, datetime

import pytest

from etlkit import (
    Condition,
    ConfigError,
    CurrentTime,
    JobError,
    TaskReport,
    TaskValue,
    VariableValue,
    all_of,
    any_of,
)
from etlkit.workflow.conditions import Facts

# A Tuesday, 23:30 in London and 08:30 of the next day in Tokyo.
NOW = datetime(2024, 1, 2, 23, 30, tzinfo=UTC)

TASKS = {
    "load": TaskReport(
        name="load", kind="transfer", state="succeeded", read=10, written=8, rejected=2
    ),
    "check": TaskReport(name="check", kind="check", state="succeeded", value=0.5),
    "call": TaskReport(
        name="call",
        kind="http",
        state="succeeded",
        value={"status": 404, "body": {"items": [{"id": "x"}]}},
    ),
    "off": TaskReport(name="off", kind="python", state="failed", error="no"),
}
FACTS = Facts(TASKS, {"env": "prod", "limit": 5, "sure": True}, NOW)


def held(left, operator, right):
    return Condition(left, operator, right).holds(FACTS)


@pytest.mark.parametrize(
    ("left", "operator", "right", "expected"),
    [
        (TaskValue("load", "written"), ">=", 8, True),
        (TaskValue("load", "written"), ">", 8, False),
        (TaskValue("load", "written"), "<", TaskValue("load", "read"), True),
        (TaskValue("load", "rejected"), "!=", 0, True),
        (TaskValue("load", "rejected"), "<=", 1.5, False),
        (TaskValue("load", "state"), "==", "succeeded", True),
        (TaskValue("off", "state"), "==", "failed", True),
        (TaskValue("off", "error"), "==", "no", True),
        (TaskValue("check"), "<", 1, True),
        (TaskValue("call", "value.status"), "==", 404, True),
        (TaskValue("call", "value.body.items.0.id"), "==", "x", True),
        (VariableValue("env"), "==", "prod", True),
        (VariableValue("$limit$"), "<=", TaskValue("load", "read"), True),
        (VariableValue("sure"), "==", True, True),
        (CurrentTime("%H:%M"), ">=", "23:30", True),
        (CurrentTime("%H:%M", "Asia/Tokyo"), "<", "09:00", True),
        (CurrentTime("%Y-%m-%d", "Asia/Tokyo"), "==", "2024-01-03", True),
        (CurrentTime("%u"), "==", "2", True),
        # None is equal to None only, and neither above nor below anything.
        (TaskValue("off"), "==", None, True),
        (TaskValue("off"), "!=", None, False),
        (TaskValue("check"), "!=", None, True),
        (TaskValue("off"), "==", 0, False),
        (TaskValue("off"), "!=", 0, True),
        (TaskValue("off", "written"), ">", 0, False),
        (TaskValue("off", "written"), "<=", 0, False),
        (TaskValue("off", "value.deep.er"), "==", None, True),
    ],
)
def test_comparisons(left, operator, right, expected):
    """State, counts, a check's number, a status, the time, a variable."""
    assert held(left, operator, right) is expected


@pytest.mark.parametrize(
    ("left", "operator", "right", "error", "message"),
    [
        (VariableValue("env"), ">", 5, JobError, "a str and a int cannot be compared"),
        (VariableValue("limit"), "==", "5", JobError, "a int and a str cannot be compared"),
        (TaskValue("call", "value.body"), ">", {}, JobError, "dicts have no order"),
        (TaskValue("call", "value.nope"), "==", 1, JobError, "no 'nope'; the value has the keys s"),
        (TaskValue("call", "value.body.items.3"), "==", 1, JobError, "has 1 positions, counted fr"),
        (TaskValue("check", "value.n"), "==", 1, JobError, "no parts: it is a float"),
        (VariableValue("nope"), "==", 1, ConfigError, r"unknown variable \$nope\$.*\$env\$"),
    ],
)
def test_what_cannot_be_compared_is_an_error(left, operator, right, error, message):
    """It is not false: nobody would notice the mistake."""
    with pytest.raises(error, match=message):
        held(left, operator, right)


def test_conditions_nest_freely():
    """`all_of` and `any_of` in each other; the first that decides ends it."""
    true = Condition(VariableValue("limit"), "==", 5)
    false = Condition(VariableValue("limit"), "==", 6)
    broken = Condition(VariableValue("nope"), "==", 1)
    assert all_of(true, any_of(false, all_of(true, true))).holds(FACTS)
    assert not all_of(true, any_of(false, all_of(true, false))).holds(FACTS)
    assert any_of(true, broken).holds(FACTS)
    assert not all_of(false, broken).holds(FACTS)
    nested = all_of(any_of(true, false), Condition(TaskValue("load", "read"), ">", 0))
    assert str(nested) == ("($limit$ == 5 or $limit$ == 6) and TaskValue('load', 'read') > 0")
    assert len(list(nested.operands())) == 3

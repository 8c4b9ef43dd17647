"""Tasks and workflows: what is wrong is said when they are made, all of it at once."""

import math
import re
from datetime import date, datetime
from decimal import Decimal

import pytest

from etlkit import (
    Alert,
    Condition,
    ConfigError,
    CurrentTime,
    DataCheck,
    EtlBase,
    HttpRequest,
    IfElse,
    Loop,
    Period,
    RetryPolicy,
    Secret,
    Task,
    TaskValue,
    Timestamp,
    TransferJob,
    VariableValue,
    Webhook,
    Workflow,
    all_of,
    any_of,
)
from etlkit.testing import MemorySink, MemorySource


def nothing():
    return None


def needs_two(_a, _b):
    return None


async def coroutine():
    return None


ALWAYS = Condition(TaskValue("a"), "==", 1)
DAY = {"day": Timestamp()}
TODAY = date(2024, 1, 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Task("a b", nothing), "its name has the letters a-z and A-Z, digits, _ and -"),
        (lambda: Task("", nothing), "from 1 to 100"),
        (lambda: Task("a" * 101, nothing), "from 1 to 100"),
        (lambda: Task("ä", nothing), "its name has the letters a-z"),
        (lambda: Task("a", None), "run=got an object of type NoneType; a task runs a TransferJob"),
        (lambda: Task("a", EtlBase), "run=got the class EtlBase"),
        (lambda: Task("a", needs_two), "needs the arguments _a, _b; a task's function takes none"),
        (lambda: Task("a", lambda *, key: key), "needs the arguments key"),
        (lambda: Task("a", coroutine), "is a coroutine or a generator"),
        (lambda: Task("a", nothing, retry_limit=-1), "retry_limit=-1: it is a whole number"),
        (lambda: Task("a", nothing, retry_limit=1.5), "retry_limit=1.5: it is a whole number"),
        (lambda: Task("a", nothing, retry_limit=True), "retry_limit=True: it is a whole number"),
        (lambda: Task("a", nothing, min_retry_interval_s=-1), "min_retry_interval_s=-1: it is 0"),
        (lambda: Task("a", nothing, timeout_s=0), "timeout_s=0: it is above 0, or None"),
        (lambda: Task("a", nothing, timeout_s=math.nan), "timeout_s=nan: it is above 0"),
        (lambda: Task("a", nothing, timeout_s="1h"), "timeout_s='1h': it is above 0"),
        (lambda: Task("a", nothing, loop=[1]), "loop got an object of type list; give a Loop"),
        (
            lambda: Task("a", IfElse(ALWAYS, then="b"), loop=Loop({"x": [1]})),
            "it cannot have a loop",
        ),
        (
            lambda: Task("a", nothing, after=[Task("b", nothing)]),
            "after has an object of type Task; give the names of tasks",
        ),
        (lambda: Task("a", nothing, after=Task("b", nothing)), "after has an object of type Task"),
        (lambda: Task("a", nothing, after=None), "after has an object of type NoneType"),
        (lambda: Task("a", nothing, variables={"1x": 1}), "variable '1x': a name has letters"),
        (lambda: Task("a", nothing, variables={"x": [1]}), r"\$x\$ is a list; give a plain value"),
        (lambda: DataCheck(" "), "DataCheck.sql=….* is empty"),
        (lambda: DataCheck("SELECT 1; SELECT 2"), "write one SELECT"),
        (lambda: DataCheck("SELECT 1", "=>", 1), "operator='=>'.: it is one of '=='"),
        (lambda: DataCheck("SELECT 1", ">", math.nan), "compares with value=nan: give a number"),
        (lambda: DataCheck("SELECT 1", ">"), "compares with value=None: give a number"),
        (lambda: DataCheck("SELECT 1", ">", True), "compares with value=True: give a number"),  # noqa: FBT003
        (lambda: DataCheck("SELECT 1", value=Decimal(1)), "needs an operator"),
        (lambda: DataCheck("SELECT 1", ">", 1, on_null="skip"), "it is 'fail' or 'pass'"),
        (lambda: HttpRequest("ftp://x"), "write https://host/path, or Secret"),
        (lambda: HttpRequest("https://$host$/x"), "variables may stand behind the host"),
        (lambda: HttpRequest("https://user:pw@host/x\n"), "HttpRequest.url=….* got another value"),
        (lambda: HttpRequest("https://h", "TRACE"), "method='TRACE'.: it is one of GET, POST"),
        (lambda: HttpRequest("https://h", json=1, text="x"), "json=… or as text=…, not both"),
        (lambda: HttpRequest("https://h", json={1, 2}), "cannot be written as JSON: a set"),
        (lambda: HttpRequest("https://h", json=float("nan")), "cannot be written as JSON"),
        (lambda: HttpRequest("https://h", expect_status=99), "it is from 100 to 599"),
        (lambda: HttpRequest("https://h", retry=3), "it needs a RetryPolicy"),
        (lambda: Webhook("x"), "Webhook.url=….* got 'x'"),
        (lambda: Webhook("https://h", "text", json={}), "text=… for Slack's form or json=…"),
        (lambda: Secret("https://hooks/T0/secret"), "the name of an environment variable"),
        (lambda: IfElse(ALWAYS), "leads nowhere"),
        (lambda: IfElse(then="a", condition=True), "it needs a condition, e.g. Condition"),
        (lambda: Condition(1, "==", 1), "on the left stands a TaskValue"),
        (lambda: Condition(TaskValue("a"), "=", 1), "it is one of '=='"),
        (lambda: Condition(TaskValue("a", "state"), "==", "success"), "did you mean 'succeeded'"),
        (lambda: Condition(CurrentTime("%H:%M"), ">", "9:00"), "write it like '09:05'"),
        (lambda: Condition(CurrentTime("%H:%M"), ">", 9), "write it like '09:05'"),
        (lambda: CurrentTime("%Q"), "%Q is not one of"),
        (lambda: CurrentTime(time_zone="Mars"), "time_zone='Mars' is unknown"),
        (all_of, "AllOf needs at least one condition"),
        (lambda: any_of(ALWAYS, 1), "AnyOf.….* got 1: it needs a condition"),
        (lambda: TaskValue("a", "writen"), "no field 'writen'; did you mean 'written'"),
        (lambda: TaskValue("a", "written.n"), "only `value` has parts"),
        (lambda: TaskValue("a", 1), "give the name of a task and of a field"),
        (lambda: VariableValue(1), "cannot be the name of a variable"),
        (Loop, "needs one of values"),
        (lambda: Loop({"x": [1]}, query="SELECT 1"), "got values and query"),
        (lambda: Loop({}), "needs a name and its values"),
        (lambda: Loop({"x": "jp"}), r"\$x\$ needs a list of at least one value"),
        (lambda: Loop({"x": []}), r"\$x\$ needs a list of at least one value"),
        (lambda: Loop({"x": [None]}), r"\$x\$ has None; a value is a str"),
        (lambda: Loop({"x": [1], "y": [1, 2]}), "the same number of values"),
        (lambda: Loop(query=" "), "is empty: write a SELECT"),
        (lambda: Loop(period="2024"), "give a Period"),
        (lambda: Loop({"x": [1]}, on_error="go"), "it is 'stop' or 'skip'"),
        (lambda: Loop({"x": [1]}, max_errors=1), "max_errors=….* goes with on_error='skip'"),
        (lambda: Loop({"x": [1]}, on_error="skip", max_errors=-1), "it is 0 or more"),
        (lambda: Period(start=TODAY, end=TODAY, variables={}), "give a name to each day's text"),
        (lambda: Period(start=TODAY, end=TODAY, variables={"d": "%Y"}), "give a Timestamp"),
        (lambda: Period(start="2024-01-01", end=TODAY, variables=DAY), "give a date, e.g."),
        (
            lambda: Period(start=datetime(2024, 1, 1), end=TODAY, variables=DAY),  # noqa: DTZ001
            "give a date, e.g.",
        ),
        (
            lambda: Period(start=TODAY, end=TODAY, variables=DAY, interval="year"),
            "it is one of day, week, month",
        ),
        (
            lambda: Period(start=date(2024, 2, 1), end=TODAY, variables=DAY),
            "ends on 2024-01-01, before it starts on 2024-02-01",
        ),
        (Alert, "either longer_than_s=… or when"),
        (lambda: Alert(longer_than_s=0), "it is above 0"),
        (lambda: Alert(when=ALWAYS, task="a"), "goes with longer_than_s"),
        (lambda: Alert(longer_than_s=1, notify="https://h"), "give a Webhook"),
    ],
)
def test_wrong_values_are_refused(make, message):
    """A sentence says what is wrong and what is allowed."""
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": []}, "tasks is empty"),
        ({"tasks": Task("a", nothing)}, "tasks is an object of type Task; give a list"),
        ({"tasks": None}, "tasks is an object of type NoneType; give a list"),
        ({"tasks": {"a": nothing}}, "tasks is an object of type dict; give a list"),
        ({"tasks": [nothing]}, "tasks has an object of type function; give a Task"),
        ({"tasks": [Task("a", nothing), Task("a", nothing)]}, "two tasks are called 'a'"),
        ({"depends": "sql"}, "it is 'explicit' or 'auto'"),
        ({"max_parallel_tasks": 0}, "it is 1 or more"),
        ({"timeout_s": -1}, "it is above 0, or None"),
        ({"max_calls": 0}, "max_calls=0: it is a number above 0"),
        ({"max_cost": -0.5}, "max_cost=-0.5: it is a number above 0"),
        ({"max_calls": "5"}, "max_calls='5': it is a number above 0"),
        ({"on_finish": "https://h"}, "on_finish has an object of type str; give a Webhook"),
        ({"on_failure": None}, "on_failure has an object of type NoneType; give a Webhook"),
        ({"alerts": None}, "alerts is an object of type NoneType; give a list"),
        ({"alerts": [1]}, "alerts has an object of type int; give an Alert"),
        ({"alerts": [Alert(longer_than_s=1, task="b")]}, "reads 'b', but there is no such task"),
        ({"variables": None}, "variables is an object of type NoneType; give a dict"),
        ({"variables": {"x": [1]}}, r"variable \$x\$ is a list"),
        ({"labels": {"A": "b"}}, "cannot be a label's key"),
        ({"tasks": [Task("a", nothing, after="a")]}, "which is the task itself"),
        (
            {"tasks": [Task("c", Workflow(tasks=[Task("x", nothing)], max_calls=1))]},
            "caps belong to the outermost workflow",
        ),
        (
            {"tasks": [Task("a", IfElse(Condition(TaskValue("b"), "==", 1), then="b"))]},
            "the condition of 'a' reads TaskValue.'b', 'value'., but there is no such task",
        ),
    ],
)
def test_wrong_workflows_are_refused(options, message):
    """The same for a whole workflow."""
    with pytest.raises(ConfigError, match=message):
        Workflow(**{"tasks": [Task("a", nothing)], **options})


def test_all_problems_are_told_at_once():
    """Nobody has to run it again and again to see the next mistake."""
    with pytest.raises(ConfigError) as task:
        Task("a b", 1, retry_limit=-1)
    assert re.findall(r"^- (\w+)", str(task.value), re.MULTILINE) == ["its", "run", "retry_limit"]
    with pytest.raises(ConfigError) as graph:
        Workflow(
            name="daily",
            tasks=[
                Task("load", nothing, after="make"),
                Task("a", nothing, after="b"),
                Task("b", nothing, after=("a", "laod")),
                Task("c", nothing, variables={"n": TaskValue("nobody")}),
            ],
        )
    assert str(graph.value).splitlines() == [
        "Workflow('daily') has 4 problems:",
        "- task 'load' has after='make', but there is no such task; there are: load, a, b, c",
        "- task 'b' has after='laod', but there is no such task; did you mean 'load'?",
        (
            "- $n$ of task 'c' is TaskValue('nobody', 'value'), but there is no such task; "
            "there are: load, a, b, c"
        ),
        "- tasks come after each other in a circle: a -> b -> a",
    ]


def test_a_task_takes_many_things():
    """Functions with and without the context, jobs, and every other kind."""
    transfer = TransferJob(source=MemorySource([]), transform=EtlBase, sink=MemorySink())
    runs = [nothing, lambda context: context, lambda x=1: x, lambda *a, **k: (a, k), dict(a=1).get]  # noqa: C408
    kinds = [Task("a", run).runnable.kind for run in runs]
    assert kinds == ["python"] * 5
    assert Task("a", transfer).runnable.kind == "transfer"
    assert Task("a", Workflow(tasks=[Task("b", nothing)])).runnable.kind == "workflow"
    assert Task("a", Webhook(Secret("URL"))).runnable.kind == "webhook"
    assert HttpRequest("https://h", retry=RetryPolicy(max_attempts=1)).kind == "http"


def test_a_fingerprint_changes_with_the_definition():
    """It does not change with anything else: not from process to process, nor with the order."""
    check = DataCheck("SELECT 1", ">", 0)
    one = Task("a", check, variables={"x": 1, "y": 2})
    same = Task("a", DataCheck("SELECT 1", ">", 0), variables={"y": 2, "x": 1}, retry_limit=3)
    assert one.fingerprint() == same.fingerprint()
    others = [
        Task("a", DataCheck("SELECT 1", ">", 1), variables={"x": 1, "y": 2}),
        Task("a", check, variables={"x": 1}),
        Task("a", check, variables={"x": 1, "y": 2}, loop=Loop({"z": [1]})),
        Task("a", nothing, variables={"x": 1, "y": 2}),
        Task("a", lambda: 1, variables={"x": 1, "y": 2}),
        Task("a", Workflow(tasks=[Task("b", check)])),
        Task("a", Workflow(tasks=[Task("b", nothing)])),
    ]
    assert len({each.fingerprint() for each in (one, *others)}) == len(others) + 1

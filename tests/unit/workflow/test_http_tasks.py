"""Requests and messages, against a real server on loopback."""

import json
import threading
from http.server import BaseHTTPRequestHandler
from urllib.parse import quote, quote_plus

import pytest

from etlkit import (
    Alert,
    Condition,
    ConfigError,
    HttpRequest,
    RetryPolicy,
    Secret,
    Task,
    TaskValue,
    Webhook,
    Workflow,
)
from etlkit.testing import no_sleep
from tests.loopback import serving

LONG_S = 60
KEY = "sk-very-secret-4711"
ONCE = RetryPolicy(max_attempts=1, max_outage_s=1)


@pytest.fixture
def server():
    """Answers as each test says, and keeps what it was asked."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            http.asked.append((self.command, self.path, dict(self.headers), body))
            http.was_asked.set()
            status, payload = http.answers.pop(0) if http.answers else (200, b"{}")
            self.send_response(status)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *args):
            return

    for method in ("GET", "POST", "PUT"):
        setattr(Handler, f"do_{method}", Handler.answer)
    with serving(Handler) as http:
        http.asked, http.answers, http.was_asked = [], [], threading.Event()
        yield http


def test_a_request_has_the_values_of_variables(runs, server):
    """In the address percent-encoded, in JSON with their types; the answer is the value."""
    server.answers = [(201, b'{"id": [7]}')]
    request = HttpRequest(
        f"{server.url}/v1/$name$?x=$name$",
        "PUT",
        params={"n": "$n$", "all": 1},
        headers={"X-Name": "n=$n$", "Authorization": Secret("KEY", prefix="Bearer ")},
        json={"n": "$n$", "text": "n is $n$", "$name$": ["$list$", None, True]},
    )
    tasks = [
        Task("a", lambda: {"n": 5, "list": [1, {"x": 2}]}),
        Task(
            "call",
            request,
            variables={
                "n": TaskValue("a", "value.n"),
                "list": TaskValue("a", "value.list"),
                "name": "a/b ü&",
            },
        ),
        Task(
            "id",
            lambda c: c.variables["id"],
            variables={"id": TaskValue("call", "value.body.id.0")},
        ),
    ]
    report = runs(tasks, environ={"KEY": f"{KEY}\n"})
    ((method, path, headers, body),) = server.asked
    assert (method, path) == ("PUT", "/v1/a%2Fb%20%C3%BC%26?x=a%2Fb%20%C3%BC%26&n=5&all=1")
    assert (headers["X-Name"], headers["Authorization"]) == ("n=5", f"Bearer {KEY}")
    assert headers["Content-Type"] == "application/json"
    assert json.loads(body) == {
        "n": 5,
        "text": "n is 5",
        "a/b ü&": [[1, {"x": 2}], None, True],
    }
    assert report.tasks[1].value == {"status": 201, "body": {"id": [7]}}
    assert report.tasks[2].value == 7
    assert KEY not in report.to_json()


@pytest.mark.parametrize(
    ("expect_status", "status", "state"),
    [
        (None, 204, "succeeded"),
        (None, 404, "failed"),
        (404, 404, "succeeded"),
        ((200, 503), 503, "succeeded"),
        ((200, 503), 201, "failed"),
        (None, 302, "failed"),
    ],
)
def test_which_statuses_are_a_success(runs, server, expect_status, status, state):
    """Every 2xx, or those that were said."""
    server.answers = [(status, b"not json" if status != 204 else b"")]
    request = HttpRequest(f"{server.url}/x?key={KEY}", expect_status=expect_status, retry=ONCE)
    report = runs([Task("call", request)])
    (task,) = report.tasks
    assert task.state == state
    assert task.value == ({"status": status, "body": None} if state == "succeeded" else None)
    assert task.details["request"] == f"GET {server.url}/x"
    assert KEY not in report.to_json()


def test_a_request_is_repeated_by_the_one_retry_rule(runs, server):
    """A 503 may pass, a 400 does not."""
    server.answers = [(503, b""), (429, b""), (200, b"1")]
    with no_sleep():
        report = runs([Task("call", HttpRequest(f"{server.url}/x", text="ü", method="POST"))])
    assert report.tasks[0].value == {"status": 200, "body": 1}
    assert [body for _, _, _, body in server.asked] == ["ü".encode()] * 3
    server.asked.clear()
    server.answers = [(400, b"")]
    assert runs([Task("call", HttpRequest(f"{server.url}/x"))]).state == "failed"
    assert len(server.asked) == 1


def test_a_secret_shows_up_nowhere(runs, server, caplog):
    """Not in errors, values, details or the log: also if the service echoes it."""
    server.answers = [(200, json.dumps({f"key {KEY}": [KEY]}).encode()), (400, b"")]
    environ = {"HOOK": f"{server.url}/services/{KEY}", "KEY": KEY}
    echo = HttpRequest(f"{server.url}/x", headers={"X": Secret("KEY")})
    hook = Webhook(Secret("HOOK"), "hello")
    report = runs([Task("echo", echo), Task("hook", hook, after="echo")], environ=environ)
    assert report.tasks[0].value["body"] == {"key …": ["…"]}
    assert report.tasks[1].state == "failed"
    assert "refused … with 400" in report.tasks[1].error
    assert KEY not in report.to_json() + caplog.text


def test_a_secret_is_hidden_as_addresses_and_json_spell_it_too(runs, server):
    """Services send back the address of a request, or its body as text."""
    key = 'a+b/c="é" d'
    spelled = [
        quote(key),
        quote(key, safe=""),
        quote_plus(key),
        json.dumps({"key": key}),
        json.dumps({"key": key}, ensure_ascii=False),
    ]
    server.answers = [(200, json.dumps(spelled).encode())]
    request = HttpRequest(f"{server.url}/x", params={"key": Secret("KEY")})
    report = runs([Task("echo", request)], environ={"KEY": key})
    assert report.tasks[0].value["body"] == ["…", "…", "…", '{"key": "…"}', '{"key": "…"}']


def test_what_is_missing_is_told(runs, server):
    """A secret that is not set, and variables, which are looked at before anything runs."""
    request = HttpRequest(f"{server.url}/x", headers={"X": Secret("NOPE")})
    report = runs([Task("call", request)])
    assert "environment variable NOPE is not set" in report.tasks[0].error
    tasks = [
        Task("a", HttpRequest(f"{server.url}/$x$")),
        Task("b", Webhook(f"{server.url}/", "text"), variables={"y": 1}),
    ]
    with pytest.raises(ConfigError) as caught:
        runs(tasks)
    assert str(caught.value).splitlines() == [
        "task 'a': unknown variable $x$; the job has none: give variables={…} or --var",
        "task 'b': variable $y$ is not used anywhere; used: none",
    ]
    assert server.asked == []


def test_messages_in_two_forms(runs, server):
    """Slack's, with a text of its own if none is given, and any JSON."""
    tasks = [
        Task("slack", Webhook(f"{server.url}/a", "$n$ rows\n&"), variables={"n": 3}),
        Task("plain", Webhook(f"{server.url}/b"), after="slack"),
        Task(
            "json", Webhook(f"{server.url}/c", json={"n": "$n$"}), variables={"n": 3}, after="plain"
        ),
    ]
    report = runs(tasks)
    assert report.state == "published"
    bodies = [json.loads(body) for _, _, _, body in server.asked]
    assert bodies == [
        {"text": "3 rows\n&"},
        {"text": f"workflow flow, run {report.run_id}: plain"},
        {"n": 3},
    ]


def test_a_message_that_does_not_matter(runs, server, states):
    """With `ignore_error` it is a warning; without, the task fails."""
    server.answers = [(404, b""), (404, b"")]
    tasks = [
        Task("a", Webhook(f"{server.url}/a", "x", ignore_error=True)),
        Task("b", Webhook(f"{server.url}/b", "x"), after="a"),
    ]
    report = runs(tasks)
    assert states(report) == {"a": "succeeded", "b": "failed"}
    assert "refused" in report.tasks[0].details["warning"]


def told(server):
    return [json.loads(body) for _, _, _, body in server.asked]


def test_events_of_a_run(runs, server, fails):
    """How it ended, to everybody who wants to know, with the values of the run."""
    form = {
        "event": "$event$",
        "state": "$state$",
        "failed": "$failed_tasks$",
        "done": "$num_succeeded$",
        "all": "$num_tasks$",
        "env": "$env$",
    }

    def workflow(run):
        return Workflow(
            tasks=[
                Task("a", lambda: 1),
                Task("b", run, after="a"),
                Task("c", lambda: 1, after="b"),
            ],
            on_finish=Webhook(f"{server.url}/finish", json=form),
            on_failure=[Webhook(f"{server.url}/failure", json=form)],
            variables={"env": "prod"},
        )

    runs(workflow(lambda: 1))
    good = {"state": "published", "failed": "", "done": 3, "all": 3, "env": "prod"}
    assert told(server) == [{"event": "finish", **good}]
    server.asked.clear()
    report = runs(workflow(fails()))
    bad = {"state": "failed", "failed": "b", "done": 1, "all": 3, "env": "prod"}
    assert sorted(told(server), key=str) == [
        {"event": "failure", **bad},
        {"event": "finish", **bad},
    ]
    assert {path for _, path, _, _ in server.asked} == {"/finish", "/failure"}
    assert report.warnings == []


def test_a_message_that_is_not_delivered_is_a_warning(runs, server):
    """It changes nothing about the run."""
    server.answers = [(404, b"")]
    hook = Webhook(f"{server.url}/{KEY}", "x")
    report = runs(Workflow(tasks=[Task("a", lambda: 1)], on_finish=hook))
    assert report.state == "published"
    (warning,) = report.warnings
    assert warning.startswith("a message about the finish was not delivered: ")
    assert KEY not in warning


def test_an_alert_when_something_takes_long(runs, server):
    """The run goes on; it is told once, at that time, of the run or of one task."""

    def slow(context):
        assert server.was_asked.wait(LONG_S)
        return 1

    for task in (None, "slow"):
        server.asked.clear()
        server.was_asked.clear()
        alert = Alert(
            longer_than_s=0.05, task=task, notify=Webhook(f"{server.url}/", json={"x": "$alert$"})
        )
        never = Alert(longer_than_s=LONG_S, notify=Webhook(f"{server.url}/", "no"))
        report = runs(Workflow(tasks=[Task("slow", slow)], alerts=[alert, never]))
        assert report.state == "published"
        assert told(server) == [{"x": f"{task or 'the run'} takes longer than 0.05 s"}]


def test_an_alert_when_a_condition_is_true(runs, server, states):
    """Looked at once, when all tasks in it have ended; one that cannot be looked at is a warning."""

    def rejects(context):
        context.report.rejected = 3

    notify = Webhook(f"{server.url}/", "$alert$ in $workflow$")
    alerts = [
        Alert(when=Condition(TaskValue("a", "rejected"), ">", 2), notify=notify, name="rejects"),
        Alert(when=Condition(TaskValue("a", "rejected"), ">", 3), notify=notify),
        Alert(when=Condition(TaskValue("b", "state"), "==", "succeeded"), notify=notify),
        Alert(when=Condition(TaskValue("a", "rejected"), ">", "x"), notify=notify),
    ]
    tasks = [Task("a", rejects), Task("b", lambda: 1, after="a")]
    report = runs(Workflow(tasks=tasks, alerts=alerts))
    assert sorted(body["text"] for body in told(server)) == [
        "TaskValue('b', 'state') == 'succeeded' in flow",
        "rejects in flow",
    ]
    assert (report.state, len(report.warnings)) == ("published", 1)
    assert "cannot be looked at" in report.warnings[0]


def test_events_of_a_child(runs, server):
    """A child workflow tells its own people."""
    hook = Webhook(f"{server.url}/", "$workflow$ $state$ $day$")
    child = Workflow(tasks=[Task("x", lambda: 1)], on_finish=hook)
    report = runs(Workflow(tasks=[Task("c", child)], variables={"day": "Monday"}))
    assert report.state == "published"
    assert told(server) == [{"text": "c published Monday"}]


def test_messages_with_unknown_variables_are_refused_early(runs, server):
    """Not when the run has ended and nobody is there."""
    hook = Webhook(f"{server.url}/", "$nope$")
    with pytest.raises(ConfigError, match=r"a Webhook for events: unknown variable \$nope\$"):
        runs(Workflow(tasks=[Task("a", lambda: 1)], on_failure=hook))


def test_a_user_in_a_secret_address_is_sent_as_basic(runs, server):
    """It was dropped; the address is in no report, so it may have one."""
    server.answers = [(200, b"{}")]
    environ = {"HOOK": server.url.replace("://", "://me:p%40ss@") + "/x"}
    report = runs([Task("hook", HttpRequest(Secret("HOOK")))], environ=environ)
    assert report.tasks[0].state == "succeeded"
    sent = {name.lower(): value for name, value in server.asked[0][2].items()}
    assert sent["authorization"] == "Basic bWU6cEBzcw=="
    assert "p%40ss" not in report.to_json()

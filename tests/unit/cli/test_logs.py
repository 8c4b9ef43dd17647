"""The JSON log: the fields that Cloud Logging knows, and nothing that it must not see."""

import json
import logging

import pytest

from etlkit.cli.logs import configure_logging, wants_json
from etlkit.telemetry.current_run import CurrentRun, in_run

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PREFIX = "logging.googleapis.com/"


@pytest.fixture
def line(capsys):
    """Logs something as JSON; gives the object."""
    logger = logging.getLogger("etlkit")
    before = logger.handlers[:], logger.propagate, logger.level
    configure_logging(logging.INFO, as_json=True, project="my-project")

    def log(level, text, **options):
        logging.getLogger("etlkit.part").log(level, text, **options)
        [written] = capsys.readouterr().err.splitlines()
        return json.loads(written)

    yield log
    logger.handlers[:], logger.propagate = before[:2]
    logger.setLevel(before[2])


def test_a_line_has_the_fields_of_cloud_logging(line, monkeypatch):
    """Severity, time, run, place without this machine's folders, and the scheduler's trace."""
    monkeypatch.setenv("TRACEPARENT", f"00-{TRACE}-{SPAN}-01")
    with in_run(CurrentRun("run_1", "jobs.x", task="load", parent="wf_1")):
        found = line(logging.WARNING, "slow: api_key=sk-1234567890abcdef")
    assert (found["severity"], found["logger"]) == ("WARNING", "etlkit.part")
    assert "sk-1234567890abcdef" not in found["message"]
    assert found["time"].endswith("Z")
    assert found[PREFIX + "labels"] == {
        "etlkit_run": "run_1",
        "etlkit_job": "jobs.x",
        "etlkit_task": "load",
        "etlkit_parent": "wf_1",
    }
    place = found[PREFIX + "sourceLocation"]
    assert place["file"].endswith("tests/unit/cli/test_logs.py")
    assert not place["file"].startswith("/")
    assert place["function"] == "log"
    assert found[PREFIX + "trace"] == f"projects/my-project/traces/{TRACE}"
    assert (found[PREFIX + "spanId"], found[PREFIX + "trace_sampled"]) == (SPAN, True)


def test_calls_and_tracebacks_have_fields_of_their_own(line, monkeypatch):
    """`httpRequest` is what Cloud Logging shows as a request; without a trace there is none."""
    monkeypatch.delenv("TRACEPARENT", raising=False)
    request = {"requestMethod": "GET", "requestUrl": "https://h/x", "status": "200"}
    found = line(logging.INFO, "GET https://h/x: 200", extra={"http_request": request})
    assert found["httpRequest"] == request
    assert not [name for name in found if "trace" in name or "label" in name]
    error = ValueError("password=hunter2hunter2")
    found = line(logging.ERROR, "failed", exc_info=(type(error), error, None))
    assert "ValueError" in found["traceback"]
    assert "hunter2" not in found["traceback"]


@pytest.mark.parametrize(
    ("given", "environ", "expected"),
    [
        (None, {}, False),
        (None, {"CLOUD_RUN_JOB": "x"}, True),
        (None, {"K_SERVICE": "x"}, True),
        ("text", {"K_SERVICE": "x"}, False),
        ("json", {}, True),
    ],
)
def test_cloud_run_gets_json_by_itself(monkeypatch, given, environ, expected):
    """Unless the user has said what it is to be."""
    for name in ("CLOUD_RUN_JOB", "K_SERVICE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert wants_json(given) is expected

"""Vision on a bad day: refusals, crashes, silence, broken connections and failing images together."""

import contextlib
import io
import json
import logging
import os
import threading

import pytest

from etlkit import RateLimit, RetryPolicy, TransferJob
from etlkit.runner import run_job
from etlkit.testing import FaultPlan, FaultServer, MemorySink, MemorySource
from etlkit.vision import VisionEtl

KEY = "AIzaSy-very-secret-4711"
LONG_FORM = 9600
NUM_IMAGES = int(os.environ.get("ETLKIT_IMAGES", "3200"))
ROWS = [{"uri": f"gs://photos/{number}.jpg"} for number in range(NUM_IMAGES)]
NUM_CALLS = len(ROWS) // 16

# 10 % 429 with hints, 5 % 5xx, 0.6 % silence, 1 % cut connections; 3 % of the images fail for once.
BAD_DAY = {"http_429": 0.10, "http_5xx": 0.05, "hang": 0.006, "reset": 0.01, "item_error": 0.03}


class Rest(VisionEtl):
    client = "rest"
    features = ("LABEL_DETECTION",)


class Grpc(Rest):
    client = "grpc"


def job(etl, rows, **options):
    """A job with short deadlines, so that faults cost calls and not the time of the test."""
    return TransferJob(
        source=MemorySource(rows),
        transform=etl,
        sink=MemorySink(),
        rate_limit=RateLimit("2000/s"),
        retry=RetryPolicy(attempt_timeout_s=2.0),
        **options,
    )


@contextlib.contextmanager
def all_output(caplog, capfd):
    """Collect everything that leaves the process: log records of all libraries, output and errors."""
    output = io.StringIO()
    for name in ("", "google", "google.cloud.vision_v1", "urllib3", "grpc"):
        caplog.set_level(logging.DEBUG, logger=name)
    yield output
    for record in caplog.records:
        output.write(f"{vars(record)} {record.getMessage()}\n")
    output.write("".join(capfd.readouterr()))


@pytest.fixture
def vision(monkeypatch):
    """A Vision server with a plan for one test; calls have a key."""
    with contextlib.ExitStack() as stack:

        def start(plan, **options):
            server = stack.enter_context(FaultServer(plan, **options))
            monkeypatch.setenv("ETLKIT_VISION_ENDPOINT", server.url)
            monkeypatch.setenv("ETLKIT_VISION_GRPC_ENDPOINT", server.grpc_endpoint)
            monkeypatch.setenv("ETLKIT_VISION_API_KEY", KEY)
            return server

        yield start


def workers():
    return [thread.name for thread in threading.enumerate() if "worker" in thread.name]


@pytest.mark.parametrize("etl", [Rest, Grpc])
def test_every_row_gets_the_right_result_with_few_calls(vision, etl, caplog, capfd):
    """No wrong answer, no stuck thread, no key in any text, and few calls beyond the necessary ones.

    The number of calls that fail is random: of 200, it may be 40 or 57. So the bound is on calls beyond
    one retry for each of them and beyond full calls for images that failed by themselves. The long form
    makes enough calls for a bound on all of them: 1.3 times the fewest.
    """
    server = vision(FaultPlan.seeded(7, hints=["retry-info"], **BAD_DAY), latency_s=0.02)
    described = job(etl, ROWS)
    with all_output(caplog, capfd) as output:
        report = run_job(described)
        output.write(report.to_json() + json.dumps(described.sink.rows))
    assert (report.state, report.written) == ("published", len(ROWS))
    assert [
        row["response"]["responses"][0]["labelAnnotations"][0]["description"]
        for row in described.sink.rows
    ] == [FaultServer.label_of(row["uri"]) for row in ROWS]
    faults = server.faults
    bad_calls = faults.total() - faults["item_error"]
    needed = NUM_CALLS + bad_calls + faults["item_error"] / 16
    assert server.calls <= needed + 0.1 * NUM_CALLS
    if NUM_IMAGES >= LONG_FORM:
        assert server.calls <= 1.3 * NUM_CALLS
    assert bad_calls >= 0.1 * server.calls, faults
    assert {"429", "hang", "reset", "item_error"} <= set(faults)
    assert workers() == []
    assert KEY not in output.getvalue()


@pytest.mark.parametrize("etl", [Rest, Grpc])
def test_bad_images_are_rejected_with_their_reasons(vision, etl, caplog, capfd):
    """Each image that Vision refuses is one reject, whatever else goes wrong."""
    plan = FaultPlan.seeded(5, http_429=0.1, http_5xx=0.05, item_error=0.03, item_refused=0.05)
    vision(plan)
    described = job(etl, ROWS[:480], on_row_error="reject", max_rejected=0.2)
    with all_output(caplog, capfd) as output:
        report = run_job(described)
        output.write(report.to_json() + repr(described.sink.rejects))
    assert (report.read, report.written + report.rejected) == (480, 480)
    assert 5 < report.rejected < 60
    assert {each.error_class for each in described.sink.rejects} == {"ImageError"}
    assert {each.code for each in described.sink.rejects} == {"3"}
    for row in described.sink.rows:
        (answer,) = row["response"]["responses"]
        assert answer["labelAnnotations"][0]["description"] == FaultServer.label_of(row["uri"])
    assert workers() == []
    assert KEY not in output.getvalue()


@pytest.mark.parametrize("etl", [Rest, Grpc])
def test_a_refused_key_ends_the_run_and_is_not_shown(vision, etl, caplog, capfd):
    """If every call gets 403, there is one error, no row is written, and no text contains the key."""
    vision(FaultPlan.script(["403"] * 400))
    described = job(etl, ROWS[:320])
    with all_output(caplog, capfd) as output:
        with pytest.raises(Exception, match="refused") as caught:
            run_job(described)
        error = caught.value
        while error is not None:
            output.write(f"{error!r} {error} {vars(error)} {getattr(error, '__notes__', '')}")
            error = error.__cause__ or error.__context__
    assert described.sink.rows == []
    assert workers() == []
    assert KEY not in output.getvalue()

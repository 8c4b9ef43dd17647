"""Failed images are retried together. Waits are real here, because workers wait for each other."""

import threading

import pytest

from etlkit.calls.backoff import RetryPolicy
from etlkit.calls.clock import Stopped
from etlkit.calls.run_calls import Calls
from etlkit.testing import FaultPlan, FaultServer
from etlkit.vision import Feature, ImageRequest, RestAnnotator
from etlkit.vision.endpoint import rest_endpoint

LABELS = (Feature("LABEL_DETECTION"),)
WORKERS = 8


@pytest.fixture
def calls():
    """Calls of a run that belongs to the test, with waits so long that images meet."""
    yield Calls(RetryPolicy(attempt_timeout_s=20, first_wait_s=20))
    Calls().enter()


def test_workers_of_a_run_ask_again_together(calls):
    """Eight workers with two failed images each make one more call with 16 images, not eight calls."""
    found = {}

    def work(worker):
        calls.enter()
        uris = [f"gs://b/{worker}-{number}.jpg" for number in range(3)]
        environ = {"ETLKIT_VISION_ENDPOINT": server.url}
        annotator = RestAnnotator(rest_endpoint(environ=environ))
        requests = [ImageRequest(uri=uri, features=LABELS) for uri in uris]
        found[worker] = (uris, annotator.annotate(requests))
        annotator.close()

    failing = [f"gs://b/{worker}-{n}.jpg" for worker in range(WORKERS) for n in (0, 1)]
    plan = FaultPlan.by_item({uri: ["item_error code=14"] for uri in failing})
    with FaultServer(plan) as server:
        threads = [threading.Thread(target=work, args=(worker,)) for worker in range(WORKERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()
        assert server.calls == WORKERS + 1
    for uris, annotations in found.values():
        labels = [each.answer["labelAnnotations"][0]["description"] for each in annotations]
        assert labels == [FaultServer.label_of(uri) for uri in uris]


def test_a_stop_ends_waiting_workers():
    """A run that is asked to stop makes no more calls, and these rows have no result."""
    calls, failed, ended = Calls(RetryPolicy(first_wait_s=20)), threading.Event(), []
    error = {"error": {"code": 14, "message": "The service is currently unavailable."}}

    def answer(_item):
        failed.set()
        return error

    def work():
        calls.enter()
        annotator = RestAnnotator(rest_endpoint(environ={"ETLKIT_VISION_ENDPOINT": server.url}))
        try:
            annotator.annotate([ImageRequest(uri="gs://b/1", features=LABELS)])
        except Stopped:
            ended.append("stopped")
        finally:
            annotator.close()

    with FaultServer(answer=answer) as server:
        thread = threading.Thread(target=work)
        thread.start()
        assert failed.wait(20)
        calls.stop()
        thread.join(20)
    assert not thread.is_alive()
    assert ended == ["stopped"]

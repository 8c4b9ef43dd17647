"""The result of each image when calls and images fail: `RestAnnotator` against a real server."""

import hashlib
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler

import pytest

from etlkit import ApiError, ImageError, RetryableError
from etlkit.calls.backoff import RetryPolicy
from etlkit.calls.recording import Recording
from etlkit.calls.run_calls import Calls
from etlkit.errors import CallFailedError
from etlkit.testing import FaultPlan, FaultServer, no_sleep
from etlkit.vision import Downloader, Feature, ImageRequest, RestAnnotator
from etlkit.vision.endpoint import rest_endpoint
from tests.loopback import serving

LABELS = (Feature("LABEL_DETECTION"),)
KEY = "AIzaSy-4711"
PHOTO = b"\xff\xd8 a photo"


@pytest.fixture(autouse=True)
def calls():
    """Calls of a run that belongs to the test; waits are skipped."""
    with no_sleep():
        calls = Calls(RetryPolicy(max_attempts=3, attempt_timeout_s=20, max_outage_s=5))
        calls.enter()
        yield calls
        Calls().enter()


@pytest.fixture
def photo_host():
    """An HTTP server on loopback with `PHOTO` at every path; it counts requests by path."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            server.asked[self.path] += 1
            self.send_response(server.status)
            self.end_headers()
            self.wfile.write(server.photo)

        def log_message(self, *args):
            return

    with serving(Handler) as server:
        server.asked, server.status, server.photo = Counter(), 200, PHOTO
        yield server


def annotator_of(server, **options):
    environ = {"ETLKIT_VISION_ENDPOINT": server.url, "ETLKIT_VISION_API_KEY": KEY}
    return RestAnnotator(rest_endpoint(environ=environ), **options)


def ask(server, uris, **options):
    annotator = annotator_of(server, **options)
    try:
        return annotator.annotate([ImageRequest(uri=uri, features=LABELS) for uri in uris])
    finally:
        annotator.close()


def uris(number):
    return [f"gs://b/{each}.jpg" for each in range(number)]


def labels(found):
    return [
        each.answer["labelAnnotations"][0]["description"] if each.error is None else each.error.code
        for each in found
    ]


def right(uris, **instead):
    return [instead.get(f"n{n}") or FaultServer.label_of(uri) for n, uri in enumerate(uris)]


def test_a_permanent_error_affects_only_its_image():
    """The other 15 images of the call are answered, and none is asked for twice."""
    plan = FaultPlan.by_item({"gs://b/3.jpg": ["item_error code=3"]})
    with FaultServer(plan) as server:
        found = ask(server, uris(16))
        assert labels(found) == right(uris(16), n3=3)
        assert isinstance(found[3].error, ImageError)
        assert server.calls == 1


@pytest.mark.parametrize("code", [4, 8, 10, 13, 14])
def test_only_images_with_a_transient_error_are_retried(code):
    """Two images that failed make one more call with two images."""
    again = [f"item_error code={code}"]
    plan = FaultPlan.by_item({"gs://b/3.jpg": again, "gs://b/9.jpg": again})
    with FaultServer(plan) as server:
        assert labels(ask(server, uris(16))) == right(uris(16))
        assert server.calls == 2
        assert server.calls_by_item.total() == 18


def test_a_transient_error_that_stays_rejects_its_image():
    """The other images were answered meanwhile, so the service works."""
    plan = FaultPlan.by_item({"gs://b/0.jpg": ["item_error code=13"] * 9})
    with FaultServer(plan) as server:
        found = ask(server, uris(2))
        assert server.calls_by_item["gs://b/0.jpg"] == 3
    assert isinstance(found[0].error, CallFailedError)
    assert (found[0].error.code, found[0].error.attempts) == ("INTERNAL", 3)
    assert labels(found[1:]) == right(uris(2))[1:]


def test_when_no_image_is_answered_it_is_an_outage():
    """The calls succeed but every image in them fails: the run ends instead of rejecting every row."""
    plan = FaultPlan.by_item({uri: ["item_error code=14"] * 99 for uri in uris(20)})
    with FaultServer(plan) as server, pytest.raises(RetryableError, match="answered no image for"):
        ask(server, uris(20))


def test_an_image_that_makes_its_call_fail_is_found_by_halving():
    """Vision refuses a call of 16 images because of one: nine calls find it."""
    plan = FaultPlan.by_item({"gs://b/5.jpg": ["400"] * 9})
    with FaultServer(plan) as server:
        found = ask(server, uris(16))
        assert labels(found) == right(uris(16), n5=3)
        assert isinstance(found[5].error, ImageError)
        assert server.calls == 9


def test_an_image_that_crashes_the_service_is_found():
    """Every call with it fails with 500 in every attempt, while calls without it are answered."""
    plan = FaultPlan.by_item({"gs://b/5.jpg": ["500"] * 99})
    with FaultServer(plan) as server:
        ask(server, uris(1))  # the service is known to be well
        found = ask(server, uris(8))
    assert isinstance(found[5].error, CallFailedError)
    assert [each.error is None for each in found].count(True) == 7


@pytest.mark.parametrize(
    "words",
    [
        "API key not valid. Please pass a valid API key.",
        "API key expired. Please renew the API key.",
        "Invalid JSON payload received. Unknown name \"modle\" at 'requests[0].features[0]'",
    ],
)
def test_400_because_of_the_job_is_not_blamed_on_images(words):
    """Google also answers 400 to a wrong key; splitting would reject every row of the table."""
    with _Server(
        {"error": {"code": 400, "message": words, "status": "INVALID_ARGUMENT"}}, 400
    ) as s:
        with pytest.raises(ApiError, match=words[:12]):
            ask(s, uris(16))
        assert s.calls == 1


@pytest.mark.parametrize(
    "answers",
    [
        [{}] * 15,
        [{}] * 17,
        [],
        [{}] * 15 + [None],
    ],
    ids=["one too few", "one too many", "none", "no object"],
)
def test_answers_are_never_assigned_to_the_wrong_images(answers):
    """The answers cannot be assigned, so all images are retried until they get their own."""
    first = iter([{"responses": answers}])

    def answer(body):
        asked = [each["image"]["source"]["imageUri"] for each in body["requests"]]
        whole = {"responses": [{"labelAnnotations": [{"description": uri}]} for uri in asked]}
        return next(first, whole)

    with FaultServer(routes={"/v1/images:annotate": answer}) as server:
        assert labels(ask(server, uris(16))) == uris(16)
        assert server.calls == 2


def test_an_answer_without_responses_is_refused():
    """The API's answer to an empty request is not valid for a request with images."""
    with (
        FaultServer(routes={"/v1/images:annotate": lambda _body: {}}) as server,
        pytest.raises(RetryableError),
    ):
        ask(server, uris(16))
    with (
        FaultServer(routes={"/v1/images:annotate": lambda _body: [1]}) as server,
        pytest.raises(ApiError, match="an answer that cannot be read"),
    ):
        ask(server, uris(16))


@pytest.mark.parametrize("code", [7, 14])
def test_what_vision_cannot_fetch_is_downloaded_and_sent(photo_host, code):
    """Each image is downloaded once and sent as bytes, both in one call."""
    web = [f"{photo_host.url}/{name}.jpg" for name in "ab"]
    plan = FaultPlan.by_item({key: [f"item_error code={code}"] for key in web})
    with FaultServer(plan, answer=lambda item: _label(item.content or item.uri)) as server:
        found = ask(server, [*web, "gs://b/1"], downloader=Downloader(allow_private=True))
        assert labels(found) == [str(PHOTO), str(PHOTO), "gs://b/1"]
        assert server.calls == 2
    assert photo_host.asked == {"/a.jpg": 1, "/b.jpg": 1}


def test_large_downloads_are_sent_before_more_are_made(photo_host):
    """Memory holds about as much as one call, however many photos have to be downloaded."""
    photo_host.photo = bytes(6_000_000)
    web = [f"{photo_host.url}/{number}.jpg" for number in range(6)]
    downloaded_before = []

    def answer(item):
        if item.content:
            downloaded_before.append(photo_host.asked.total())
        return _label(len(item.content))

    key = "sha256:" + hashlib.sha256(photo_host.photo).hexdigest()
    plan = {address: ["item_error code=7"] for address in web} | {key: ["item_error code=14"]}
    with FaultServer(FaultPlan.by_item(plan), answer=answer) as server:
        found = ask(server, web, downloader=Downloader(allow_private=True))
    assert labels(found) == ["6000000"] * 6
    assert all(asked <= sent + 2 for sent, asked in enumerate(downloaded_before))


def test_a_download_that_is_not_allowed_is_an_error_of_its_row(photo_host):
    """Loopback is refused unless it is allowed; the error has Vision's message and the reason."""
    web = f"{photo_host.url}/a.jpg"
    plan = FaultPlan.by_item({web: ["item_error code=7"]})
    with FaultServer(plan) as server:
        found = ask(server, [web, "gs://b/1"])
    assert "on your behalf" in str(found[0].error)
    assert "leads to 127.0.0.1" in str(found[0].error)
    assert found[0].error.code == 7
    assert found[1].error is None
    assert photo_host.asked == {}


def test_a_host_that_is_down_is_tried_as_often_as_any_service(photo_host):
    """The row is rejected after all attempts, and the service is not considered down."""
    web, photo_host.status = f"{photo_host.url}/a.jpg", 503
    plan = FaultPlan.by_item({web: ["item_error code=14"] * 9})
    with FaultServer(plan) as server:
        found = ask(server, [web, "gs://b/1"], downloader=Downloader(allow_private=True))
    assert isinstance(found[0].error, CallFailedError)
    assert "the host answered 503" in str(found[0].error)
    assert photo_host.asked == {"/a.jpg": 3}


def test_a_bucket_is_never_downloaded_from():
    """Only images at http(s) addresses are downloaded."""
    words = "We can not access the URL currently. Please download the content and pass it in."
    error = {"error": {"code": 7, "message": words}}
    with FaultServer(answer=lambda _item: error) as server:
        (found,) = ask(server, ["gs://b/1"])
    assert isinstance(found.error, ImageError)


def test_too_large_an_image_costs_no_call():
    """The error says what to do instead."""
    with FaultServer() as server:
        annotator = annotator_of(server)
        big = ImageRequest(content=bytes(8_000_000), features=LABELS)
        (found,) = annotator.annotate([big])
        annotator.close()
        assert server.calls == 0
    assert "put it into a bucket" in str(found.error)


def test_an_error_that_ends_the_run_reaches_waiting_workers(calls):
    """A refused key in a call with images of several workers ends all of these workers."""
    entries = ["item_error code=14", "403", "403"]
    plan = FaultPlan.by_item({f"gs://b/{worker}.jpg": entries for worker in range(4)})
    raised = []

    def work(worker):
        calls.enter()
        with pytest.raises(ApiError):
            ask(server, [f"gs://b/{worker}.jpg"])
        raised.append(worker)

    with FaultServer(plan) as server:
        threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()
    assert sorted(raised) == [0, 1, 2, 3]


def test_a_refusal_that_names_the_key_is_shown_without_it():
    """Google's message about a suspended key contains the key."""
    words = f"Permission denied: Consumer 'api_key:{KEY}' has been suspended."
    with (
        _Server({"error": {"code": 403, "message": words}}, 403) as server,
        pytest.raises(ApiError, match="has been suspended") as caught,
    ):
        ask(server, uris(1))
    chain, error = [], caught.value
    while error is not None:
        chain += [repr(error), str(error), str(vars(error))]
        error = error.__cause__ or error.__context__
    assert not [text for text in chain if KEY in text]


def _label(key):
    return {"labelAnnotations": [{"description": str(key)}]}


class _Server(FaultServer):
    """Answers every request with the same status and body."""

    def __init__(self, body, status):
        super().__init__(routes={"/v1/images:annotate": lambda _body: body})
        self._status = status

    def _route(self, *request):
        reply = super()._route(*request)
        return type(reply)(self._status, reply.body, fault=reply.fault)


def test_an_image_that_another_run_has_asked_about_is_not_asked_about_again(tmp_path):
    """Image by image, however they are packed; an image with an error is asked about again."""
    plan, found = FaultPlan.by_item({"gs://b/3.jpg": ["item_error code=3"] * 2}), []
    with FaultServer(plan) as server:
        for replays, order in ((False, uris(18)), (True, [*reversed(uris(18)), "gs://b/new.jpg"])):
            recording = Recording(tmp_path / "answers.db", replays=replays)
            calls = Calls(recording=recording)
            calls.enter()
            found.append(dict(zip(order, ask(server, order), strict=True)))
            recording.close()
        assert recording.num_replayed == 17
        assert calls.meter.units == 2
        assert server.calls_by_item["gs://b/3.jpg"] == 2
        assert server.calls_by_item.total() == 18 + 2
        assert all(found[1][uri].answer == found[0][uri].answer for uri in uris(18))

"""Fakes that a test writes in a line: a web API, Vision, and the fixtures of the pytest plugin."""

import pytest

from etlkit import ApiError, EtlBase, RowError
from etlkit.calls.http import HttpClient
from etlkit.testing import FakeHttp, FakeVision, FaultPlan, run_transform
from etlkit.vision import Feature, VisionEtl


@pytest.fixture
def api():
    """An API that tells a request back."""

    def tell(request):
        if request.path == "/broken":
            raise KeyError("x")
        if request.path == "/old":
            return 410, {"error": "gone"}
        if request.path == "/text":
            return 200, "plain", {"Content-Type": "text/csv", "X-Page": "2"}
        if request.path == "/none":
            return None
        return {
            "method": request.method,
            "path": request.path,
            "params": dict(request.params),
            "json": request.json,
        }

    with FakeHttp(tell) as server, HttpClient(server.url, service="api") as client:
        yield server, client


def test_a_handler_gets_the_request_as_it_came(api):
    """Method, decoded path, parameters, headers and body; all requests are kept."""
    server, client = api
    answer = client.post_json(
        "/a b/é", {"n": 1}, params={"q": "x y", "empty": ""}, headers={"X-Id": "7"}
    )
    assert answer == {
        "method": "POST",
        "path": "/a b/é",
        "params": {"q": "x y", "empty": ""},
        "json": {"n": 1},
    }
    (request,) = server.requests
    assert request.headers["x-id"] == "7"


def test_an_answer_may_be_a_status_a_text_or_nothing(api):
    """With headers of its own."""
    _, client = api
    answer = client.request("GET", "/text")
    assert (answer.body, answer.headers["Content-Type"], answer.headers["X-Page"]) == (
        b"plain",
        "text/csv",
        "2",
    )
    assert client.get_json("/none") is None
    assert client.request("GET", "/old", expect_status={410}).status == 410


def test_a_handler_that_fails_ends_the_call_at_once(api, caplog):
    """No retry for minutes; its traceback is in the log, so that the mistake in the test is found."""
    fake, client = api
    with pytest.raises(ApiError, match="501: the test's own handler failed"):
        client.get_json("/broken")
    assert [request.path for request in fake.requests] == ["/broken"]
    assert "KeyError" in caplog.text


class Objects(VisionEtl):
    client = "grpc"
    features = (Feature("OBJECT_LOCALIZATION"),)


def names_of(row):
    return [o["name"] for o in row["response"]["responses"][0]["localizedObjectAnnotations"]]


def test_vision_says_what_it_is_told(fake_vision, etl_run):
    """Names become objects, the surest first, over gRPC; images may be set in the test."""
    fake_vision.images = {"gs://b/1.jpg": ["Cat", "Sofa"], "gs://b/2.jpg": []}
    one, two = etl_run(Objects, [{"uri": "gs://b/1.jpg"}, {"uri": "gs://b/2.jpg"}])
    assert names_of(one) == ["Cat", "Sofa"]
    found = one["response"]["responses"][0]["localizedObjectAnnotations"]
    assert found[0]["score"] > found[1]["score"]
    assert "localizedObjectAnnotations" not in two["response"]["responses"][0] or not names_of(two)
    assert fake_vision.calls == 1


def test_vision_fails_for_an_image_as_it_is_told(fake_vision, etl_run):
    """With Vision's own code; an image that nobody spoke of is an error too, not an empty answer."""
    fake_vision.images = {"gs://b/1.jpg": {"error": {"code": 3, "message": "Bad image data."}}}
    with pytest.raises(RowError, match="Bad image data"):
        etl_run(Objects, [{"uri": "gs://b/1.jpg"}])
    with pytest.raises(RowError, match=r"was told nothing about gs://b/9\.jpg"):
        etl_run(Objects, [{"uri": "gs://b/9.jpg"}])


def test_vision_with_faults(monkeypatch):
    """A plan of a FaultServer goes with it."""
    with FakeVision(
        {"gs://b/1.jpg": ["Cat"]}, plan=FaultPlan.script(["429 retry-info=0.1"])
    ) as vision:
        for name, value in vision.environ.items():
            monkeypatch.setenv(name, value)
        (row,) = run_transform(Objects, [{"uri": "gs://b/1.jpg"}])
    assert names_of(row) == ["Cat"]
    assert vision.calls == 2


class Places(EtlBase):
    url = ""

    def before_action(self):
        self.api = HttpClient(self.url, service="places")

    def transform_row(self, row):
        return {**row, **self.api.post_json("/v1/place", row)}

    def after_action(self):
        self.api.close()


@pytest.mark.fault_server(
    FaultPlan.script(["503", "429 retry-after=20"]),
    routes={"/v1/place": lambda row: {"at": row["id"] * 2}},
)
def test_a_fault_server_of_a_marker(fault_server, etl_run):
    """The fixture takes the marker's arguments; `etl_run` skips the twenty seconds."""
    etl = Places()
    etl.url = fault_server.url
    assert etl_run(etl, [{"id": 4}]) == [{"id": 4, "at": 8}]
    assert fault_server.calls == 3

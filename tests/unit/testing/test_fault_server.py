import base64
import hashlib
import http.client
import json
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import grpc
import pytest
import requests
from google.auth.credentials import AnonymousCredentials
from google.cloud import vision
from google.cloud.vision_v1.services.image_annotator.transports import (
    ImageAnnotatorGrpcTransport,
    ImageAnnotatorRestTransport,
)
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from etlkit.testing import FaultPlan, FaultServer, fault_server

PATH = "/v1/images:annotate"
METHOD = "/google.cloud.vision.v1.ImageAnnotator/BatchAnnotateImages"
CAT, DOG = "gs://photos/cat.jpg", "gs://photos/dog.jpg"


def image(where: str | bytes, *features: str) -> dict[str, Any]:
    if isinstance(where, bytes):
        asked = {"content": base64.b64encode(where).decode()}
    else:
        asked = {"source": {"imageUri": where}}
    kinds = features or ("LABEL_DETECTION",)
    return {"image": asked, "features": [{"type": kind} for kind in kinds]}


def post(server: FaultServer, *images: str | bytes, **options: Any) -> requests.Response:
    body = {"requests": [image(where) for where in images]}
    return requests.post(server.url + PATH, json=body, timeout=options.pop("timeout", 30))


def labels(answer: requests.Response) -> list[str]:
    return [each["labelAnnotations"][0]["description"] for each in answer.json()["responses"]]


def ask_grpc(server: FaultServer, *uris: str, timeout: float = 30) -> Any:
    """One call of the official client, without its own retries."""
    with grpc.insecure_channel(server.grpc_endpoint) as channel:
        client = vision.ImageAnnotatorClient(transport=ImageAnnotatorGrpcTransport(channel=channel))
        wanted = [
            {"image": {"source": {"image_uri": uri}}, "features": [{"type_": 4}]} for uri in uris
        ]
        return client.batch_annotate_images(requests=wanted, retry=None, timeout=timeout)


def fail_grpc(server: FaultServer, uri: str = CAT, timeout: float = 30) -> grpc.Call:
    """The raw error of a call, with its trailing metadata."""
    asked = vision.AnnotateImageRequest(
        image={"source": {"image_uri": uri}}, features=[{"type_": 4}]
    )
    batch = vision.BatchAnnotateImagesRequest(requests=[asked])
    with grpc.insecure_channel(server.grpc_endpoint) as channel:
        call = channel.unary_unary(
            METHOD,
            vision.BatchAnnotateImagesRequest.serialize,
            vision.BatchAnnotateImagesResponse.deserialize,
        )
        with pytest.raises(grpc.RpcError) as caught:
            call(batch, timeout=timeout)
    return caught.value


@contextmanager
def raw_post(server: FaultServer, uri: str = CAT) -> Iterator[socket.socket]:
    """A call whose answer is read byte by byte."""
    body = json.dumps({"requests": [image(uri)]}).encode()
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        yield connection


def read_to_end(connection: socket.socket, into: bytearray) -> None:
    while part := connection.recv(1000):
        into += part


def own_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("etlkit-fault")]


def test_the_example_of_the_module_runs():
    """The docstring's example is right."""
    exec(fault_server.__doc__.split("```python")[1].split("```")[0], {})  # noqa: S102


def test_without_a_plan_everything_is_answered():
    """Each image gets the label made from the key under which it is counted."""
    with FaultServer() as server:
        data = b"some bytes"
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        answer = post(server, CAT, data, CAT)
        wanted = [FaultServer.label_of(key) for key in (CAT, digest, CAT)]
        assert labels(answer) == wanted
        responses = ask_grpc(server, DOG, CAT).responses
        found = [each.label_annotations[0].description for each in responses]
        assert found == [FaultServer.label_of(DOG), FaultServer.label_of(CAT)]
        assert server.calls == 2
        assert server.calls_by_item == Counter({CAT: 3, DOG: 1, digest: 1})
        assert server.answers_by_item == server.calls_by_item
        assert server.faults == Counter()


def test_the_official_client_works_over_both_transports():
    """A test's own answer is the same over gRPC and REST."""

    def answer(item):
        name = f"{item.uri} {item.content!r} {item.features}"
        return {"localizedObjectAnnotations": [{"name": name, "score": 0.5}]}

    with FaultServer(answer=answer) as server:
        rest = ImageAnnotatorRestTransport(
            host=server.url.removeprefix("http://"),
            url_scheme="http",
            credentials=AnonymousCredentials(),
        )
        channel = grpc.insecure_channel(server.grpc_endpoint)
        asked = [
            {"image": {"source": {"gcs_image_uri": CAT}}, "features": [{"type_": 19}]},
            {"image": {"content": b"\xff\xd8"}, "features": [{"type_": 4}, {"type_": 7}]},
        ]
        for transport in (rest, ImageAnnotatorGrpcTransport(channel=channel)):
            with vision.ImageAnnotatorClient(transport=transport) as client:
                responses = client.batch_annotate_images(requests=asked).responses
            assert [each.localized_object_annotations[0].name for each in responses] == [
                f"{CAT} b'' ('OBJECT_LOCALIZATION',)",
                r" b'\xff\xd8' ('LABEL_DETECTION', 'IMAGE_PROPERTIES')",
            ]


def test_the_default_answer_has_what_was_asked_for():
    """The default answer has labels, objects, or neither."""
    with FaultServer() as server:
        body = {
            "requests": [
                image(CAT, "LABEL_DETECTION", "OBJECT_LOCALIZATION"),
                image(CAT, "OBJECT_LOCALIZATION"),
                image(CAT, "FACE_DETECTION"),
            ]
        }
        answers = requests.post(server.url + PATH, json=body, timeout=30).json()["responses"]
    assert [sorted(answer) for answer in answers] == [
        ["labelAnnotations", "localizedObjectAnnotations"],
        ["localizedObjectAnnotations"],
        [],
    ]
    assert answers[1]["localizedObjectAnnotations"][0]["name"] == FaultServer.label_of(CAT)


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (400, "INVALID_ARGUMENT"),
        (401, "UNAUTHENTICATED"),
        (403, "PERMISSION_DENIED"),
        (429, "RESOURCE_EXHAUSTED"),
        (500, "INTERNAL"),
        (502, "UNAVAILABLE"),
        (503, "UNAVAILABLE"),
        (504, "DEADLINE_EXCEEDED"),
    ],
)
def test_a_status_is_googles_error_over_both_protocols(status, name):
    """The error body over HTTP, the corresponding code over gRPC, and then answers."""
    with FaultServer(FaultPlan.script([str(status)] * 2)) as server:
        answer = post(server, CAT)
        assert answer.status_code == status
        error = answer.json()["error"]
        assert (error["code"], error["status"]) == (status, name)
        assert "Retry-After" not in answer.headers
        assert "details" not in error
        failed = fail_grpc(server)
        assert failed.code() is getattr(grpc.StatusCode, name)
        assert failed.details() == error["message"]
        assert labels(post(server, CAT)) == [FaultServer.label_of(CAT)]
        assert server.faults == {str(status): 2}
        assert (server.calls, server.calls_by_item) == (3, {CAT: 3})
        assert server.answers_by_item == {CAT: 1}


def test_hints_come_in_all_forms_of_http():
    """Whole seconds (rounded up), a date, or `RetryInfo`."""
    script = ["429 retry-after=0.2", "503 retry-after-date=30", "429 retry-info=0.25"]
    with FaultServer(FaultPlan.script(script)) as server:
        before = datetime.now(UTC)
        seconds, date, info = (post(server, CAT) for _ in script)
    assert seconds.headers["Retry-After"] == "1"
    assert parsedate_to_datetime(date.headers["Retry-After"]) > before
    assert "Retry-After" not in info.headers
    assert info.json()["error"]["details"] == [
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.250s"}
    ]


@pytest.mark.parametrize("hint", ["retry-info=1.5", "retry-after=1.5", "retry-after-date=1.5"])
def test_over_grpc_every_hint_is_retry_info(hint):
    """The trailing metadata have it under both keys that Google's servers use."""
    with FaultServer(FaultPlan.script([f"429 {hint}"])) as server:
        failed = fail_grpc(server)
    metadata = dict(failed.trailing_metadata())
    info = RetryInfo.FromString(metadata["google.rpc.retryinfo-bin"])
    assert info.retry_delay.ToMilliseconds() == 1500
    status = Status.FromString(metadata["grpc-status-details-bin"])
    assert (status.code, status.message) == (8, failed.details())
    packed = RetryInfo()
    assert status.details[0].Unpack(packed)
    assert packed == info


def test_a_hang_lasts_until_the_client_gives_up():
    """No byte is sent, the next call is answered, and no thread remains."""
    with FaultServer(FaultPlan.script(["hang", "hang"])) as server:
        with pytest.raises(requests.ReadTimeout):
            post(server, CAT, timeout=0.2)
        failed = fail_grpc(server, timeout=0.2)
        assert failed.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert labels(post(server, CAT)) == [FaultServer.label_of(CAT)]
        assert server.faults == {"hang": 2}
    assert own_threads() == []


def test_a_hang_ends_with_the_server(until):
    """`close` ends calls that hang over both protocols, and all threads."""
    plan = FaultPlan.script(["hang"] * 4)
    with ThreadPoolExecutor(4) as pool:
        with FaultServer(plan) as server:
            over_http = [pool.submit(post, server, CAT) for _ in range(2)]
            over_grpc = [pool.submit(ask_grpc, server, CAT) for _ in range(2)]
            until(lambda: server.calls == 4)
            assert server.max_in_flight == 4
        for call in over_http:
            assert isinstance(call.exception(20), requests.ConnectionError)
        for call in over_grpc:
            assert call.exception(20).grpc_status_code in {
                grpc.StatusCode.UNAVAILABLE,
                grpc.StatusCode.CANCELLED,
            }
    assert own_threads() == []


def test_a_connection_ends_without_an_answer():
    """No byte is sent, and the connection ends in order, as when a server stops."""
    with FaultServer(FaultPlan.script(["disconnect", "disconnect"])) as server:
        with raw_post(server) as connection:
            assert connection.recv(1000) == b""
        failed = fail_grpc(server)
        assert failed.code() is grpc.StatusCode.UNAVAILABLE
        assert "Socket closed" in failed.details()
        assert server.faults == {"disconnect": 2}


def test_a_reset_comes_in_the_middle_of_the_answer():
    """The client gets at most a part of the body, and then a reset."""
    with FaultServer(FaultPlan.script(["reset", "reset", "reset"])) as server:
        received = bytearray()
        with raw_post(server) as connection, pytest.raises(ConnectionResetError):
            read_to_end(connection, received)
        assert not received.endswith(b"}")
        with pytest.raises(requests.RequestException):
            post(server, CAT)
        failed = fail_grpc(server)
        assert failed.code() is grpc.StatusCode.UNAVAILABLE
        assert "reset by peer" in failed.details()
        assert server.faults == {"reset": 3}
        assert server.answers_by_item == {}


def test_a_truncated_answer_ends_early():
    """Half the body and the end of the connection; over gRPC half a message, which cannot be read."""
    with FaultServer(FaultPlan.script(["truncate", "truncate"])) as server:
        host = server.url.removeprefix("http://")
        connection = http.client.HTTPConnection(host, timeout=30)
        connection.request("POST", PATH, json.dumps({"requests": [image(CAT)]}))
        answer = connection.getresponse()
        assert answer.status == 200
        with pytest.raises(http.client.IncompleteRead) as caught:
            answer.read()
        connection.close()
        assert caught.value.partial.startswith(b'{"responses"')
        assert caught.value.expected > 0
        assert fail_grpc(server).code() is grpc.StatusCode.INTERNAL
        assert server.faults == {"truncate": 2}


def test_a_page_instead_of_json():
    """A proxy's page, with its status or with 200."""
    with FaultServer(FaultPlan.script(["html", "html status=200", "html"])) as server:
        bad, good = post(server, CAT), post(server, CAT)
        assert (bad.status_code, good.status_code) == (502, 200)
        for answer in (bad, good):
            assert answer.headers["Content-Type"].startswith("text/html")
            assert answer.text.startswith("<!DOCTYPE html>")
        failed = fail_grpc(server)
        assert failed.code() is grpc.StatusCode.UNAVAILABLE
        assert "status: 502" in failed.details()


def test_a_drip_is_an_answer_in_single_bytes():
    """A client that waits gets the whole answer, and one that gives up does no harm."""
    plan = FaultPlan.script(["drip every=0", "drip every=3600", "drip"])
    with FaultServer(plan) as server:
        assert labels(post(server, CAT)) == [FaultServer.label_of(CAT)]
        with raw_post(server) as connection:
            assert connection.recv(1000) == b"H"
        assert fail_grpc(server, timeout=0.2).code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert server.faults == {"drip": 3}
    assert own_threads() == []


def test_an_item_fails_alone():
    """The item's answer is an error with the API's message, over both protocols."""
    web = "https://example.com/a.jpg"
    script = ["item_error at=1", "item_error at=2 code=3", "item_error at=1"]
    with FaultServer(FaultPlan.script(script)) as server:
        first = post(server, CAT, DOG, web).json()["responses"]
        assert [answer.get("error") for answer in first] == [
            None,
            {"code": 14, "message": "The service is currently unavailable."},
            None,
        ]
        second = post(server, CAT, DOG, web).json()["responses"]
        assert [answer.get("error") for answer in second] == [
            None,
            None,
            {"code": 3, "message": "Bad image data."},
        ]
        third = ask_grpc(server, CAT, web).responses
        assert third[0].label_annotations[0].description == FaultServer.label_of(CAT)
        assert third[1].error.code == 14
        assert third[1].error.message == (
            "We can not access the URL currently. Please download the content and pass it in."
        )
        assert server.faults == {"item_error": 3}
        assert server.answers_by_item == {CAT: 3, DOG: 1, web: 1}


def test_a_script_for_each_item_holds_in_any_order():
    """An item gets its own faults, alone or packed with others."""
    plan = FaultPlan.by_item({CAT: ["503", "item_error", "ok"], DOG: ["ok", "item_error code=3"]})
    with FaultServer(plan) as server:
        assert post(server, DOG).status_code == 200
        assert post(server, CAT).status_code == 503
        cat, dog = post(server, CAT, DOG).json()["responses"]
        assert (cat["error"]["code"], dog["error"]["code"]) == (14, 3)
        assert labels(post(server, CAT, DOG)) == [FaultServer.label_of(k) for k in (CAT, DOG)]


SEEDED = FaultPlan.seeded(
    7, http_429=0.2, http_5xx=0.1, html=0.05, item_error=0.1, item_refused=0.05
)


def outcomes(uris: list[str], num_threads: int) -> dict[str, list[str]]:
    """The result of each of three attempts of each call."""

    def story(uri: str) -> list[str]:
        seen = []
        for _ in range(3):
            answer = post(server, uri)
            page = answer.headers["Content-Type"].startswith("text")
            error = {} if page else answer.json().get("responses", [{}])[0].get("error", {})
            hint = answer.headers.get("Retry-After", "")
            seen.append(f"{answer.status_code} {page} {error.get('code')} {len(hint)}")
        return seen

    with FaultServer(SEEDED) as server, ThreadPoolExecutor(num_threads) as pool:
        return dict(zip(uris, pool.map(story, uris), strict=True))


def test_a_seed_gives_the_same_faults_in_any_order_of_threads():
    """One thread forwards or eight threads backwards: each attempt of each item gets the same fault."""
    uris = [f"gs://photos/{n}.jpg" for n in range(60)]
    forwards, backwards = outcomes(uris, 1), outcomes(uris[::-1], 8)
    assert forwards == backwards
    assert len({outcome for story in forwards.values() for outcome in story}) >= 6


def test_a_seed_keeps_the_shares():
    """Of 20,000 calls the right share has each fault; another seed affects other calls."""
    shares = {"http_429": 0.1, "http_5xx": 0.05, "hang": 0.02, "disconnect": 0.01, "reset": 0.01}
    plan = FaultPlan.seeded(1, **shares, item_error=0.03, item_refused=0.01)
    calls = [plan.for_call(0 + 1, (str(n), 1), []) for n in range(20_000)]
    kinds = Counter("5xx" if fault.name[0] == "5" else fault.name for fault in calls)
    for name, share in shares.items():
        assert kinds[name.removeprefix("http_")] / 20_000 == pytest.approx(share, rel=0.15)
    hints = Counter(
        (fault.retry_after_s, fault.retry_after_date_s, fault.retry_info_s)
        for fault in calls
        if fault.name == "429"
    )
    assert len(hints) == 3
    items = Counter(fault.code for n in range(20_000) if (fault := plan.for_item(str(n), 1)))
    assert items[14] / 20_000 == pytest.approx(0.03, rel=0.15)
    assert items[3] / 20_000 == pytest.approx(0.01, rel=0.15)
    other = FaultPlan.seeded(2, **shares)
    assert [other.for_call(1, (str(n), 1), []).name for n in range(200)] != [
        fault.name for fault in calls[:200]
    ]


def test_a_refused_item_is_refused_each_time():
    """`item_refused` is about the item, `item_error` about the attempt."""
    plan = FaultPlan.seeded(3, item_error=0.5, item_refused=0.2)
    refused = [
        {fault.code if (fault := plan.for_item(str(n), attempt)) else 0 for attempt in range(1, 9)}
        for n in range(100)
    ]
    assert {3} in refused
    assert {0, 14} in refused
    assert not any(3 in codes and len(codes) > 1 for codes in refused)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FaultPlan.script(["teapot"]), "start with one of ok, hang, disconnect, reset"),
        (lambda: FaultPlan.script(["200"]), "a status of 400-599"),
        (lambda: FaultPlan.script([""]), "start with one of"),
        (lambda: FaultPlan.script(["429 retry=1"]), "'retry=1' is not an option"),
        (lambda: FaultPlan.script(["429 retry-after=soon"]), "write NAME=NUMBER"),
        (lambda: FaultPlan.by_item({CAT: ["nothing"]}), "start with one of"),
        (lambda: FaultPlan.seeded(1, hang=1.5), "shares of faults are 0.0-1.0"),
        (lambda: FaultPlan.seeded(1, hang=0.6, reset=0.6), "also in sum; got 1.2"),
        (lambda: FaultPlan.seeded(1, hints=["later"]), "choose from retry-after"),
        (lambda: FaultServer(quota="many"), "quota 'many': write a number"),
        (lambda: FaultServer(quota="0/min"), "quota '0/min'"),
    ],
)
def test_an_invalid_plan_is_refused(make, message):
    """The message lists what is allowed."""
    from etlkit import ConfigError

    with pytest.raises(ConfigError, match=message):
        make()
    assert own_threads() == []


def test_a_quota_refuses_calls_until_its_window_ends():
    """A call over the quota gets 429 with a hint, and is not an attempt in the plan."""
    with FaultServer(FaultPlan.by_item({DOG: ["503"]}), quota="2/h") as server:
        assert [post(server, CAT).status_code for _ in range(3)] == [200, 200, 429]
        answer = post(server, DOG)
        error = answer.json()["error"]
        assert error["status"] == "RESOURCE_EXHAUSTED"
        assert 3000 < int(answer.headers["Retry-After"]) <= 3600
        assert error["details"][0]["@type"].endswith("RetryInfo")
        assert fail_grpc(server).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert server.faults == {"quota": 3}


def test_a_window_of_a_quota_begins_with_a_call():
    """A window begins with the first call after the last window's end."""
    from etlkit.testing.fault_handler import Quota

    quota = Quota("2/min")
    assert [quota.wait_s(now) for now in (100, 110, 120, 159, 160, 161)] == [0, 0, 40, 1, 0, 0]
    assert quota.wait_s(162) == 58


def test_an_outage_begins_after_a_number_of_calls():
    """Every call over both protocols gets 503 until the outage ends."""
    with FaultServer(outage_after=1, outage_s=3600) as server:
        assert [post(server, CAT).status_code for _ in range(3)] == [200, 503, 503]
        assert fail_grpc(server).code() is grpc.StatusCode.UNAVAILABLE
        server.come_up()
        assert post(server, CAT).status_code == 200
        assert server.faults == {"outage": 3}
        server.go_down()
        assert post(server, CAT).status_code == 503


def test_an_outage_ends_by_itself(until):
    """Calls are answered again after its duration."""
    with FaultServer(outage_s=0.05) as server:
        assert post(server, CAT).status_code == 503
        until(lambda: post(server, CAT).status_code == 200)
        assert server.faults["outage"] == server.calls - 1


@pytest.fixture
def geocoder() -> Iterator[FaultServer]:
    """A JSON API beside Vision."""
    plan = FaultPlan.by_item({"a": ["429 retry-after=1"], "b": ["item_error code=3"]})
    routes = {"/v1/geocode": lambda body: {"place": body["id"].upper()}}
    with FaultServer(plan, routes=routes, item_key=lambda body: body["id"]) as server:
        yield server


def test_any_json_path_can_be_served(geocoder):
    """A handler answers with the same faults, and calls are counted by the key of the body."""
    url = geocoder.url + "/v1/geocode?key=x"

    def ask(name: str) -> requests.Response:
        return requests.post(url, json={"id": name}, timeout=30)

    assert [ask("a").status_code for _ in range(2)] == [429, 200]
    assert ask("a").json() == {"place": "A"}
    assert [ask("b").status_code for _ in range(2)] == [400, 200]
    assert geocoder.calls_by_item == {"a": 3, "b": 2}
    assert post(geocoder, CAT).status_code == 200


def test_a_handler_that_raises_is_seen(geocoder, caplog):
    """A handler that raises gives a 500 that says so, with a traceback in the log."""
    answer = requests.post(geocoder.url + "/v1/geocode", json={"id": 7}, timeout=30)
    assert answer.status_code == 500
    assert "handler raised" in answer.json()["error"]["message"]
    assert "AttributeError" in caplog.text


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "Invalid JSON payload"),
        (b"[1]", "Invalid JSON payload"),
        (b'{"requests": [{}]}', "Invalid JSON payload"),
        (json.dumps({"requests": [image(CAT)] * 17}).encode(), "Too many images per request."),
        (json.dumps({"requests": [image("")]}).encode(), "must specify image and features"),
        (b" " * (10 * 1024 * 1024 + 1), "Request payload size exceeds the limit: 10485760 bytes."),
    ],
    ids=["cut", "list", "empty", "17", "no image", "large"],
)
def test_what_vision_refuses_is_refused(body, message):
    """The limits of the real API apply, so that wrong packing is noticed."""
    with FaultServer() as server:
        answer = requests.post(server.url + PATH, data=body, timeout=30)
        assert answer.status_code == 400
        assert message in answer.json()["error"]["message"]
        assert server.calls_by_item == {}


def test_too_many_images_are_refused_over_grpc():
    """The limit and its message are the same."""
    with FaultServer() as server, pytest.raises(Exception, match="Too many images") as caught:
        ask_grpc(server, *[CAT] * 17)
    assert caught.value.grpc_status_code is grpc.StatusCode.INVALID_ARGUMENT


def test_other_paths_say_what_is_there(geocoder):
    """An unknown path or a GET gets a 404 that names the paths."""
    for answer in (
        requests.get(geocoder.url + PATH, timeout=30),
        requests.post(geocoder.url + "/v1/other", json={}, timeout=30),
    ):
        assert answer.status_code == 404
        assert "/v1/images:annotate, /v1/geocode" in answer.json()["error"]["message"]


def test_connections_are_kept_and_bodies_may_come_in_chunks():
    """Many calls use one connection, and one of them has no length."""
    with FaultServer() as server, requests.Session() as session:
        body = json.dumps({"requests": [image(CAT)]}).encode()
        for data in (body, (part for part in (body[:10], body[10:])), body):
            answer = session.post(server.url + PATH, data=data, timeout=30)
            assert labels(answer) == [FaultServer.label_of(CAT)]
        (pool,) = session.adapters["http://"].poolmanager.pools._container.values()
        assert pool.num_connections == 1


def test_latency_delays_answers_side_by_side():
    """Calls wait together, not one after the other."""
    with FaultServer(latency_s=0.3) as server, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: post(server, f"gs://b/{n}"), range(8)))
        assert all(answer.ok for answer in answers)
        assert server.max_in_flight > 1


def test_counts_are_exact_under_many_threads():
    """No call is lost from a count."""
    with FaultServer() as server, ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: post(server, f"gs://b/{n % 10}", CAT), range(200)))
        assert server.calls == 200
        assert server.calls_by_item == {CAT: 200, **{f"gs://b/{n}": 20 for n in range(10)}}


def test_a_server_may_be_closed_twice():
    """A second `close` does nothing, and the counts stay."""
    with FaultServer() as server:
        post(server, CAT)
        server.close()
    assert server.calls == 1
    assert own_threads() == []


def test_bytes_that_are_not_http_end_the_connection(caplog):
    """Bytes that are not a request end only their connection, without a log record."""
    with FaultServer() as server:
        host, port = server.url.removeprefix("http://").split(":")
        for rubbish in (b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"\0" * 100_000):
            with socket.create_connection((host, int(port)), timeout=30) as connection:
                connection.sendall(rubbish)
                connection.shutdown(socket.SHUT_WR)
                assert connection.recv(10) == b""
        assert post(server, CAT).status_code == 200
    assert caplog.records == []


def test_a_route_gets_the_parameters_of_a_get():
    """As texts; None = there are none. A body comes before them."""
    asked = []
    with FaultServer(routes={"/v1/x": lambda given: asked.append(given) or {"n": 1}}) as server:
        url = f"{server.url}/v1/x"
        assert requests.get(url, params={"a b": "é", "n": 1}, timeout=30).json() == {"n": 1}
        requests.get(url, timeout=30)
        requests.post(f"{url}?q=1", json=[1], timeout=30)
        requests.delete(url, params={"q": 2}, timeout=30)
    assert asked == [{"a b": "é", "n": "1"}, None, [1], {"q": "2"}]

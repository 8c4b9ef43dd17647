import asyncio
import io
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import uvicorn
from google.api_core.exceptions import InternalServerError, InvalidArgument, MethodNotImplemented
from google.auth.credentials import AnonymousCredentials
from google.cloud import vision
from google.cloud.vision_v1.services.image_annotator.transports import (
    ImageAnnotatorGrpcTransport,
    ImageAnnotatorRestTransport,
)
from PIL import Image

from etlkit.local.vision import annotator
from etlkit.local.vision.app import create_app
from etlkit.local.vision.grpc_server import start_grpc
from etlkit.local.vision.service import VisionService

PHOTOS = Path(__file__).parents[4] / "photos"
LABELS = vision.Feature(type_=vision.Feature.Type.LABEL_DETECTION)
OBJECTS = vision.Feature(type_=vision.Feature.Type.OBJECT_LOCALIZATION)
MIB = 1024 * 1024


@dataclass(frozen=True)
class Served:
    rest: str
    grpc: str


@contextmanager
def served(root: Path) -> Iterator[Served]:
    """Run both protocols over one service on one event loop, as the local server does."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def run(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(60)

    service = VisionService(root)
    app = uvicorn.Server(
        uvicorn.Config(create_app(service), port=0, log_config=None, lifespan="off")
    )

    async def start() -> tuple[Any, int, asyncio.Task]:
        server, port = await start_grpc(service)
        task = asyncio.create_task(app.serve())
        while not app.started:
            assert not task.done()
            await asyncio.sleep(0.01)
        return server, port, task

    async def stop(server: Any, task: asyncio.Task) -> None:
        await server.stop(grace=5)
        app.should_exit = True
        await task

    server, port, task = run(start())
    try:
        rest_port = app.servers[0].sockets[0].getsockname()[1]
        yield Served(f"http://127.0.0.1:{rest_port}", f"127.0.0.1:{port}")
    finally:
        run(stop(server, task))
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()


@pytest.fixture(scope="module")
def endpoints(root: Path) -> Iterator[Served]:
    with served(root) as addresses:
        yield addresses


@contextmanager
def grpc_client(address: str) -> Iterator[vision.ImageAnnotatorClient]:
    options = [("grpc.max_send_message_length", -1)]
    channel = grpc.insecure_channel(address, options)
    transport = ImageAnnotatorGrpcTransport(channel=channel)
    with channel:
        yield vision.ImageAnnotatorClient(transport=transport)


@contextmanager
def rest_client(url: str) -> Iterator[vision.ImageAnnotatorClient]:
    transport = ImageAnnotatorRestTransport(
        host=url.removeprefix("http://"), url_scheme="http", credentials=AnonymousCredentials()
    )
    client = vision.ImageAnnotatorClient(transport=transport)
    with client:
        yield client


@pytest.fixture(scope="module")
def over_grpc(endpoints) -> Iterator[vision.ImageAnnotatorClient]:
    with grpc_client(endpoints.grpc) as client:
        yield client


@pytest.fixture(scope="module")
def clients(endpoints, over_grpc) -> Iterator[dict[str, vision.ImageAnnotatorClient]]:
    """The official client, over each of its two transports."""
    with ExitStack() as stack:
        yield {
            "grpc": over_grpc,
            "rest": stack.enter_context(rest_client(endpoints.rest)),
        }


def asked(image: str | bytes, *features: vision.Feature, **context: Any) -> dict[str, Any]:
    source = {"content": image} if isinstance(image, bytes) else {"source": {"image_uri": image}}
    return {"image": source, "features": list(features), "image_context": context or None}


def photo(name: str) -> str:
    return f"gs://photos/{name}"


def test_one_client_sees_the_same_over_both_protocols(clients):
    """Both protocols give equal answers, for good and bad images, by address and by content."""
    requests = [
        asked(photo("chelsea.jpg"), LABELS, OBJECTS),
        asked(photo("note.jpg"), LABELS),
        asked(photo("gone.jpg"), LABELS),
        asked("https://example.com/a.jpg", LABELS),
        asked((PHOTOS / "coffee.jpg").read_bytes(), OBJECTS),
        asked(photo("rocket.jpg"), vision.Feature(type_=vision.Feature.Type.FACE_DETECTION)),
        asked(
            photo("chelsea.jpg"),
            vision.Feature(type_=vision.Feature.Type.IMAGE_PROPERTIES, max_results=3),
            vision.Feature(type_=vision.Feature.Type.CROP_HINTS),
            crop_hints_params={"aspect_ratios": [0.5, 2.0]},
        ),
    ]
    answers = {
        name: client.batch_annotate_images(requests=requests, retry=None)
        for name, client in clients.items()
    }
    assert answers["grpc"] == answers["rest"]
    responses = answers["grpc"].responses
    assert responses[0].localized_object_annotations[0].name == "Cat"
    assert "cat" in {label.description for label in responses[0].label_annotations}
    assert responses[4].localized_object_annotations[0].name == "Coffee cup"
    assert [answer.error.code for answer in responses] == [0, 3, 5, 7, 0, 12, 0]
    assert responses[1].error.message == "Bad image data."
    assert len(responses[6].image_properties_annotation.dominant_colors.colors) == 3
    assert len(responses[6].crop_hints_annotation.crop_hints) == 2


def test_the_clients_own_helpers_work(over_grpc):
    """`label_detection` of the client library works with an image in a bucket."""
    image = vision.Image(source=vision.ImageSource(gcs_image_uri=photo("chelsea.jpg")))
    answer = over_grpc.label_detection(image=image, max_results=2)
    assert len(answer.label_annotations) == 2
    assert answer.label_annotations[0].score > 0.9


def test_sixteen_packed_images_are_answered_in_order(over_grpc):
    """Sixteen images, the limit of the API, are answered in order."""
    names = ["chelsea.jpg", "coffee.jpg", "astronaut.jpg", "rocket.jpg"] * 4
    requests = [asked(photo(name), OBJECTS) for name in names]
    responses = over_grpc.batch_annotate_images(requests=requests).responses
    found = [[thing.name for thing in answer.localized_object_annotations] for answer in responses]
    assert found == [["Cat"], ["Coffee cup"], ["Person"], []] * 4


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
@pytest.mark.parametrize(
    ("requests", "message"),
    [
        ([asked(photo("chelsea.jpg"), OBJECTS)] * 17, "Too many images per request."),
        ([asked(photo("chelsea.jpg"))], "Request must specify image and features."),
        ([asked(b"", OBJECTS)], "Request must specify image and features."),
        (
            [
                {
                    "image": {"content": b"x", "source": {"image_uri": photo("chelsea.jpg")}},
                    "features": [OBJECTS],
                }
            ],
            "Only one of image content and uri should be specified.",
        ),
        (
            [asked(photo("chelsea.jpg"), vision.Feature(type_=4, max_results=-1))],
            "Feature LABEL_DETECTION has a negative max_results: -1.",
        ),
        (
            [asked(b"x" * (10 * MIB + 1), OBJECTS)],
            "Request payload size exceeds the limit: 10485760 bytes.",
        ),
    ],
    ids=["17 images", "no features", "no image", "both", "negative", "too large"],
)
def test_a_request_is_refused_with_the_same_message(clients, protocol, requests, message):
    """A request that is wrong as a whole is INVALID_ARGUMENT over both protocols."""
    with pytest.raises(Exception, match=message) as caught:
        clients[protocol].batch_annotate_images(requests=requests, retry=None)
    assert caught.value.code == 400
    if protocol == "grpc":
        assert isinstance(caught.value, InvalidArgument)
        assert caught.value.message == message


def test_no_images_is_an_empty_answer(over_grpc):
    """A request without images gets an empty answer."""
    assert list(over_grpc.batch_annotate_images(requests=[]).responses) == []


def test_other_methods_name_the_supported_one(over_grpc):
    """Other methods are UNIMPLEMENTED; the message names the supported one."""
    with pytest.raises(MethodNotImplemented, match="BatchAnnotateImages"):
        over_grpc.batch_annotate_files(requests=[])


def test_bytes_that_are_not_a_request_are_refused(endpoints):
    """Bytes that are not a request are INVALID_ARGUMENT, not an error of the server."""
    with grpc.insecure_channel(endpoints.grpc) as channel:
        call = channel.unary_unary("/google.cloud.vision.v1.ImageAnnotator/BatchAnnotateImages")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"\xff\xff\xff", timeout=60)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_an_internal_error_has_no_text_of_its_own(root, monkeypatch, caplog):
    """An unexpected exception is INTERNAL, as with Google; only the server's log has its text."""

    def fail(self, request):
        raise RuntimeError("inside")

    monkeypatch.setattr(annotator.Annotator, "annotate", fail)
    with (
        served(root) as addresses,
        grpc_client(addresses.grpc) as client,
        pytest.raises(InternalServerError) as caught,
    ):
        client.batch_annotate_images(requests=[asked(photo("chelsea.jpg"), LABELS)], retry=None)
    assert caught.value.message == "Internal error encountered."
    assert "inside" in caplog.text


def test_the_server_still_answers_after_a_call_was_cancelled(over_grpc, clients):
    """A call ends at its deadline, and the next call is answered."""
    large = io.BytesIO()
    Image.new("RGB", (4000, 4000)).save(large, "PNG")
    with pytest.raises(Exception, match="Deadline"):
        over_grpc.batch_annotate_images(
            requests=[asked(large.getvalue(), LABELS)] * 16, retry=None, timeout=0.001
        )
    (answer,) = over_grpc.batch_annotate_images(
        requests=[asked(photo("chelsea.jpg"), OBJECTS)]
    ).responses
    assert answer.localized_object_annotations[0].name == "Cat"

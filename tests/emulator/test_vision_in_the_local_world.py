import os
from pathlib import Path

import grpc
import pytest
from google.cloud import vision
from google.cloud.vision_v1.services.image_annotator.transports import ImageAnnotatorGrpcTransport

from etlkit.local.buckets import Buckets
from etlkit.runner import local_world

PHOTOS = Path(__file__).parents[2] / "photos"
VARIABLES = ("ETLKIT_VISION_ENDPOINT", "ETLKIT_VISION_GRPC_ENDPOINT")


@pytest.fixture(autouse=True)
def _no_endpoints(monkeypatch):
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


def test_googles_client_finds_the_cat_over_grpc(local_server):
    """The address in the environment is that of the local Vision, which reads the local buckets."""
    Buckets(local_server.local_dir / "buckets").put([PHOTOS / "chelsea.jpg"], "gs://cats/")
    image = vision.Image(source=vision.ImageSource(image_uri="gs://cats/chelsea.jpg"))
    with local_world(local_server.local_dir):
        channel = grpc.insecure_channel(os.environ["ETLKIT_VISION_GRPC_ENDPOINT"])
        token = [("x-goog-api-key", os.environ["ETLKIT_LOCAL_TOKEN"])]
    with channel:
        client = vision.ImageAnnotatorClient(transport=ImageAnnotatorGrpcTransport(channel=channel))
        answer = client.object_localization(image=image, metadata=token)
    assert [thing.name for thing in answer.localized_object_annotations] == ["Cat"]


@pytest.mark.parametrize("variable", VARIABLES)
def test_an_address_that_is_set_already_stays(local_server, monkeypatch, variable):
    """An address that is set already stays; the other protocol goes to the local Vision."""
    (other,) = set(VARIABLES) - {variable}
    monkeypatch.setenv(variable, "127.0.0.1:1")
    with local_world(local_server.local_dir):
        assert os.environ[variable] == "127.0.0.1:1"
        assert os.environ[other] == local_server.endpoints.environ()[other]
    assert os.environ[variable] == "127.0.0.1:1"
    assert other not in os.environ

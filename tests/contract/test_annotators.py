"""All clients of Vision keep the same promises and give the same answers, byte for byte."""

import json
import shutil
from pathlib import Path

import pytest

from etlkit import ApiError, ConfigError, ImageError
from etlkit.local import join_or_start
from etlkit.testing import FaultPlan, FaultServer
from etlkit.vision import ClientAnnotator, Feature, ImageRequest, RestAnnotator
from etlkit.vision.endpoint import grpc_endpoint, rest_endpoint

PHOTOS = Path(__file__).parents[2] / "photos"
LABELS = (Feature("LABEL_DETECTION", max_results=3),)
BOTH = (Feature("LABEL_DETECTION"), Feature("OBJECT_LOCALIZATION", max_results=2))
KINDS = ["rest", "grpc", "grpc-rest"]

# One of everything that coding could change: floats, zeros, enums, empty messages, whole numbers.
RICH = {
    "faceAnnotations": [
        {
            "boundingPoly": {"vertices": [{"x": 3}, {"y": 7}]},
            "landmarks": [{"type": "LEFT_EYE", "position": {"x": 1.5, "z": -0.25}}],
            "detectionConfidence": 0.8765432,
            "joyLikelihood": "VERY_LIKELY",
        }
    ],
    "landmarkAnnotations": [
        {"mid": "/m/1", "locations": [{"latLng": {"latitude": 35.658580123, "longitude": 139.7}}]}
    ],
    "logoAnnotations": [{"description": "etl 東京", "score": 0.1}],
    "localizedObjectAnnotations": [
        {
            "name": "Cat",
            "score": 0.8512345,
            "boundingPoly": {"normalizedVertices": [{}, {"x": 1}, {"x": 1, "y": 0.33}]},
        }
    ],
    "textAnnotations": [{"locale": "ja", "description": "UNKNOWN\nline"}],
    "fullTextAnnotation": {
        "pages": [{"width": 640, "blocks": [{"blockType": "TEXT", "confidence": 0.5}]}],
        "text": "UNKNOWN\nline",
    },
    "safeSearchAnnotation": {"adult": "VERY_UNLIKELY", "racy": "POSSIBLE"},
    "imagePropertiesAnnotation": {
        "dominantColors": {"colors": [{"color": {"red": 12, "blue": 0.5}, "score": 0.25}]}
    },
    "cropHintsAnnotation": {"cropHints": [{"confidence": 0.79999995, "importanceFraction": 1}]},
    "webDetection": {"webEntities": [{"entityId": "/m/2", "score": 1.4234}]},
    "context": {},
}


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """The local Vision with the sample photos."""
    with join_or_start(tmp_path_factory.mktemp("annotators") / ".etlkit") as server:
        shutil.copytree(PHOTOS, server.local_dir / "buckets" / "photos")
        ends = server.endpoints
        yield ends.vision, ends.vision_grpc, ends.token


@pytest.fixture(scope="module")
def ask():
    """Annotate over one protocol: `ask(kind, (url, host_port[, token]), requests)`."""

    def annotate(kind, endpoints, requests):
        environ = {
            "ETLKIT_VISION_ENDPOINT": endpoints[0],
            "ETLKIT_VISION_GRPC_ENDPOINT": endpoints[1],
            "ETLKIT_LOCAL_TOKEN": "".join(endpoints[2:]),
        }
        if kind == "rest":
            annotator = RestAnnotator(rest_endpoint(environ=environ))
        elif kind == "grpc":
            annotator = ClientAnnotator(grpc_endpoint(environ=environ))
        else:
            annotator = ClientAnnotator(rest_endpoint(environ=environ), transport="rest")
        try:
            return annotator.annotate(requests)
        finally:
            annotator.close()

    return annotate


def of(server):
    return server.url, server.grpc_endpoint


@pytest.fixture(scope="module")
def over_rest(local, ask):
    """The answers of `RestAnnotator` for all photos."""
    return ask("rest", local, photo_requests())


def photo_requests():
    uris = [f"gs://photos/{photo.name}" for photo in sorted(PHOTOS.glob("*.jpg"))]
    return [ImageRequest(uri=uri, features=BOTH) for uri in [*uris, "gs://photos/none.jpg"]]


@pytest.mark.parametrize("kind", KINDS)
class TestAnnotators:
    def test_real_photos_get_the_same_answers(self, kind, local, ask, over_rest):
        """Labels and boxes are the same with every client, and so is the error of a missing photo."""
        found = ask(kind, local, photo_requests())
        assert [json.dumps(each.answer, sort_keys=True) for each in found] == [
            json.dumps(each.answer, sort_keys=True) for each in over_rest
        ]
        things = [
            thing["name"]
            for each in found
            for thing in each.answer.get("localizedObjectAnnotations", [])
        ]
        assert {"Cat", "Person"} <= set(things)
        assert [type(each.error) for each in found] == [type(None)] * 5 + [ImageError]
        assert (found[-1].error.code, str(found[-1].error)) == (
            5,
            "Error opening file: gs://photos/none.jpg.",
        )

    def test_bytes_and_address_get_the_same_answer(self, kind, local, ask):
        """An image file in the call gets the same answer as the same file in the bucket."""
        content = (PHOTOS / "chelsea.jpg").read_bytes()
        sent, fetched = ask(
            kind,
            local,
            [
                ImageRequest(content=content, features=BOTH),
                ImageRequest(uri="gs://photos/chelsea.jpg", features=BOTH),
            ],
        )
        assert sent == fetched
        assert sent.answer["labelAnnotations"]

    def test_what_is_filled_in_stays_beside_an_error(self, kind, local, ask):
        """The stand-in cannot find faces, but the labels of the same image are valid."""
        features = (*LABELS, Feature("FACE_DETECTION"))
        (found,) = ask(kind, local, [ImageRequest(uri="gs://photos/coffee.jpg", features=features)])
        assert found.answer["labelAnnotations"]
        assert found.error.code == found.answer["error"]["code"] == 12

    def test_every_kind_of_annotation_comes_through(self, kind, ask):
        """Floats, zeros, enums, empty messages and whole numbers have one form with every client."""
        with FaultServer(answer=lambda _item: RICH) as server:
            (found,) = ask(kind, of(server), [ImageRequest(uri="gs://b/1", features=LABELS)])
        assert json.dumps(found.answer, sort_keys=True) == json.dumps(RICH, sort_keys=True)
        assert found.error is None

    def test_order_is_kept_over_several_calls(self, kind, ask):
        """40 images take three calls, and each answer belongs to its image."""
        uris = [f"gs://b/{number}.jpg" for number in range(40)]
        with FaultServer() as server:
            found = ask(kind, of(server), [ImageRequest(uri=uri, features=LABELS) for uri in uris])
            assert server.calls == 3
        assert [each.answer["labelAnnotations"][0]["description"] for each in found] == [
            FaultServer.label_of(uri) for uri in uris
        ]

    def test_no_images_no_call(self, kind, ask):
        """Without images no call is made."""
        with FaultServer() as server:
            assert ask(kind, of(server), []) == []
            assert server.calls == 0

    def test_a_row_without_an_image_costs_nothing(self, kind, ask):
        """It is left out of the call, because Vision would refuse the others with it."""
        bad = [None, "", "photo.jpg", "file:///etc/passwd", b"gs://b/1"]
        requests = [ImageRequest(uri=uri, features=LABELS) for uri in [*bad, "gs://b/1"]]
        with FaultServer() as server:
            found = ask(kind, of(server), [*requests, ImageRequest(content=b"", features=LABELS)])
            assert server.calls_by_item == {"gs://b/1": 1}
        assert [each.error is None for each in found] == [False] * 5 + [True, False]
        assert {each.error.code for each in found if each.error} == {3}

    def test_context_and_model_arrive(self, kind, ask, local):
        """The stand-in checks the name and type of every field."""
        context = {"languageHints": ["ja"], "cropHintsParams": {"aspectRatios": [0.8, 1]}}
        feature = Feature("LABEL_DETECTION", max_results=1, model="builtin/latest")
        request = ImageRequest(uri="gs://photos/coffee.jpg", features=(feature,), context=context)
        (found,) = ask(kind, local, [request])
        assert len(found.answer["labelAnnotations"]) == 1

    def test_an_image_refused_with_its_call_has_the_same_error(self, kind, ask):
        """The call gets 400, and only the image that caused it has the service's message."""
        plan = FaultPlan.by_item({"gs://b/1": ["400"] * 4})
        with FaultServer(plan) as server:
            found = ask(
                kind,
                of(server),
                [ImageRequest(uri=f"gs://b/{number}", features=LABELS) for number in range(3)],
            )
        assert [each.error is None for each in found] == [True, False, True]
        assert found[1].error.message == "The call was refused: INVALID_ARGUMENT."
        assert found[1].error.code == 3

    def test_images_of_one_call_have_their_own_features(self, kind, ask):
        """Each image has its own features."""
        objects = (Feature("OBJECT_LOCALIZATION"),)
        with FaultServer() as server:
            found = ask(
                kind,
                of(server),
                [
                    ImageRequest(uri=f"gs://b/{number}", features=features)
                    for number, features in enumerate([LABELS, objects, BOTH, LABELS])
                ],
            )
            assert server.calls == 1
        assert [len(each.answer) for each in found] == [1, 1, 2, 1]
        assert list(found[1].answer) == ["localizedObjectAnnotations"]

    def test_a_refusal_of_all_calls_ends_the_run(self, kind, ask):
        """403 is not the fault of one image."""
        with (
            FaultServer(FaultPlan.script(["403"])) as server,
            pytest.raises(ApiError) as caught,
        ):
            ask(kind, of(server), [ImageRequest(uri="gs://b/1", features=LABELS)])
        assert (caught.value.service, caught.value.status) == ("vision", 403)


def test_an_unknown_transport_is_refused():
    """The error lists the allowed values."""
    with pytest.raises(ConfigError, match="grpc, rest"):
        ClientAnnotator(transport="soap")

import base64
import io
import json
import logging
import os
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
import uvicorn
from google.protobuf.json_format import MessageToDict
from PIL import Image

from etlkit.local.vision import annotations, annotator
from etlkit.local.vision.app import create_app
from etlkit.local.vision.detector import DetectedObject
from etlkit.local.vision.service import VisionService

PHOTOS = Path(__file__).parents[4] / "photos"
BOTH = [{"type": "LABEL_DETECTION"}, {"type": "OBJECT_LOCALIZATION"}]
OBJECTS = [{"type": "OBJECT_LOCALIZATION"}]
TYPE_NAME = "type.googleapis.com/google.cloud.vision.v1.Feature.Type"


@contextmanager
def served(root: Path) -> Iterator[str]:
    """Run the app on a real socket."""
    config = uvicorn.Config(
        create_app(VisionService(root)), port=0, log_config=None, lifespan="off"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + 60
    while not server.started:
        assert time.monotonic() < deadline
        assert thread.is_alive()
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)


@pytest.fixture(scope="module")
def root(root: Path) -> Path:
    """The same buckets, with files that cannot be read."""
    bucket = root / "photos"
    (bucket / "empty.jpg").touch()
    (bucket / "cut.jpg").write_bytes((PHOTOS / "chelsea.jpg").read_bytes()[:5000])
    (bucket / "bomb.png").write_bytes(png_header(60_000, 60_000))
    (bucket / "wide.png").write_bytes(png_header(10_000, 8_000))
    (bucket / "script.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with (bucket / "huge.jpg").open("wb") as huge:
        huge.truncate(annotator.MAX_IMAGE_BYTES + 1)
    os.mkfifo(bucket / "pipe.jpg")
    (root / "outside.jpg").write_bytes((PHOTOS / "chelsea.jpg").read_bytes())
    (bucket / "link.jpg").symlink_to(root / "outside.jpg")
    return root


@pytest.fixture(scope="module")
def base_url(root: Path) -> Iterator[str]:
    with served(root) as url:
        yield url


@pytest.fixture(scope="module")
def post(base_url: str):
    """Send a request body to `images:annotate`."""

    def send(body: object, **options) -> requests.Response:
        data = body if isinstance(body, bytes) else json.dumps(body)
        return requests.post(f"{base_url}/v1/images:annotate", data=data, timeout=60, **options)

    return send


@pytest.fixture(scope="module")
def annotate(post):
    """Annotate images, and check that Vision's own client can read the answers."""
    from google.cloud.vision_v1 import BatchAnnotateImagesResponse

    def ask(*images: dict, features: list[dict] = BOTH) -> list[dict]:
        body = {"requests": [{"image": image, "features": features} for image in images]}
        answer = post(body)
        assert answer.status_code == 200, answer.text
        BatchAnnotateImagesResponse.from_json(answer.text, ignore_unknown_fields=False)
        return answer.json()["responses"]

    return ask


def png_header(width: int, height: int) -> bytes:
    """A PNG whose header declares a size, without any pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def stored(name: str) -> dict:
    return {"source": {"imageUri": f"gs://photos/{name}"}}


def inline(data: bytes) -> dict:
    return {"content": base64.b64encode(data).decode()}


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def names(answer: dict) -> list[str]:
    return [thing["name"] for thing in answer.get("localizedObjectAnnotations", [])]


def assert_is_chelsea(answer: dict) -> None:
    (cat,) = answer["localizedObjectAnnotations"]
    assert (cat["name"], cat["mid"]) == ("Cat", "/m/01yrx")
    assert cat["score"] > 0.8
    corners = [(v["x"], v["y"]) for v in cat["boundingPoly"]["normalizedVertices"]]
    left, top, right, bottom = 0.007, 0.002, 0.951, 0.998
    expected = [(left, top), (right, top), (right, bottom), (left, bottom)]
    assert corners == [pytest.approx(corner, abs=0.02) for corner in expected]


def test_the_cat_photo_says_cat_with_a_box(annotate):
    """chelsea.jpg is a Cat with a clockwise box, and is labelled cat."""
    (answer,) = annotate(stored("chelsea.jpg"))
    assert_is_chelsea(answer)
    labels = {label["description"]: label for label in answer["labelAnnotations"]}
    assert labels["cat"]["score"] > 0.9
    assert labels["cat"]["topicality"] == labels["cat"]["score"]
    assert labels["cat"]["mid"] == "/wordnet/n02121620"
    scores = [label["score"] for label in answer["labelAnnotations"]]
    assert scores == sorted(scores, reverse=True)
    assert "error" not in answer


@pytest.mark.parametrize("source", ["imageUri", "gcsImageUri", "image_uri", "gcs_image_uri"])
def test_an_image_may_be_named_in_either_field_and_spelling(annotate, source):
    """Both source fields are read, in both spellings of their names."""
    (answer,) = annotate({"source": {source: "gs://photos/chelsea.jpg"}}, features=OBJECTS)
    assert_is_chelsea(answer)
    assert "labelAnnotations" not in answer


def test_sixteen_packed_images_are_answered_in_order(annotate):
    """The answers of sixteen images, some by address and some by content, are in order."""
    photos = ["chelsea.jpg", "coffee.jpg", "astronaut.jpg", "rocket.jpg"] * 4
    images = [
        inline((PHOTOS / photo).read_bytes()) if i % 3 else stored(photo)
        for i, photo in enumerate(photos)
    ]
    answers = annotate(*images, features=OBJECTS)
    assert [names(answer) for answer in answers] == [["Cat"], ["Coffee cup"], ["Person"], []] * 4


def test_one_bad_image_leaves_the_others_alone(annotate):
    """The error of one image is in that image's answer."""
    good, bad, other = annotate(stored("chelsea.jpg"), stored("note.jpg"), stored("coffee.jpg"))
    assert names(good) == ["Cat"]
    assert bad == {"error": {"code": 3, "message": "Bad image data."}}
    assert names(other) == ["Coffee cup"]


@pytest.mark.parametrize(
    ("uri", "code", "message"),
    [
        ("gs://photos/note.jpg", 3, "Bad image data."),
        ("gs://photos/empty.jpg", 3, "Bad image data."),
        ("gs://photos/cut.jpg", 3, "Bad image data."),
        ("gs://photos/bomb.png", 3, "Bad image data."),
        ("gs://photos/wide.png", 3, "Image size exceeds the limit: 80000000 pixels"),
        ("gs://photos/script.eps", 3, "Bad image data."),
        ("gs://photos/huge.jpg", 3, "Image size exceeds the limit: 20971520 bytes."),
        ("gs://photos/gone.jpg", 5, "Error opening file: gs://photos/gone.jpg."),
        ("gs://photos/pipe.jpg", 5, "Error opening file: gs://photos/pipe.jpg."),
        ("gs://photos/" + "a" * 300, 5, "Error opening file: gs://photos/aaa"),
        ("gs://elsewhere/a.jpg", 7, "Error opening file: gs://elsewhere/a.jpg."),
        ("gs://photos/../outside.jpg", 3, "Invalid GCS path specified: gs://photos/../outside.jpg"),
        ("gs://photos/link.jpg", 3, "Invalid GCS path specified: gs://photos/link.jpg"),
        ("gs://photos/", 3, "Invalid GCS path specified: gs://photos/"),
        ("gs://photos/\0", 3, "Invalid GCS path specified"),
        ("file:///etc/passwd", 3, "Invalid GCS path specified: file:///etc/passwd"),
        ("https://example.com/a.jpg", 7, "We're not allowed to access the URL on your behalf."),
        ("http://127.0.0.1:1/a.jpg", 7, "We're not allowed to access the URL on your behalf."),
    ],
)
def test_an_image_that_cannot_be_read_has_its_own_error(annotate, uri, code, message):
    """A 200 answer has the error of the image, with the code and message of the real API."""
    (answer,) = annotate({"source": {"imageUri": uri}})
    assert list(answer) == ["error"]
    assert answer["error"]["code"] == code
    assert answer["error"]["message"].startswith(message)


def test_an_unsupported_feature_is_an_error_beside_the_others(annotate):
    """Supported features are answered; the error UNIMPLEMENTED names the other one."""
    features = [*OBJECTS, {"type": "TEXT_DETECTION"}]
    (answer,) = annotate(stored("chelsea.jpg"), features=features)
    assert_is_chelsea(answer)
    assert answer["error"]["code"] == 12
    assert answer["error"]["message"].startswith("TEXT_DETECTION is not in the local Vision")


@pytest.mark.parametrize(("max_results", "expected"), [(1, 1), (2, 2), ("2", 2), (0, 5), (None, 5)])
def test_max_results_limits_each_feature(annotate, max_results, expected):
    """`maxResults` limits the list; 0 and null mean the default of 10."""
    features = [{"type": "LABEL_DETECTION", "maxResults": max_results}]
    (answer,) = annotate(stored("chelsea.jpg"), features=features)
    assert len(answer["labelAnnotations"]) == expected


@pytest.mark.parametrize("kind", ["LABEL_DETECTION", 4])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("padding", ["=", ""])
def test_a_request_may_use_every_form_of_proto3_json(annotate, kind, encode, padding):
    """Enums by name or number, base64 in both alphabets, with and without its padding."""
    content = encode((PHOTOS / "coffee.jpg").read_bytes() + b"\xff\xff\xfe\xfe").decode()
    image = {"content": content.rstrip("=") + padding * (-len(content.rstrip("=")) % 4)}
    assert {"-", "+"} & set(content)
    (answer,) = annotate(image, features=[{"type": kind}])
    assert answer["labelAnnotations"]


def test_an_enum_number_without_a_name_is_a_feature_that_is_not_supported(annotate):
    """Enums of proto3 are open: an unknown number is accepted, and answered as unknown."""
    (answer,) = annotate(stored("chelsea.jpg"), features=[{"type": 8}])
    assert (answer["error"]["code"], answer["error"]["message"][:9]) == (12, "8 is not ")


def two_colors() -> bytes:
    """An image that is three quarters gray and one quarter red."""
    image = Image.new("RGB", (80, 80), (128, 128, 128))
    image.paste((255, 0, 0), (0, 0, 80, 20))
    return encoded(image, "PNG")


def test_colors_are_counted_from_the_pixels(annotate):
    """Each color has its share, and a vivid color scores above its share. Zeros are left out."""
    (answer,) = annotate(inline(two_colors()), features=[{"type": "IMAGE_PROPERTIES"}])
    red, gray = answer["imagePropertiesAnnotation"]["dominantColors"]["colors"]
    assert (red["color"], red["pixelFraction"]) == ({"red": 255}, 0.25)
    assert gray["color"] == {"red": 128, "green": 128, "blue": 128}
    assert gray["pixelFraction"] == 0.75
    assert red["score"] > 0.25
    assert red["score"] + gray["score"] == pytest.approx(1)


def test_a_black_image_has_one_color(annotate):
    """Black is a color without any field in proto3 JSON."""
    black = encoded(Image.new("RGB", (1, 1)), "PNG")
    (answer,) = annotate(inline(black), features=[{"type": "IMAGE_PROPERTIES"}])
    assert answer["imagePropertiesAnnotation"]["dominantColors"]["colors"] == [
        {"color": {}, "score": 1.0, "pixelFraction": 1.0}
    ]


@pytest.mark.parametrize(("max_results", "expected"), [(3, 3), (0, 10), (50, 16)])
def test_colors_of_a_photo_come_best_first(annotate, max_results, expected):
    """There are at most `maxResults` colors, or ten without it."""
    feature = {"type": "IMAGE_PROPERTIES", "maxResults": max_results}
    (answer,) = annotate(stored("chelsea.jpg"), features=[feature])
    colors = answer["imagePropertiesAnnotation"]["dominantColors"]["colors"]
    assert len(colors) == expected
    scores = [color["score"] for color in colors]
    assert scores == sorted(scores, reverse=True)
    assert sum(color["pixelFraction"] for color in colors) <= 1 + 1e-6


def crops(answer: dict) -> list[tuple[int, int, int, int]]:
    """Left, top, right and bottom of each hint, after a check that the corners are clockwise."""
    found = []
    for hint in answer["cropHintsAnnotation"]["cropHints"]:
        corners = [(v.get("x", 0), v.get("y", 0)) for v in hint["boundingPoly"]["vertices"]]
        (left, top), (right, bottom) = corners[0], corners[2]
        assert corners == [(left, top), (right, top), (right, bottom), (left, bottom)]
        found.append((left, top, right, bottom))
    return found


@pytest.fixture(scope="module")
def ask_crops(post):
    def ask(where: dict, *ratios: float) -> dict:
        context = {"cropHintsParams": {"aspectRatios": list(ratios)}}
        request = {
            "image": where,
            "features": [{"type": "CROP_HINTS", "maxResults": 1}],
            "imageContext": context if ratios else {},
        }
        answer = post({"requests": [request]})
        assert answer.status_code == 200, answer.text
        return answer.json()["responses"][0]

    return ask


def test_crops_are_the_largest_of_their_shape(ask_crops):
    """There is one crop per ratio, in order, in pixels of the image as it was sent (451 x 300)."""
    answer = ask_crops(stored("chelsea.jpg"), 1.0, 2.0, 0.5, 451 / 300)
    square, wide, high, whole = crops(answer)
    assert (square[1], square[3]) == (0, 299)
    assert square[2] - square[0] + 1 == 300
    assert (wide[0], wide[2]) == (0, 450)
    assert wide[3] - wide[1] + 1 == pytest.approx(451 / 2, abs=1)
    assert (high[1], high[3]) == (0, 299)
    assert whole == (0, 0, 450, 299)
    hints = answer["cropHintsAnnotation"]["cropHints"]
    assert hints[3]["importanceFraction"] == 1.0
    assert hints[2]["importanceFraction"] < hints[0]["importanceFraction"] < 1.0
    assert all(hint["confidence"] > 0.8 for hint in hints)


def test_without_a_ratio_the_crop_is_around_the_objects(ask_crops, annotate):
    """The best crop has exactly what the detector found."""
    (crop,) = crops(ask_crops(stored("coffee.jpg")))
    (answer,) = annotate(stored("coffee.jpg"), features=OBJECTS)
    (cup,) = answer["localizedObjectAnnotations"]
    corners = cup["boundingPoly"]["normalizedVertices"]
    with Image.open(PHOTOS / "coffee.jpg") as photo:
        width, height = photo.size
    expected = (
        corners[0].get("x", 0) * width,
        corners[0].get("y", 0) * height,
        corners[2]["x"] * width,
        corners[2]["y"] * height,
    )
    assert crop == pytest.approx(expected, abs=1.5)


def test_an_image_without_objects_is_kept_whole(ask_crops):
    """Without objects the whole image counts, and a crop comes from its middle."""
    plain = inline(encoded(Image.new("RGB", (100, 60)), "PNG"))
    answer = ask_crops(plain)
    assert crops(answer) == [(0, 0, 99, 59)]
    assert answer["cropHintsAnnotation"]["cropHints"][0]["confidence"] == 0.5
    assert crops(ask_crops(plain, 1.0)) == [(20, 0, 79, 59)]


def test_a_crop_of_a_photo_taken_sideways_is_upright(ask_crops):
    """Crops are in pixels of the upright image, even if it was decoded at a fraction of its size."""
    exif = Image.Exif()
    exif[0x0112] = 6
    large = encoded(Image.new("RGB", (3000, 2000)), "JPEG", exif=exif)
    assert crops(ask_crops(inline(large))) == [(0, 0, 1999, 2999)]


def test_only_sixteen_ratios_are_used(ask_crops):
    """More than sixteen ratios are ignored, as by the real API."""
    assert len(crops(ask_crops(stored("chelsea.jpg"), *[1.0] * 20))) == 16


@pytest.mark.parametrize("ratio", [0, -1, "Infinity", "NaN"])
def test_an_invalid_ratio_is_refused(post, ratio):
    """A ratio that is not a positive number is refused."""
    context = {"cropHintsParams": {"aspectRatios": [ratio]}}
    request = {"image": stored("chelsea.jpg"), "features": OBJECTS, "imageContext": context}
    answer = post({"requests": [request]})
    assert answer.status_code == 400
    assert "An aspect ratio is above zero" in answer.json()["error"]["message"]


def test_nothing_found_is_an_empty_answer(annotate):
    """Empty lists are left out in proto3 JSON."""
    black = Image.new("RGB", (64, 64))
    assert annotate(inline(encoded(black, "PNG")), features=OBJECTS) == [{}]


def test_a_corner_at_zero_is_left_out():
    """Zeros are left out of a vertex in proto3 JSON."""
    cat = DetectedObject("Cat", "/m/01yrx", 0.5, xmin=0.0, ymin=0.0, xmax=0.5, ymax=0.25)
    annotation = MessageToDict(annotations.object_annotation(cat))
    corners = annotation["boundingPoly"]["normalizedVertices"]
    assert corners == [{}, {"x": 0.5}, {"x": 0.5, "y": 0.25}, {"y": 0.25}]


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("PNG", "RGBA"),
        ("PNG", "P"),
        ("GIF", "P"),
        ("BMP", "RGB"),
        ("WEBP", "RGB"),
        ("JPEG", "CMYK"),
    ],
)
def test_every_usual_kind_of_image_is_read(annotate, kind, mode):
    """The cat is found in each format and color mode."""
    with Image.open(PHOTOS / "chelsea.jpg") as cat:
        data = encoded(cat.convert(mode), kind)
    (answer,) = annotate(inline(data), features=OBJECTS)
    assert names(answer) == ["Cat"]


def test_a_photo_taken_sideways_is_turned_upright(annotate):
    """The box refers to the image after its EXIF orientation is applied."""
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(PHOTOS / "chelsea.jpg") as cat:
        sideways = encoded(cat.rotate(90, expand=True), "JPEG", exif=exif, quality=95)
    (answer,) = annotate(inline(sideways), features=OBJECTS)
    assert_is_chelsea(answer)


def test_a_large_photo_is_read_at_a_fraction_of_its_size(annotate):
    """The cat has the same box in an image of twelve megapixels."""
    with Image.open(PHOTOS / "chelsea.jpg") as cat:
        large = encoded(cat.resize((4510, 3000)), "JPEG")
    (answer,) = annotate(inline(large), features=OBJECTS)
    assert_is_chelsea(answer)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "Invalid JSON payload received. "),
        (b"\xff", "Invalid JSON payload received. "),
        (b'{"requests": NaN}', "Invalid JSON payload received. Unexpected token: NaN"),
        (b"[" * 100_000, "Invalid JSON payload received. "),
        (b"[]", "Invalid value at '(root)'"),
        ({"request": []}, 'Invalid JSON payload received. Unknown name "request": Cannot find'),
        ({"requests": [{"feature": []}]}, "Unknown name \"feature\" at 'requests[0]': Cannot find"),
        (
            {"requests": [{"imageContext": []}]},
            "Unknown name \"image_context\" at 'requests[0]': Proto field is not repeating, cannot",
        ),
        ({"requests": {}}, "Invalid value at 'requests'"),
        ({"requests": [{"image": "x"}]}, "Invalid value at 'requests[0].image'"),
        (
            {"requests": [{"features": [{"type": "FOO"}]}]},
            f"Invalid value at 'requests[0].features[0].type' ({TYPE_NAME}), \"FOO\"",
        ),
        (
            {"requests": [{"features": [{"type": True}]}]},
            f"Invalid value at 'requests[0].features[0].type' ({TYPE_NAME}), true",
        ),
        (
            {"requests": [{"imageContext": {"languageHints": ["en", 7]}}]},
            "Invalid value at 'requests[0].image_context.language_hints[1]' (TYPE_STRING), 7",
        ),
        ({"labels": {"team": 7}}, "Invalid value at 'labels'"),
        ({"requests": [{"features": [{"type_": 4}]}]}, 'Unknown name "type_"'),
        (
            {"requests": [{"features": [{"maxResults": "ten"}]}]},
            "Invalid value at 'requests[0].features[0].max_results' (TYPE_INT32), \"ten\"",
        ),
        (
            {"requests": [{"features": [{"maxResults": 2**31}]}]},
            "Invalid value at 'requests[0].features[0].max_results' (TYPE_INT32), 2147483648",
        ),
        (
            {"requests": [{"image": {"content": "%%%"}}]},
            '(TYPE_BYTES), Base64 decoding failed for "%%%"',
        ),
        (
            {"requests": [{"image": {"source": {"imageUri": 7}}}]},
            "Invalid value at 'requests[0].image.source.image_uri' (TYPE_STRING), 7",
        ),
        ({"requests": [{}]}, "Request must specify image and features."),
        ({"requests": [{"image": stored("a")}]}, "Request must specify image and features."),
        ({"requests": [{"image": {}, "features": BOTH}]}, "Request must specify image"),
        (
            {"requests": [{"image": {**stored("a"), **inline(b"a")}, "features": BOTH}]},
            "Only one of image content and uri should be specified.",
        ),
        (
            {"requests": [{"image": stored("a"), "features": [{"type": 4, "maxResults": -1}]}]},
            "Feature LABEL_DETECTION has a negative max_results: -1.",
        ),
        (
            {"requests": [{"image": stored("chelsea.jpg"), "features": BOTH}] * 17},
            "Too many images per request.",
        ),
        (b" " * (10 * 1024 * 1024 + 1), "Request payload size exceeds the limit: 10485760 bytes."),
        (b" " * (40 * 1024 * 1024), "Request payload size exceeds the limit: 10485760 bytes."),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_a_bad_request_is_refused_as_a_whole(post, body, message):
    """A request that does not fit the message or its limits gets a 400 with Google's error body."""
    answer = post(body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
    assert message in error["message"]


def test_all_errors_of_a_request_are_reported_at_once(post):
    """Each violation is a line of the message and an entry in the details."""
    feature = {"type": "FOO", "maxResult": 1}
    error = post({"requests": [{"features": [feature]}], "parnt": ""}).json()["error"]
    (details,) = error["details"]
    assert details["@type"] == "type.googleapis.com/google.rpc.BadRequest"
    fields = [violation["field"] for violation in details["fieldViolations"]]
    assert fields == ["requests[0].features[0].type", "requests[0].features[0]", ""]
    assert len(error["message"].splitlines()) == 3


def test_a_refused_image_is_not_quoted_whole(post):
    """An error in the content quotes only its beginning."""
    error = post({"requests": [{"image": {"content": "!" * 100_000}}]}).json()["error"]
    assert len(error["message"]) < 300


def test_the_whole_context_of_an_image_is_accepted(post):
    """Every documented field of an image's context is accepted."""
    corner = {"latitude": 1.5, "longitude": 2}
    context = {
        "latLongRect": {"minLatLng": corner, "maxLatLng": corner},
        "languageHints": ["en"],
        "cropHintsParams": {"aspectRatios": [1, 1.5]},
        "productSearchParams": {
            "boundingPoly": {"vertices": [{"x": 1, "y": 2}], "normalizedVertices": [{"x": 0.5}]},
            "productSet": "p",
            "productCategories": ["apparel-v2"],
            "filter": "",
        },
        "webDetectionParams": {"includeGeoResults": True},
        "textDetectionParams": {
            "enableTextDetectionConfidenceScore": True,
            "advancedOcrOptions": ["x"],
        },
    }
    request = {"image": stored("chelsea.jpg"), "features": OBJECTS, "imageContext": context}
    answer = post({"requests": [request], "parent": "projects/p", "labels": {"team": "a"}})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("body", [b"", {}, {"requests": []}, {"requests": None}])
def test_no_images_is_an_empty_answer(post, body):
    """A request without images gets an empty answer."""
    answer = post(body)
    assert (answer.status_code, answer.json()) == (200, {})


@pytest.mark.parametrize("parent", ["", "projects/p/", "projects/p/locations/eu/"])
def test_the_method_is_under_projects_and_locations_too(base_url, parent):
    """All three paths of the real method answer."""
    body = {"requests": [{"image": stored("chelsea.jpg"), "features": OBJECTS}]}
    answer = requests.post(f"{base_url}/v1/{parent}images:annotate", json=body, timeout=60)
    assert names(answer.json()["responses"][0]) == ["Cat"]


def test_other_paths_and_methods_have_googles_error_body(base_url):
    """An unknown path and a wrong method are errors that a Google client can read."""
    for url, status in (("/v1/files:annotate", 404), ("/v1/images:annotate", 405)):
        answer = requests.get(base_url + url, timeout=60)
        assert answer.status_code == status
        assert answer.json()["error"]["code"] == status


def test_a_key_is_accepted_and_never_logged(root, caplog):
    """A key in the query or in a header is accepted and is in no log, not even in the access log."""
    caplog.set_level(logging.DEBUG)
    for name in ("uvicorn.access", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    body = {"requests": [{"image": stored("chelsea.jpg"), "features": OBJECTS}]}
    with served(root) as url:
        for options in (
            {"params": {"key": "SECRET-QUERY"}},
            {"headers": {"X-Goog-Api-Key": "SECRET-HEADER"}},
        ):
            answer = requests.post(f"{url}/v1/images:annotate", json=body, timeout=60, **options)
            assert names(answer.json()["responses"][0]) == ["Cat"]
    messages = [record.getMessage() for record in caplog.records if "uvicorn" in record.name]
    assert any("annotate HTTP" in message for message in messages)
    assert not any("SECRET" in message for message in messages)


def test_the_server_answers_other_calls_during_inference(root, monkeypatch):
    """Inference does not block the event loop."""
    started, release = threading.Event(), threading.Event()

    def wait(self, request):
        started.set()
        assert release.wait(60)
        return annotations.response()

    monkeypatch.setattr(annotator.Annotator, "annotate", wait)
    answers = []
    with served(root) as url:
        body = {"requests": [{"image": stored("chelsea.jpg"), "features": OBJECTS}]}

        def ask():
            answers.append(requests.post(f"{url}/v1/images:annotate", json=body, timeout=60))

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            assert started.wait(60)
            assert requests.get(f"{url}/healthz", timeout=60).json() == {"status": "ok"}
        finally:
            release.set()
            asking.join(60)
    assert [answer.json() for answer in answers] == [{"responses": [{}]}]


def test_an_internal_error_is_a_500_without_its_text(root, monkeypatch):
    """An unexpected exception is INTERNAL, as with Google, without its own text."""

    def fail(self, request):
        raise RuntimeError("inside")

    monkeypatch.setattr(annotator.Annotator, "annotate", fail)
    body = {"requests": [{"image": stored("chelsea.jpg"), "features": OBJECTS}]}
    with served(root) as url:
        answer = requests.post(f"{url}/v1/images:annotate", json=body, timeout=60)
    assert answer.status_code == 500
    assert answer.json()["error"]["status"] == "INTERNAL"
    assert "inside" not in answer.text


def test_the_official_client_works_over_rest(base_url):
    """Vision's own client reads an answer, the error of an image and the error of a request."""
    from google.api_core.exceptions import BadRequest
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import vision

    client = vision.ImageAnnotatorClient(
        credentials=AnonymousCredentials(),
        transport="rest",
        client_options={"api_endpoint": base_url},
    )
    kinds = [vision.Feature.Type.LABEL_DETECTION, vision.Feature.Type.OBJECT_LOCALIZATION]
    asked = [
        vision.AnnotateImageRequest(
            image=vision.Image(source=vision.ImageSource(image_uri=f"gs://photos/{name}")),
            features=[vision.Feature(type_=kind, max_results=3) for kind in kinds],
        )
        for name in ("chelsea.jpg", "gone.jpg")
    ]
    cat, gone = client.batch_annotate_images(requests=asked).responses
    assert cat.localized_object_annotations[0].name == "Cat"
    assert len(cat.label_annotations) == 3
    assert (gone.error.code, gone.error.message) == (5, "Error opening file: gs://photos/gone.jpg.")
    with pytest.raises(BadRequest, match="Too many images per request"):
        client.batch_annotate_images(requests=asked * 9)
    client.transport.close()

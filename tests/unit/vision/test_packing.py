import json
import os

import pytest

from etlkit.vision import Feature, ImageRequest
from etlkit.vision.client import _Messages
from etlkit.vision.packing import (
    MAX_CALL_BYTES,
    fits,
    indented_json_bytes,
    json_bytes,
    packs,
    proto_bytes,
)

FEATURES = (Feature("LABEL_DETECTION", 3), Feature("OBJECT_LOCALIZATION"))
CONTEXT = {"languageHints": ["ja", "en"], "cropHintsParams": {"aspectRatios": [0.8, 1.25]}}
URIS = ["gs://b/1.jpg", "gs://b/犬 🐕.jpg", 'https://h/quote"\\.jpg?a=b']


def requests(sizes):
    """For each None a request by address, for each number a request with content."""
    return [
        ImageRequest(uri=URIS[number % 3], features=FEATURES, context=CONTEXT)
        if size is None
        else ImageRequest(content=os.urandom(size), features=FEATURES)
        for number, size in enumerate(sizes)
    ]


def sent_over_rest(pack):
    return len(json.dumps({"requests": [r.to_json() for r in pack]}, ensure_ascii=False).encode())


def sent_over_grpc(pack):
    batch = _Messages().batch(pack)
    return type(batch).pb(batch).ByteSize()


def sent_over_googles_rest(pack):
    from google.protobuf.json_format import MessageToJson

    batch = _Messages().batch(pack)
    return len(MessageToJson(type(batch).pb(batch), use_integers_for_enums=True).encode())


WAYS = [
    pytest.param(json_bytes, sent_over_rest, id="rest"),
    pytest.param(proto_bytes, sent_over_grpc, id="grpc"),
    pytest.param(indented_json_bytes, sent_over_googles_rest, id="grpc-rest"),
]
SIZES = [[None] * 16, [1, 2, 3, 4, 300, None, 70_000], [1_000_000] * 16, [0, None, 0]]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize(("size_of", "sent"), WAYS)
def test_no_call_is_larger_than_it_was_measured(size_of, sent, sizes):
    """The bytes that are sent, with base64 and JSON, are never more than those that were counted."""
    pack = requests(sizes)
    counted = sum(map(size_of, pack)) + len('{"requests": []}')
    assert sent(pack) <= counted
    assert counted <= sent(pack) * 1.01 + 600 * len(pack)


def test_the_json_body_is_measured_to_the_byte():
    """Except for the separator after the last image, which is not sent."""
    pack = requests([None, 5, 1000, None])
    assert sent_over_rest(pack) == sum(map(json_bytes, pack)) + len('{"requests": []}') - 2


@pytest.mark.parametrize(("size_of", "sent"), WAYS)
def test_the_largest_image_that_fits_does_fit(size_of, sent):
    """At the limit of 10 MB one byte decides, and the decision is right."""
    low, high = 0, MAX_CALL_BYTES
    empty = size_of(ImageRequest(content=b"", features=FEATURES))
    blob = bytes(MAX_CALL_BYTES)
    while low < high:
        middle = (low + high + 1) // 2
        grown = middle if size_of is proto_bytes else (middle + 2) // 3 * 4
        low, high = (middle, high) if fits(empty + grown) else (low, middle - 1)
    largest = ImageRequest(content=blob[:low], features=FEATURES)
    assert fits(size_of(largest))
    assert sent([largest]) <= MAX_CALL_BYTES
    assert not fits(size_of(ImageRequest(content=blob[: low + 3], features=FEATURES)))
    assert sent([largest]) > MAX_CALL_BYTES - 1000


def test_sixteen_images_a_call():
    """Images keep their order, and the last call has the rest."""
    found = list(packs(list(range(35)), lambda _: 100))
    assert [len(pack) for pack in found] == [16, 16, 3]
    assert [each for pack in found for each in pack] == list(range(35))


@pytest.mark.parametrize(
    ("sizes", "lengths"),
    [
        ([5_000_000] * 3, [2, 1]),
        ([6_000_000, 6_000_000, 1], [1, 2]),
        ([MAX_CALL_BYTES - 16, 1], [1, 1]),
        ([MAX_CALL_BYTES - 17, 1], [2]),
        ([], []),
    ],
)
def test_ten_megabytes_a_call(sizes, lengths):
    """The 16 bytes of the call itself count."""
    assert [len(pack) for pack in packs(sizes, lambda size: size)] == lengths


def test_base64_decides_over_rest_and_not_over_grpc():
    """Two images of 4.5 MB are one call over gRPC and two over REST."""
    pair = requests([4_500_000, 4_500_000])
    assert len(list(packs(pair, json_bytes))) == 2
    assert len(list(packs(pair, proto_bytes))) == 1

"""How to test a transform that calls an API: rows in, rows out, and a server on loopback to call.

Copy this file for transforms of your own.
"""

import pytest

from etlkit import ApiError, ImageError
from etlkit.testing import FaultPlan, FaultServer, no_sleep, run_transform
from transforms.vision_rest import Etl

ROWS = [{"uri": f"gs://photos/{number}.jpg", "size": 7} for number in range(20)]
KEY = "sk-4711"


@pytest.fixture
def vision(monkeypatch):
    """Vision on loopback; `plan` says what goes wrong with the calls of one test."""
    servers = []

    def start(plan=None, **options):
        server = FaultServer(plan, **options)
        servers.append(server)
        monkeypatch.setenv("ETLKIT_VISION_ENDPOINT", server.url)
        monkeypatch.setenv("ETLKIT_VISION_API_KEY", KEY)
        return server

    with no_sleep():
        yield start
    for server in servers:
        server.close()


def names(rows):
    return [
        row["response"]["responses"][0]["localizedObjectAnnotations"][0]["name"] for row in rows
    ]


def test_the_whole_answer_becomes_a_column(vision):
    """Each photo's own answer stands beside it; 20 photos are two calls; other columns stay."""
    server = vision()
    rows = run_transform(Etl, ROWS)
    assert names(rows) == [FaultServer.label_of(row["uri"]) for row in ROWS]
    assert [row["size"] for row in rows] == [7] * 20
    assert server.calls == 2


@pytest.mark.parametrize("name", ['quote".jpg', "犬 🐕.jpg", "back\\slash.jpg"])
def test_any_name_is_sent_as_it_is(vision, name):
    """Joining texts to JSON breaks here; a JSON library does not."""
    server = vision()
    run_transform(Etl, [{"uri": f"gs://photos/{name}"}])
    assert server.calls_by_item == {f"gs://photos/{name}": 1}


def test_one_bad_image_is_one_bad_row(vision):
    """Under `on_row_error="skip"` the other photos of the same call go on."""
    vision(FaultPlan.by_item({ROWS[1]["uri"]: ["item_error code=3"]}))
    rows = run_transform(Etl, ROWS, on_row_error="skip")
    assert names(rows) == [FaultServer.label_of(row["uri"]) for row in ROWS if row != ROWS[1]]


def test_the_bad_image_is_named(vision):
    """Under `on_row_error="fail"` the run ends with row, code and Vision's own words."""
    vision(FaultPlan.by_item({ROWS[1]["uri"]: ["item_error code=3"]}))
    with pytest.raises(ImageError, match=r"row 2 .*Bad image data") as caught:
        run_transform(Etl, ROWS)
    assert caught.value.code == 3


def test_what_passes_is_asked_again(vision):
    """Two failed calls, and then the answer: no row knows of it."""
    server = vision(FaultPlan.script(["503", "429 retry-after=1"]))
    assert len(run_transform(Etl, ROWS[:3])) == 3
    assert server.calls == 3


def test_a_refused_key_ends_the_run(vision):
    """That concerns every photo, so it is no row error, and the key is in no message."""
    vision(FaultPlan.script(["403"]))
    with pytest.raises(ApiError) as caught:
        run_transform(Etl, ROWS, on_row_error="skip")
    assert "4711" not in f"{caught.value!r} {caught.value.__cause__!r}"

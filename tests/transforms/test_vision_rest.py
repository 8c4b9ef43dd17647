"""How to test a transform: fake rows in, rows out, and a real server on loopback to call.

Copy this file for transforms of your own.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from etlkit import ApiError, ConfigError, ImageError, RetryableError
from etlkit.testing import run_transform
from transforms.vision_rest import Etl

CAT = {"responses": [{"localizedObjectAnnotations": [{"name": "Cat", "score": 0.85}]}]}
ROWS = [{"uri": f"gs://photos/{name}.jpg", "size": 7} for name in ("a", "b", "c")]


@pytest.fixture
def vision(monkeypatch):
    """A server that answers with `vision.answer(uri)` and remembers what it was asked."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            (image,) = request["requests"]
            server.asked.append((self.path, self.headers.get("X-Goog-Api-Key"), image))
            status, answer = server.answer(image["image"]["source"]["imageUri"])
            payload = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *args):
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked, server.answer = [], lambda uri: (200, CAT)
        monkeypatch.setenv("ETLKIT_VISION_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("ETLKIT_VISION_API_KEY", "sk-4711")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_the_whole_answer_becomes_a_column(vision):
    """Each photo is asked about once; the other columns pass through."""
    assert run_transform(Etl, ROWS) == [{**row, "response": CAT} for row in ROWS]
    assert sorted(image["image"]["source"]["imageUri"] for _, _, image in vision.asked) == [
        row["uri"] for row in ROWS
    ]


def test_the_request_is_the_articles(vision):
    """OBJECT_LOCALIZATION of one image; the key travels in a header, never in the path."""
    run_transform(Etl, ROWS[:1])
    path, key, image = vision.asked[0]
    assert (path, key) == ("/v1/images:annotate", "sk-4711")
    assert image["features"] == [{"type": "OBJECT_LOCALIZATION", "maxResults": 10}]


@pytest.mark.parametrize("name", ['quote".jpg', "犬 🐕.jpg", "back\\slash.jpg"])
def test_any_name_is_sent_as_it_is(vision, name):
    """The article's string concatenation breaks here; a JSON library does not."""
    run_transform(Etl, [{"uri": f"gs://photos/{name}"}])
    assert vision.asked[0][2]["image"]["source"]["imageUri"] == f"gs://photos/{name}"


def test_one_bad_image_is_one_bad_row(vision):
    """Under `on_row_error="skip"` the other photos go on."""
    bad = {"responses": [{"error": {"code": 3, "message": "Bad image data."}}]}
    vision.answer = lambda uri: (200, bad if "b.jpg" in uri else CAT)
    rows = run_transform(Etl, ROWS, on_row_error="skip")
    assert [row["uri"] for row in rows] == ["gs://photos/a.jpg", "gs://photos/c.jpg"]
    with pytest.raises(ImageError, match=r"row 2 .*Bad image data") as caught:
        run_transform(Etl, ROWS)
    assert caught.value.code == 3


@pytest.mark.parametrize(("status", "error"), [(403, ApiError), (503, RetryableError)])
def test_an_outage_or_a_refused_key_ends_the_run(vision, status, error):
    """These concern every photo, so they are no row errors, and the key is in no message."""
    vision.answer = lambda uri: (status, {"error": {"message": "no"}})
    with pytest.raises(error) as caught:
        run_transform(Etl, ROWS, on_row_error="skip")
    assert "4711" not in str(caught.value)


def test_the_real_api_wants_a_key(monkeypatch):
    """Without a key and without another endpoint nothing is called."""
    monkeypatch.delenv("ETLKIT_VISION_ENDPOINT", raising=False)
    monkeypatch.delenv("ETLKIT_VISION_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="ETLKIT_VISION_API_KEY"):
        run_transform(Etl, ROWS)

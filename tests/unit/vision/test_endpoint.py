import json
import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from http.server import BaseHTTPRequestHandler

import grpc
import pytest
from google.auth.exceptions import RefreshError

from etlkit import ApiError, ConfigError, RetryableError
from etlkit.calls.backoff import RetryPolicy
from etlkit.calls.run_calls import Calls
from etlkit.testing import FaultPlan, FaultServer, no_sleep
from etlkit.vision import ClientAnnotator, Feature, ImageRequest, RestAnnotator
from etlkit.vision.credentials import auth_headers, default_credentials
from etlkit.vision.endpoint import grpc_endpoint, rest_endpoint
from tests.loopback import serving

KEY = "AIzaSy-very-secret-4711"
REQUEST = ImageRequest(uri="gs://b/1.jpg", features=(Feature("LABEL_DETECTION"),))


def environ(rest=None, grpc=None, key=None):
    given = {
        "ETLKIT_VISION_ENDPOINT": rest,
        "ETLKIT_VISION_GRPC_ENDPOINT": grpc,
        "ETLKIT_VISION_API_KEY": key,
    }
    return {name: value for name, value in given.items() if value is not None}


@pytest.mark.parametrize("find", [rest_endpoint, grpc_endpoint])
@pytest.mark.parametrize(
    ("region", "url"),
    [
        (None, "https://vision.googleapis.com:443"),
        ("eu", "https://eu-vision.googleapis.com:443"),
        ("us", "https://us-vision.googleapis.com:443"),
    ],
)
def test_vision_and_its_regions(find, region, url):
    """TLS is always used, and a key does not change the endpoint."""
    found = find(region=region, environ=environ(key=KEY))
    assert (found.address.url, found.api_key, found.is_anonymous) == (url, KEY, False)


@pytest.mark.parametrize("find", [rest_endpoint, grpc_endpoint])
def test_an_unknown_region_is_refused(find):
    """The error lists the allowed values."""
    with pytest.raises(ConfigError, match="eu, us"):
        find(region="asia", environ={})


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://localhost:8080/", "http://localhost:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://127.0.0.1", "http://127.0.0.1:80"),
        ("https://vision.internal", "https://vision.internal:443"),
    ],
)
def test_an_endpoint_over_rest(given, url):
    """It takes precedence over the region; without TLS only loopback is allowed."""
    found = rest_endpoint(region="eu", environ=environ(rest=given))
    assert found.address.url == url
    assert found.is_anonymous is (found.address.host != "vision.internal")


@pytest.mark.parametrize(
    "given",
    [
        "http://vision.internal:8080",
        "http://127.0.0.1.evil.example",
        "https://h/v1/images:annotate",
        f"https://h?key={KEY}",
        f"https://{KEY}@h",
        "127.0.0.1:8080",
        "ftp://h",
        "https://h:port",
        "https://",
    ],
)
def test_an_invalid_rest_endpoint_is_refused(given):
    """The message does not contain it, because it may contain a key."""
    with pytest.raises(ConfigError, match="ETLKIT_VISION_ENDPOINT") as caught:
        rest_endpoint(environ=environ(rest=given))
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "secure"),
    [
        ("127.0.0.1:8081", False),
        ("localhost:8081", False),
        ("[::1]:8081", False),
        ("vision.internal:443", True),
        ("10.0.0.7:8081", True),
    ],
)
def test_an_endpoint_over_grpc(given, secure):
    """Loopback is plain text, everything else is TLS."""
    address = grpc_endpoint(environ=environ(grpc=given)).address
    assert (address.target, address.secure) == (given, secure)


@pytest.mark.parametrize(
    "given", ["http://127.0.0.1:8081", "127.0.0.1", "h:port", ":8081", f"{KEY}@h:1", "h:1/x"]
)
def test_an_invalid_grpc_endpoint_is_refused(given):
    """Only host:port is valid."""
    with pytest.raises(ConfigError, match="host:port") as caught:
        grpc_endpoint(environ=environ(grpc=given))
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("find", [rest_endpoint, grpc_endpoint])
@pytest.mark.parametrize("given", [f"{KEY}\n", f" {KEY}", f"{KEY}\t", f"{KEY} x", f"{KEY}é"])
def test_an_invalid_key_is_refused(find, given):
    """The error names the variable, not the key; gRPC would blame each image after all attempts."""
    with pytest.raises(
        ConfigError, match="ETLKIT_VISION_API_KEY has a space, a line break"
    ) as caught:
        find(environ=environ(key=given))
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("make", [RestAnnotator, ClientAnnotator])
def test_the_real_api_needs_credentials(make, monkeypatch, tmp_path):
    """Without a key and without Google's credentials no call is made."""
    for name in environ(rest="", grpc="", key=""):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(ConfigError, match=r"ETLKIT_VISION_API_KEY.*application-default login"):
        make()


@pytest.fixture
def recorder():
    """An HTTP server that gives tokens and empty answers, and records request headers."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            server.asked.append((self.path, dict(self.headers)))
            answer = {"responses": [{}]}
            if self.path == "/token":
                answer = {"access_token": f"token-{len(server.asked)}", "expires_in": 3600}
            body = json.dumps(answer).encode()
            self.send_response(server.status if self.path == "/token" else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            return

    with serving(Handler) as server:
        server.asked, server.status = [], 200
        yield server


@pytest.fixture
def credentials(recorder, monkeypatch, tmp_path):
    """Application default credentials whose tokens come from `recorder`."""
    file = tmp_path / "adc.json"
    given = {"type": "authorized_user", "client_id": "c", "client_secret": "s"}
    given |= {"refresh_token": "r", "quota_project_id": "p"}
    file.write_text(json.dumps(given))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    credentials = default_credentials()
    credentials._token_uri = recorder.url + "/token"  # of a user it is always Google's
    return credentials


def test_default_credentials_are_sent_and_renewed(recorder, credentials):
    """Token and project are sent in headers; an expired token is renewed."""
    annotator = RestAnnotator(rest_endpoint(environ=environ(rest=recorder.url)))
    annotator._credentials = credentials  # loopback would do without
    annotator.annotate([REQUEST])
    annotator.annotate([REQUEST])
    credentials.expiry = datetime(2020, 1, 1)  # noqa: DTZ001 - google-auth counts without zones
    annotator.annotate([REQUEST])
    annotator.close()
    assert [path for path, _ in recorder.asked] == [
        "/token",
        "/v1/images:annotate",
        "/v1/images:annotate",
        "/token",
        "/v1/images:annotate",
    ]
    sent = [headers for path, headers in recorder.asked if path != "/token"]
    assert [each["authorization"] for each in sent] == [
        "Bearer token-1",
        "Bearer token-1",
        "Bearer token-4",
    ]
    assert {each["x-goog-user-project"] for each in sent} == {"p"}


def test_refused_credentials_end_the_run(recorder, credentials):
    """The error says what to do, without the token server's text."""
    recorder.status = 400
    with pytest.raises(ApiError, match="application-default login"):
        auth_headers(credentials, "https://vision.googleapis.com")


def test_a_token_server_that_is_down_is_asked_again(credentials, monkeypatch):
    """It is retried."""
    monkeypatch.setattr(credentials, "_token_uri", "http://127.0.0.1:1/token")
    with no_sleep():
        Calls(RetryPolicy(max_attempts=2, max_outage_s=5)).enter()
        with pytest.raises(RetryableError, match="the token server cannot be reached"):
            auth_headers(credentials, "https://vision.googleapis.com")
    Calls().enter()


@pytest.mark.parametrize(
    ("made_up", "error"),
    [
        (RefreshError("invalid_grant: secret words"), ApiError),
        (RefreshError("try again", retryable=True), RetryableError),
        (ValueError("secret words"), ApiError),
    ],
)
def test_errors_of_the_library_are_not_blamed_on_rows(recorder, monkeypatch, made_up, error):
    """Refused credentials would otherwise reject every row of the table."""
    annotator = ClientAnnotator(
        rest_endpoint(environ=environ(rest=recorder.url, key=KEY)), transport="rest"
    )

    def fail(*_args):
        raise made_up

    monkeypatch.setattr("google.auth.api_key.Credentials.before_request", fail)
    with no_sleep():
        Calls(RetryPolicy(max_attempts=2, max_outage_s=5)).enter()
        with pytest.raises(error) as caught:
            annotator.annotate([REQUEST])
    annotator.close()
    Calls().enter()
    assert "secret words" not in str(caught.value)


@pytest.mark.parametrize("transport", [None, "rest"])
def test_a_key_travels_in_a_header(recorder, transport):
    """The key is never in the address."""
    connection = rest_endpoint(environ=environ(rest=recorder.url, key=KEY))
    made = RestAnnotator if transport is None else partial(ClientAnnotator, transport=transport)
    annotator = made(connection)
    annotator.annotate([REQUEST])
    annotator.close()
    (path, headers), *more = recorder.asked
    assert more == []
    assert KEY not in path
    assert {name.lower(): value for name, value in headers.items()}["x-goog-api-key"] == KEY


def test_a_key_travels_in_metadata_over_grpc():
    """Also on loopback, where a channel has no credentials."""
    metadata = {}

    class Recorder(grpc.GenericRpcHandler):
        def service(self, details):
            metadata.update(details.invocation_metadata)
            return grpc.unary_unary_rpc_method_handler(lambda _data, _context: b"\x0a\x00")

    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool, [Recorder()])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        given = environ(grpc=f"127.0.0.1:{port}", key=KEY)
        annotator = ClientAnnotator(grpc_endpoint(environ=given))
        assert annotator.annotate([REQUEST])[0].answer == {}
        annotator.close()
        server.stop(None).wait()
    assert metadata["x-goog-api-key"] == KEY


@pytest.mark.parametrize("kind", ["rest", "grpc", "grpc-rest"])
def test_the_key_is_never_shown(kind, caplog):
    """It is not in a repr, in any error, or in the log of Google's library."""
    caplog.set_level(logging.DEBUG)
    for name in ("google", "google.cloud.vision_v1", "urllib3", "grpc", "etlkit"):
        caplog.set_level(logging.DEBUG, logger=name)
    output = []
    plan = FaultPlan.script(["ok", "403", "400"])
    with FaultServer(plan) as server:
        given = environ(rest=server.url, grpc=server.grpc_endpoint, key=KEY)
        Calls().enter()
        if kind == "rest":
            annotator = RestAnnotator(rest_endpoint(environ=given))
        elif kind == "grpc":
            annotator = ClientAnnotator(grpc_endpoint(environ=given))
        else:
            annotator = ClientAnnotator(rest_endpoint(environ=given), transport="rest")
        output.append(repr(annotator) + repr(rest_endpoint(environ=given)))
        output.append(repr(annotator.annotate([REQUEST])))
        with pytest.raises(Exception, match=r"403|PERMISSION_DENIED") as caught:
            annotator.annotate([REQUEST])
        error = caught.value
        while error is not None:
            output += [repr(error), str(vars(error)), *getattr(error, "__notes__", ())]
            error = error.__cause__ or error.__context__
        output.append(repr(annotator.annotate([REQUEST])))
        annotator.close()
    output += [str(vars(record)) for record in caplog.records]
    assert len(output) > 5
    assert not [text for text in output if KEY in text]

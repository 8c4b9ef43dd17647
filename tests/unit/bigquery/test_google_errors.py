from http.server import BaseHTTPRequestHandler

import pytest
from google.api_core.exceptions import BadRequest, Forbidden, PreconditionFailed
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import RefreshError
from google.cloud import bigquery

from etlkit import ConfigError, SinkError
from etlkit.bigquery.client import Connection
from etlkit.bigquery.google_errors import errors_as
from etlkit.testing import no_sleep
from tests.loopback import serving


@pytest.fixture
def table():
    """Asks BigQuery for a table, with our retries."""
    with bigquery.Client(project="p", credentials=AnonymousCredentials()) as client:
        yield lambda: client.get_table("d.t", retry=Connection.retry(), timeout=20)


class WantsPassword(BaseHTTPRequestHandler):
    def do_CONNECT(self):
        self.server.asked += 1
        self.send_response(407)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def use_proxy(monkeypatch):
    """Send everything to a proxy."""
    for name in ("HTTPS_PROXY", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    return lambda url: monkeypatch.setenv("https_proxy", url)


@pytest.fixture
def proxy(use_proxy):
    """A proxy that lets nobody through."""
    with serving(WantsPassword) as server:
        server.asked = 0
        use_proxy(f"http://127.0.0.1:{server.server_port}")
        yield server


def test_a_proxy_that_wants_a_password(table, proxy):
    """It is a matter of configuration: asked once, and the message says what to set."""
    with (
        no_sleep(),
        pytest.raises(ConfigError, match=r"BigQuery: the proxy .*407.*HTTPS_PROXY"),
        errors_as(SinkError, "open", "opening the target failed"),
    ):
        table()
    assert proxy.asked == 1


def test_bigquery_cannot_be_reached(table, use_proxy):
    """The error has a stage and a sentence, after a bounded number of attempts."""
    use_proxy("http://127.0.0.1:1")
    with (
        no_sleep(),
        pytest.raises(SinkError, match=r"failed: BigQuery did not answer: .*refused") as caught,
        errors_as(SinkError, "open", "opening the target failed"),
    ):
        table()
    assert caught.value.stage == "open"


def test_credentials_that_are_not_valid_any_more():
    """The message says how to get others."""
    with (
        pytest.raises(SinkError, match=r"(?s)failed: .*invalid_grant.*gcloud auth"),
        errors_as(SinkError, "open", "opening the target failed"),
    ):
        raise RefreshError("invalid_grant: Token has been expired or revoked.")


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (
            Forbidden(
                "Billing has not been enabled for this project. DML queries are not allowed."
            ),
            "The project is a sandbox.*Enable billing",
        ),
        (BadRequest("DML queries are not allowed in the free tier."), "The project is a sandbox"),
        (
            PreconditionFailed("Constraint constraints/gcp.restrictNonCmekServices violated"),
            "keys of its own",
        ),
        (Forbidden("Access Denied: Table p:d.t"), "ask for access"),
    ],
)
def test_what_a_project_does_not_allow(error, hint):
    """BigQuery's sentence, then what to do about it."""
    with (
        pytest.raises(SinkError, match=rf"(?s)publishing failed: .*{hint}"),
        errors_as(SinkError, "publish", "publishing failed", {403: "ask for access"}),
    ):
        raise error

"""Who calls: tokens from the environment, passwords, OAuth, and Google's ID tokens."""

import base64
import datetime as dt
import json
import threading
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import jwt
from google.auth.compute_engine import _metadata

from etlkit import ApiError, ConfigError, Secret
from etlkit.calls import auth, clock
from etlkit.calls.auth import BasicAuth, BearerToken, GoogleIdToken, OAuthClientCredentials
from tests.loopback import answering
from tests.run_of_calls import run_of_calls

SECRET = "s3cret+/ü-4711"


class World:
    """A service that takes one token, and the servers that give tokens."""

    def __init__(self):
        self.valid = None
        self.given = 0
        self.lifetime = 3600
        self.token_answers = []
        self.asked_for = []

    def __call__(self, asked):
        if asked.path.startswith("/token"):
            return self.give(asked)
        if asked.headers["Authorization"] != self.valid:
            return 401, {}, b'{"error": "who are you"}'
        return 200, {}, b'{"ok": true}'

    def give(self, asked):
        fields = {name: value[0] for name, value in parse_qs(asked.body.decode()).items()}
        self.asked_for.append((fields, asked.headers["Authorization"]))
        if self.token_answers:
            return self.token_answers.pop(0)
        self.given += 1
        token = f"token-{self.given}"
        self.valid = f"Bearer {token}"
        answer = {"access_token": token, "token_type": "bearer", "expires_in": self.lifetime}
        return 200, {}, json.dumps(answer).encode()


@pytest.fixture
def world(monkeypatch):
    monkeypatch.setenv("CRM_SECRET", f"{SECRET}\n")
    monkeypatch.setattr(auth, "_of_key", {})
    world = World()
    with answering(world) as server:
        world.server, world.url = server, server.url
        with run_of_calls():
            yield world


def oauth(world, **options):
    return OAuthClientCredentials(
        f"{world.url}/token", client_id="me:you", client_secret=Secret("CRM_SECRET"), **options
    )


@pytest.fixture
def client(make_client):
    def made(world, how, **options):
        return make_client(world.url, service="crm", auth=how, **options)

    return made


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_a_bearer_token_comes_from_the_environment(world, monkeypatch, client):
    """Without the line break that a file ends with. A missing one is found before any call."""
    monkeypatch.setenv("CRM_TOKEN", "made-up\n")
    world.valid = "Bearer made-up"
    with client(world, BearerToken("CRM_TOKEN")) as crm:
        assert crm.get_json("/a") == {"ok": True}
    with pytest.raises(ConfigError, match="environment variable OTHER is not set"):
        client(world, BearerToken("OTHER"))
    monkeypatch.setenv("CRM_TOKEN", "two\nlines")
    with pytest.raises(ConfigError, match="CRM_TOKEN has a space, a line break") as caught:
        client(world, BearerToken("CRM_TOKEN"))
    assert "lines" not in str(caught.value)


def test_a_user_and_a_password(world, client):
    """Either may come from the environment; a key may be the user."""
    for how, expected in (
        (BasicAuth("me", Secret("CRM_SECRET")), basic("me", SECRET)),
        (BasicAuth(Secret("CRM_SECRET")), basic(SECRET, "")),
    ):
        world.valid = expected
        with client(world, how) as crm:
            assert crm.get_json("/a") == {"ok": True}


def test_a_fixed_token_that_is_refused_ends_the_run(world, client):
    """There is no other, so it is one call; the message has the service's reason and no token."""
    with (
        client(world, BasicAuth("me", Secret("CRM_SECRET"))) as crm,
        pytest.raises(ApiError, match="refused /a with 401: who are you") as caught,
    ):
        crm.get_json("/a")
    assert basic("me", SECRET) not in str(caught.value)
    assert len(world.server.asked) == 1


def test_a_header_of_a_call_comes_before_the_token(world, client):
    """Another user for one call."""
    world.valid = "Bearer other"
    with client(world, oauth(world)) as crm:
        assert crm.get_json("/a", headers={"authorization": "Bearer other"}) == {"ok": True}


@pytest.mark.parametrize("in_body", [False, True])
def test_oauth_asks_for_a_token_with_id_and_secret(world, in_body, client):
    """As Basic, quoted as the standard says, or in the body; with scope and more fields."""
    how = oauth(world, scope="read write", params={"audience": "x"}, in_body=in_body)
    with client(world, how) as crm:
        assert [crm.get_json("/a"), crm.put("/a", 1)] == [{"ok": True}] * 2
    fields = {"grant_type": "client_credentials", "scope": "read write", "audience": "x"}
    if in_body:
        fields |= {"client_id": "me:you", "client_secret": SECRET}
    quoted = basic("me%3Ayou", "s3cret%2B%2F%C3%BC-4711")
    assert world.asked_for == [(fields, None if in_body else quoted)]


def test_threads_and_clients_share_a_token(world, client):
    """Sixteen workers must not ask for sixteen tokens."""
    got, barrier = [], threading.Barrier(8)

    def work():
        with client(world, oauth(world)) as crm:
            barrier.wait(20)
            got.append(crm.get_json("/a"))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert got == [{"ok": True}] * 8
    assert world.given == 1


def test_a_token_is_renewed_before_it_expires(world, client):
    """A minute early; the clock of waits is moved forward."""
    with client(world, oauth(world)) as crm:
        crm.get_json("/a")
        clock.skip_to(clock.now() + 3500)
        crm.get_json("/a")
        assert world.given == 1
        clock.skip_to(clock.now() + 41)
        crm.get_json("/a")
        assert world.given == 2


@pytest.mark.parametrize("way", ["get_json", "stream"])
def test_a_token_that_was_withdrawn_is_renewed_once(world, way, client):
    """The service answers 401, and the same call is made with the next token; then it is an error."""

    def ask(crm):
        if way == "stream" and hasattr(crm, "stream"):
            return list(crm.stream("/a"))
        return crm.get_json("/a")

    with client(world, oauth(world)) as crm:
        ask(crm)
        world.valid = "nothing"
        assert ask(crm)
        assert world.given == 2
        world.token_answers = [(200, {}, b'{"access_token": "wrong"}')]
        world.valid = "nothing"
        with pytest.raises(ApiError, match="401: who are you"):
            ask(crm)
    assert len(world.asked_for) == 3


def test_a_token_server_that_fails_for_a_moment_is_asked_again(world, client):
    """And one that refuses the client ends the run, without its secret in the message."""
    refused = json.dumps({"error": "invalid_client", "error_description": f"no {SECRET}"})
    world.token_answers = [(503, {}, b""), (200, {}, b"<html>")]
    with client(world, oauth(world)) as crm:
        assert crm.get_json("/a") == {"ok": True}
    world.token_answers = [(400, {}, refused.encode()), (200, {}, b"{}")]
    for message in (
        "the token server .* refused /token with 400: invalid_client",
        "without an acc",
    ):
        with (
            client(world, oauth(world, scope="other")) as crm,
            pytest.raises(ApiError, match=message) as caught,
        ):
            crm.get_json("/a")
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://tokens.example/x", "https://me:pw@host/x", "https://host/x#y", "ftp://h/", ""]
)
def test_a_secret_is_sent_over_tls_only(url):
    """Loopback is no network."""
    with pytest.raises(ConfigError, match="write https://host/path"):
        OAuthClientCredentials(url, "me", Secret("CRM_SECRET"))
    with pytest.raises(ConfigError, match="not the secret itself"):
        OAuthClientCredentials("https://host/x", "me", "the secret")


def id_token(audience, number):
    expires = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    parts = ({"alg": "none"}, {"aud": audience, "exp": int(expires.timestamp()), "n": number})
    return b".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (*parts, "x")
    ).decode()


@pytest.fixture(scope="module")
def rsa_key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def test_an_id_token_of_a_service_account(world, monkeypatch, tmp_path, rsa_key, client):
    """Google's library signs, and its request goes through etlkit's stack, with its retries."""
    asked_for = []

    def give(asked):
        if not asked_for:
            asked_for.append(None)
            return 503, {}, b"busy"
        assertion = parse_qs(asked.body.decode())["assertion"][0]
        asked_for.append(jwt.decode(assertion, verify=False)["target_audience"])
        token = id_token(asked_for[-1], 1)
        world.valid = f"Bearer {token}"
        return 200, {}, json.dumps({"id_token": token}).encode()

    world.give = give
    file = tmp_path / "account.json"
    file.write_text(json.dumps({
        "type": "service_account", "client_email": "a@p.example", "private_key_id": "1",
        "private_key": rsa_key.decode(), "token_uri": f"{world.url}/token",
    }))  # fmt: skip
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    with client(world, GoogleIdToken()) as crm:
        assert [crm.get_json("/a"), crm.get_json("/a")] == [{"ok": True}] * 2
    assert asked_for == [None, world.url]


def test_an_id_token_of_the_machine(world, monkeypatch, make_client):
    """From the metadata server, for the audience that the user says."""
    audiences = []

    def answer(asked):
        if not asked.path.startswith("/computeMetadata/v1") and asked.path != "/":
            return World.__call__(world, asked)
        flavor = {"Metadata-Flavor": "Google", "Content-Type": "application/text"}
        if "/identity" not in asked.path:
            kind = {"Content-Type": "application/json"} if "recursive" in asked.path else {}
            return 200, {**flavor, **kind}, b'{"email": "a@p.example", "scopes": [], "aliases": []}'
        audiences.append(parse_qs(asked.path.partition("?")[2])["audience"][0])
        token = id_token(audiences[-1], 1)
        world.valid = f"Bearer {token}"
        return 200, flavor, token.encode()

    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    with answering(answer) as machine:
        at = machine.url.removeprefix("http://")
        monkeypatch.setenv("GCE_METADATA_HOST", at)
        for name in (
            "_GCE_METADATA_HOST",
            "_GCE_DEFAULT_HOST",
            "_GCE_METADATA_IP",
            "_GCE_DEFAULT_MDS_IP",
        ):
            if hasattr(_metadata, name):
                monkeypatch.setattr(_metadata, name, at)
        with make_client(
            machine.url, service="crm", auth=GoogleIdToken("https://run.example")
        ) as crm:
            assert crm.get_json("/a") == {"ok": True}
    assert audiences == ["https://run.example"]


def test_without_credentials_for_id_tokens_the_message_says_what_to_do(
    world, monkeypatch, tmp_path, client
):
    """A user's own credentials of gcloud are no help here, and people try them."""
    file = tmp_path / "user.json"
    file.write_text('{"type": "authorized_user", "refresh_token": "x"}')
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    monkeypatch.setattr(_metadata, "ping", lambda *_args, **_options: False)
    with (
        client(world, GoogleIdToken()) as crm,
        pytest.raises(ConfigError, match="GOOGLE_APPLICATION_CREDENTIALS to the key file"),
    ):
        crm.get_json("/a")

"""Who calls a service: a token or a password from the environment, Google's ID tokens, OAuth."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from os import environ
from typing import Any, Final
from urllib.parse import quote_plus, urlsplit

from etlkit.calls import clock
from etlkit.calls.classify import is_transient
from etlkit.calls.connections import HttpPool
from etlkit.calls.exchange import Authorization
from etlkit.calls.http import HttpClient
from etlkit.calls.local_token import is_loopback
from etlkit.calls.run_calls import caller
from etlkit.calls.secret import Secret
from etlkit.errors import ApiError, ConfigError, EtlkitError, RetryableError

_EARLY_S: Final = 60.0
"""A token is renewed this long before it expires: a call takes time, and clocks differ."""

_GOOGLE: Final = "google-auth"


@dataclass(frozen=True)
class BearerToken:
    """`Authorization: Bearer …` with a token from the environment.

    Attributes:
        variable: The environment variable that has it.
    """

    variable: str

    def authorize(self, _base_url: str, /) -> Authorization:
        """See `etlkit.calls.http.Auth`."""
        return _Fixed(f"Bearer {_one_line(Secret(self.variable))}")


@dataclass(frozen=True)
class BasicAuth:
    """`Authorization: Basic …`: a user and a password.

    Attributes:
        user: The user's name, or a `Secret`.
        password: A `Secret`, or a text: an empty one where a service takes a key as the user.
    """

    user: str | Secret
    password: Secret | str = ""

    def authorize(self, _base_url: str, /) -> Authorization:
        """See `etlkit.calls.http.Auth`."""
        return _Fixed(_basic(_text(self.user), _text(self.password)))


@dataclass(frozen=True)
class GoogleIdToken:
    """Google's ID tokens, which Cloud Run and Cloud Functions ask for.

    They are those of the service account in `GOOGLE_APPLICATION_CREDENTIALS`, or of the machine on
    Google Cloud. A user's own credentials of gcloud have none.
    Source: https://cloud.google.com/run/docs/authenticating/service-to-service

    Attributes:
        audience: Whom the tokens are for; None = the service's address, `https://host`.
    """

    audience: str | None = None

    def authorize(self, base_url: str, /) -> Authorization:
        """See `etlkit.calls.http.Auth`."""
        audience = self.audience or base_url
        source = environ.get("GOOGLE_APPLICATION_CREDENTIALS")
        return _shared((type(self), audience, source), _GoogleIdTokens(audience).fetch)


@dataclass(frozen=True)
class OAuthClientCredentials:
    """OAuth 2.0 for machines: tokens for a client's id and secret. They are renewed in time.

    Source: https://www.rfc-editor.org/rfc/rfc6749#section-4.4

    Attributes:
        token_url: Where tokens are given, `https://host/path`.
        client_id: The client's id, or a `Secret`.
        client_secret: The `Secret` with the client's secret.
        scope: What the token is for, scopes separated by spaces; None = the server decides.
        params: More fields of the request, e.g. `audience`.
        in_body: Send id and secret in the body, for servers that do not take them as Basic.
    """

    token_url: str
    client_id: str | Secret
    client_secret: Secret
    scope: str | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    in_body: bool = False

    def __post_init__(self) -> None:
        """Raise if the address would give the secret away.

        Raises:
            ConfigError: With what is allowed.
        """
        parts = urlsplit(self.token_url)
        is_safe = parts.scheme == "https" or (
            parts.scheme == "http" and is_loopback(self.token_url)
        )
        if not is_safe or not parts.hostname or "@" in parts.netloc or parts.fragment:
            raise ConfigError(
                "OAuthClientCredentials(token_url=…): write https://host/path, without a user and #"
            )
        if not isinstance(self.client_secret, Secret):
            raise ConfigError(
                "OAuthClientCredentials(client_secret=…): give Secret('NAME') with the name of an "
                "environment variable, not the secret itself"
            )

    def authorize(self, _base_url: str, /) -> Authorization:
        """See `etlkit.calls.http.Auth`."""
        client, secret = _text(self.client_id), _text(self.client_secret)
        key = (type(self), self.token_url, client, secret, self.scope, self.in_body,
               tuple(self.params.items()))  # fmt: skip
        return _shared(key, lambda: self._fetch(client, secret))

    def _fetch(self, client: str, secret: str) -> tuple[str, float | None]:
        fields = {"grant_type": "client_credentials", "scope": self.scope, **self.params}
        headers: dict[str, str] = {}
        if self.in_body:
            fields |= {"client_id": client, "client_secret": secret}
        else:
            headers["Authorization"] = _basic(quote_plus(client), quote_plus(secret))
        parts = urlsplit(self.token_url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        who = f"the token server {parts.hostname}"
        with HttpClient(f"{parts.scheme}://{parts.netloc}", service=who) as server:
            answer = server.post_form(path, fields, headers=headers, units=0)
        token = answer.get("access_token") if isinstance(answer, dict) else None
        if not isinstance(token, str) or not token:
            raise ApiError(f"{who} answered without an access_token", service=who, status=200)
        return token, _seconds(answer.get("expires_in"))


class _Fixed:
    """A header that does not change."""

    def __init__(self, value: str) -> None:
        self._headers = {"Authorization": value}

    def headers(self) -> Mapping[str, str]:
        return self._headers

    known = headers

    def renew(self, _refused: Mapping[str, str]) -> bool:
        return False


class _Tokens:
    """Tokens that expire. All clients of the process that need the same ones share them.

    Args:
        fetch: Gives a new token and the seconds until it expires; None = it does not say.
    """

    def __init__(self, fetch: Callable[[], tuple[str, float | None]]) -> None:
        self._fetch = fetch
        self._lock = threading.Lock()
        self._headers: dict[str, str] | None = None
        self._renewed_at = float("inf")

    def known(self) -> Mapping[str, str] | None:
        """The headers, if no server must be asked for them first."""
        headers = self._headers
        return None if clock.now() >= self._renewed_at else headers

    def headers(self) -> Mapping[str, str]:
        with self._lock:  # one of the threads asks, and the others wait for its token
            if self._headers is None or clock.now() >= self._renewed_at:
                token, lifetime_s = self._fetch()
                self._headers = {"Authorization": f"Bearer {token}"}
                rest_s = float("inf") if lifetime_s is None else lifetime_s
                self._renewed_at = clock.now() + max(rest_s - _EARLY_S, rest_s / 2)
            return self._headers

    def renew(self, refused: Mapping[str, str]) -> bool:
        with self._lock:
            if self._headers == refused:
                self._headers = None
        return True


class _GoogleIdTokens:
    """Google's ID tokens for one audience."""

    def __init__(self, audience: str) -> None:
        self._audience = audience
        self._credentials: Any = None

    def fetch(self) -> tuple[str, float | None]:
        return caller(_GOOGLE).call(self._attempt, units=0)

    def _attempt(self, timeout_s: float) -> tuple[str, float | None]:
        from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
        from google.oauth2.id_token import fetch_id_token_credentials

        def request(url: str, method: str = "GET", body: Any = None, headers: Any = None,
                    timeout: float | None = None, **_: Any) -> _GoogleAnswer:  # fmt: skip
            return _ask(url, method, body, headers or {}, min(timeout or timeout_s, timeout_s))

        try:
            if self._credentials is None:
                self._credentials = fetch_id_token_credentials(  # type: ignore[no-untyped-call]
                    self._audience, request
                )
            self._credentials.refresh(request)
        except DefaultCredentialsError:
            raise ConfigError(
                "there are no credentials that give ID tokens: set GOOGLE_APPLICATION_CREDENTIALS to "
                "the key file of a service account, or run on Google Cloud. A user's own credentials "
                "of gcloud have no ID tokens"
            ) from None
        except (GoogleAuthError, ValueError) as error:
            raise _failure(error) from None
        expiry = self._credentials.expiry.replace(tzinfo=UTC)
        return str(self._credentials.token), (expiry - datetime.now(UTC)).total_seconds()


@dataclass(frozen=True)
class _GoogleAnswer:
    """What google-auth expects of a transport."""

    status: int
    headers: Mapping[str, str]
    data: bytes


def _ask(
    url: str, method: str, body: Any, headers: Mapping[str, str], timeout_s: float
) -> _GoogleAnswer:
    """A request of google-auth over the one HTTP stack."""
    from google.auth.exceptions import TransportError

    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    pool = HttpPool(f"{parts.scheme}://{parts.netloc}", service=_GOOGLE)
    data = body.encode() if isinstance(body, str) else body
    try:
        return _GoogleAnswer(*pool.send(method, path, headers, data, timeout_s=timeout_s))
    except EtlkitError as error:
        raise TransportError(error.message) from None  # type: ignore[no-untyped-call]
    finally:
        pool.close()


def _failure(error: Exception) -> EtlkitError:
    cause = error.__cause__ or error
    if is_transient(error) or is_transient(cause):
        return RetryableError(f"{_GOOGLE}: the token server cannot be reached", code="unreachable")
    return ApiError(
        f"{_GOOGLE}: no ID token for these credentials ({type(error).__name__})", service=_GOOGLE
    )


_of_key: Final[dict[Hashable, _Tokens]] = {}
_lock: Final = threading.Lock()


def _shared(key: Hashable, fetch: Callable[[], tuple[str, float | None]]) -> _Tokens:
    with _lock:
        return _of_key.setdefault(key, _Tokens(fetch))


def _text(value: str | Secret) -> str:
    return value.read(environ) if isinstance(value, Secret) else value


def _one_line(secret: Secret) -> str:
    """A secret that can stand in a header.

    Raises:
        ConfigError: It cannot.
    """
    text = secret.read(environ)
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ConfigError(
            f"the environment variable {secret.variable} has a space, a line break or another "
            "character that no token has"
        )
    return text


def _basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def _seconds(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None

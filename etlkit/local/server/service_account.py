"""The service account of a local server: a key file for clients that insist on credentials.

Its key is made when the server starts and is in no other file. Its `token_uri` is the local server, so
that Google's libraries ask nobody else for a token.

Source: https://developers.google.com/identity/protocols/oauth2/service-account#httprest
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from etlkit.local.server.local_dir import write_private

if TYPE_CHECKING:
    from starlette.requests import Request

KEY_FILE: Final = "service-account.json"

TOKEN_PATH: Final = "/token"  # noqa: S105 - an address

TOKEN_LIFETIME_S: Final = 3600
"""What Google says, too. The token itself holds for as long as the server runs."""

_GOOGLE_TOKEN_URI: Final = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
"""What Google's own library for Python signs its requests for, whatever the key file says."""

_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_MAX_BODY_BYTES: Final = 64 * 1024
_CLOCK_SKEW_S: Final = 10


class ServiceAccount:
    """A made-up account with a key of its own.

    Args:
        project: The project id that the key file names.
        access_token: What the account gets for a request that its key has signed.
    """

    def __init__(self, project: str, access_token: str) -> None:
        self._project = project
        self._access_token = access_token
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._public_key = self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.email: str = f"etlkit@{project}.iam.gserviceaccount.com"

    def write(self, path: Path, token_uri: str) -> None:
        """Write the key file in one step, readable for this user only.

        Args:
            path: Where to.
            token_uri: The address of `token_app`.
        """
        key = self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        content = {
            "type": "service_account",
            "project_id": self._project,
            "private_key_id": secrets.token_hex(20),
            "private_key": key.decode(),
            "client_email": self.email,
            "client_id": "1",
            "auth_uri": token_uri,
            "token_uri": token_uri,
            "universe_domain": "googleapis.com",
        }
        write_private(path, json.dumps(content, indent=2))

    def claims(self, token: str, audiences: Sequence[str] | None = None) -> dict[str, Any] | None:
        """What a JWT says that this account's key has signed; None = it is not one.

        Args:
            token: Three parts in base64, separated by dots.
            audiences: One of them must be what the JWT is for; None = it may be for anything.
        """
        from google.auth import jwt

        try:
            claims: dict[str, Any] = jwt.decode(  # type: ignore[no-untyped-call]
                token,
                certs=self._public_key,
                audience=audiences,
                clock_skew_in_seconds=_CLOCK_SKEW_S,
            )
        except Exception:  # whatever a stranger sends is not our JWT
            return None
        return claims if claims.get("iss") == self.email else None

    def has_signed(self, bearer: str) -> bool:
        """Whether a bearer token is a JWT of this account, for whichever service."""
        return self.claims(bearer) is not None

    def grant(self, form: str, token_uri: str) -> tuple[HTTPStatus, dict[str, Any]]:
        """Answer a request for a token as Google does.

        Args:
            form: The body of the request.
            token_uri: What the request must be signed for, if it is not for Google's own.

        Returns:
            Status and JSON: the token, or why there is none.
        """
        fields = {name: values[-1] for name, values in parse_qs(form).items()}
        if fields.get("grant_type") != _GRANT:
            reason = "The local server only knows the grant of service accounts, jwt-bearer."
            return _refused("unsupported_grant_type", reason)
        if self.claims(fields.get("assertion", ""), [token_uri, _GOOGLE_TOKEN_URI]) is None:
            reason = (
                "Invalid JWT: not signed with the key of the local server that runs now, or too old. "
                f"Read {KEY_FILE} again."
            )
            return _refused("invalid_grant", reason)
        return HTTPStatus.OK, {
            "access_token": self._access_token,
            "expires_in": TOKEN_LIFETIME_S,
            "token_type": "Bearer",  # the name of a kind
        }


def token_app(account: ServiceAccount, token_uri: str) -> Starlette:
    """Make the ASGI app that answers at `TOKEN_PATH`.

    Args:
        account: The only one that gets a token.
        token_uri: Where the app is reached.
    """

    async def grant(request: Request) -> Response:
        if "origin" in request.headers:  # a web page
            return JSONResponse({"error": "access_denied"}, HTTPStatus.FORBIDDEN)
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MAX_BODY_BYTES:
                return JSONResponse(
                    {"error": "invalid_request"}, HTTPStatus.REQUEST_ENTITY_TOO_LARGE
                )
        status, answer = account.grant(body.decode("latin-1"), token_uri)
        return JSONResponse(answer, status)

    return Starlette(
        routes=[Route(TOKEN_PATH, grant, methods=["POST"])],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])],
    )


def _refused(error: str, reason: str) -> tuple[HTTPStatus, dict[str, Any]]:
    return HTTPStatus.BAD_REQUEST, {"error": error, "error_description": reason}

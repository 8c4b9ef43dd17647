"""Who may call the local server: programs that know its token, and no web page.

A web page can send requests to any port of loopback. It cannot change `Host`, `Origin` or
`Sec-Fetch-Site`, and without an answer to its preflight it can only send the content types of forms. So
each of these is checked, and no answer ever has a CORS header. The token keeps out other users of the
machine.

https://fetch.spec.whatwg.org/#cors-safelisted-request-header
"""

from __future__ import annotations

import hmac
import json
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, MutableMapping

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[Message, Receive, Send], Awaitable[None]]

_HOST: Final = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE)
_OWN_SITES: Final = ("same-origin", "none")
_FORM_TYPES: Final = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data")

_UNKNOWN_CALLER: Final = (
    "The local server answers only programs that send its token: use the address that "
    "BIGQUERY_EMULATOR_HOST or ETLKIT_VISION_ENDPOINT has inside local_world and after "
    "`python -m etlkit.local serve`, or send ETLKIT_LOCAL_TOKEN as a bearer token"
)


def is_token(given: str | bytes, token: str) -> bool:
    """Whether a text is the token. How long that takes says nothing about the token."""
    text = given.encode("utf-8", "surrogateescape") if isinstance(given, str) else given
    return hmac.compare_digest(text, token.encode())


class RequestGuard:
    """Passes on the HTTP requests of programs that know the token, and refuses all others.

    The token may be the first part of the path, a bearer token, or an API key. Behind the guard the
    path is the one without it, so that no log and no message has the token.

    Args:
        app: Answers the requests.
        token: What callers must send.
    """

    def __init__(self, app: App, token: str) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """The ASGI entry."""
        if scope["type"] != "http":
            return  # no lifespan, and no websockets: uvicorn answers 500
        headers = [(name.lower(), value.decode("latin-1")) for name, value in scope["headers"]]
        refused = _refused_as_web_page(scope["method"], headers)
        if refused is not None:
            await _refuse(receive, send, *refused)
            return
        first, slash, rest = scope["path"].removeprefix("/").partition("/")
        if slash and is_token(first, self._token):
            raw_path = scope["raw_path"].removeprefix(b"/" + first.encode())
            inner = {**scope, "path": f"/{rest}", "raw_path": raw_path}
            await self._app(inner, receive, _with_token_in_location(send, first))
        elif any(is_token(given, self._token) for given in _credentials(scope, headers)):
            await self._app(scope, receive, send)
        else:
            await _refuse(receive, send, HTTPStatus.FORBIDDEN, _UNKNOWN_CALLER)


def _refused_as_web_page(
    method: str, headers: list[tuple[bytes, str]]
) -> tuple[HTTPStatus, str] | None:
    """Why a request is refused that a web page may have sent; None = it is not."""
    values = {name: [value for each, value in headers if each == name] for name, _ in headers}
    hosts = values.get(b"host", [])
    if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
        return HTTPStatus.FORBIDDEN, "The local server has no other name than those of loopback"
    is_foreign = any(origin.lower() != f"http://{hosts[0]}" for origin in values.get(b"origin", []))
    if is_foreign or any(site not in _OWN_SITES for site in values.get(b"sec-fetch-site", [])):
        return HTTPStatus.FORBIDDEN, "The local server answers no web page"
    kinds = [each.partition(";")[0].strip().lower() for each in values.get(b"content-type", [])]
    if method == "POST" and any(kind in _FORM_TYPES for kind in kinds):
        return HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"The local server takes no {kinds[0]}; send JSON"
    return None


def _credentials(scope: Message, headers: list[tuple[bytes, str]]) -> Iterable[str]:
    for name, value in headers:
        if name == b"authorization" and value[:7].lower() == "bearer ":
            yield value[7:].strip()
        elif name == b"x-goog-api-key":
            yield value
    yield from parse_qs(scope["query_string"].decode("latin-1")).get("key", [])


def _with_token_in_location(send: Send, token: str) -> Send:
    """Keep the token in the address of an upload that the client goes on with."""

    async def send_on(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*map(with_token, message.get("headers", ()))]}
        await send(message)

    def with_token(header: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
        name, value = header
        if name.lower() != b"location":
            return header
        scheme, host, path = re.fullmatch(rb"(\w+://)?([^/]*)(/.*)", value, re.DOTALL).groups(b"")  # type: ignore[union-attr]
        return name, b"%s%s/%s%s" % (scheme, host, token.encode(), path)

    return send_on


async def _refuse(receive: Receive, send: Send, status: HTTPStatus, message: str) -> None:
    """Send Google's error body. Its reason is one that clients do not repeat.

    The body is read to its end: a client that is cut off while it sends sees a broken connection.
    """
    while (await receive()).get("more_body"):
        pass
    reason = {"reason": "accessDenied", "message": message, "domain": "global"}
    error = {"code": int(status), "message": message, "errors": [reason]}
    body = json.dumps({"error": {**error, "status": "PERMISSION_DENIED"}}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
    ]
    await send({"type": "http.response.start", "status": int(status), "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _is_never_signed(_bearer: str) -> bool:
    return False


def knows_token(
    metadata: Iterable[tuple[str, str | bytes]] | None,
    token: str,
    is_signed: Callable[[str], bool] = _is_never_signed,
) -> bool:
    """Whether the metadata of a gRPC call has the token, as a bearer token or an API key.

    Args:
        metadata: What the client sent.
        token: The token.
        is_signed: Whether a bearer token is one that the owner of our key file has signed: Google's
            clients sign one for each service instead of asking for a token.
    """
    for name, value in metadata or ():
        if name == "x-goog-api-key" and is_token(value, token):
            return True
        text = value if isinstance(value, str) else value.decode("latin-1")
        is_bearer = name == "authorization" and text[:7].lower() == "bearer "
        if is_bearer and (is_token(text[7:], token) or is_signed(text[7:])):
            return True
    return False


def token_interceptor(token: str, is_signed: Callable[[str], bool] = _is_never_signed) -> Any:
    """An interceptor of a gRPC server that refuses calls for which `knows_token` says no."""
    import grpc

    class TokenInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
        async def intercept_service(
            self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any
        ) -> Any:
            if knows_token(handler_call_details.invocation_metadata, token, is_signed):
                return await continuation(handler_call_details)
            return refusing_handler()

    return TokenInterceptor()


def refusing_handler() -> Any:
    """A gRPC handler that refuses any call of whichever form."""
    import grpc

    async def refuse(requests: Any, context: Any) -> Any:
        del requests
        await context.abort(
            grpc.StatusCode.UNAUTHENTICATED,
            "The local server answers only programs that send its token: send ETLKIT_LOCAL_TOKEN "
            "as the metadata x-goog-api-key",
        )
        yield b""  # makes it a stream; `abort` always raises

    return grpc.stream_stream_rpc_method_handler(refuse)

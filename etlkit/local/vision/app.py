"""The local Vision over REST: `images:annotate`, with the messages and limits of the real one.

Any API key is accepted; no key is kept or logged. The error of a whole request has Google's error
body. The error of one image is in that image's answer.

Source: https://cloud.google.com/vision/docs/reference/rest/v1/images/annotate
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from etlkit.local.vision.bad_request import BadRequestError
from etlkit.local.vision.service import MAX_REQUEST_BYTES, VisionService, refuse_too_large

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

_STATUS_NAMES = {
    400: "INVALID_ARGUMENT",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    500: "INTERNAL",
}

_PATHS = (
    "/v1/images:annotate",
    "/v1/projects/{project}/images:annotate",
    "/v1/projects/{project}/locations/{location}/images:annotate",
)


def create_app(service: VisionService) -> Starlette:
    """Make the ASGI app.

    Args:
        service: Answers the calls. The gRPC server may share it.
    """

    async def annotate(request: Request) -> Response:
        answer = await service.annotate_json(await _read_body(request))
        return Response(answer, media_type="application/json")

    return Starlette(
        routes=[
            *(Route(path, annotate, methods=["POST"]) for path in _PATHS),
            Route("/healthz", _healthz, methods=["GET"]),
        ],
        middleware=[Middleware(_DropQuery)],
        exception_handlers={
            HTTPException: _http_error,
            BadRequestError: _bad_request,
            Exception: _internal_error,
        },
    )


class _DropQuery:
    """Removes the query string before a server can log it: it may have `?key=`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["query_string"] = b""
        await self._app(scope, receive, send)


async def _read_body(request: Request) -> bytes:
    """Read the body, and keep at most `MAX_REQUEST_BYTES` of it in memory.

    A body that is too large is read to its end too. A client that is cut off while it sends would
    see a broken connection instead of the answer.
    """
    body = bytearray()
    num_bytes = 0
    async for chunk in request.stream():
        num_bytes += len(chunk)
        if num_bytes <= MAX_REQUEST_BYTES:
            body += chunk
    refuse_too_large(num_bytes)
    return bytes(body)


async def _healthz(request: Request) -> Response:
    del request
    return JSONResponse({"status": "ok"})


async def _bad_request(request: Request, exc: Exception) -> Response:
    del request
    violations = exc.violations if isinstance(exc, BadRequestError) else ()
    details = []
    if violations:
        fields = [{"field": v.field, "description": v.description} for v in violations]
        type_url = "type.googleapis.com/google.rpc.BadRequest"
        details = [{"@type": type_url, "fieldViolations": fields}]
    return _error(HTTPStatus.BAD_REQUEST, str(exc), details)


async def _http_error(request: Request, exc: Exception) -> Response:
    del request
    status = exc.status_code if isinstance(exc, HTTPException) else 500
    return _error(status, f"{HTTPStatus(status).phrase}. POST images to /v1/images:annotate.")


async def _internal_error(request: Request, exc: Exception) -> Response:
    del request, exc
    return _error(HTTPStatus.INTERNAL_SERVER_ERROR, "Internal error encountered.")


def _error(status: int, message: str, details: list[dict[str, Any]] | None = None) -> Response:
    """Google's error body. Source: https://cloud.google.com/apis/design/errors#http_mapping."""
    error: dict[str, Any] = {
        "code": int(status),
        "message": message,
        "status": _STATUS_NAMES.get(status, "UNKNOWN"),
    }
    if details:
        error["details"] = details
    return JSONResponse({"error": error}, status_code=status)

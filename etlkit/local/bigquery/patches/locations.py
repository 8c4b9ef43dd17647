"""Where datasets and jobs are.

Real BigQuery: a dataset is where its creator says, or in the project's default location. A job is where
the request says, or where the datasets are that it names, and its resource shows it. The emulator: all
jobs were in US.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final
from urllib.parse import parse_qs

import bqemulator.api.routes.datasets as routes
from bqemulator.catalog import ddl_sync
from bqemulator.domain.errors import NotFoundError

from etlkit.local.bigquery.patches.table import PATCHES
from etlkit.local.bigquery.patches.work import current, location_of_job
from etlkit.local.bigquery.rules.locations import canonical, job_location
from etlkit.local.bigquery.rules.names import dataset_name
from etlkit.local.bigquery.rules.registry import Asked, ask

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

_MAX_JOBS: Final = 10_000
_NAMED_JOB: Final = re.compile(r"/projects/([^/]+)/(?:jobs|queries)/([^/]+)(?:/cancel|/delete)?$")


class JobLocations:
    """Where the newest jobs are. Others are where the world is."""

    def __init__(self, default: str) -> None:
        self.default = default
        self._known: OrderedDict[str, str] = OrderedDict()

    @property
    def has_others(self) -> bool:
        """Whether a job is not where the world is."""
        return bool(self._known)

    def of(self, job_id: str) -> str:
        """The location of a job."""
        return self._known.get(job_id, self.default)

    def put(self, job_id: str, location: str) -> None:
        """Remember where a job is."""
        self._known[job_id] = location
        while len(self._known) > _MAX_JOBS:
            self._known.popitem(last=False)


LOCATIONS: Final = JobLocations("US")


class FoundByLocation:
    """Answers 404 to a request for a job that does not say where the job is, but must."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """The ASGI entry."""
        named = _NAMED_JOB.search(scope["path"]) if scope["type"] == "http" else None
        if named is not None:
            wanted = parse_qs(scope["query_string"].decode()).get("location", [None])[0]
            try:
                job_location(f"{named[1]}:{named[2]}", wanted, LOCATIONS.of(named[2]))
            except NotFoundError as error:
                await _answer(send, error)
                return
        await self._app(scope, receive, send)


class JobsWithLocation:
    """Notes the location that a request gives to its job, and shows where the job was."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """The ASGI entry."""
        path = scope.get("path", "")
        if scope["type"] != "http" or not path.endswith(("/jobs", "/queries")):
            named = _NAMED_JOB.search(path)
            location = LOCATIONS.of(named[2]) if named is not None else "US"
            await self._app(scope, receive, _shown(send, lambda _: location))
            return
        if scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        if path.startswith("/upload/"):
            await self._app(scope, receive, _shown(send, _where))
            return
        body = [await receive()]
        while body[-1].get("more_body"):
            body.append(await receive())
        work = current()
        if work is not None:
            work.location = _asked(b"".join(message.get("body", b"") for message in body))
        messages = iter(body)

        async def replay() -> Message:
            return next(messages, None) or await receive()

        await self._app(scope, replay, _shown(send, _where))


def _where(job_id: str) -> str:
    """Where the job that has just run was."""
    location = location_of_job() or LOCATIONS.default
    if location != LOCATIONS.default:
        LOCATIONS.put(job_id, location)
    return location


def _asked(body: bytes) -> str:
    """The location of a request's job; empty = it names none."""
    try:
        request = json.loads(body)
        reference = request.get("jobReference") or {}
        location = canonical(reference.get("location") or request.get("location") or "")
        if location and reference.get("jobId"):
            LOCATIONS.put(reference["jobId"], location)
    except (ValueError, AttributeError):  # the emulator says what is wrong with it
        return ""
    return location


def _shown(send: Send, where: Callable[[str], str]) -> Send:
    """Pass an answer on, with the location of its job if that is not US."""
    start: list[Message] = []
    parts: list[bytes] = []

    async def send_shown(message: Message) -> None:
        if message["type"] == "http.response.start":
            start.append(message)
            return
        parts.append(message.get("body", b""))
        if message.get("more_body"):
            return
        body = _with_location(b"".join(parts), where)
        headers = [pair for pair in start[0]["headers"] if pair[0] != b"content-length"]
        length = (b"content-length", b"%d" % len(body))
        await send({**start[0], "headers": [*headers, length]})
        await send({"type": "http.response.body", "body": body})

    return send_shown


def _with_location(body: bytes, where: Callable[[str], str]) -> bytes:
    if LOCATIONS.default == "US" and location_of_job() in {"", "US"} and not LOCATIONS.has_others:
        return body
    try:
        answer = json.loads(body)
        reference = answer["jobReference"]
        reference["location"] = where(reference.get("jobId", ""))
    except (ValueError, LookupError, TypeError):
        return body
    return json.dumps(answer).encode()


async def _answer(send: Send, error: NotFoundError) -> None:
    body = json.dumps(error.to_bigquery_error()).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": error.http_status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _to_dataset(project_id: str, body: dict[str, Any], clock: Any, existing: Any = None) -> Any:
    if existing is None:
        body = {**body, "location": canonical(body.get("location") or LOCATIONS.default)}
    meta = _plain_to_dataset(project_id, body, clock, existing)
    dataset_name(meta.dataset_id)
    ask(Asked.LABELS, meta.labels)
    return meta


def _ensure_dataset(project_id: str, dataset_id: str, ctx: Any) -> None:
    """Make the dataset of a `CREATE SCHEMA` in the default location."""
    if ctx.catalog.get_dataset(project_id, dataset_id) is not None:
        return
    _plain_ensure_dataset(project_id, dataset_id, ctx)
    made = ctx.catalog.get_dataset(project_id, dataset_id)
    ctx.catalog.update_dataset(made.model_copy(update={"location": LOCATIONS.default}))


_plain_to_dataset: Any = routes._rest_to_dataset_meta  # noqa: SLF001
_plain_ensure_dataset: Any = ddl_sync._ensure_dataset  # noqa: SLF001


def apply(default: str) -> None:
    """Make datasets in this location by default."""
    LOCATIONS.default = canonical(default)
    PATCHES.replace("bqemulator.api.routes.datasets:_rest_to_dataset_meta", _to_dataset)
    PATCHES.replace("bqemulator.catalog.ddl_sync:_ensure_dataset", _ensure_dataset)

"""Where the answers of services come from while a job is proved: nothing is paid a hundred times."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

from etlkit.api.user_errors import user_error_text
from etlkit.calls.connections import HttpPool
from etlkit.calls.local_token import is_loopback
from etlkit.errors import ConfigError, EtlkitError
from etlkit.testing.fake_http import FakeRequest, reply_of
from etlkit.testing.fake_vision import answer_of
from etlkit.testing.fault_http import Reply
from etlkit.testing.fault_vision import RefusedError, read_items

Fake = Callable[[FakeRequest], Any]
"""As the handler of a `FakeHttp`."""

_UPSTREAM_S: Final = 60.0
_MAX_IDLE: Final = 64
_VISION: Final = "images:annotate"
_NOT_PASSED_ON: Final = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "host",
        "keep-alive",
        "set-cookie",
        "transfer-encoding",
    }
)
_NOT_KEPT: Final = frozenset({401, 403, 407, 408, 429})
_VERSION: Final = 1


def keys_of(origin: str, method: str, path: str, body: bytes) -> list[str]:
    """What is paid for with a call: each image of a call to Vision, else the call."""
    if _VISION in path:
        try:
            return [f"{item.key} {' '.join(item.features)}" for item in read_items(body)]
        except RefusedError:
            pass
    digest = hashlib.sha256(f"{method}\n{origin}\n{path}\n".encode() + body).hexdigest()
    return [f"{method} {origin}{path.partition('?')[0]} {digest}"]


def as_fake(declared: Any, name: str) -> Fake:
    """What a user gives to `--fake`, as one function of the request.

    Args:
        declared: A function of a `FakeRequest`; or routes, `{"/v1/path": function}`, as of a
            `FaultServer`; or what Vision says of each image, as of a `FakeVision`.
        name: Its name, for the message.

    Raises:
        ConfigError: It is none of them.
    """
    if isinstance(declared, Mapping):
        if declared and all(str(key).startswith("/") for key in declared):
            return lambda request: _routed(declared, request)
        return _vision(declared)
    if callable(declared) and not isinstance(declared, type):
        fake: Fake = declared
        return fake
    raise ConfigError(
        f"--fake {name} is a {type(declared).__name__}: it must be a function of the request, as of "
        'FakeHttp; or routes, {"/v1/path": function}; or images, {"gs://b/1.jpg": ["Cat"]}'
    )


def _routed(routes: Mapping[str, Any], request: FakeRequest) -> Any:
    route = routes.get(request.path)
    if route is None:
        return 404, {"error": {"message": f"the fake has no {request.path}"}}
    return route(request.json if request.body else dict(request.params) or None)


def _vision(images: Mapping[str, Any]) -> Fake:
    def answer(request: FakeRequest) -> Any:
        if not request.path.endswith(_VISION):
            return 404, {"error": {"message": f"the fake of Vision has no {request.path}"}}
        return {"responses": [answer_of(images, item) for item in read_items(request.body)]}

    return answer


class Recording:
    """Real answers in a file, by what was asked. Headers of requests are not in it, so no keys are.

    Args:
        file: Made if it is missing.

    Attributes:
        num_calls: Calls that were made for it, and may have been paid.
        is_open: Whether calls that are not in it are made.

    Raises:
        ConfigError: The file is not a recording.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.num_calls = 0
        self.is_open = True
        self._lock = threading.Lock()
        self._kept: dict[str, dict[str, Any]] = {}
        if file.exists():
            try:
                stored = json.loads(file.read_text(encoding="utf-8"))
                self._kept = {each["key"]: each for each in stored["answers"]}
            except (ValueError, KeyError, TypeError) as error:
                raise ConfigError(
                    f"--record {file} is not a recording of etlkit prove: name another file"
                ) from error

    def find(self, key: str) -> Reply | None:
        """The answer that is kept; None = there is none."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        body = kept["text"].encode() if "text" in kept else base64.b64decode(kept["base64"])
        return Reply(kept["status"], body, kept["headers"], kept["content_type"])

    def keep(self, key: str, reply: Reply) -> None:
        """Keep an answer, if it says something about the request."""
        if reply.status in _NOT_KEPT or reply.status >= 500:
            return
        try:
            body = {"text": reply.body.decode()}
        except UnicodeDecodeError:
            body = {"base64": base64.b64encode(reply.body).decode()}
        with self._lock:
            self._kept[key] = {
                "key": key,
                "status": reply.status,
                "content_type": reply.content_type,
                "headers": dict(reply.headers),
                **body,
            }

    def save(self) -> None:
        """Write the file, readable by its owner only."""
        answers = [self._kept[key] for key in sorted(self._kept)]
        text = json.dumps({"version": _VERSION, "answers": answers}, indent=1, ensure_ascii=False)
        self.file.touch(mode=0o600)
        self.file.write_text(f"{text}\n", encoding="utf-8")


class Answers:
    """Answers requests: by the user's fakes, by servers on this machine, by a recording.

    Args:
        fake: The user's own; None = there is none.
        recording: Answers of real services; None = they are not asked.

    Attributes:
        refused: Origins that nobody answers for, with a method and path of each.
        unreachable: Origins that were asked and did not answer, with the first reason.
        fake_error: What the fake raised first; None = nothing.
        differs: Whether something was asked that is not in the recording, after it was made.
    """

    def __init__(self, fake: Fake | None, recording: Recording | None) -> None:
        self._fake = fake
        self._recording = recording
        self._lock = threading.Lock()
        self._pools: dict[str, HttpPool] = {}
        self.refused: dict[str, str] = {}
        self.unreachable: dict[str, str] = {}
        self.fake_error: str | None = None
        self.differs: str | None = None

    def answer(
        self, origin: str, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> Reply:
        """The answer to a request; called on a thread that may wait.

        Args:
            origin: `https://host` of the service that the job asks.
            method: E.g. `GET`.
            path: With its query.
            headers: Names in lower case.
            body: Empty = none came.
        """
        is_own = is_loopback(origin)
        if self._fake is not None and (not is_own or _VISION in path):
            return self._from_fake(self._fake, method, path, headers, body)
        if is_own:
            return self._from_service(origin, method, path, headers, body)
        (key, *_) = keys_of(origin, method, path, body)
        if self._recording is not None:
            kept = self._recording.find(key)
            if kept is not None:
                return kept
            if self._recording.is_open:
                self._recording.num_calls += 1
                reply = self._from_service(origin, method, path, headers, body)
                self._recording.keep(key, reply)
                return reply
            self.differs = f"{method} {origin}{path.partition('?')[0]}"
        self.refused.setdefault(origin, f"{method} {path.partition('?')[0]}")
        return _json(501, f"etlkit prove has no answer for {origin}")

    def close(self) -> None:
        """Close the connections."""
        for pool in self._pools.values():
            pool.close()

    def _from_fake(
        self, fake: Fake, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> Reply:
        path, _, query = target.partition("?")
        params = dict(parse_qsl(query, keep_blank_values=True))
        try:
            return reply_of(fake(FakeRequest(method, unquote(path), params, headers, body)))
        except Exception as error:
            with self._lock:
                self.fake_error = self.fake_error or user_error_text(error)
            return _json(500, "the fake failed")

    def _from_service(
        self, origin: str, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> Reply:
        with self._lock:
            if origin not in self._pools:
                self._pools[origin] = HttpPool(origin, service=origin, max_idle=_MAX_IDLE)
            pool = self._pools[origin]
        try:
            status, answered, content = pool.send(
                method, path, _passed_on(headers), body or None, timeout_s=_UPSTREAM_S
            )
        except EtlkitError as error:
            with self._lock:
                self.unreachable.setdefault(origin, str(error))
            raise
        kept = _passed_on({name.lower(): value for name, value in answered.items()})
        kind = kept.pop("content-type", "application/octet-stream")
        return Reply(status, content, kept, kind)


def _passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name not in _NOT_PASSED_ON}


def _json(status: int, message: str) -> Reply:
    return Reply(status, json.dumps({"error": {"message": message}}).encode())


def names_of(origins: Sequence[str]) -> str:
    """Origins for a message."""
    return ", ".join(sorted(origins))

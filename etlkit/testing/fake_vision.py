"""`FakeVision`: Cloud Vision on this machine, which answers what a test says about each image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self, TypeAlias

from etlkit.errors import ConfigError
from etlkit.testing.arguments import short
from etlkit.testing.fault_plan import FaultPlan
from etlkit.testing.fault_server import FaultServer
from etlkit.testing.fault_vision import Item

Said: TypeAlias = "Sequence[str] | Mapping[str, Any]"
"""Names of what is on an image, or Vision's `AnnotateImageResponse` as JSON."""

_INVALID = 3
_NOT_FOUND = 5
_EXAMPLE = "{'gs://photos/cat.jpg': ['Cat']}"
_BOX = [{"x": 0.1, "y": 0.1}, {"x": 0.9, "y": 0.1}, {"x": 0.9, "y": 0.9}, {"x": 0.1, "y": 0.9}]
_FIRST_SCORE = 0.9


class FakeVision:
    """Vision's REST and gRPC on loopback. Use it in a `with` block, with its `environ` set.

    Args:
        images: What is said of each image, by its address or `sha256:…` of its content: names, e.g.
            `["Cat", "Sofa"]`, which become labels or objects as the request asks, the surest first; or
            an `AnnotateImageResponse` as JSON, e.g. `{"error": {"code": 3, "message": "Bad image."}}`.
            It may be changed at any time. An image that is not in it gets an error, code 5.
        plan: What goes wrong, as of a `FaultServer`; None = nothing.

    Attributes:
        images: As given.
        server: The server, for its counts.
        environ: Environment variables that lead etlkit's Vision clients here.

    Raises:
        ConfigError: The images are no dict, or something else than names or JSON is said of one.
    """

    def __init__(
        self, images: Mapping[str, Said] | None = None, *, plan: FaultPlan | None = None
    ) -> None:
        if images is not None:
            _check_images(images)
        self.images: Mapping[str, Sequence[str] | Mapping[str, Any]] = (
            images if images is not None else {}
        )
        self.server: FaultServer = FaultServer(plan, answer=self._answer)

    @property
    def environ(self) -> dict[str, str]:
        """See the class. Reading it starts the gRPC side."""
        return {
            "ETLKIT_VISION_ENDPOINT": self.server.url,
            "ETLKIT_VISION_GRPC_ENDPOINT": self.server.grpc_endpoint,
        }

    @property
    def calls(self) -> int:
        """Calls that arrived, answered or not; a call may have up to 16 images."""
        return self.server.calls

    def close(self) -> None:
        """End the server. Counts stay readable."""
        self.server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self, item: Item) -> dict[str, Any]:
        return answer_of(self.images, item)


def _check_images(images: Any) -> None:
    if not isinstance(images, Mapping):
        raise ConfigError(f"FakeVision({short(images)}): give a dict, e.g. {_EXAMPLE}")
    for key, said in images.items():
        if not _is_said(said):
            raise ConfigError(
                f"FakeVision: {short(said)} is said of {key!r}; it is e.g. {_EXAMPLE}"
            )


def _is_said(said: Any) -> bool:
    if isinstance(said, Mapping):
        return True
    is_list = isinstance(said, Sequence) and not isinstance(said, (str, bytes))
    return is_list and all(isinstance(name, str) for name in said)


def answer_of(images: Mapping[str, Said], item: Item) -> dict[str, Any]:
    """What Vision says of one image, see `FakeVision`."""
    said = images.get(item.key)
    if said is None:
        message = f"FakeVision was told nothing about {item.key}."
        return {"error": {"code": _NOT_FOUND, "message": message}}
    if not _is_said(said):  # `images` has been changed since the start
        message = f"FakeVision was told {short(said)} about {item.key}; it is e.g. {_EXAMPLE}."
        return {"error": {"code": _INVALID, "message": message}}
    if isinstance(said, Mapping):
        return dict(said)
    return {
        field: [make(name, at) for at, name in enumerate(said)]
        for feature, (field, make) in _MADE.items()
        if feature in item.features
    }


def _entity(name: str, at: int) -> dict[str, Any]:
    return {
        "mid": f"/m/{name.lower().replace(' ', '_')}",
        "score": round(_FIRST_SCORE / (at + 1), 3),
    }


def _label(name: str, at: int) -> dict[str, Any]:
    entity = _entity(name, at)
    return {**entity, "description": name, "topicality": entity["score"]}


def _object(name: str, at: int) -> dict[str, Any]:
    return {**_entity(name, at), "name": name, "boundingPoly": {"normalizedVertices": _BOX}}


_MADE: Mapping[str, tuple[str, Callable[[str, int], dict[str, Any]]]] = {
    "LABEL_DETECTION": ("labelAnnotations", _label),
    "OBJECT_LOCALIZATION": ("localizedObjectAnnotations", _object),
}
"""Feature -> the answer's field, and what stands there for a name."""

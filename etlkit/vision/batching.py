"""Many images in few calls, and each of them settled alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Final, Protocol

from etlkit.calls import clock
from etlkit.calls.retry import caller
from etlkit.errors import ApiError, CallFailedError, ImageError
from etlkit.vision.annotator import Annotation
from etlkit.vision.connection import SERVICE
from etlkit.vision.download import Downloader, DownloadError
from etlkit.vision.packing import MAX_CALL_BYTES, fits, packs
from etlkit.vision.pending_image import Image
from etlkit.vision.request import ImageRequest
from etlkit.vision.retry_queue import RetryQueue, retry_queue_of

_INVALID_ARGUMENT: Final = 3
_OF_IMAGES: Final = frozenset({400, 413})
"""INVALID_ARGUMENT and "too large": one image may be to blame, and the others are not."""

_OF_THE_JOB: Final = re.compile(r"API key|Invalid JSON payload|Unknown name|Invalid value at")
"""400 is also what a wrong key or a misspelt request gets. No image is to blame for that.
Source: https://cloud.google.com/docs/authentication/api-keys-use (API_KEY_INVALID)"""


class Call(Protocol):
    """Makes one call, retries included."""

    def __call__(self, requests: Sequence[ImageRequest], units: int, /) -> list[Any]:
        """Vision's `AnnotateImageResponse`s as JSON, in the order of the requests."""
        ...


class Settlement:
    """Packs images into calls and finds out what became of each.

    An image with a transient error is asked for again, together with others' of its kind. A call that
    Vision refuses as a whole is halved until the image to blame is alone. What Vision cannot fetch
    is downloaded and sent.

    Args:
        call: Makes one call.
        size_of: Bytes that an image takes in a call.
        downloader: Fetches what Vision cannot.
        kind: Equal for annotators that may ask for each other's images.
    """

    def __init__(
        self,
        call: Call,
        size_of: Callable[[ImageRequest], int],
        downloader: Downloader,
        kind: Hashable,
    ) -> None:
        self._call = call
        self._size_of = size_of
        self._downloader = downloader
        self._kind = kind

    def annotate(self, requests: Sequence[ImageRequest]) -> list[Annotation]:
        """As `ImageAnnotator.annotate`."""
        images = [self._enter(Image(request)) for request in requests]
        lobby = retry_queue_of(caller(SERVICE), self._kind)
        try:
            for pack in packs([image for image in images if not image.settled], _size):
                self._ask(pack, lobby)
            lobby.enter(images)
            self._finish(images, lobby)
        finally:
            lobby.leave(images)
        return [image.result() for image in images]

    def _finish(self, images: Sequence[Image], lobby: RetryQueue) -> None:
        """Return when all of them are settled, by this worker or by another one."""
        while any(not image.settled for image in images):
            # No more than one call takes: 16 workers with 16 photos each would fill the memory.
            loaded = sum(image.size for image in images if image.waits)
            for image in images:
                if image.wants_bytes and not image.in_flight and loaded < MAX_CALL_BYTES:
                    self._download(image, lobby)
                    loaded += image.size
            pack = lobby.next_pack(images, may_download=loaded < MAX_CALL_BYTES)
            if pack:
                with lobby.leading(pack):
                    self._ask(pack, lobby)

    def _ask(self, pack: Sequence[Image], lobby: RetryQueue) -> None:
        requests = [image.request for image in pack]
        started = clock.now()
        try:
            answers = self._call(requests, sum(len(each.features) for each in requests))
        except ApiError as error:
            if error.status not in _OF_IMAGES or _OF_THE_JOB.search(error.reason or ""):
                raise
            middle = len(pack) // 2
            refused = ImageError(error.reason or error.message, code=_INVALID_ARGUMENT)
            self._split([pack[:middle], pack[middle:]], lobby, refused)
        except CallFailedError as error:
            # Not in halves: each failing half would cost all attempts again.
            self._split([[image] for image in pack], lobby, error)
        else:
            lobby.note(pack, answers, clock.now() - started)

    def _split(
        self,
        parts: Sequence[Sequence[Image]],
        lobby: RetryQueue,
        error: ImageError | CallFailedError,
    ) -> None:
        """Ask for parts of a call that failed as a whole; alone, an image is to blame."""
        whole = [image for part in parts for image in part]
        if len(whole) == 1:
            whole[0].settle(Annotation({}, error))
            return
        for part in parts:
            self._ask(part, lobby)

    def _enter(self, image: Image) -> Image:
        """Measure an image, and settle it if there is no point in sending it."""
        fault = image.request.fault()
        if fault is None:
            image.size = self._size_of(image.request)
            if not fits(image.size):
                fault = (
                    f"the image takes {image.size:,} bytes in a call, and a call has "
                    f"{MAX_CALL_BYTES:,} at most: put it into a bucket and give its gs:// address"
                )
        if fault is not None:
            image.settle(Annotation({}, ImageError(fault, code=_INVALID_ARGUMENT)))
        return image

    def _download(self, image: Image, lobby: RetryQueue) -> None:
        try:
            content = self._downloader.fetch(str(image.request.uri), max_bytes=MAX_CALL_BYTES)
        except DownloadError as error:
            image.download_failed(str(error), is_transient=error.is_transient)
            if error.is_transient:
                lobby.try_later(image)
            return
        old = image.request
        image.request = ImageRequest(content=content, features=old.features, context=old.context)
        self._enter(image)
        image.downloaded()


def keyless(call: Call, key: str | None) -> Call:
    """The same call, without the key in what it raises.

    Google names the key in some refusals: `Consumer 'api_key:…' has been suspended`.
    """
    if key is None:
        return call

    def guarded(requests: Sequence[ImageRequest], units: int) -> list[Any]:
        try:
            return call(requests, units)
        except ApiError as error:
            if key not in error.message:
                raise
            told = error
        # Outside of `except`: there the original would hang on to the new error as its context.
        raise ApiError(
            told.message.replace(key, "[key]"),
            service=told.service,
            status=told.status,
            reason=None if told.reason is None else told.reason.replace(key, "[key]"),
        )

    return guarded


def _size(image: Image) -> int:
    return image.size

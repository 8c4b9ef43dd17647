"""Many images in few calls, with a result of its own for each image."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Final, Protocol

from etlkit.calls import clock
from etlkit.calls.recording import Recording, value_key
from etlkit.calls.run_calls import caller
from etlkit.errors import ApiError, CallFailedError, ImageError
from etlkit.vision.annotator import Annotation
from etlkit.vision.download import Downloader, DownloadError
from etlkit.vision.endpoint import SERVICE
from etlkit.vision.packing import MAX_CALL_BYTES, fits, packs
from etlkit.vision.pending_image import PendingImage
from etlkit.vision.request import ImageRequest
from etlkit.vision.retry_queue import RetryQueue, retry_queue_of

_INVALID_ARGUMENT: Final = 3
_CAUSED_BY_AN_IMAGE: Final = frozenset({400, 413})
"""INVALID_ARGUMENT and "too large": a single image may be the cause."""

_CAUSED_BY_THE_JOB: Final = re.compile(
    r"API key|Invalid JSON payload|Unknown name|Invalid value at"
)
"""A wrong key or a misspelt request gets 400, too. No image causes that.
Source: https://cloud.google.com/docs/authentication/api-keys-use (API_KEY_INVALID)"""


class Call(Protocol):
    """Makes one call, retries included."""

    def __call__(self, requests: Sequence[ImageRequest], units: int, /) -> list[Any]:
        """Vision's `AnnotateImageResponse`s as JSON, in the order of the requests."""
        ...


class BatchAnnotator:
    """Packs images into calls and finds the result of each image.

    An image with a transient error is retried together with others like it. A call that Vision refuses
    as a whole is halved until the image that causes it is alone. An image that Vision cannot fetch is
    downloaded and sent.

    Args:
        call: Makes one call.
        size_of: Bytes that an image takes in a call.
        downloader: Downloads images that Vision cannot fetch.
        kind: Annotators with the same kind may ask for each other's images.
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
        images = [self._measure(PendingImage(request)) for request in requests]
        service = caller(SERVICE)
        recording = service.recording
        asked = [] if recording is None else self._replay(images, recording)
        queue = retry_queue_of(service, self._kind)
        try:
            for pack in packs([image for image in images if not image.is_done], _size):
                self._ask(pack, queue)
            queue.add(images)
            self._finish(images, queue)
        finally:
            queue.remove(images)
        if recording is not None:
            for image, key in asked:
                if image.result().error is None:
                    recording.keep(key, image.result().answer)
        return [image.result() for image in images]

    def _replay(
        self, images: Sequence[PendingImage], recording: Recording
    ) -> list[tuple[PendingImage, str]]:
        """Finish the images for which another run has an answer; gives the others with their keys.

        Image by image: the same images are packed into other calls every time.
        """
        asked = []
        for image in images:
            if image.is_done:
                continue
            key = value_key(["vision", str(self._kind), image.request.to_json()])
            found = recording.find(key)
            if found is None:
                asked.append((image, key))
            else:
                image.finish(Annotation(found[0]))
        return asked

    def _finish(self, images: Sequence[PendingImage], queue: RetryQueue) -> None:
        """Return when all images have a result, found by this worker or by another one."""
        while any(not image.is_done for image in images):
            # Download no more than one call takes: 16 photos for each of 16 workers fill the memory.
            loaded = sum(image.size for image in images if image.is_waiting)
            for image in images:
                if image.wants_bytes and not image.in_flight and loaded < MAX_CALL_BYTES:
                    self._download(image, queue)
                    loaded += image.size
            pack = queue.next_pack(images, may_download=loaded < MAX_CALL_BYTES)
            if pack:
                with queue.in_flight(pack):
                    self._ask(pack, queue)

    def _ask(self, pack: Sequence[PendingImage], queue: RetryQueue) -> None:
        requests = [image.request for image in pack]
        started = clock.now()
        try:
            answers = self._call(requests, sum(len(each.features) for each in requests))
        except ApiError as error:
            is_from_job = _CAUSED_BY_THE_JOB.search(error.reason or "")
            if error.status not in _CAUSED_BY_AN_IMAGE or is_from_job:
                raise
            middle = len(pack) // 2
            refused = ImageError(error.reason or error.message, code=_INVALID_ARGUMENT)
            self._split([pack[:middle], pack[middle:]], queue, refused)
        except CallFailedError as error:
            # Not halved: each failing half would use up all attempts again.
            self._split([[image] for image in pack], queue, error)
        else:
            queue.record(pack, answers, clock.now() - started)

    def _split(
        self,
        parts: Sequence[Sequence[PendingImage]],
        queue: RetryQueue,
        error: ImageError | CallFailedError,
    ) -> None:
        """Ask for the parts of a call that failed as a whole. A single image gets the error."""
        whole = [image for part in parts for image in part]
        if len(whole) == 1:
            whole[0].finish(Annotation({}, error))
            return
        for part in parts:
            self._ask(part, queue)

    def _measure(self, image: PendingImage) -> PendingImage:
        """Set an image's size, and finish it if it cannot be sent at all."""
        fault = image.request.fault()
        if fault is None:
            image.size = self._size_of(image.request)
            if not fits(image.size):
                fault = (
                    f"the image takes {image.size:,} bytes in a call, and a call may have at most "
                    f"{MAX_CALL_BYTES:,}: put it into a bucket and use its gs:// address"
                )
        if fault is not None:
            image.finish(Annotation({}, ImageError(fault, code=_INVALID_ARGUMENT)))
        return image

    def _download(self, image: PendingImage, queue: RetryQueue) -> None:
        try:
            content = self._downloader.fetch(str(image.request.uri), max_bytes=MAX_CALL_BYTES)
        except DownloadError as error:
            image.download_failed(str(error), is_transient=error.is_transient)
            if error.is_transient:
                queue.retry_later(image)
            return
        old = image.request
        image.request = ImageRequest(content=content, features=old.features, context=old.context)
        self._measure(image)
        image.downloaded()


def without_key(call: Call, key: str | None) -> Call:
    """The same call; errors that it raises do not contain the key.

    Google names the key in some refusals: `Consumer 'api_key:…' has been suspended`.
    """
    if key is None:
        return call

    def guarded(requests: Sequence[ImageRequest], units: int) -> list[Any]:
        try:
            return call(requests, units)
        except ApiError as error:
            if key not in f"{error.message} {error.reason}":
                raise
            original = error
        # Outside of `except`: inside, the new error would keep the original as its context.
        raise ApiError(
            original.message.replace(key, "[key]"),
            service=original.service,
            status=original.status,
            reason=None if original.reason is None else original.reason.replace(key, "[key]"),
        )

    return guarded


def _size(image: PendingImage) -> int:
    return image.size

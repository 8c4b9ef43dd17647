"""One image on its way: what is asked of it, what Vision said, what became of it."""

from __future__ import annotations

from typing import Any, Final

from etlkit.errors import CallFailedError, ImageError
from etlkit.vision.annotator import TRANSIENT_CODES, Annotation
from etlkit.vision.request import ImageRequest

_PASS_IT_IN: Final = ("download the content and pass it in", "download the image and pass it in")
"""The end of what Vision says of addresses that it cannot, or may not, fetch.
Source: https://github.com/googleapis/google-cloud-python/issues/13740"""

_MAX_MESSAGE_CHARS: Final = 300
_UNKNOWN: Final = 2
_UNAVAILABLE: Final = 14


class Image:
    """One image on its way.

    Attributes:
        request: What Vision is asked; changes when the bytes are sent instead of the address.
        size: Bytes it takes in a call.
        attempts: Calls it was in and failed alone.
        due: When it may be asked for again, as `clock.now` counts.
        failed_at: When it failed last.
        wants_bytes: Vision could not fetch it: the worker it belongs to has to download it.
        with_others: Somebody may ask for it before it is due.
        in_flight: Somebody is asking for it.
        message: What Vision said of it last.
    """

    def __init__(self, request: ImageRequest) -> None:
        self.request = request
        self.size = 0
        self.attempts = 0
        self.due = 0.0
        self.failed_at = 0.0
        self.wants_bytes = False
        self.with_others = True
        self.in_flight = False
        self._answer: dict[str, Any] = {}
        self._code = 0
        self.message = ""
        self._annotation: Annotation | None = None
        self._failure: BaseException | None = None

    @property
    def settled(self) -> bool:
        """Whether it is known what became of it."""
        return self._annotation is not None or self._failure is not None

    @property
    def waits(self) -> bool:
        """Whether anybody may ask for it."""
        return not (self.settled or self.in_flight or self.wants_bytes)

    def settle(self, annotation: Annotation) -> None:
        """Say what became of it; a file that was downloaded for it is let go."""
        self._annotation = annotation
        if self.request.content is not None:
            self.request = ImageRequest(features=self.request.features)

    def fail(self, error: BaseException) -> None:
        """The run ends while it was asked for."""
        self._failure = error

    def result(self) -> Annotation:
        """What became of it.

        Raises:
            BaseException: What ended the run.
        """
        if self._failure is not None:
            raise self._failure
        if self._annotation is None:
            raise AssertionError("asked before it was settled")
        return self._annotation

    def take(self, answer: dict[str, Any]) -> bool:
        """Learn what Vision says of it; True = a later try may say something else."""
        self._answer, error = answer, answer.get("error")
        if not isinstance(error, dict) or not error:
            self.settle(Annotation(answer))
            return False
        self._code = int(error.get("code", _UNKNOWN))
        self.message = str(error.get("message", f"code {self._code}"))[:_MAX_MESSAGE_CHARS]
        if self.request.uri is not None and not self.request.uri.startswith("gs://"):
            self.wants_bytes = any(words in self.message for words in _PASS_IT_IN)
        if self.wants_bytes:
            return False
        if self._code not in TRANSIENT_CODES:
            self.settle(Annotation(answer, ImageError(self.message, code=self._code)))
        return not self.settled

    def not_answered(self) -> None:
        """The call was answered, but not for each image, so nobody can say which is which."""
        self._answer, self._code = {}, _UNAVAILABLE
        self.message = "Vision's answer is not one for each image"

    def give_up(self) -> None:
        """Settle it with its transient error: others are answered, so it is to blame."""
        message = f"{self.message} ({self.attempts} attempts, while other images are answered)"
        word = TRANSIENT_CODES[self._code]
        error = CallFailedError(message, code=word, attempts=self.attempts)
        self.settle(Annotation(self._answer, error))

    def downloaded(self) -> None:
        """Ask with the image itself, as soon as may be."""
        self.due, self.with_others, self.wants_bytes = 0.0, True, False

    def download_failed(self, why: str, *, is_transient: bool) -> None:
        """Vision could not fetch it, and neither could we.

        Args:
            why: For the message.
            is_transient: A later attempt may work.
        """
        self.message, self.wants_bytes = f"{self.message} Downloading it failed: {why}", False
        if is_transient:
            self._code = _UNAVAILABLE
        else:
            self.settle(Annotation(self._answer, ImageError(self.message, code=self._code)))

"""One image until it has a result: its request, its attempts, and Vision's last answer."""

from __future__ import annotations

from typing import Any, Final

from etlkit.calls.classify import GRPC_CODES, TRANSIENT_CODES
from etlkit.errors import CallFailedError, ImageError
from etlkit.vision.annotator import Annotation
from etlkit.vision.request import ImageRequest

_PASS_IT_IN: Final = ("download the content and pass it in", "download the image and pass it in")
"""The end of Vision's messages about addresses that it cannot, or may not, fetch.
Source: https://github.com/googleapis/google-cloud-python/issues/13740"""

_MAX_MESSAGE_CHARS: Final = 300
_UNKNOWN: Final = 2
_UNAVAILABLE: Final = 14


class PendingImage:
    """One image until it has a result.

    Attributes:
        request: What Vision is asked; changes when the bytes are sent instead of the address.
        size: Bytes it takes in a call.
        attempts: Calls that included it and in which it failed.
        due: When it may be asked for again, as `clock.now` counts.
        failed_at: When it failed last, as `clock.now` counts.
        wants_bytes: Vision could not fetch it, so the worker that owns it must download it.
        may_go_early: A call that has room may include it before it is due.
        in_flight: A call includes it now.
        message: Vision's last message about it.
    """

    def __init__(self, request: ImageRequest) -> None:
        self.request: ImageRequest = request
        self.size = 0
        self.attempts = 0
        self.due: float = 0.0
        self.failed_at: float = 0.0
        self.wants_bytes: bool = False
        self.may_go_early: bool = True
        self.in_flight = False
        self._answer: dict[str, Any] = {}
        self._code = 0
        self.message: str = ""
        self._annotation: Annotation | None = None
        self._failure: BaseException | None = None

    @property
    def is_done(self) -> bool:
        """Whether it has a result, or the run is ending because of it."""
        return self._annotation is not None or self._failure is not None

    @property
    def is_waiting(self) -> bool:
        """Whether any worker may ask for it."""
        return not (self.is_done or self.in_flight or self.wants_bytes)

    def finish(self, annotation: Annotation) -> None:
        """Set its result. A file that was downloaded for it is freed."""
        self._annotation = annotation
        if self.request.content is not None:
            self.request = ImageRequest(features=self.request.features)

    def fail(self, error: BaseException) -> None:
        """Set the error that ended the run while a call included it."""
        self._failure = error

    def result(self) -> Annotation:
        """Its result.

        Raises:
            BaseException: The error that ended the run.
        """
        if self._failure is not None:
            raise self._failure
        if self._annotation is None:
            raise AssertionError("the image has no result yet")
        return self._annotation

    def take_answer(self, answer: dict[str, Any]) -> bool:
        """Read Vision's answer about it.

        Returns:
            Whether it failed with a transient error and has to be retried.
        """
        self._answer, error = answer, answer.get("error")
        if not isinstance(error, dict) or not error:
            self.finish(Annotation(answer))
            return False
        self._code = int(error.get("code", _UNKNOWN))
        self.message = str(error.get("message", f"code {self._code}"))[:_MAX_MESSAGE_CHARS]
        if self.request.uri is not None and not self.request.uri.startswith("gs://"):
            self.wants_bytes = any(words in self.message for words in _PASS_IT_IN)
        if self.wants_bytes:
            return False
        if GRPC_CODES.get(self._code) not in TRANSIENT_CODES:
            self.finish(Annotation(answer, ImageError(self.message, code=self._code)))
        return not self.is_done

    def not_answered(self) -> None:
        """The answer of a call did not have one entry per image, so none of them can be assigned."""
        self._answer, self._code = {}, _UNAVAILABLE
        self.message = "Vision did not send one answer per image"

    def give_up(self) -> None:
        """Finish it with its transient error: other images are answered, so this one is the cause."""
        message = f"{self.message} ({self.attempts} attempts, while other images are answered)"
        code = GRPC_CODES[self._code]
        error = CallFailedError(message, code=code, attempts=self.attempts)
        self.finish(Annotation(self._answer, error))

    def downloaded(self) -> None:
        """Ask again with the image itself, as soon as possible."""
        self.due, self.may_go_early, self.wants_bytes = 0.0, True, False

    def download_failed(self, why: str, *, is_transient: bool) -> None:
        """Neither Vision nor we could fetch it.

        Args:
            why: For the message.
            is_transient: A later attempt may work.
        """
        self.message, self.wants_bytes = f"{self.message} Downloading it failed: {why}", False
        if is_transient:
            self._code = _UNAVAILABLE
        else:
            self.finish(Annotation(self._answer, ImageError(self.message, code=self._code)))

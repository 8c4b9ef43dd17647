"""Where images wait that failed alone, until somebody asks for several of them at once.

Of 16 images in a call, one often fails where 3 % of all images do. Were each asked for again by itself,
calls would grow by half. So the workers of a run have a lobby in common: whose image is due takes
along what else is waiting, and settles it for the others too.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final
from weakref import WeakKeyDictionary

from etlkit import clock
from etlkit.errors import CallFailedError, ImageError, OutageError
from etlkit.retry import Caller, RetryPolicy
from etlkit.vision.annotator import TRANSIENT_CODES, Annotation, plain
from etlkit.vision.packing import MAX_IMAGES, packs
from etlkit.vision.request import ImageRequest

_MAX_WAIT_S: Final = 10.0
"""Short, because an image that is due takes along others: the calls are few anyway."""

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
        failing_since: When it first failed.
        wants_bytes: Vision could not fetch it: the worker it belongs to has to download it.
        with_others: Somebody may ask for it before it is due.
        in_flight: Somebody is asking for it.
    """

    def __init__(self, request: ImageRequest) -> None:
        self.request = request
        self.size = 0
        self.attempts = 0
        self.due = 0.0
        self.failing_since = 0.0
        self.wants_bytes = False
        self.with_others = True
        self.in_flight = False
        self._answer: dict[str, Any] = {}
        self._code = 0
        self._message = ""
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
        """Say what became of it."""
        self._annotation = annotation

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
        self._message = str(error.get("message", f"code {self._code}"))[:_MAX_MESSAGE_CHARS]
        if self.request.uri is not None and not self.request.uri.startswith("gs://"):
            self.wants_bytes = any(words in self._message for words in _PASS_IT_IN)
        if self.wants_bytes:
            return False
        if self._code not in TRANSIENT_CODES:
            self.settle(Annotation(answer, ImageError(self._message, code=self._code)))
        return not self.settled

    def not_answered(self) -> None:
        """The call was answered, but not for each image, so nobody can say which is which."""
        self._answer, self._code = {}, _UNAVAILABLE
        self._message = "Vision's answer is not one for each image"

    def give_up(self) -> None:
        """Settle it with its transient error: others are answered, so it is to blame."""
        message = f"{self._message} ({self.attempts} attempts, while other images are answered)"
        word = TRANSIENT_CODES[self._code]
        error = CallFailedError(message, code=word, attempts=self.attempts)
        self.settle(Annotation(self._answer, error))

    def downloaded(self) -> None:
        """Ask with the image itself, as soon as may be."""
        self.due, self.with_others, self.wants_bytes = 0.0, True, False

    def download_failed(self, why: str, *, passing: bool) -> None:
        """Vision could not fetch it, and neither could we; `passing` = not this time."""
        self._message, self.wants_bytes = f"{self._message} Downloading it failed: {why}", False
        if passing:
            self._code = _UNAVAILABLE
        else:
            self.settle(Annotation(self._answer, ImageError(self._message, code=self._code)))


class Lobby:
    """Images that wait, of all workers of a run.

    Args:
        policy: How often, and for how long, an image is worth asking for.
    """

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._changed = threading.Condition()
        self._here: list[Image] = []
        self._failing: set[Image] = set()
        """Images that have failed since one was last answered."""

    def note(self, pack: Sequence[Image], answers: Sequence[Any]) -> None:
        """Take the answers of a call: by position, and only if there is one for each image."""
        if len(answers) == len(pack) and all(isinstance(each, dict) for each in answers):
            pairs = zip(pack, answers, strict=True)
            again = [image for image, answer in pairs if image.take(plain(answer))]
        else:
            again = list(pack)
            for image in again:
                image.not_answered()
        if not again and not self._failing:
            return
        with self._changed:
            if len(again) < len(pack):
                self._failing.clear()
            for image in again:
                self._try_later(image)

    def try_later(self, image: Image) -> None:
        """An image was not to be had this time.

        Raises:
            OutageError: None of any worker was, for too long.
        """
        with self._changed:
            self._try_later(image)

    def _try_later(self, image: Image) -> None:
        now = clock.now()
        image.attempts += 1
        if image.attempts == 1:
            image.failing_since = now
            self._failing.add(image)
        if image.attempts >= self._policy.max_attempts:
            if image not in self._failing or len(self._failing) == 1:
                image.give_up()
                return
            if now - image.failing_since > self._policy.max_outage_s:
                raise OutageError(
                    f"vision has answered no image for {now - image.failing_since:,.0f} s",
                    attempts=image.attempts,
                )
        most = min(self._policy.first_wait_s * 2.0 ** min(image.attempts - 1, 16), _MAX_WAIT_S)
        image.due = now + random.uniform(most / 2, most)  # noqa: S311 - no secret
        image.with_others = image.attempts == 1

    def enter(self, images: Sequence[Image]) -> None:
        """Let the others see what is not settled."""
        rest = [image for image in images if not image.settled]
        if rest:
            with self._changed:
                self._here += rest
                self._changed.notify_all()

    def leave(self, images: Sequence[Image]) -> None:
        """Take one's images away, settled or not."""
        if self._here or self._failing:
            mine = set(images)
            with self._changed:
                self._here = [image for image in self._here if image not in mine]
                self._failing -= mine

    def next_pack(self, mine: Sequence[Image]) -> list[Image]:
        """Wait until there is something to do.

        Args:
            mine: Images of the worker that asks.

        Returns:
            Images to ask for now, others' among them; [] = none: yours are settled, or want to be
            downloaded.
        """
        with self._changed:
            while not all(image.settled for image in mine):
                if any(image.wants_bytes and not image.in_flight for image in mine):
                    break
                waiting = [image for image in mine if image.waits]
                due = min((image.due for image in waiting), default=None)
                is_due = due is not None and _is_due(due)
                along = [image for image in self._here if image.waits and _may_go(image)]
                if is_due or (len(along) >= MAX_IMAGES and any(map(_may_go, waiting))):
                    return self._take(along, set(waiting))
                self._changed.wait(None if due is None else max(0.0, due - clock.now()))
            return []

    def _take(self, along: list[Image], mine: set[Image]) -> list[Image]:
        """As much as fits into one call, one's own first: only that lets everybody get on."""
        along.sort(key=lambda image: (image not in mine, image.due))
        pack = next(packs(along, lambda image: image.size))
        for image in pack:
            image.in_flight = True
        return pack

    @contextmanager
    def leading(self, pack: Sequence[Image]) -> Iterator[None]:
        """While the images of a pack are asked for; what goes wrong goes wrong for all of them."""
        try:
            yield
        except BaseException as error:
            for image in pack:
                if not image.settled:
                    image.fail(error)
            raise
        finally:
            with self._changed:
                for image in pack:
                    image.in_flight = False
                self._changed.notify_all()


_lock = threading.Lock()
_lobbies: WeakKeyDictionary[Caller, dict[Hashable, Lobby]] = WeakKeyDictionary()


def lobby_of(caller: Caller, kind: Hashable) -> Lobby:
    """The lobby that the workers of a run share; `Caller` is what a run has one of."""
    with _lock:
        lobbies = _lobbies.setdefault(caller, {})
        return lobbies.setdefault(kind, Lobby(caller.policy))


def _is_due(due: float) -> bool:
    return clock.now() >= due or clock.skip_to(due)


def _may_go(image: Image) -> bool:
    return image.with_others or image.due <= clock.now()

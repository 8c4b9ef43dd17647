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

from etlkit.calls import clock
from etlkit.calls.retry import Caller, RetryPolicy
from etlkit.errors import OutageError
from etlkit.vision.annotator import plain
from etlkit.vision.packing import MAX_IMAGES, packs
from etlkit.vision.pending_image import Image

_MAX_WAIT_S: Final = 10.0
"""Short, because an image that is due takes along others: the calls are few anyway."""

_LOOK_S: Final = 0.5
"""How often those who wait look whether the run is ending."""

_QUIET_CALLS: Final = 2.0
"""For so many times the duration of a call nobody has come in: then no more are waited for."""

_WEIGHT: Final = 0.1
"""Of the last call in the average duration of calls."""


class RetryQueue:
    """Images that wait, of all workers of a run.

    Args:
        policy: How often, and for how long, an image is worth asking for.
        stop: Ends the waits.
    """

    def __init__(self, policy: RetryPolicy, stop: clock.Stop) -> None:
        self._policy = policy
        self._stop = stop
        self._changed = threading.Condition()
        self._here: list[Image] = []
        self._call_s = 0.0
        self._last_in_at = 0.0
        self._answered_at = 0.0
        self._silent_since = 0.0
        self._failing: set[Image] = set()
        """Images that have failed since any was last answered."""

    def note(self, pack: Sequence[Image], answers: Sequence[Any], took_s: float) -> None:
        """Take the answers of a call: by position, and only if there is one for each image."""
        self._call_s += (took_s - self._call_s) * (_WEIGHT if self._call_s else 1.0)
        if len(answers) == len(pack) and all(isinstance(each, dict) for each in answers):
            pairs = zip(pack, answers, strict=True)
            again = [image for image, answer in pairs if image.take(plain(answer))]
        else:
            again = list(pack)
            for image in again:
                image.not_answered()
        if len(again) < len(pack):
            self._answered_at = clock.now()
        if again or self._failing:
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
        before, image.failed_at = image.failed_at, now
        if not self._failing:
            self._silent_since = now
        self._failing.add(image)
        if image.attempts >= self._policy.max_attempts:
            # As for calls: others are answered, or nothing is known of others: it is the image.
            if self._answered_at > before or len(self._failing) == 1:
                image.give_up()
                return
            silent_s = now - self._silent_since
            if silent_s > self._policy.max_outage_s:
                raise OutageError(
                    f"vision has answered no image for {silent_s:,.0f} s, longer than "
                    f"max_outage_s={self._policy.max_outage_s:,.0f} of the job's retry policy. "
                    f"Last: {image.message}",
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
                self._last_in_at = clock.now()
                self._changed.notify_all()

    def leave(self, images: Sequence[Image]) -> None:
        """Take one's images away, settled or not."""
        if self._here or self._failing:
            mine = set(images)
            with self._changed:
                self._here = [image for image in self._here if image not in mine]
                self._failing -= mine

    def next_pack(self, mine: Sequence[Image], *, may_download: bool) -> list[Image]:
        """Wait until there is something to do.

        Args:
            mine: Images of the worker that asks.
            may_download: It has room for more downloads; else those it has are to be sent first.

        Returns:
            Images to ask for now, others' among them; [] = none: yours are settled, or want to be
            downloaded.

        Raises:
            Stopped: The run is ending.
        """
        with self._changed:
            while not all(image.settled for image in mine):
                self._stop.check()
                waiting = [image for image in mine if image.waits]
                due = min((image.due for image in waiting), default=None)
                is_due = due is not None and self._is_time(due)
                along = [image for image in self._here if image.waits and _may_go(image)]
                if is_due or (len(along) >= MAX_IMAGES and any(map(_may_go, waiting))):
                    return self._take(along, set(waiting))
                busy = any(image.waits or image.in_flight for image in mine)
                if any(image.wants_bytes and not image.in_flight for image in mine) and (
                    may_download or not busy
                ):
                    break
                rest_s = _LOOK_S if due is None else self._rest_s(due)
                self._changed.wait(min(rest_s, _LOOK_S))
            return []

    def _is_time(self, due: float) -> bool:
        return self._rest_s(due) <= 0 or clock.skip_to(due)

    def _rest_s(self, due: float) -> float:
        """Seconds until one should not wait for others any more: when no more are coming in."""
        quiet_at = self._last_in_at + _QUIET_CALLS * self._call_s
        return max(due, min(quiet_at, due + _MAX_WAIT_S)) - clock.now()

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
_lobbies: WeakKeyDictionary[Caller, dict[Hashable, RetryQueue]] = WeakKeyDictionary()


def retry_queue_of(caller: Caller, kind: Hashable) -> RetryQueue:
    """The lobby that the workers of a run share; `Caller` is what a run has one of."""
    with _lock:
        lobbies = _lobbies.setdefault(caller, {})
        return lobbies.setdefault(kind, RetryQueue(caller.policy, caller.stopping))


def _may_go(image: Image) -> bool:
    return image.with_others or image.due <= clock.now()

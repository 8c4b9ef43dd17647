"""Images that failed in a call that succeeded. They wait here until several can be retried together.

If 3 % of all images fail, a call of 16 images often has one that does. If each of them were retried by
itself, there would be half as many calls again. So the workers of a run share a queue: a worker whose
image is due takes along the images that wait, and finds the results of other workers' images, too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final
from weakref import WeakKeyDictionary

from etlkit.calls import clock
from etlkit.calls.backoff import RetryPolicy
from etlkit.calls.caller import Caller
from etlkit.errors import OutageError
from etlkit.vision.annotator import plain
from etlkit.vision.packing import MAX_IMAGES, packs
from etlkit.vision.pending_image import PendingImage

_MAX_WAIT_S: Final = 10.0
"""Short, because a retry takes other images along: there are few of these calls."""

_LOOK_S: Final = 0.5
"""How often waiting workers check whether the run is ending."""

_MAX_PARKED_BYTES: Final = 64 * 1024
"""Of one worker's images: addresses. Downloaded images stay with the few workers that have slots."""

_QUIET_CALLS: Final = 2.0
"""Stop waiting for other workers after this many average call durations without a new image."""

_WEIGHT: Final = 0.1
"""Of the last call in the moving average of call durations."""


class RetryQueue:
    """Images of all workers of a run that wait for a retry.

    Args:
        policy: How often and how long to retry an image.
        stop: Ends the waits.
        parked: Parks the rows of a thread while inside, see `Caller.parked`.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        stop: clock.Stop,
        parked: Callable[..., AbstractContextManager[None]],
    ) -> None:
        self._policy = policy
        self._stop = stop
        self._parked = parked
        self._changed = threading.Condition()
        self._num_changes = 0
        self._images: list[PendingImage] = []
        self._call_s = 0.0
        self._last_added_at = 0.0
        self._answered_at = 0.0
        self._silent_since = 0.0
        self._failing: set[PendingImage] = set()
        """Images that failed since the last image was answered."""

    def record(self, pack: Sequence[PendingImage], answers: Sequence[Any], took_s: float) -> None:
        """Assign the answers of a call by position, if there is one for each image.

        Args:
            pack: The images of the call.
            answers: Vision's answers.
            took_s: How long the call took.
        """
        self._call_s += (took_s - self._call_s) * (_WEIGHT if self._call_s else 1.0)
        if len(answers) == len(pack) and all(isinstance(each, dict) for each in answers):
            pairs = zip(pack, answers, strict=True)
            again = [image for image, answer in pairs if image.take_answer(plain(answer))]
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
                    self._retry_later(image)

    def retry_later(self, image: PendingImage) -> None:
        """Schedule another attempt for an image that failed, or give it up.

        Raises:
            OutageError: No image of any worker was answered for too long.
        """
        with self._changed:
            self._retry_later(image)

    def _retry_later(self, image: PendingImage) -> None:
        now = clock.now()
        image.attempts += 1
        before, image.failed_at = image.failed_at, now
        if not self._failing:
            self._silent_since = now
        self._failing.add(image)
        if image.attempts >= self._policy.max_attempts:
            # As for calls: if others are answered, or nothing is known of others, it is the image.
            if self._answered_at > before or len(self._failing) == 1:
                image.give_up()
                return
            self._check_outage(now, image)
        wait_s = self._policy.wait_s(image.attempts, None)
        image.due = now + min(wait_s, _MAX_WAIT_S)
        image.may_go_early = image.attempts == 1

    def _check_outage(self, now: float, image: PendingImage) -> None:
        silent_s = now - self._silent_since
        if silent_s > self._policy.max_outage_s:
            raise OutageError(
                f"vision has answered no image for {silent_s:,.0f} s, longer than "
                f"max_outage_s={self._policy.max_outage_s:,.0f} of the job's retry policy. "
                f"Last: {image.message}",
                attempts=image.attempts,
            )

    def add(self, images: Sequence[PendingImage]) -> None:
        """Let other workers take along those of the images that have no result."""
        rest = [image for image in images if not image.is_done]
        if rest:
            with self._changed:
                self._images += rest
                self._last_added_at = clock.now()
                self._notify()

    def remove(self, images: Sequence[PendingImage]) -> None:
        """Remove a worker's images, with or without a result."""
        if self._images or self._failing:
            mine = set(images)
            with self._changed:
                self._images = [image for image in self._images if image not in mine]
                self._failing -= mine

    def next_pack(self, mine: Sequence[PendingImage], *, may_download: bool) -> list[PendingImage]:
        """Wait until the worker has something to do.

        Args:
            mine: The worker's images.
            may_download: It has room for more downloads. If not, those it has must be sent first.

        Returns:
            Images to ask for now, perhaps with images of other workers. Empty = the worker's images
            have results, or have to be downloaded.

        Raises:
            Stopped: The run is ending.
        """
        while True:
            with self._changed:
                found = self._look(mine, may_download=may_download)
                num_changes = self._num_changes
            if not isinstance(found, float):
                return found
            self._wait(mine, min(found, _LOOK_S), num_changes)

    def _look(
        self, mine: Sequence[PendingImage], *, may_download: bool
    ) -> list[PendingImage] | float:
        """As `next_pack`; or the seconds to wait until there may be something to do."""
        if all(image.is_done for image in mine):
            return []
        self._stop.check()
        waiting = [image for image in mine if image.is_waiting]
        due = min((image.due for image in waiting), default=None)
        is_due = due is not None and self._is_time(due)
        ready = [image for image in self._images if image.is_waiting and _may_go(image)]
        if is_due or (len(ready) >= MAX_IMAGES and any(map(_may_go, waiting))):
            return self._take(ready, set(waiting))
        is_busy = any(image.is_waiting or image.in_flight for image in mine)
        if any(image.wants_bytes and not image.in_flight for image in mine) and (
            may_download or not is_busy
        ):
            return []
        return _LOOK_S if due is None else self._rest_s(due)

    def _wait(self, mine: Sequence[PendingImage], seconds: float, num_changes: int) -> None:
        """Wait for a change. The rows are parked, unless they hold images that were downloaded."""
        is_small = sum(image.size for image in mine) <= _MAX_PARKED_BYTES
        with self._parked(clock.now() + seconds, gives_slot=is_small), self._changed:
            self._changed.wait_for(lambda: self._num_changes != num_changes, seconds)

    def _notify(self) -> None:
        self._num_changes += 1
        self._changed.notify_all()

    def _is_time(self, due: float) -> bool:
        return self._rest_s(due) <= 0 or clock.skip_to(due)

    def _rest_s(self, due: float) -> float:
        """Seconds to wait for images of other workers: until no more of them are added."""
        quiet_at = self._last_added_at + _QUIET_CALLS * self._call_s
        return max(due, min(quiet_at, due + _MAX_WAIT_S)) - clock.now()

    def _take(self, ready: list[PendingImage], mine: set[PendingImage]) -> list[PendingImage]:
        """As many as fit into one call, the worker's own first: only so do all workers progress."""
        ready.sort(key=lambda image: (image not in mine, image.due))
        pack = next(packs(ready, lambda image: image.size))
        for image in pack:
            image.in_flight = True
        return pack

    @contextmanager
    def in_flight(self, pack: Sequence[PendingImage]) -> Iterator[None]:
        """Around the call that asks for a pack; an error that it raises ends all its images."""
        try:
            yield
        except BaseException as error:
            for image in pack:
                if not image.is_done:
                    image.fail(error)
            raise
        finally:
            with self._changed:
                for image in pack:
                    image.in_flight = False
                self._notify()


_lock = threading.Lock()
_queues: WeakKeyDictionary[Caller, dict[Hashable, RetryQueue]] = WeakKeyDictionary()


def retry_queue_of(caller: Caller, kind: Hashable) -> RetryQueue:
    """The queue that the workers of a run share. A run has one `Caller` of a service."""
    with _lock:
        queues = _queues.setdefault(caller, {})
        return queues.setdefault(kind, RetryQueue(caller.policy, caller.stopping, caller.parked))


def _may_go(image: PendingImage) -> bool:
    return image.may_go_early or image.due <= clock.now()

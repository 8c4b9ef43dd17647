"""Back-off: repeat what failed with a transient error, after a random wait."""

from __future__ import annotations

import functools
import logging
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any, ParamSpec, TypeVar

from tenacity import AttemptManager, RetryCallState, Retrying, after_nothing, retry_if_exception

from etlkit.calls import classify, clock, ended
from etlkit.errors import ConfigError, without_keys

P = ParamSpec("P")
T = TypeVar("T")

log: logging.Logger = logging.getLogger("etlkit")

_MAX_DOUBLINGS = 32
_MAX_SHOWN_CHARS = 200


@dataclass(frozen=True, kw_only=True)
class BackoffPolicy:
    """How often and how long to repeat.

    Waits are random between 0 and an upper end that doubles with every failure ("full jitter"), and
    never shorter than what the server asks for.
    Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/

    Attributes:
        max_attempts: Attempts, the first one included; None = only `max_total_s` is a bound.
        max_total_s: Seconds of all attempts and the waits between them; infinity = no bound.
        first_wait_s: Upper end of the first wait.
        max_wait_s: Upper end of every wait.
        max_hint_s: Longest wait that a server may ask for.
    """

    max_attempts: int | None = None
    max_total_s: float = 120.0
    first_wait_s: float = 0.25
    max_wait_s: float = 16.0
    max_hint_s: float = 60.0

    def __post_init__(self) -> None:
        """Raise if a value can never work.

        Raises:
            ConfigError: With the name of the value.
        """
        kind, most = type(self).__name__, self.max_attempts
        if most is not None and (not isinstance(most, int) or most < 1):
            raise ConfigError(f"{kind}(max_attempts={most!r}): it must be 1 or more")
        for name in (each.name for each in fields(self) if each.name.endswith("_s")):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{kind}({name}={getattr(self, name)!r}): it must be above 0")

    def allows(self, failures: int, spent_s: float) -> bool:
        """Whether another attempt may be made.

        Args:
            failures: Failed attempts so far.
            spent_s: Seconds from the first attempt until the next one would begin.
        """
        has_attempts = self.max_attempts is None or failures < self.max_attempts
        return has_attempts and spent_s <= self.max_total_s

    def wait_s(self, failures: int, hint_s: float | None) -> float:
        """Seconds to wait before the next attempt.

        Args:
            failures: Failed attempts so far.
            hint_s: What the server asked for; None = nothing.
        """
        doubled = self.first_wait_s * 2.0 ** min(max(failures - 1, 0), _MAX_DOUBLINGS)
        jitter = random.uniform(0.0, min(doubled, self.max_wait_s))  # noqa: S311 - no secret  # nosec B311
        return max(jitter, self.bounded(hint_s))

    def bounded(self, hint_s: float | None) -> float:
        """A server's hint, at most `max_hint_s`; 0 = it gave none."""
        return min(hint_s or 0.0, self.max_hint_s)


@dataclass(frozen=True, kw_only=True)
class RetryPolicy(BackoffPolicy):
    """How often and how long to repeat a failed call to a service.

    Attributes:
        max_attempts: Attempts of one call, the first one included. Attempts that test whether a
            service is back do not count.
        max_total_s: Seconds of one call's attempts and the waits between them. Pauses do not count.
        first_wait_s: Upper end of the first random wait; it doubles with every attempt.
        max_wait_s: Upper end of every random wait.
        max_hint_s: Longest wait that a server may ask for.
        attempt_timeout_s: Deadline of one attempt, from connecting to the last byte.
        max_outage_s: The run ends when a service is down for longer.
    """

    max_attempts: int = 8
    max_total_s: float = 600.0
    first_wait_s: float = 0.5
    max_wait_s: float = 60.0
    max_hint_s: float = 300.0
    attempt_timeout_s: float = 60.0
    max_outage_s: float = 300.0

    def __post_init__(self) -> None:
        """Raise if a value can never work.

        Raises:
            ConfigError: With the name of the value.
        """
        super().__post_init__()
        if self.max_attempts is None:
            raise ConfigError("RetryPolicy(max_attempts=None): it must be 1 or more")


class Backoff:
    """Repeats what fails with a transient error. For everything that needs no breaker or rate limit.

    Three ways to use it. All raise the last error as it is, and at once if it is not transient:

    ```python
    backoff = Backoff("BigQuery")
    table = backoff.call(lambda: client.get_table(name, retry=None))
    table = client.get_table(name, retry=backoff)  # as the `retry` of Google's clients
    attempts = backoff.attempts()
    for attempt in attempts:  # a stream that continues where it broke
        with attempt:
            for message in open_stream(offset):
                offset += message.row_count
                attempts.progressed()
                yield message
    ```

    One object may be used by many threads at once; it holds no state of a call.

    Args:
        what: What is repeated, for the log.
        policy: How often and how long; None = the defaults of `BackoffPolicy`.
        is_transient: Which errors are followed by another attempt.
        stop: Ends the waits; None = nothing does.
    """

    def __init__(
        self,
        what: str,
        policy: BackoffPolicy | None = None,
        *,
        is_transient: Callable[[BaseException], bool] = classify.is_transient,
        stop: clock.Stop | None = None,
    ) -> None:
        self.what = what
        self.policy: BackoffPolicy = policy or BackoffPolicy()
        self.is_transient = is_transient
        self.stop: clock.Stop = stop or clock.Stop()

    def call(self, function: Callable[[], T]) -> T:
        """Call a function until it returns.

        Raises:
            Exception: What the function raised last.
            Stopped: `stop` was set during a wait.
        """
        return self.attempts().call(function)

    def __call__(
        self, function: Callable[P, T], on_error: Callable[[Exception], Any] | None = None
    ) -> Callable[P, T]:
        """A function that does the same, until it returns.

        This is what Google's clients call on their `retry` argument.

        Args:
            function: What to repeat.
            on_error: Called with each error that is followed by another attempt.
        """

        @functools.wraps(function)
        def repeated(*args: P.args, **options: P.kwargs) -> T:
            attempts = self.attempts(on_error)
            return attempts.call(functools.partial(function, *args, **options))

        return repeated

    def attempts(self, on_error: Callable[[Exception], Any] | None = None) -> AttemptLoop:
        """A new loop of attempts.

        Args:
            on_error: Called with each error that is followed by another attempt.
        """
        return AttemptLoop(self, on_error)


def is_repeated(is_transient: Callable[[BaseException], bool], error: BaseException) -> bool:
    """Whether another attempt may follow an error.

    Args:
        is_transient: Which errors may pass.
        error: Of the attempt.

    Raises:
        JobError: A service that this process relies on has ended: nothing is repeated.
    """
    if not is_transient(error):
        return False
    ended.refuse_to_repeat(error)
    return True


def retry_loop(
    *,
    is_transient: Callable[[BaseException], bool],
    wait_s: Callable[[RetryCallState], float],
    is_over: Callable[[RetryCallState], bool],
    before_wait: Callable[[RetryCallState], None],
    sleep: Callable[[float], None],
    after: Callable[[RetryCallState], None] = after_nothing,
) -> Retrying:
    """The loop of `Backoff`: tenacity's, which raises the last error as it is.

    If a service that this process relies on has ended, nothing is repeated, and a `JobError` says so.

    Args:
        is_transient: Which errors are followed by another attempt.
        wait_s: Seconds until the next attempt.
        is_over: Whether no more attempts are made; asked with `upcoming_sleep` known.
        before_wait: Called before each wait.
        sleep: Waits.
        after: Called after each failed attempt, before anything else.
    """
    return Retrying(
        retry=retry_if_exception(functools.partial(is_repeated, is_transient)),
        after=after,
        wait=wait_s,
        stop=is_over,
        before_sleep=before_wait,
        sleep=sleep,
        reraise=True,
    )


class AttemptLoop:
    """One run of a `Backoff`: iterate over it, each attempt is a context manager.

    An attempt that ends without an error ends the loop. Not for several threads.

    Args:
        backoff: What to repeat, and how often.
        on_error: Called with each error that is followed by another attempt.
    """

    def __init__(
        self, backoff: Backoff, on_error: Callable[[Exception], Any] | None = None
    ) -> None:
        self._backoff = backoff
        self._on_error = on_error
        self._failures = 0
        self._since = clock.now()
        self._retrying = retry_loop(
            is_transient=backoff.is_transient,
            after=self._count,
            wait_s=self._wait_s,
            is_over=self._is_over,
            before_wait=self._log,
            sleep=self._sleep,
        )

    def __iter__(self) -> Iterator[AttemptManager]:
        """The attempts, with the waits between them."""
        return iter(self._retrying)

    def call(self, function: Callable[[], T]) -> T:
        """As `Backoff.call`."""
        return self._retrying(function)

    def progressed(self) -> None:
        """Forget the failures so far: what comes is not a repeat of what failed."""
        self._failures = 0
        self._since = clock.now()

    def _count(self, _state: RetryCallState) -> None:
        self._failures += 1

    def _wait_s(self, state: RetryCallState) -> float:
        return self._backoff.policy.wait_s(self._failures, classify.hint_s(error_of(state)))

    def _is_over(self, state: RetryCallState) -> bool:
        spent_s = clock.now() - self._since + state.upcoming_sleep
        return not self._backoff.policy.allows(self._failures, spent_s)

    def _log(self, state: RetryCallState) -> None:
        error = error_of(state)
        log.info(
            "%s failed (attempt %d), next attempt in %.1f s: %s",
            self._backoff.what,
            self._failures,
            state.upcoming_sleep,
            without_keys(str(error) or type(error).__name__)[:_MAX_SHOWN_CHARS],
        )
        if self._on_error is not None and isinstance(error, Exception):
            self._on_error(error)

    def _sleep(self, seconds: float) -> None:
        self._backoff.stop.wait_until(clock.now() + seconds)


def error_of(state: RetryCallState) -> BaseException:
    """The error of the attempt that tenacity asks about."""
    error = state.outcome.exception() if state.outcome is not None else None
    if error is None:
        raise AssertionError("tenacity asks only after a failed attempt")
    return error

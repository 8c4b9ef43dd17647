"""What happens to a run, by its seed: the weather at the services, kills, cut connections.

Nothing here depends on the clock or on the order of threads: the same seed, job and sample give the
same faults at the same calls. Only where a kill strikes among calls that are in flight together is left
to chance.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Final, Literal

from etlkit.testing.fault_plan import OK, Fault, FaultPlan

MAX_FAULTS_OF_A_CALL: Final = 3
"""A call that failed this often is answered: a service that never answers proves nothing."""

_MAX_STORM: Final = 120
_MAX_SLOW_S: Final = 0.25
_HINTS: Final = ("retry-after", "retry-after-date", "retry-info", "none")

_WEATHERS: Final[Mapping[str, Mapping[str, float]]] = {
    "kills only": {},
    "429 storms": {"http_429": 0.05},
    "5xx": {"http_5xx": 0.15, "html": 0.05},
    "slow": {},
    "lost answers": {"disconnect": 0.08, "hang": 0.01},
    "half answers": {"truncate": 0.06, "reset": 0.06},
    "everything": {
        "http_429": 0.04,
        "http_5xx": 0.04,
        "html": 0.01,
        "disconnect": 0.03,
        "hang": 0.005,
        "truncate": 0.02,
        "reset": 0.02,
    },
}
"""Names to shares of calls; see `FaultPlan.seeded`."""

_STORMY: Final = frozenset({"429 storms", "everything"})
_SLOW: Final = frozenset({"slow", "everything"})
_WITHOUT_CALLS: Final = ("kills only", "cuts")

REQUEST: Final = b"HTTP/1.1\r\n"
"""In every request over REST."""

APPEND: Final = b"/streams/_default"
"""In every append of the Storage Write API."""

_GRPC: Final = (APPEND, b"/tables/out_", b"/tables/rej_", b"/tables/src_", b"/sessions/")
"""Parts of requests over gRPC: appends of staged and rejected rows, the read session, its streams."""


@dataclass(frozen=True)
class Undisturbed:
    """What a run needs when nothing happens to it.

    Attributes:
        calls: Calls of services that the gateway saw.
        requests: Requests to BigQuery over REST.
        appends: Appends over gRPC.
        seconds: How long it took.
    """

    calls: int
    requests: int
    appends: int
    seconds: float


@dataclass(frozen=True)
class Kill:
    """When the process of an attempt is killed.

    Attributes:
        at: `call`, `request` and `append` = at a call of a service, a request to BigQuery, an append of
            rows; `time` = after a while.
        number: Of the call, request or append in this attempt, from 1.
        is_answered: Whether the service did its work before; else the call has only arrived.
        seconds: With `time`: seconds from the attempt's start.
    """

    at: Literal["call", "request", "append", "time"]
    number: int = 1
    is_answered: bool = False
    seconds: float = 0.0


@dataclass(frozen=True)
class Cut:
    """A connection to BigQuery that is cut.

    Attributes:
        over: The protocol.
        marker: Part of the request that is meant.
        skip: How many such requests pass before.
        is_answered: Whether BigQuery does the work, and only its answer is lost.
    """

    over: Literal["rest", "grpc"]
    marker: bytes
    skip: int
    is_answered: bool


@dataclass(frozen=True)
class Attempt:
    """What happens to one process.

    Attributes:
        kill: When it is killed; None = it may end.
        cuts: Of its connections to BigQuery.
    """

    kill: Kill | None
    cuts: tuple[Cut, ...]


@dataclass(frozen=True)
class Scenario:
    """What happens to one run.

    Attributes:
        seed: What all of it is made of.
        weather: Its name.
        attempts: Of each process in turn; nothing happens to a later one.
        plan: Faults of single calls.
        storm: Numbers of the calls in the run that get 429, from the first to before the last.
        is_slow: Whether answers come late.
    """

    seed: int
    weather: str
    attempts: tuple[Attempt, ...]
    plan: FaultPlan
    storm: range
    is_slow: bool

    def fault(self, number: int, key: str, failures: int) -> Fault:
        """What happens to a call.

        Args:
            number: Of the call in the run, from 1.
            key: What is asked.
            failures: How often the same was asked before and got no good answer.
        """
        if failures >= MAX_FAULTS_OF_A_CALL:
            return OK
        if number in self.storm:
            hint = _HINTS[int(self._chance("hint", key) * len(_HINTS))]
            return Fault.parse("429" if hint == "none" else f"429 {hint}=0.2")
        return self.plan.for_call(number, (key, failures + 1), ())

    def delay_s(self, key: str, failures: int) -> float:
        """How late the answer to a call comes."""
        return self._chance("late", key, failures) * _MAX_SLOW_S if self.is_slow else 0.0

    def _chance(self, *parts: object) -> float:
        text = "|".join(map(str, (self.seed, *parts)))
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64


def scenario(seed: int, undisturbed: Undisturbed) -> Scenario:
    """What happens to the run of a seed. Seeds in a row go through all kinds of weather.

    Args:
        seed: Any whole number.
        undisturbed: What the run needs when nothing happens to it.
    """
    dice = Random(seed)  # noqa: S311 - no secret  # nosec B311
    names = list(_WEATHERS) if undisturbed.calls else list(_WITHOUT_CALLS)
    weather = names[seed % len(names)]
    least = 1 if weather == "kills only" else 0
    num_kills = max(least, dice.choice((0, 1, 1, 1, 2, 2, 3)))
    with_cuts = weather in {"cuts", "everything"} or dice.random() < 0.25
    attempts = tuple(
        Attempt(
            _kill(dice, undisturbed) if number < num_kills else None,
            _cuts(dice, undisturbed) if with_cuts else (),
        )
        for number in range(num_kills + 1)
    )
    begin = _up_to(dice, undisturbed.calls * 2 // 3)
    length = 4 + _up_to(dice, min(_MAX_STORM, undisturbed.calls // 2))
    return Scenario(
        seed=seed,
        weather=weather,
        attempts=attempts,
        plan=FaultPlan.seeded(seed, hints=_HINTS, **_WEATHERS.get(weather, {})),
        storm=range(begin, begin + length) if weather in _STORMY else range(0),
        is_slow=weather in _SLOW,
    )


def _up_to(dice: Random, most: int) -> int:
    """A number from 1 to `most`.

    It takes one number from `dice` whatever `most` is, which may differ a little when a seed is
    repeated: all that comes later is the same then.
    """
    return 1 + int(dice.random() * max(1, most))


def _kill(dice: Random, undisturbed: Undisturbed) -> Kill:
    kinds: list[Literal["call", "request", "append", "time"]] = ["request", "append", "time"]
    kinds += ["call"] * 3 if undisturbed.calls else ["append"]
    at, share, is_answered = dice.choice(kinds), dice.random(), dice.random() < 0.5
    if at == "time":
        return Kill(at, seconds=share * undisturbed.seconds)
    most = {
        "call": undisturbed.calls,
        "request": undisturbed.requests,
        "append": undisturbed.appends,
    }
    return Kill(at, 1 + int(share * max(1, most[at])), is_answered)


def _cuts(dice: Random, undisturbed: Undisturbed) -> tuple[Cut, ...]:
    cuts = [
        Cut("rest", REQUEST, _up_to(dice, undisturbed.requests) - 1, dice.random() < 0.6)
        for _ in range(dice.choice((1, 2)))
    ]
    if dice.random() < 0.7:
        cuts.append(Cut("grpc", dice.choice(_GRPC), dice.choice((0, 1)), dice.random() < 0.6))
    return tuple(cuts)

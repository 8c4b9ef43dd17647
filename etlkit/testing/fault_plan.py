"""Which faults happen, and when: a pure function of the plan, the call and its attempt.

Nothing here depends on the clock or on the order of threads. Only the content of a call and how often
it was sent before decide what happens, so a run can be repeated with the same faults.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, get_args

from etlkit.errors import ConfigError
from etlkit.testing.arguments import short

Kind = Literal[
    "ok", "status", "hang", "disconnect", "reset", "truncate", "html", "drip", "item_error"
]

_PLAIN: Final = tuple(kind for kind in get_args(Kind) if kind != "status")
_5XX: Final = (500, 502, 503, 504)
_HINTS: Final = ("retry-after", "retry-after-date", "retry-info", "none")
_OPTIONS: Final = {
    "retry-after": "retry_after_s",
    "retry-after-date": "retry_after_date_s",
    "retry-info": "retry_info_s",
    "status": "status",
    "every": "every_s",
    "code": "code",
    "at": "at",
}

# google.rpc.Code
UNAVAILABLE: Final = 14
INVALID_ARGUMENT: Final = 3


@dataclass(frozen=True)
class Fault:
    """One thing that happens to a call.

    Attributes:
        kind: `ok` = the call is answered.
        status: HTTP status of `status` and `html`; over gRPC the code that corresponds to it.
        retry_after_s: `Retry-After` in whole seconds; None = no such header.
        retry_after_date_s: `Retry-After` as a date, this many seconds from now; None = no such header.
        retry_info_s: Seconds of a `google.rpc.RetryInfo` in the details; None = no such detail.
        every_s: Seconds between two bytes of `drip`.
        code: `google.rpc.Code` of `item_error`: 14 = transient, 3 = bad image.
        at: The position of the item that `item_error` hits, from 0.
    """

    kind: Kind = "ok"
    status: int = 200
    retry_after_s: float | None = None
    retry_after_date_s: float | None = None
    retry_info_s: float | None = None
    every_s: float = 0.1
    code: int = UNAVAILABLE
    at: int = 0

    @property
    def name(self) -> str:
        """The name under which it is counted: the kind, or the status of an HTTP error."""
        return str(self.status) if self.kind == "status" else self.kind

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Read an entry of a script, e.g. `"429 retry-after=1"`.

        Raises:
            ConfigError: The entry is invalid; the message lists what is allowed.
        """
        head, *rest = text.split() or [""]
        if head in _PLAIN:
            fault = cls(head, status=502 if head == "html" else 200)  # type: ignore[arg-type]
        elif head.isdigit() and 400 <= int(head) <= 599:
            fault = cls("status", status=int(head))
        else:
            raise ConfigError(
                f"fault {text!r}: start with one of {', '.join(_PLAIN)}, or a status of 400-599"
            )
        return replace(fault, **dict(_option(text, option) for option in rest))


OK: Final = Fault()


def _parsed(script: Any) -> tuple[Fault, ...]:
    """The entries of a script.

    Raises:
        ConfigError: It is no list of texts, or one of them is no fault.
    """
    is_list = isinstance(script, Iterable) and not isinstance(script, (str, bytes, Mapping))
    entries = list(script) if is_list else [None]
    if not all(isinstance(entry, str) for entry in entries):
        raise ConfigError(f"a script of faults is a list, e.g. ['503', 'ok']; got {short(script)}")
    return tuple(map(Fault.parse, entries))


def _option(text: str, option: str) -> tuple[str, Any]:
    name, _, value = option.partition("=")
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if name not in _OPTIONS or number < 0:
        raise ConfigError(
            f"fault {text!r}: {option!r} is not an option; write NAME=NUMBER with one of "
            f"{', '.join(_OPTIONS)}"
        )
    whole = name in {"status", "code", "at"}
    return _OPTIONS[name], int(number) if whole else number


@dataclass(frozen=True)
class FaultPlan:
    """A plan for a `FaultServer`. Make one with `none`, `script`, `by_item` or `seeded`.

    Plans have no state. The server counts calls and asks the plan about each.
    """

    entries: tuple[Fault, ...] = ()
    items: Mapping[str, tuple[Fault, ...]] = field(default_factory=dict)
    seed: int = 0
    shares: tuple[tuple[str, float], ...] = ()
    item_error: float = 0.0
    item_refused: float = 0.0
    hint_s: float = 0.1
    hints: tuple[str, ...] = _HINTS[:3]
    drip_every_s: float = 0.1

    @classmethod
    def none(cls) -> FaultPlan:
        """Every call is answered."""
        return cls()

    @classmethod
    def script(cls, entries: Sequence[str]) -> FaultPlan:
        """The first call gets the first entry, and so on. Calls after the last entry are answered.

        Calls are numbered in the order of arrival, so use `by_item` or `seeded` with several threads.

        Args:
            entries: `ok`, a status (`503`), `hang`, `disconnect`, `reset`, `truncate`, `html`,
                `drip` or `item_error`, some with options: `"429 retry-after=1"`,
                `"429 retry-after-date=2"`, `"429 retry-info=0.5"`, `"html status=200"`,
                `"drip every=0.05"`, `"item_error at=2 code=3"`.

        Raises:
            ConfigError: An entry is invalid.
        """
        return cls(entries=_parsed(entries))

    @classmethod
    def by_item(cls, entries: Mapping[str, Sequence[str]]) -> FaultPlan:
        """A script for each item: the first call with the item gets its first entry, and so on.

        If several items of a call have a fault of the whole call, the first one's is used. `item_error`
        affects only its item.

        Args:
            entries: By item key, as in `FaultServer.calls_by_item`.

        Raises:
            ConfigError: An entry is invalid.
        """
        if not isinstance(entries, Mapping):
            raise ConfigError(
                f"FaultPlan.by_item({short(entries)}): give a dict, e.g. {{'cat.jpg': ['503']}}"
            )
        return cls(items={key: _parsed(script) for key, script in entries.items()})

    @classmethod
    def seeded(
        cls,
        seed: int,
        *,
        http_429: float = 0.0,
        http_5xx: float = 0.0,
        hang: float = 0.0,
        disconnect: float = 0.0,
        reset: float = 0.0,
        truncate: float = 0.0,
        html: float = 0.0,
        drip: float = 0.0,
        item_error: float = 0.0,
        item_refused: float = 0.0,
        hint_s: float = 0.1,
        hints: Sequence[str] = _HINTS[:3],
        drip_every_s: float = 0.1,
    ) -> FaultPlan:
        """Random faults. The same seed and calls get the same faults, in any order of the calls.

        Args:
            seed: Any number.
            http_429: Share of calls, 0.0-1.0, as all up to `drip`: RESOURCE_EXHAUSTED with a hint.
            http_5xx: 500, 502, 503 or 504.
            hang: No answer until the client gives up.
            disconnect: The connection is closed without an answer.
            reset: The connection is reset in the middle of the answer.
            truncate: The connection is closed in the middle of the answer.
            html: 502 with an HTML page, like a proxy's.
            drip: The answer comes byte by byte.
            item_error: Share of items in answered calls that fail with a transient error (code 14).
            item_refused: Share of items that fail in every attempt (code 3).
            hint_s: Seconds in the hints; `Retry-After` is rounded up to whole seconds.
            hints: Which hints are used: `retry-after`, `retry-after-date`, `retry-info`, `none`.
            drip_every_s: Seconds between two bytes.

        Raises:
            ConfigError: A share outside of 0.0-1.0, shares of calls over 1.0 together, or an
                unknown hint.
        """
        shares = {
            "429": http_429,
            "5xx": http_5xx,
            "hang": hang,
            "disconnect": disconnect,
            "reset": reset,
            "truncate": truncate,
            "html": html,
            "drip": drip,
        }
        given = (*shares.values(), item_error, item_refused)
        wrong = [each for each in given if not isinstance(each, (int, float))]
        for share in wrong or (*given, sum(shares.values())):
            if wrong or not 0 <= share <= 1:
                raise ConfigError(f"shares of faults are 0.0-1.0, also in sum; got {share!r}")
        if not hints or not set(hints) <= set(_HINTS):
            raise ConfigError(f"hints={tuple(hints)}: choose from {', '.join(_HINTS)}")
        return cls(
            seed=seed,
            shares=tuple(shares.items()),
            item_error=item_error,
            item_refused=item_refused,
            hint_s=hint_s,
            hints=tuple(hints),
            drip_every_s=drip_every_s,
        )

    def for_call(
        self, number: int, call: tuple[str, int], items: Sequence[tuple[str, int]]
    ) -> Fault:
        """What happens to a call as a whole.

        Args:
            number: The call's number in the order of arrival, from 1.
            call: The call's key, and the number of this attempt, from 1.
            items: Key and attempt of each item in the call.
        """
        if number <= len(self.entries):
            return self.entries[number - 1]
        for key, attempt in items:
            script = self.items.get(key, ())
            if attempt <= len(script) and script[attempt - 1].kind not in {"ok", "item_error"}:
                return script[attempt - 1]
        return self._by_chance(*call)

    def for_item(self, key: str, attempt: int) -> Fault | None:
        """What happens to one item of an answered call; None = the item is answered."""
        script = self.items.get(key, ())
        if attempt <= len(script) and script[attempt - 1].kind == "item_error":
            return script[attempt - 1]
        if self._chance("refused", key) < self.item_refused:
            return Fault("item_error", code=INVALID_ARGUMENT)
        if self._chance("item", key, attempt) < self.item_error:
            return Fault("item_error", code=UNAVAILABLE)
        return None

    def _by_chance(self, key: str, attempt: int) -> Fault:
        point = self._chance("call", key, attempt)
        for name, share in self.shares:
            if point < share:
                return self._fault(name, self._chance("kind", key, attempt))
            point -= share
        return OK

    def _fault(self, name: str, which: float) -> Fault:
        if name == "429":
            hint = self.hints[int(which * len(self.hints))]
            options = {} if hint == "none" else {_OPTIONS[hint]: self.hint_s}
            return replace(Fault("status", status=429), **options)  # type: ignore[arg-type]
        if name == "5xx":
            return Fault("status", status=_5XX[int(which * len(_5XX))])
        return replace(Fault.parse(name), every_s=self.drip_every_s)

    def _chance(self, *parts: object) -> float:
        """A number between 0.0 and 1.0 that depends only on seed and parts."""
        text = "|".join(map(str, (self.seed, *parts)))
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64

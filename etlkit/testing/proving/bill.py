"""The bill of a run: every call that the gateway saw, what was paid twice, and whose fault that is."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Literal

from etlkit.testing.fault_plan import OK, Fault
from etlkit.testing.proving.scenario import Scenario

LOST_KINDS = frozenset({"disconnect", "hang", "truncate", "reset"})
"""Faults after which the service has done its work, and the caller does not know."""

OnCall = Callable[[int, Literal["arrived", "answered"]], None]
"""Told of each call: its number in the process, and how far the service is with it."""


@dataclass(frozen=True)
class Arrival:
    """A call that has come.

    Attributes:
        keys: What is paid for: the call, or each image of a call to Vision.
        process: Number of the process that makes it.
        number: Of the call in its process, from 1.
        fault: What happens to it.
        delay_s: How late the answer comes.
    """

    keys: Sequence[str]
    process: int
    number: int
    fault: Fault
    delay_s: float


@dataclass
class Charges:
    """What a run paid for.

    Attributes:
        calls: Calls that came, answered or not.
        paid: How often each key was paid for.
        lost: Answers that got lost on the way back; the service did its work.
        repaid_after_loss: Keys that were paid for again because the answer had been lost.
        repaid_after_kill: The same after the kill of a process, by the process's number.
        repaid_alike: The same within one process, though its answer had come.
        faults: Faults that struck, by name.
    """

    calls: int = 0
    paid: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    repaid_after_loss: int = 0
    repaid_after_kill: Counter[int] = field(default_factory=Counter)
    repaid_alike: int = 0
    faults: Counter[str] = field(default_factory=Counter)


class Bill:
    """Counts calls, decides what happens to each, and keeps what was paid. Threads share it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._usual: Mapping[str, int] = {}
        self.begin(None, {})

    def begin(self, scenario: Scenario | None, usual: Mapping[str, int]) -> None:
        """Begin with a run.

        Args:
            scenario: What happens to its calls; None = nothing.
            usual: How often an undisturbed run pays for each key.
        """
        with self._lock:
            self._scenario, self._usual = scenario, usual
            self._process = 0
            self._in_process = 0
            self._failures: Counter[str] = Counter()
            self._unclaimed: Counter[str] = Counter()
            self._paid_by: dict[str, list[int]] = defaultdict(list)
            self._on_call: OnCall | None = None
            self.charges = Charges()

    def begin_process(self, number: int, on_call: OnCall | None) -> None:
        """A process of the run begins."""
        with self._lock:
            self._process, self._in_process, self._on_call = number, 0, on_call

    def arrive(self, keys: Sequence[str]) -> Arrival:
        """Count a call and decide what happens to it."""
        with self._lock:
            self.charges.calls += 1
            self._in_process += 1
            process, number, on_call = self._process, self._in_process, self._on_call
            failures = max((self._failures[key] for key in keys), default=0)
            fault, delay_s = OK, 0.0
            if self._scenario is not None:
                joined = "\n".join(keys)
                fault = self._scenario.fault(self.charges.calls, joined, failures)
                delay_s = self._scenario.delay_s(joined, failures)
            if fault.kind != "ok":
                self.charges.faults[fault.name] += 1
                self._failures.update(keys)
        if on_call is not None:
            on_call(number, "arrived")
        return Arrival(keys, process, number, fault, delay_s)

    def paid(self, arrival: Arrival) -> None:
        """The service has done the work of a call."""
        is_lost = arrival.fault.kind in LOST_KINDS
        with self._lock:
            on_call = self._on_call if arrival.process == self._process else None
            for key in arrival.keys:
                self._pay(key, arrival.process)
                self._unclaimed[key] += is_lost
            self.charges.lost += is_lost
        if on_call is not None:
            on_call(arrival.number, "answered")

    def _pay(self, key: str, process: int) -> None:
        charges, before = self.charges, self._paid_by[key]
        charges.paid[key] += 1
        if charges.paid[key] > max(self._usual.get(key, 0), 1):
            if self._unclaimed[key]:
                self._unclaimed[key] -= 1
                charges.repaid_after_loss += 1
            elif before[-1] != process:
                charges.repaid_after_kill[before[-1]] += 1
            else:
                charges.repaid_alike += 1
        before.append(process)

"""Requests on their way: who goes next, how many at once, and what is not recorded yet."""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TypeAlias

from etlkit.bigquery.http_sink.bundle import Item, ItemOutcome
from etlkit.bigquery.http_sink.sender import InFlight, Record
from etlkit.calls.clock import Stopped
from etlkit.calls.run_calls import Calls

MAX_WAITING_ROWS: Final = 1000
"""Rows that wait for their request before no more are transformed: work for about a second."""

MAX_WAITING_BYTES: Final = 32 * 1024 * 1024
"""Likewise. At twice as much, `wait_for_room` waits."""

OUTSTANDING_PER_SLOT: Final = 2
"""Requests that a kill may repeat, for each that may be in flight: those that wait for an answer or for
their retry, and those whose outcome is not recorded yet."""

_LOOK_S: Final = 1.0


Send: TypeAlias = Callable[[list[Item], Record, InFlight], None]
"""Sends the items of one bundle; see `Sender.send`."""

Journal: TypeAlias = Callable[[Sequence[ItemOutcome]], None]
"""Makes outcomes durable; returns when they are."""


class _Bundle:
    """Items of one request in the queue."""

    __slots__ = ("items", "keys", "missing", "num_bytes")

    def __init__(self, items: list[Item], keys: frozenset[Hashable], missing: int) -> None:
        self.items = items
        self.keys = keys
        self.missing = missing
        self.num_bytes = sum(len(item.text) for item in items)


class RequestQueue:
    """Sends bundles on threads of its own, and records their outcomes.

    At most `max_concurrency` requests are in flight. One that waits for its retry is not, so that it
    does not stop the others. Bundles with a common key go one after the other, in the order
    in which they were added.

    Args:
        send: Sends one bundle.
        journal: Makes outcomes durable.
        calls: The calls that requests are made with; they end when the queue halts.
        max_concurrency: Requests in flight.
        max_rows: Rows that may wait before the queue has no room.
        keys_of: The keys of items whose order counts; None = no order.
        on_refused: Called with outcomes that have an error, once they are recorded.
        halts: Whether no further request begins after a row is refused.
    """

    def __init__(
        self,
        send: Send,
        journal: Journal,
        calls: Calls,
        *,
        max_concurrency: int,
        max_rows: int = MAX_WAITING_ROWS,
        keys_of: Callable[[Iterable[Item]], frozenset[Hashable]] | None = None,
        on_refused: Callable[[Sequence[ItemOutcome]], None] = lambda _: None,
        halts: bool = False,
    ) -> None:
        self._send = send
        self._journal = journal
        self._max_active = max_concurrency
        self._max_outstanding = max_concurrency * OUTSTANDING_PER_SLOT
        self._max_rows = max_rows
        self._keys_of = keys_of
        self._calls = calls
        self._on_refused = on_refused
        self._halts = halts
        self._changed = threading.Condition()
        self._missing: dict[tuple[str, int], deque[_Bundle]] = defaultdict(deque)
        self._lines: dict[Hashable, deque[_Bundle]] = defaultdict(deque)
        self._ready: deque[_Bundle] = deque()
        self._waiting = self._waiting_rows = self._waiting_bytes = 0
        self._active = self._running = 0
        self._answered: list[list[ItemOutcome]] = []
        self._unrecorded = 0
        self._halted_at: float | None = None
        self._closed = False
        self._error: BaseException | None = None
        self._threads: list[threading.Thread] = []
        self._recorder: threading.Thread | None = None

    def add(self, items: list[Item], *, is_durable: bool) -> None:
        """Add the items of one request.

        Args:
            items: In order; at least one.
            is_durable: Whether they are staged; else the request waits until `durable` has said so of
                each of them.
        """
        keys = frozenset[Hashable]() if self._keys_of is None else self._keys_of(items)
        bundle = _Bundle(items, keys, 0 if is_durable else len(items))
        with self._changed:
            self._waiting += 1
            self._waiting_rows += len(items)
            self._waiting_bytes += bundle.num_bytes
            for key in keys:
                self._lines[key].append(bundle)
            if is_durable:
                self._ready_if_first(bundle)
            else:
                for item in items:
                    self._missing[item.id].append(bundle)

    def durable(self, ids: Iterable[tuple[str, int]]) -> None:
        """Say that items are staged; ids of others are ignored."""
        with self._changed:
            for item_id in ids:
                if (bundle := self._take_missing(item_id)) is not None:
                    self._one_less(bundle)

    def drop(self, row_ids: Iterable[str]) -> None:
        """Take rows out that could not be staged."""
        gone = set(row_ids)
        with self._changed:
            for item_id in [each for each in self._missing if each[0] in gone]:
                while (bundle := self._take_missing(item_id)) is not None:
                    bundle.items = [item for item in bundle.items if item.id != item_id]
                    self._waiting_rows -= 1
                    self._one_less(bundle)

    def _take_missing(self, item_id: tuple[str, int]) -> _Bundle | None:
        line = self._missing.get(item_id)
        if line is None:
            return None
        bundle = line.popleft()
        if not line:
            del self._missing[item_id]
        return bundle

    def _one_less(self, bundle: _Bundle) -> None:
        bundle.missing -= 1
        if bundle.missing:
            return
        if bundle.items:
            self._ready_if_first(bundle)
        else:
            self._leave(bundle)
            self._end_lines(bundle)
            self._changed.notify_all()

    def _ready_if_first(self, bundle: _Bundle) -> None:
        if not bundle.missing and all(self._lines[key][0] is bundle for key in bundle.keys):
            self._ready.append(bundle)
            idle = len(self._threads) - self._running
            if idle < len(self._ready) and len(self._threads) < self._max_outstanding:
                self._start_thread()
            self._changed.notify_all()

    def _start_thread(self) -> None:
        # Daemon: a request that hangs must not outlive a second Ctrl-C.
        name = f"etlkit-request-{len(self._threads) + 1}"
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _leave(self, bundle: _Bundle) -> None:
        self._waiting -= 1
        self._waiting_rows -= len(bundle.items)
        self._waiting_bytes -= bundle.num_bytes

    def _end_lines(self, bundle: _Bundle) -> None:
        """Let the next bundles with the keys of one that is answered go."""
        following = []
        for key in bundle.keys:
            line = self._lines[key]
            line.popleft()
            if line:
                following.append(line[0])
            else:
                del self._lines[key]
        for each in dict.fromkeys(following):
            self._ready_if_first(each)

    @property
    def _is_halted(self) -> bool:
        return self._halted_at is not None or self._calls.stopping.is_set

    def ask_to_halt(self) -> None:
        """Begin no further request. Takes no lock: for signal handlers."""
        self._halted_at = self._halted_at or time.monotonic()

    def halt(self) -> None:
        """Begin no further request, and end waits for a retry. Requests in flight end by themselves."""
        self.ask_to_halt()
        self._calls.stop()
        with self._changed:
            self._changed.notify_all()

    def check(self) -> None:
        """Raise what has ended the requests, if anything has."""
        if self._error is not None:
            raise self._error

    @property
    def num_waiting_rows(self) -> int:
        """Rows whose request has not begun."""
        return self._waiting_rows

    @property
    def has_room(self) -> bool:
        """Whether more rows may be transformed."""
        return self._waiting_rows < self._max_rows and self._waiting_bytes < MAX_WAITING_BYTES

    def wait_for_room(self) -> None:
        """Return when far fewer bytes wait than memory holds, or no more will be sent.

        Raises:
            EtlkitError: What has ended the requests.
        """
        with self._changed:
            while self._waiting_bytes > 2 * MAX_WAITING_BYTES and not self._is_halted:
                self.check()
                self._changed.wait(_LOOK_S)

    def wait(
        self,
        *,
        has_refused: Callable[[], bool],
        stop_timeout_s: float,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Return when every request has an outcome that is recorded.

        Also when rows are refused, so that the job can end early; and when no more requests begin and
        those in flight have ended.

        Args:
            has_refused: Whether there are refused rows to look at.
            stop_timeout_s: How long those in flight may take to end, from the moment of the halt.
            check: Called now and then; what it raises ends the wait.

        Raises:
            EtlkitError: What has ended the requests.
        """
        with self._changed:
            while not has_refused():
                check()
                self.check()
                is_quiet = not self._running and not self._unrecorded
                if is_quiet and (self._is_halted or not self._waiting):
                    return
                if self._is_halted:
                    self.halt()  # perhaps it was only asked for
                    if time.monotonic() > (self._halted_at or 0.0) + stop_timeout_s:
                        return
                self._changed.wait(_LOOK_S)

    def close(self, timeout_s: float) -> None:
        """End the threads. Requests in flight are waited for, outcomes are recorded.

        Args:
            timeout_s: How long.
        """
        self.halt()
        give_up_at = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, give_up_at - time.monotonic()))
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._recorder is not None:
            self._recorder.join(max(0.0, give_up_at - time.monotonic()))

    def _work(self) -> None:
        while (bundle := self._take()) is not None:
            try:
                self._send(bundle.items, self._record, self._in_flight)
            except Stopped:
                self.ask_to_halt()
            except BaseException as error:
                self._fail(error)
            finally:
                self._end(bundle)

    def _take(self) -> _Bundle | None:
        with self._changed:
            while not (self._ready and self._running + self._unrecorded < self._max_outstanding):
                if self._is_halted or self._closed:
                    return None
                self._changed.wait(_LOOK_S)
            if self._is_halted or self._closed:
                return None
            self._running += 1
            bundle = self._ready.popleft()
            self._leave(bundle)
            return bundle

    def _end(self, bundle: _Bundle) -> None:
        with self._changed:
            self._running -= 1
            self._end_lines(bundle)
            self._changed.notify_all()

    @contextmanager
    def _in_flight(self) -> Iterator[Callable[[], None]]:
        with self._changed:
            while self._active >= self._max_active and not self._is_halted:
                self._changed.wait(_LOOK_S)
            if self._is_halted:  # also if the slot became free at the same moment
                raise Stopped
            self._active += 1
        try:
            yield self._on_refusal  # called while this request still has its slot
        finally:
            with self._changed:
                self._active -= 1
                self._changed.notify_all()

    def _on_refusal(self) -> None:
        """Halt if the run ends at the first refused row."""
        if self._halts:
            self.halt()

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            if self._error is None:
                self._error = error
        self.halt()

    def _record(self, outcomes: list[ItemOutcome]) -> None:
        """Hand outcomes to the recorder; waits while too many are not recorded yet."""
        if any(each.error is not None for each in outcomes):
            self._on_refusal()
        with self._changed:
            self._unrecorded += 1
            self._answered.append(outcomes)
            if self._recorder is None:
                self._recorder = threading.Thread(
                    target=self._keep_records, name="etlkit-request-recorder", daemon=True
                )
                self._recorder.start()
            self._changed.notify_all()
            while self._unrecorded > self._max_outstanding and self._error is None:
                self._changed.wait(_LOOK_S)

    def _keep_records(self) -> None:
        """Record what is answered, all of it at once: what comes meanwhile goes with the next."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._answered or self._closed)
                answered, self._answered = self._answered, []
            if not answered:
                return
            outcomes = [each for one in answered for each in one]
            try:
                self._journal(outcomes)
            except BaseException as error:
                self._fail(error)
                return
            refused = [each for each in outcomes if each.error is not None]
            if refused:
                self._on_refused(refused)
            with self._changed:
                self._unrecorded -= len(answered)
                self._changed.notify_all()

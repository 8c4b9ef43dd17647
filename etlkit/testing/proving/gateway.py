"""The gateway: every call that a job under proof makes through etlkit comes here, and is counted.

Each service has a port of its own, so that paths stay as they are. A process of the job asks the
control port for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from threading import Lock
from typing import Final, Self
from urllib.parse import parse_qs, urlsplit

from etlkit.errors import RetryableError
from etlkit.testing import fault_vision
from etlkit.testing.fault_http import HttpListener, Reply
from etlkit.testing.fault_plan import Fault
from etlkit.testing.proving.answers import Answers, keys_of
from etlkit.testing.proving.bill import Bill

MARK: Final = "x-etlkit-prove"
"""A header of calls that give up after a moment. Only these are left hanging."""

LEAST_ANSWER_S: Final = 0.002
"""What a call takes at least, as over a network. The journal keeps rows that took a call, and knows
them by their time: see `CALL_S` in `etlkit.engine.worker_group`."""

_HTML: Final = (
    b"<!DOCTYPE html><html><head><title>502</title></head><body>Bad Gateway</body></html>"
)
_MAX_WAITING: Final = 64

_logger = logging.getLogger("etlkit.testing")


class Gateway:
    """Listens on loopback, one port for each service. Use it in a `with` block.

    Args:
        answers: Who answers.
        bill: Counts, and decides what happens to each call.

    Attributes:
        control: `host:port` of the control port: `GET /port?origin=…` gives a number.
    """

    def __init__(self, answers: Answers, bill: Bill) -> None:
        self._answers, self._bill = answers, bill
        self._lock = Lock()
        self._listeners: dict[str, HttpListener] = {}
        self._waiting = ThreadPoolExecutor(_MAX_WAITING, "etlkit-prove")
        self._control = HttpListener(self._tell_port, nullcontext, 0.0)
        self.control: str = f"127.0.0.1:{self._control.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._control.close()
        for listener in self._listeners.values():
            listener.close()
        self._waiting.shutdown(wait=False, cancel_futures=True)
        self._answers.close()

    def port_of(self, origin: str) -> int:
        """The port that stands for a service.

        Args:
            origin: `https://host` or `http://host:port`.
        """
        with self._lock:
            if origin not in self._listeners:
                self._listeners[origin] = HttpListener(
                    partial(self._respond, origin), nullcontext, 0.0
                )
            return self._listeners[origin].port

    @property
    def ports(self) -> frozenset[int]:
        """All ports that are open now."""
        with self._lock:
            listeners = [self._control, *self._listeners.values()]
        return frozenset(listener.port for listener in listeners)

    def _tell_port(self, _method: str, path: str, _headers: Mapping[str, str], _: bytes) -> Reply:
        (origin,) = parse_qs(urlsplit(path).query)["origin"]
        return Reply(200, str(self.port_of(origin)).encode())

    async def _respond(
        self, origin: str, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> Reply:
        arrival = self._bill.arrive(keys_of(origin, method, path, body))
        fault = arrival.fault
        if fault.kind == "html":
            return Reply(fault.status, _HTML, content_type="text/html; charset=UTF-8")
        if fault.kind == "status":
            message = fault_vision.message_of(fault.status)
            error = fault_vision.error_body(fault.status, message, fault)
            return Reply(fault.status, error, fault_vision.hint_headers(fault))
        own = {**headers, "host": urlsplit(origin).netloc}
        has_mark = own.pop(MARK, None) is not None
        try:
            reply = await asyncio.get_running_loop().run_in_executor(
                self._waiting, self._answers.answer, origin, method, path, own, body
            )
        except RetryableError as error:
            _logger.info("%s did not answer: %s", origin, error)
            return Reply(503, fault_vision.error_body(503, fault_vision.message_of(503)))
        self._bill.paid(arrival)
        await asyncio.sleep(max(arrival.delay_s, LEAST_ANSWER_S))
        if fault.kind == "hang" and not has_mark:
            fault = Fault("disconnect")
        return replace(reply, fault=fault)

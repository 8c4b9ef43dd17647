"""In a process under proof: etlkit's calls go to the gateway, and calls past etlkit are noticed."""

from __future__ import annotations

import http.client
import socket
import sys
import threading
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import quote, urlsplit

from etlkit.api.user_errors import thread_place
from etlkit.calls.async_connections import AsyncHttpPool
from etlkit.calls.connections import HttpPool
from etlkit.errors import JobError
from etlkit.testing.proving.gateway import MARK

_CONTROL_S: Final = 30.0


class Router:
    """Knows the gateway's port of each service.

    Args:
        control: See `Gateway`.
        ports: Ports that lead to the gateway or to the local BigQuery; those that are asked for are
            added.
    """

    def __init__(self, control: str, ports: Collection[int]) -> None:
        self._control = control
        self._lock = threading.Lock()
        self._known: dict[str, int] = {}
        self.ports: set[int] = set(ports)

    def through(self, address: str) -> str:
        """The address at the gateway that stands for `https://host` or `https://host/path`."""
        parts = urlsplit(address)
        if parts.hostname == "127.0.0.1" and parts.port in self.ports:
            return address
        origin = f"{parts.scheme}://{parts.netloc}"
        with self._lock:
            if origin not in self._known:
                self._known[origin] = self._ask(origin)
                self.ports.add(self._known[origin])
        return f"http://127.0.0.1:{self._known[origin]}{parts.path}"

    def _ask(self, origin: str) -> int:
        connection = http.client.HTTPConnection(self._control, timeout=_CONTROL_S)
        try:
            connection.request("GET", f"/port?origin={quote(origin, safe='')}")
            return int(connection.getresponse().read())
        finally:
            connection.close()


@contextmanager
def rerouted(router: Router, timeout_s: float | None) -> Iterator[None]:
    """Lead every connection of etlkit's HTTP stack to the gateway, while inside.

    Args:
        router: Knows where.
        timeout_s: The most that an attempt may take, so that an answer that never comes does not take
            a minute; None = as the policy says.
    """
    shorter = _Shorter(timeout_s)
    sync, later = _saved(HttpPool), _saved(AsyncHttpPool)
    pool: Any = HttpPool
    async_pool: Any = AsyncHttpPool

    def init(self: Any, origin: str, **options: Any) -> None:
        options.pop("address", None)
        sync["__init__"](self, router.through(origin), **options)

    def init_async(self: Any, origin: str, **options: Any) -> None:
        later["__init__"](self, router.through(origin), **options)

    def sent(send: Any) -> Any:
        return lambda self, method, path, headers, *rest, **options: send(
            self, method, path, {**headers, MARK: "1"}, *rest, **shorter(options)
        )

    def opened(self: Any, path: str, headers: Any, **options: Any) -> Any:
        return sync["open"](self, path, {**headers, MARK: "1"}, **shorter(options))

    pool.__init__, pool.send, pool.open = init, sent(sync["send"]), opened
    async_pool.__init__, async_pool.send = init_async, sent(later["send"])
    try:
        yield
    finally:
        for kind, saved in ((pool, sync), (async_pool, later)):
            for name, value in saved.items():
                setattr(kind, name, value)


def _saved(kind: type) -> dict[str, Any]:
    return {name: vars(kind)[name] for name in ("__init__", "send", "open") if name in vars(kind)}


class _Shorter:
    def __init__(self, timeout_s: float | None) -> None:
        self._timeout_s = timeout_s

    def __call__(self, options: dict[str, Any]) -> dict[str, Any]:
        if self._timeout_s is None:
            return options
        return {**options, "timeout_s": min(options["timeout_s"], self._timeout_s)}


class Watch:
    """Notices connections that go past etlkit. It cannot be taken off again: for a process of its own.

    Connections to this machine are counted. Others are refused, because somebody may be paid for them.

    Args:
        router: Knows the ports that are no business of a user's code.
        allowed_hosts: Hosts that may be reached all the same.

    Attributes:
        seen: Connections past etlkit, by `host:port` and the line of the user's code.
    """

    def __init__(self, router: Router, allowed_hosts: Collection[str]) -> None:
        self._router, self._allowed = router, set(allowed_hosts)
        self._looking = threading.local()
        self.seen: Counter[tuple[str, str]] = Counter()

    def begin(self) -> None:
        """Watch from now on."""
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.connect" and isinstance(arguments[1], tuple):
            self._check(str(arguments[1][0]), arguments[1][1])
        elif event == "socket.getaddrinfo" and arguments[0] is not None:
            host = arguments[0]
            self._check_name(host.decode() if isinstance(host, bytes) else str(host), arguments[1])

    def _check_name(self, host: str, port: Any) -> None:
        if _is_here(host) or getattr(self._looking, "up", False):
            return
        if host not in self._allowed:
            self._refuse(host, port)
        self._looking.up = True
        try:
            self._allowed |= {str(each[4][0]) for each in socket.getaddrinfo(host, port)}
        except OSError:
            return
        finally:
            self._looking.up = False

    def _check(self, host: str, port: int) -> None:
        if _is_here(host):
            if port not in self._router.ports:
                self.seen[f"{host}:{port}", self._place()] += 1
        elif host in self._allowed:
            self.seen[f"{host}:{port}", self._place()] += 1
        else:
            self._refuse(host, port)

    def _refuse(self, host: str, port: Any) -> None:
        place = self._place()
        raise JobError(
            f"{place} connects to {host}:{port} past etlkit, which can neither count such calls nor "
            "repeat them, and every run of a proof would make them. Make them with "
            f"etlkit.calls.http.HttpClient; or, if they cost nothing, allow them: --allow-host {host}",
            stage="transform",
        )

    @staticmethod
    def _place() -> str:
        return thread_place(threading.get_ident()) or "the transform"


def _is_here(host: str) -> bool:
    if host in {"localhost", ""}:
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False

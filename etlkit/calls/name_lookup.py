"""Names to addresses, within a time: the system's resolver itself cannot be interrupted.

It waits for silent name servers for as long as `resolv.conf` says, often 30 seconds. So it is asked on
a thread, which ends when the resolver gives up. Several that ask for the same name share it.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from copy import copy
from ipaddress import ip_address
from typing import Any, Final, TypeAlias

Resolve: TypeAlias = Callable[..., Sequence[tuple[Any, ...]]]
"""`socket.getaddrinfo`, or a test's replacement for it."""

_MAX_THREADS: Final = 64
"""Names that are looked up at the same time. More wait, for no longer than they may."""


def addresses_of(
    host: str, port: int, *, timeout_s: float, resolve: Resolve | None = None
) -> list[str]:
    """The IP addresses of a host, in the resolver's order.

    Args:
        host: A name or an IP address.
        port: The port to connect to.
        timeout_s: How long it may take.
        resolve: As `socket.getaddrinfo`; None = it.

    Raises:
        TimeoutError: The resolver did not answer in time.
        OSError: The name is not known, or the resolver failed.
    """
    ask = resolve or socket.getaddrinfo
    entries = ask(host, port, type=socket.SOCK_STREAM) if _is_address(host) else (
        _lookups.wait(ask, host, port, timeout_s)
    )  # fmt: skip
    return list(dict.fromkeys(str(entry[4][0]) for entry in entries))


class _Lookup:
    """One question to the resolver, and who waits for it."""

    def __init__(self) -> None:
        self.is_done = False
        self.entries: Sequence[tuple[Any, ...]] = ()
        self.error: Exception | None = None


class _Lookups:
    """The questions that are under way."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._under_way: dict[tuple[Resolve, str, int], _Lookup] = {}

    def wait(
        self, resolve: Resolve, host: str, port: int, timeout_s: float
    ) -> Sequence[tuple[Any, ...]]:
        key = (resolve, host, port)
        ends_at = time.monotonic() + timeout_s
        with self._changed:
            while (lookup := self._under_way.get(key)) is None:
                if len(self._under_way) < _MAX_THREADS:
                    lookup = self._begin(key)
                    break
                self._wait_for_change(ends_at)
            while not lookup.is_done:
                self._wait_for_change(ends_at)
        if lookup.error is not None:
            raise copy(lookup.error)  # others raise it too, each with a traceback of its own
        return lookup.entries

    def _wait_for_change(self, ends_at: float) -> None:
        rest_s = ends_at - time.monotonic()
        if rest_s <= 0:
            raise TimeoutError("the resolver does not answer")
        self._changed.wait(rest_s)

    def _begin(self, key: tuple[Resolve, str, int]) -> _Lookup:
        lookup = self._under_way[key] = _Lookup()
        threading.Thread(
            target=self._ask, args=(key, lookup), name="etlkit-resolver", daemon=True
        ).start()
        return lookup

    def _ask(self, key: tuple[Resolve, str, int], lookup: _Lookup) -> None:
        resolve, host, port = key
        try:
            lookup.entries = resolve(host, port, type=socket.SOCK_STREAM)
        except UnicodeError:  # a label that is too long or empty
            lookup.error = socket.gaierror(socket.EAI_NONAME, "no host name")
        except Exception as error:
            lookup.error = error
        finally:
            with self._changed:
                lookup.is_done = True
                del self._under_way[key]
                self._changed.notify_all()


def _is_address(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _begin_again() -> None:
    """A forked process has none of the threads."""
    global _lookups  # noqa: PLW0603
    _lookups = _Lookups()


_lookups = _Lookups()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_again)

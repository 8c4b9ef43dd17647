"""Threads on which the emulator's handlers answer REST requests, each with an event loop that stays.

The handlers are coroutines that block: a statement runs within one. So each request gets a thread, and
its handler an event loop of that thread. To make a loop for each request takes longer than many of the
requests themselves.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Final, TypeVar

_T = TypeVar("_T")

_here: Final = threading.local()


class HandlerThreads:
    """Threads that are started when they are needed, and stay.

    Args:
        number: How many there are at most; more calls wait.
    """

    def __init__(self, number: int) -> None:
        self._threads = ThreadPoolExecutor(number, "etlkit-local-handler")

    def call(self, call: Callable[[], _T]) -> Awaitable[_T]:
        """Call something on one of them, in the context of the caller: that has the request's work."""
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._threads, copy_context().run, call)


def run_here(call: Callable[[], Awaitable[None]]) -> None:
    """Run a coroutine to its end on this thread, and end what it has left running."""
    runner: asyncio.Runner | None = getattr(_here, "runner", None)
    if runner is None:
        runner = _here.runner = asyncio.Runner()
    runner.run(_alone(call), context=copy_context())


async def _alone(call: Callable[[], Awaitable[None]]) -> None:
    try:
        await call()
    finally:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others)

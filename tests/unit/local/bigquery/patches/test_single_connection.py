import asyncio
import threading

import pytest

from etlkit.local.bigquery.patches.single_connection import to_completion


def test_the_connection_is_held_until_the_work_has_ended():
    """A client that disconnects does not stop the thread, so no other request may start before."""
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def work():
        begun.set()
        may_end.wait(30)
        ended.set()

    async def play():
        connection_lock = asyncio.Lock()

        async def ask():
            async with connection_lock:
                await to_completion(asyncio.to_thread(work))

        client = asyncio.create_task(ask())
        await asyncio.to_thread(begun.wait, 30)
        client.cancel()
        for _ in range(5):
            await asyncio.sleep(0)  # the cancellation arrives
        assert connection_lock.locked()
        may_end.set()
        async with connection_lock:
            assert ended.is_set()
        with pytest.raises(asyncio.CancelledError):
            await client

    asyncio.run(play())


def test_the_result_and_the_error_are_passed_on():
    """Work that is not cancelled returns its value or raises its error."""

    async def answer():
        return 7

    async def fail():
        raise ValueError("no")

    assert asyncio.run(to_completion(answer())) == 7
    with pytest.raises(ValueError, match="no"):
        asyncio.run(to_completion(fail()))

"""Tasks of an event loop are woken by other threads, none of them too late or never."""

import asyncio
import queue
import threading
from collections import deque

from etlkit.calls.wakers import TaskWaker, loop_door

NUM_TASKS, NUM_WAITS, NUM_THREADS = 50, 60, 4


def test_no_wake_up_is_lost_when_many_threads_wake_many_tasks():
    """A thread rings once for several tasks; whoever comes while the loop answers rings again."""
    asked: queue.SimpleQueue[TaskWaker | None] = queue.SimpleQueue()

    def wake():
        while (waker := asked.get()) is not None:
            waker.wake()

    async def wait():
        waker = TaskWaker()
        for _ in range(NUM_WAITS):
            asked.put(waker)
            await waker.wait(None)
        return NUM_WAITS

    async def all_wait():
        return await asyncio.wait_for(asyncio.gather(*(wait() for _ in range(NUM_TASKS))), 60)

    threads = [threading.Thread(target=wake) for _ in range(NUM_THREADS)]
    for thread in threads:
        thread.start()
    try:
        assert asyncio.run(all_wait()) == [NUM_WAITS] * NUM_TASKS
    finally:
        for _ in threads:
            asked.put(None)
        for thread in threads:
            thread.join()


def test_a_wake_up_that_comes_when_the_loop_has_answered_all_others_is_not_lost():
    """The loop has seen that nobody is left, and has not gone away from the door."""

    class Late(deque):
        """Somebody comes while one looks whether it is empty."""

        def __len__(self):
            num_waiting = super().__len__()
            if not num_waiting and late:
                thread = threading.Thread(target=late.pop().wake)
                thread.start()
                thread.join()
            return num_waiting

    async def wait():
        loop_door().waiting = Late()
        first, second = TaskWaker(), TaskWaker()
        late.append(second)
        waits = asyncio.gather(first.wait(None), second.wait(None))
        await asyncio.sleep(0)  # both wait
        threading.Thread(target=first.wake).start()
        await asyncio.wait_for(waits, 20)

    late = []
    asyncio.run(wait())
    assert late == []


def test_each_loop_of_a_thread_has_its_own_door():
    """A waker of a loop that is closed wakes nobody, and the next loop's wakers work."""

    async def woken_by_a_thread():
        waker = TaskWaker()
        thread = threading.Thread(target=waker.wake)
        thread.start()
        await asyncio.wait_for(waker.wait(None), 30)
        thread.join()
        return waker

    first = asyncio.run(woken_by_a_thread())
    late = threading.Thread(target=first.wake)
    late.start()
    late.join()
    assert asyncio.run(woken_by_a_thread()) is not first

"""`AsyncHttpClient` for tests that are not async, so that they can be the same for both clients."""

import asyncio
import inspect
import threading

from etlkit.calls.async_http import AsyncHttpClient


class EventLoop:
    """An event loop on a thread of its own."""

    def __enter__(self):
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.wait_for(self.loop.shutdown_default_executor())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def wait_for(self, coroutine):
        """The result of a coroutine, which runs in the context of this thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def client(self, *args, **options):
        """An `AsyncHttpClient` whose methods wait for their result."""
        return AwaitedClient(self, AsyncHttpClient(*args, **options))


class AwaitedClient:
    """See `EventLoop.client`."""

    def __init__(self, loop, client):
        self._loop, self._client = loop, client

    def __getattr__(self, name):
        method = getattr(self._client, name)

        def called(*args, **options):
            made = method(*args, **options)
            return self._items(made) if inspect.isasyncgen(made) else self._loop.wait_for(made)

        return called

    def _items(self, generator):
        while True:
            try:
                yield self._loop.wait_for(anext(generator))
            except StopAsyncIteration:
                return

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

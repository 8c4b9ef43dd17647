"""A server that answers every POST after a fixed time, on one asyncio thread: an API that is far away.

It takes as little of the processor as it can, so that what is measured is the client.
"""

import asyncio
import json
import multiprocessing
import random
from contextlib import contextmanager

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


class _Api(asyncio.Protocol):
    def __init__(self, latency_s, answer_of):
        self._latency_s = latency_s
        self._answer_of = answer_of
        self._received = b""

    def connection_made(self, transport):
        self._transport = transport

    def data_received(self, data):
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._received) < end + 4 + length:
                return
            body = self._received[end + 4 : end + 4 + length]
            self._received = self._received[end + 4 + length :]
            loop = asyncio.get_running_loop()
            loop.call_later(self._latency_s, self._send, self._answer_of(body))

    def _send(self, answer):
        if not self._transport.is_closing():
            self._transport.write(answer)


def _annotations():
    """Answers as many images as the request has, each the same."""
    one = {"localizedObjectAnnotations": [{"mid": "/m/01yrx", "name": "Cat", "score": 0.9}]}
    ready = {}

    def answer(body):
        num_images = body.count(b'"image"')
        if num_images not in ready:
            document = json.dumps({"responses": [one] * num_images}).encode()
            ready[num_images] = _HEAD % len(document) + document
        return ready[num_images]

    return answer


_FAULTS = (
    b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
)


def _with_faults(answer, share):
    """Answers a share of the requests with 429 or 503, the same ones in each run."""
    chance = random.Random(0)  # noqa: S311 - no secret
    return lambda body: chance.choice(_FAULTS) if chance.random() < share else answer(body)


def _serve(latency_s, faults, pipe):
    async def run():
        answer = _annotations()
        if faults:
            answer = _with_faults(answer, faults)
        server = await asyncio.get_running_loop().create_server(
            lambda: _Api(latency_s, answer), "127.0.0.1", 0, backlog=1024
        )
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


@contextmanager
def latency_server(latency_s, faults=0.0):
    """Start the server in a process of its own; gives its URL.

    Args:
        latency_s: Seconds until each answer.
        faults: The share of requests that are answered with 429 and `Retry-After: 1`, or with 503.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(latency_s, faults, theirs), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.terminate()
        process.join()

"""Answers of one run, replayed to another: equal requests are made once, and others are made."""

import asyncio
import json

import pytest

from etlkit.calls.async_http import AsyncHttpClient
from etlkit.calls.http import HttpClient
from etlkit.calls.recording import Recording
from etlkit.calls.run_calls import Calls
from etlkit.errors import ApiError
from tests.loopback import answering


@pytest.fixture
def server():
    """Numbers its answers; `/refuse` is refused."""
    numbers = iter(range(1, 1000))

    def answer(asked):
        number = next(numbers)
        status = 400 if asked.path == "/refuse" else 200
        return status, {"Content-Type": "application/json"}, json.dumps({"n": number}).encode()

    with answering(answer) as found:
        yield found


def ask(url, recording, requests, *, who="a", is_async=False):
    """The answers of a run that makes these requests one after the other, and how many it made."""
    calls = Calls(recording=recording)
    headers = {"Authorization": who}

    async def awaited():
        client = AsyncHttpClient(url, service="numbers", headers=headers)
        try:
            return [(await client.post_json(path, body))["n"] for path, body in requests]
        finally:
            await client.close()

    entered = calls.enter()
    try:
        if is_async:
            return asyncio.run(awaited()), calls.meter.calls
        with HttpClient(url, service="numbers", headers=headers) as client:
            found = [client.post_json(path, body)["n"] for path, body in requests]
        return found, calls.meter.calls
    finally:
        Calls.leave(entered)


@pytest.mark.parametrize("is_async", [False, True])
def test_equal_requests_are_made_once(server, tmp_path, is_async):
    """Method, address and body count, and each answer is replayed once; who calls does not matter."""
    first = [("/a", {"x": 1}), ("/a", {"x": 1}), ("/b", {"x": 1})]
    recording = Recording(tmp_path / "answers.db", replays=False)
    assert ask(server.url, recording, first, is_async=is_async) == ([1, 2, 3], 3)
    recording.close()
    again = [
        ("/b", {"x": 1}),
        ("/a", {"x": 1}),
        ("/a", {"x": 2}),
        ("/a", {"x": 1}),
        ("/a", {"x": 1}),
    ]
    recording = Recording(tmp_path / "answers.db", replays=True)
    found = ask(server.url, recording, again, who="b", is_async=is_async)
    assert found == ([3, 1, 4, 2, 5], 2)
    assert recording.num_replayed == 3
    recording.close()


def test_what_is_refused_is_not_kept(server, tmp_path):
    """A request that was refused is made again by the other run."""
    for replays in (False, True):
        recording = Recording(tmp_path / "answers.db", replays=replays)
        with pytest.raises(ApiError):
            ask(server.url, recording, [("/refuse", {})])
        assert recording.num_replayed == 0
        recording.close()
    assert len(server.asked) == 2

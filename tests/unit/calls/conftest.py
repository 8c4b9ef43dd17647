import pytest

from etlkit.calls.http import HttpClient
from tests.awaited_client import EventLoop
from tests.loopback import answering
from tests.run_of_calls import run_of_calls


@pytest.fixture(scope="module")
def server():
    """One server for all tests of a file; `answer` says what comes back."""
    with answering() as server:
        yield server


@pytest.fixture
def run(server):
    """A run of its own for a test."""
    server.asked.clear()
    server.answer = lambda asked: (200, {}, b'{"n": 1}')
    with run_of_calls() as calls:
        yield calls


@pytest.fixture(scope="session")
def event_loop_thread():
    with EventLoop() as loop:
        yield loop


@pytest.fixture(params=["threads", "event loop"])
def make_client(request):
    """Makes an `HttpClient`, and then an `AsyncHttpClient` that is used in the same way."""
    if request.param == "threads":
        return HttpClient
    return request.getfixturevalue("event_loop_thread").client

import pytest

from etlkit.calls.http import HttpClient
from tests.awaited_client import EventLoop


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

import gc
import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from etlkit.calls import run_calls
from etlkit.local.server import launcher
from tests import memory_folder
from tests.warm_python import start_servers_warm

_LOG = logging.getLogger("etlkit")
_AT_FIRST = _LOG.handlers[:], _LOG.propagate, _LOG.level


ROOT = Path(__file__).parents[1]
LONG_FILES = (
    "tests/faults/test_workers.py",
    "tests/faults/test_scheduler_tasks.py",
    "tests/docs/test_site.py",
    "tests/faults/test_prove.py",
    "tests/docs/test_docs.py",
    "tests/faults/test_workflow_resume.py",
    "tests/emulator/test_dbt.py",
    "tests/emulator/test_article_workflow.py",
    "tests/emulator/test_new_projects.py",
    "tests/faults/test_kill.py",
    "tests/emulator/test_lifecycle.py",
    "tests/faults/test_fence.py",
    "tests/faults/test_http_sink.py",
    "tests/faults/test_network.py",
    "tests/typing/test_typing.py",  # when mypy, which runs beside the tests, has filled its cache
)
"""Files of more than 15 seconds. They begin first, or one of them would run alone at the end."""

assert all((ROOT / name).exists() for name in LONG_FILES)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what it puts into the background so, and processes of tests would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

gc.disable()  # until all tests are collected

start_servers_warm()
memory_folder.begin()  # in processes of xdist it is there already

# Values of all properties, e.g. of `tests/unit`; the long form is `make fuzz`.
settings.register_profile(
    "suite", max_examples=int(os.environ.get("ETLKIT_EXAMPLES", "15")), deadline=None
)
settings.load_profile("suite")


def pytest_collection_modifyitems(items):
    """Long files come first, and the other ones stay as they are."""
    ranks = {ROOT / name: rank for rank, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))


def pytest_collection_finish():
    """What was imported and collected stays: it is seldom searched for garbage.

    To freeze it would cost more: each run asks how many objects are frozen, and Python counts them.
    """
    gc.set_threshold(700, 10, 100)
    gc.enable()


@pytest.fixture(scope="session")
def until() -> Callable[..., None]:
    """Wait for an event: ask again and again until the answer is true, or fail."""

    def wait_until(is_true: Callable[[], object], within_s: float = 60.0) -> None:
        asked_at = time.monotonic()
        deadline = asked_at + within_s
        while not is_true():
            now = time.monotonic()
            assert now < deadline, f"not true within {within_s:g} s"
            # A question to the server takes processor time from what is waited for.
            time.sleep(min(max(0.01, 5 * (now - asked_at)), 0.5))
            asked_at = time.monotonic()

    return wait_until


@pytest.fixture
def young_heap():
    """A collection of garbage in this test looks only at what the test itself makes."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def cold_servers(monkeypatch):
    """Local servers that this test starts import everything anew, as they do for users."""
    monkeypatch.setattr(launcher, "subprocess", subprocess)


@pytest.fixture(autouse=True)
def _log_as_at_first():
    """The command line takes the log of etlkit to itself, in fixtures of a module as well."""
    _reset()
    yield
    _reset()


def _reset() -> None:
    _LOG.handlers[:], _LOG.propagate, level = _AT_FIRST
    _LOG.setLevel(level)


@pytest.fixture(autouse=True)
def _calls_of_no_run():
    """A test may make the calls of a run its own, and leave them to the next one."""
    yield
    run_calls._current.set(None)

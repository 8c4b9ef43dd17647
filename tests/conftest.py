import logging
import subprocess

import pytest

from etlkit.calls import retry
from etlkit.local.server import launcher
from tests.warm_python import start_servers_warm

_LOG = logging.getLogger("etlkit")
_AT_FIRST = _LOG.handlers[:], _LOG.propagate, _LOG.level


start_servers_warm()


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
    retry._current.set(None)

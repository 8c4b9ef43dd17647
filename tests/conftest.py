import logging

import pytest

_LOG = logging.getLogger("etlkit")
_AT_FIRST = _LOG.handlers[:], _LOG.propagate, _LOG.level


@pytest.fixture(autouse=True)
def _log_as_at_first():
    """The command line takes the log of etlkit to itself, in fixtures of a module as well."""
    _reset()
    yield
    _reset()


def _reset() -> None:
    _LOG.handlers[:], _LOG.propagate, level = _AT_FIRST
    _LOG.setLevel(level)

import logging

import pytest


@pytest.fixture(autouse=True)
def _log_as_before():
    """The command line takes etlkit's log to itself, and the next test may want to see it."""
    logger = logging.getLogger("etlkit")
    before = logger.handlers[:], logger.propagate, logger.level
    yield
    logger.handlers[:], logger.propagate = before[:2]
    logger.setLevel(before[2])

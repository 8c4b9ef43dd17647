"""Services that this process relied on and that have ended for good, such as a local server.

An address where nobody listens any more looks like a network that fails for a moment. Whoever holds a
connection to such a service knows better: its end is reported here, and no call is repeated any more.
"""

from __future__ import annotations

from typing import Final

from etlkit.errors import JobError

_messages: Final[dict[object, str]] = {}


def report(service: object, message: str) -> None:
    """Report that a service has ended.

    Args:
        service: Identifies it.
        message: What happened, and the next thing to do.
    """
    _messages[service] = message


def forget(service: object) -> None:
    """Forget a service: nothing relies on it any more."""
    _messages.pop(service, None)


def refuse_to_repeat(error: BaseException) -> None:
    """Raise if a service has ended, instead of repeating a call that has failed.

    Raises:
        JobError: It has ended.
    """
    for message in [*_messages.values()]:
        raise JobError(message) from error

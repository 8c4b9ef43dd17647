"""Keys taken out of texts that are not ours: the messages of other people's exceptions hold URLs."""

from __future__ import annotations

import logging
import re

_NAMES = r"key|api[_-]?key|(?:access_|id_)?token|sig|signature|x-goog-signature|secret|password"
_SECRETS = (
    re.compile(rf"(?P<kept>[?&](?:{_NAMES})=)[^&\s'\"<>)\]]+", re.IGNORECASE),
    re.compile(r"(?P<kept>\b(?:bearer|basic)\s+)[\w.~+/=-]{8,}", re.IGNORECASE),
    re.compile(r"(?P<kept>\bAIza)[\w-]{30,}", re.ASCII),  # how every key of Google's APIs begins
)


def without_keys(text: str) -> str:
    """The text with `…` for keys in query strings, credentials in headers and Google's API keys."""
    for pattern in _SECRETS:
        text = pattern.sub(r"\g<kept>…", text)
    return text


class Formatter(logging.Formatter):
    """Formats log records, tracebacks included, without keys."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        return without_keys(super().format(record))

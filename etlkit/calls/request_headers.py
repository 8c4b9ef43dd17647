"""Headers of requests: which can be sent, how two sets become one, and keeping keys out of messages."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, Final

from etlkit.calls.secret import Secret
from etlkit.errors import ConfigError, RowError, without_keys
from etlkit.redaction import HIDDEN

PUBLIC_NAMES: Final = frozenset({"accept", "accept-encoding", "content-type", "user-agent"})
"""Headers whose value is no secret, in small letters."""

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A token: https://www.rfc-editor.org/rfc/rfc9110#name-tokens"""

_PUBLIC_WORDS: Final = frozenset({"Bearer", "Basic"})
_LEAST_SECRET_CHARS: Final = 6
"""Shorter values, such as `v2`, stand in texts by chance."""


def is_header_name(name: Any) -> bool:
    """Whether a value can be a header's name."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def check_value(what: str, name: str, value: str) -> None:
    """Raise if a header cannot be sent: the library below would show its value, which may be a key.

    Args:
        what: Whose headers they are, e.g. `HttpClient`.
        name: The header's name.
        value: Its value.

    Raises:
        ConfigError: Names the header, and does not show its value.
    """
    if not value.isascii() or not value.isprintable():
        raise ConfigError(
            f"{what}(headers=…): the value of {name} has a line break or another character "
            "that no header can hold; a key that was read from a file may need .strip()"
        )


def read_headers(
    headers: Mapping[str, str | Secret | None], wrong: type[ConfigError | RowError]
) -> dict[str, str | None]:
    """Headers with the values of secrets.

    Args:
        headers: Name to text, `Secret`, or None = without this header.
        wrong: The error for a header that cannot be sent.

    Raises:
        EtlkitError: `wrong`; it shows no value.
        ConfigError: The environment lacks a secret.
    """
    found = {
        name: value.read(os.environ) if isinstance(value, Secret) else value
        for name, value in headers.items()
    }
    for name, value in found.items():
        if not is_header_name(name) or not (value is None or isinstance(value, str)):
            raise wrong(f"HttpClient(headers=…): {name!r} is not a header with a text")
        try:
            check_value("HttpClient", name, value or "")
        except ConfigError as error:
            raise wrong(error.message) from None
    return found


def merged(first: Mapping[str, str], second: Mapping[str, str | None]) -> dict[str, str]:
    """Both sets of headers, the second before the first, whatever the letters' size.

    Args:
        first: Headers.
        second: More of them; None = without this header.
    """
    replaced = {name.lower() for name in second}
    kept = {name: value for name, value in first.items() if name.lower() not in replaced}
    return kept | {name: value for name, value in second.items() if value is not None}


def secrets_in(headers: Mapping[str, str]) -> set[str]:
    """The values, and the words in them, that no message may show."""
    values = [value for name, value in headers.items() if name.lower() not in PUBLIC_NAMES]
    return {part for value in values for part in (value, *value.split())} - _PUBLIC_WORDS


def hide(text: str, secrets: set[str]) -> str:
    """A text without secrets, and without other keys."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _LEAST_SECRET_CHARS:
            text = text.replace(secret, HIDDEN)
    return without_keys(text)

"""Headers of requests, with secrets from the environment that no message shows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from etlkit.calls.request_headers import (
    PUBLIC_NAMES,
    check_value,
    hide,
    is_header_name,
    merged,
    secrets_in,
)
from etlkit.errors import ConfigError

_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_OURS: Final = frozenset({"connection", "content-length", "host", "transfer-encoding"})
_JSON: Final = "application/json"


def check_headers(headers: Mapping[str, str], idempotency_header: str | None) -> None:
    """Raise if headers can never be sent. No I/O.

    Raises:
        ConfigError: Says which.
    """
    for name, value in headers.items():
        if not isinstance(value, str) or not is_header_name(name):
            raise ConfigError(f"HttpSink(headers=…): {name!r} is not a header with a text")
        if name.lower() in _OURS:
            raise ConfigError(f"HttpSink(headers=…): {name} is set by the connection itself")
        if "${" in _VARIABLE.sub("", value):
            raise ConfigError(
                f"HttpSink(headers=…): {name} has a `${{` without a name; write ${{NAME}}"
            )
        if idempotency_header is not None and name.lower() == idempotency_header.lower():
            raise ConfigError(
                f"HttpSink(headers=…): {name} is the idempotency header; each request has its own key"
            )
    if idempotency_header is not None and not is_header_name(idempotency_header):
        raise ConfigError(f"idempotency_header={idempotency_header!r} is not the name of a header")


class Headers:
    """The headers of all requests of a run.

    Args:
        headers: As the job says them, with `${NAME}` for values of the environment.
        environ: The environment.

    Attributes:
        values: With the values of the environment.

    Raises:
        ConfigError: A variable is missing, or its value cannot be in a header. Shows no value.
    """

    def __init__(self, headers: Mapping[str, str], environ: Mapping[str, str]) -> None:
        self.values: dict[str, str] = {"User-Agent": "etlkit", "Content-Type": _JSON}
        for name, text in headers.items():
            value = _filled(name, text, environ)
            check_value("HttpSink", name, value)
            self.values = merged(self.values, {name: value})
        self._secrets = secrets_in(self.values)

    @staticmethod
    def shown_of(headers: Mapping[str, str]) -> dict[str, str]:
        """Headers as people may see them: values are hidden, names of variables are not."""
        shown = {
            name: text if _VARIABLE.search(text) or name.lower() in PUBLIC_NAMES else "…"
            for name, text in headers.items()
        }
        if "content-type" not in {name.lower() for name in shown}:
            shown["Content-Type"] = _JSON
        return shown

    def hide(self, text: str) -> str:
        """A text without the values of the headers, and without other keys."""
        return hide(text, self._secrets)


def _filled(header: str, text: str, environ: Mapping[str, str]) -> str:
    """A value with those of the environment in it."""

    def read(found: re.Match[str]) -> str:
        value = environ.get(found[1])
        if not value:
            raise ConfigError(
                f"the environment variable {found[1]} is not set; HttpSink needs it for the header "
                f"{header}"
            )
        return value

    return _VARIABLE.sub(read, text)

"""The address of a request: a template with columns of the row, each quoted."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

from etlkit.errors import ConfigError, RowSchemaError

PLACEHOLDER: Final = re.compile(r"\{([^{}]+)\}")
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_DOTS: Final = frozenset({".", ".."})
"""A server may take these for steps in the path: `/customers/..` is `/`."""


class UrlTemplate:
    """`https://host/path/{column}?since={other}`.

    Args:
        url: The template. Columns stand in its path and its query.
        allow_http: Whether it may be `http://` on another machine.

    Attributes:
        origin: `https://host`, with the port if it has one.
        columns: Names of the columns in it.
        shown: The address without its query, for people.

    Raises:
        ConfigError: It is not an address, or its host is not fixed.
    """

    def __init__(self, url: str, *, allow_http: bool = False) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigError("HttpSink(url=…): write https://host/path")
        if "@" in parts.netloc:
            raise ConfigError(
                "HttpSink(url=…): a user or a password in the address would be shown in many places; "
                "write headers={'Authorization': 'Basic ${NAME}'}"
            )
        if "{" in parts.netloc or "}" in parts.netloc:
            raise ConfigError("HttpSink(url=…): the host cannot come from a row")
        if parts.fragment:
            raise ConfigError("HttpSink(url=…): what follows # is never sent")
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK and not allow_http:
            raise ConfigError(
                "HttpSink(url=…) is http:// on another machine: rows and keys would be sent in plain "
                "text. Write https://, or allow_http=True if the network is your own"
            )
        self.origin: str = f"{parts.scheme}://{parts.netloc}"
        self.shown: str = f"{self.origin}{parts.path or '/'}"
        template = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self.columns: tuple[Any, ...] = tuple(dict.fromkeys(PLACEHOLDER.findall(template)))
        self._template = quote(template, safe=string.punctuation)  # spaces and the like
        if set("{}") & set(PLACEHOLDER.sub("", template)):
            raise ConfigError(
                "HttpSink(url=…): write a column as {name}; other braces as %7B and %7D"
            )

    @property
    def host(self) -> str:
        """The host's name."""
        return str(urlsplit(self.origin).hostname)

    def path(self, values: Mapping[str, Any]) -> str:
        """Path and query for one row.

        Args:
            values: The row's values, as JSON has them.

        Raises:
            RowSchemaError: A column has no value that can stand in an address.
        """
        return PLACEHOLDER.sub(lambda found: _quoted(unquote(found[1]), values), self._template)


def _quoted(name: str, values: Mapping[str, Any]) -> str:
    value = values.get(name)
    if value is None or value == "":
        raise RowSchemaError("the row has no value for the address", column=name)
    text = value if isinstance(value, str) else json.dumps(value)
    if isinstance(value, (dict, list)) or text in _DOTS:
        raise RowSchemaError("the row has a value that an address cannot hold", column=name)
    return quote(text, safe="")

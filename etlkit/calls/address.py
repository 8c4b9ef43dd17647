"""The address of a service, and of each request to it: base address, path and query."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final
from urllib.parse import quote_plus, urljoin, urlsplit

from etlkit.errors import ApiError, ConfigError, RowError

_SCHEMES: Final = frozenset({"http", "https"})


@dataclass(frozen=True)
class BaseAddress:
    """What the addresses of all requests of a client begin with.

    Attributes:
        origin: `https://host`, with the port if it has one.
        path: `/v1`, put before the path of each request; or empty.
    """

    origin: str
    path: str

    @classmethod
    def of(cls, text: str) -> BaseAddress:
        """Read what the user wrote.

        Raises:
            ConfigError: It is no address, or has a part that would not be sent. Shows no password.
        """
        try:
            parts = urlsplit(text)
            is_address = parts.scheme in _SCHEMES and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_address = False
        if not is_address:
            raise ConfigError("HttpClient(base_url=…): write https://host or http://host:port")
        if "@" in parts.netloc:
            raise ConfigError(
                "HttpClient(base_url=…) has a user or a password in it, which would be shown in many "
                "places: write https://host, and auth=BasicAuth('user', Secret('NAME')) with the name "
                "of an environment variable that holds the password"
            )
        if parts.query:
            raise ConfigError(
                "HttpClient(base_url=…) has a query: write it as params={'name': 'value'}, which every "
                "call sends; a key belongs into a header"
            )
        if parts.fragment:
            raise ConfigError("HttpClient(base_url=…): what follows # is never sent")
        return cls(f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/"))

    def target(self, path: str, params: Mapping[str, Any]) -> str:
        """Path and query of a request.

        Args:
            path: Starts with `/`; it may have a query already.
            params: See `query_of`.

        Raises:
            ConfigError: The path does not start with `/`.
            RowError: It has a `#`, behind which nothing is sent, or a parameter has no text.
        """
        if not path.startswith("/"):
            raise ConfigError(f"a request's path starts with /, and not with {path[:1]!r}")
        if "#" in path:
            raise RowError(
                "the path of a request has a #, and nothing behind it would be sent: put values into "
                "it with urllib.parse.quote(value, safe='')"
            )
        query = query_of(params) if params else ""
        if not query:
            return self.path + path
        joint = "&" if "?" in path else "?"
        return f"{self.path}{path}{joint}{query}"

    def target_of_link(self, link: str, target: str, service: str) -> str:
        """Path and query of a link in an answer.

        Args:
            link: A whole address, or one relative to what was asked for.
            target: Path and query of what was asked for.
            service: For the message.

        Raises:
            ApiError: The link leads to another host, which must not get the keys.
        """
        own = urlsplit(self.origin)
        try:
            parts = urlsplit(urljoin(f"{self.origin}{target}", link))
            # Behind a gateway, services often write http:// or leave the port out.
            ports = {None, own.port} if own.port is not None else {None, 80, 443}
            is_own = parts.hostname == own.hostname and parts.port in ports
        except ValueError:
            is_own = False
        if not is_own:
            raise ApiError(
                f"{service}: the link to the next page leads to another host, which must not get the "
                "keys of this one",
                service=service,
                status=200,
            )
        return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def query_of(params: Mapping[str, Any]) -> str:
    """Query parameters as they are sent.

    Args:
        params: Name to text, number, truth value (`true`, `false`), date, a list of them (the name is
            repeated), or None (the parameter is left out).

    Raises:
        RowError: A value has no text that every service would read in the same way.
    """
    return "&".join(f"{quote_plus(name)}={quote_plus(text)}" for name, text in texts_of(params))


def shown(target: str) -> str:
    """A path without its query, for messages."""
    return target.partition("?")[0]


def texts_of(params: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Names and texts of a query or a form; a name is repeated for each value of a list.

    Raises:
        RowError: As `query_of`.
    """
    for name, value in params.items():
        is_list = isinstance(value, Sequence) and not isinstance(value, (str, bytes))
        for each in value if is_list else (value,):
            if each is not None:
                yield name, _text_of(name, each)


def _text_of(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    if isinstance(value, (str, int, float, Decimal)):
        return str(value)
    raise RowError(
        f"the parameter {name!r} is a {type(value).__name__}: give a text, a number or a date, or a "
        "list of them"
    )

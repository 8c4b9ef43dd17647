"""Which proxy leads to a host: what the environment says, by the rules of requests.

Source: https://requests.readthedocs.io/en/latest/user/advanced/#proxies
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from etlkit.errors import ConfigError

_SCHEMES: Final = frozenset({"http", "https"})


@dataclass(frozen=True)
class Proxy:
    """A proxy for HTTP.

    Attributes:
        url: `http://host:port` or `https://host:port`, without the user.
        user: `user:password`; None = it is used without. Not shown.
    """

    url: str
    user: str | None = field(default=None, repr=False)


def proxy_for(url: SplitResult) -> Proxy | None:
    """The proxy for an address; None = there is none, or `NO_PROXY` names the host.

    `HTTP_PROXY` or `HTTPS_PROXY`, whichever is the scheme's, comes before `ALL_PROXY`, and small
    letters come before capital ones. A proxy without a scheme is one over `http://`.

    Args:
        url: The address, with a host.

    Raises:
        ConfigError: The environment names something that is not a proxy for HTTP. Shows no password.
    """
    if _is_bypassed(url):
        return None
    proxies = getproxies()
    for name in (url.scheme, "all"):
        if proxies.get(name):
            return _parsed(f"{name}_proxy".upper(), proxies[name])
    return None


def _parsed(variable: str, text: str) -> Proxy:
    text = text.strip()
    if "://" not in text:
        text = f"http://{text.lstrip('/')}"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host:
        raise ConfigError(
            f"{variable} is not the address of a proxy: write http://host:port, or "
            "http://user:password@host:port with %23 for # and %2F for / in the password"
        )
    if parts.scheme not in _SCHEMES:
        raise ConfigError(
            f"{variable} names a proxy for {parts.scheme}://, which etlkit cannot use: name one for "
            "http:// or https://, or hosts that need no proxy in NO_PROXY"
        )
    address = f"[{host}]" if ":" in host else host
    user = None
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return Proxy(f"{parts.scheme}://{address}" + (f":{port}" if port else ""), user)


def _is_bypassed(url: SplitResult) -> bool:
    host = str(url.hostname)
    named = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    entries = [entry for entry in named.replace(" ", "").split(",") if entry]
    return any(_covers(entry, host, url.port) for entry in entries) or bool(proxy_bypass(host))


def _covers(entry: str, host: str, port: int | None) -> bool:
    """Whether an entry of `NO_PROXY`, a network, an address or a domain, means a host."""
    try:
        address = ip_address(host)
    except ValueError:
        domain = entry.lstrip(".").lower()
        return any(
            name == domain or name.endswith(f".{domain}") for name in (host, f"{host}:{port}")
        )
    if entry in {f"{host}:{port}", f"[{host}]:{port}", f"[{host}]"}:
        return True
    try:
        return address in ip_network(entry, strict=False)
    except ValueError:
        return False

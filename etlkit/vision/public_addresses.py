"""Which addresses on the network a download may go to: those of the public internet alone."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any, Final, TypeAlias

Resolve: TypeAlias = Callable[..., Sequence[tuple[Any, ...]]]
"""`socket.getaddrinfo`, or what a test has in its place."""

_NAT64: Final = IPv6Network("64:ff9b::/96")
"""An IPv4 address is in its last 32 bits. Source: https://www.rfc-editor.org/rfc/rfc6052"""


class ForbiddenAddressError(Exception):
    """A host that leads somewhere else than to the public internet."""


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet.

    False for private, loopback, link-local (cloud metadata servers live there), shared (CGNAT),
    multicast, reserved and unspecified addresses, also where an IPv6 address merely wraps an IPv4
    one. IPv4-mapped addresses are refused as such: no name server gives them in good faith.

    Source: https://www.iana.org/assignments/iana-ipv4-special-registry
    """
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None or parsed.is_site_local or parsed.teredo is not None:
            return False
        if parsed in _NAT64:
            return _is_global(IPv4Address(parsed.packed[-4:]))
        if parsed.sixtofour is not None and not _is_global(parsed.sixtofour):
            return False
    return _is_global(parsed)


def _is_global(address: IPv4Address | IPv6Address) -> bool:
    return address.is_global and not (
        address.is_multicast or address.is_reserved or address.is_unspecified
    )


def resolve_public(host: str, port: int, *, resolve: Resolve = socket.getaddrinfo) -> list[str]:
    """Resolve a host once; connect to what this returns, not to the name.

    A name that is resolved again for the connection may lead elsewhere by then (DNS rebinding).

    Args:
        host: A name or an IP address.
        port: Where to connect to.
        resolve: As `socket.getaddrinfo`.

    Returns:
        IP addresses, all of them public, in the resolver's order.

    Raises:
        ForbiddenAddressError: One of them is not: half an answer is not trusted either.
        OSError: The name is not known, or the resolver does not answer.
    """
    found = addresses_of(host, port, resolve=resolve)
    for address in found:
        if not is_public(address):
            raise ForbiddenAddressError(
                f"{host} leads to {address}, which is no address of the public internet"
            )
    return found


def addresses_of(host: str, port: int, *, resolve: Resolve = socket.getaddrinfo) -> list[str]:
    """Resolve a host without a look at where it leads to.

    Raises:
        OSError: The name is not known, or the resolver does not answer.
    """
    try:
        entries = resolve(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label that is too long or empty
        raise socket.gaierror(socket.EAI_NONAME, "no host name") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in entries))

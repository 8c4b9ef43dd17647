"""Which network addresses a download may connect to: only those of the public internet."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any, Final, TypeAlias

Resolve: TypeAlias = Callable[..., Sequence[tuple[Any, ...]]]
"""`socket.getaddrinfo`, or a test's replacement for it."""

_NAT64: Final = IPv6Network("64:ff9b::/96")
"""The last 32 bits are an IPv4 address. Source: https://www.rfc-editor.org/rfc/rfc6052"""


class ForbiddenAddressError(Exception):
    """A host has an address that is not on the public internet."""


def is_public(address: str) -> bool:
    """Whether an IP address is on the public internet.

    False for private, loopback, link-local (cloud metadata servers are there), shared (CGNAT),
    multicast, reserved and unspecified addresses, also if an IPv6 address only wraps such an IPv4
    address. IPv4-mapped addresses are never public: no name server gives them in good faith.

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
    """Resolve a host once. Connect to the addresses that this returns, not to the name.

    A name that is resolved again for the connection may have another address then (DNS rebinding).

    Args:
        host: A name or an IP address.
        port: The port to connect to.
        resolve: As `socket.getaddrinfo`.

    Returns:
        IP addresses in the resolver's order, all of them public.

    Raises:
        ForbiddenAddressError: At least one of them is not public. Then none is trusted.
        OSError: The name is not known, or the resolver does not answer.
    """
    found = addresses_of(host, port, resolve=resolve)
    for address in found:
        if not is_public(address):
            raise ForbiddenAddressError(
                f"{host} leads to {address}, which is not on the public internet"
            )
    return found


def addresses_of(host: str, port: int, *, resolve: Resolve = socket.getaddrinfo) -> list[str]:
    """Resolve a host without checking its addresses.

    Raises:
        OSError: The name is not known, or the resolver does not answer.
    """
    try:
        entries = resolve(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label that is too long or empty
        raise socket.gaierror(socket.EAI_NONAME, "no host name") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in entries))

"""Which network addresses a download may connect to: only those of the public internet."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from etlkit.calls import name_lookup
from etlkit.calls.name_lookup import Resolve

_NAT64: Final = IPv6Network("64:ff9b::/96")
"""The last 32 bits are an IPv4 address. Source: https://www.rfc-editor.org/rfc/rfc6052"""

_OWN_NAT64: Final = IPv6Network("64:ff9b:1::/48")
"""The same within one network. Source: https://www.rfc-editor.org/rfc/rfc8215"""

_GLOBAL_V6: Final = IPv6Network("2000::/3")
"""All global unicast addresses of IPv6. Source: https://www.rfc-editor.org/rfc/rfc4291#section-2.4"""

_NOT_PUBLIC: Final = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
            "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16",
            "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
            "2001::/23", "2001:db8::/32", "3fff::/20",
        ),
    )
)  # fmt: skip
"""Special ranges, whole, beside what is not in `_GLOBAL_V6`. Python's own table differs from version to
version, and calls 192.0.0.192 (Oracle) and some others global.
Sources: https://www.iana.org/assignments/iana-ipv4-special-registry and
https://www.iana.org/assignments/iana-ipv6-special-registry"""

_METADATA: Final = tuple(
    map(
        ip_network,
        (
            "169.254.0.0/16", "fe80::/10",  # link-local: AWS, Google, Azure and most others
            "100.100.100.200/32",  # Alibaba
            "168.63.129.16/32",  # Azure, an address of the public internet
            "192.0.0.192/32", "fd00:c1::a9fe:a9fe/128",  # Oracle
            "192.80.8.124/32",  # Equinix, an address of the public internet
            "fd00:ec2::/32",  # AWS
            "fd20:ce::254/128",  # Google
            "fd00:42::42/128",  # Scaleway
            "fd00:a9fe:a9fe::1/128",  # Linode
        ),
    )
)  # fmt: skip
"""Where cloud providers answer a machine, and whoever can make it ask, with its credentials.
Sources: the pages of the providers, e.g.
https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16 and
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html"""


class ForbiddenAddressError(Exception):
    """A host has an address that nothing may be downloaded from."""


def is_public(address: str) -> bool:
    """Whether an IP address is on the public internet.

    False for private, loopback, link-local, shared (CGNAT), multicast, reserved and unspecified
    addresses and for those of cloud metadata servers, also if an IPv6 address only wraps such an IPv4
    address. IPv4-mapped addresses and those of Teredo are never public: no name server gives them in
    good faith.
    """
    parsed = _parsed(address)
    if parsed is None or is_metadata(address):
        return False
    if isinstance(parsed, IPv6Address):
        if parsed in _NAT64 or parsed.sixtofour is not None:
            return _is_global(_wrapped(parsed)[0])
        return parsed in _GLOBAL_V6 and _is_global(parsed)
    return _is_global(parsed)


def is_metadata(address: str) -> bool:
    """Whether a cloud's metadata server may be there: all of link-local, and some others.

    Also if an IPv6 address only wraps such an IPv4 address.
    """
    parsed = _parsed(address)
    if parsed is None:
        return False
    wrapped = _wrapped(parsed) if isinstance(parsed, IPv6Address) else []
    return any(each in network for each in (parsed, *wrapped) for network in _METADATA)


def _parsed(address: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(address.partition("%")[0])
    except ValueError:
        return None


def _wrapped(address: IPv6Address) -> list[IPv4Address]:
    """The IPv4 addresses that an IPv6 address may lead to."""
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    # Or `::a.b.c.d` and `::ffff:0:a.b.c.d`, which few systems still translate.
    if address in _NAT64 or address in _OWN_NAT64 or not int(address) >> 64:
        found.append(IPv4Address(address.packed[-4:]))
    return [each for each in found if each is not None]


def _is_global(address: IPv4Address | IPv6Address) -> bool:
    return not any(address in network for network in _NOT_PUBLIC)


def resolve_allowed(
    host: str,
    port: int,
    *,
    timeout_s: float,
    allow_private: bool = False,
    resolve: Resolve | None = None,
) -> list[str]:
    """Resolve a host once. Connect to the addresses that this returns, not to the name.

    A name that is resolved again for the connection may have another address then (DNS rebinding).

    Args:
        host: A name or an IP address.
        port: The port to connect to.
        timeout_s: How long it may take.
        allow_private: Whether loopback and private networks are allowed, too. Metadata servers are not.
        resolve: As `socket.getaddrinfo`; None = it.

    Returns:
        IP addresses in the resolver's order, all of them allowed.

    Raises:
        ForbiddenAddressError: At least one of them is not allowed. Then none is trusted.
        TimeoutError: The resolver did not answer in time.
        OSError: The name is not known, or the resolver failed.
    """
    found = name_lookup.addresses_of(host, port, timeout_s=timeout_s, resolve=resolve)
    refuse = _refuse_metadata if allow_private else _refuse_private
    for address in found:
        refuse(host, address)
    return found


def _refuse_private(host: str, address: str) -> None:
    if not is_public(address):
        raise ForbiddenAddressError(
            f"{host} leads to {address}, which is not on the public internet"
        )


def _refuse_metadata(host: str, address: str) -> None:
    if is_metadata(address):
        raise ForbiddenAddressError(
            f"{host} leads to {address}, where a cloud's metadata server may be: it gives out "
            "credentials, so nothing is downloaded from there"
        )

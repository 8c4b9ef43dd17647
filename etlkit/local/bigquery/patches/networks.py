r"""Functions of addresses: `NET.HOST`, `NET.IP_FROM_STRING` and kin.

Real BigQuery: addresses are BYTES of 4 or 16 bytes. The emulator: it took `NET` for a dataset.
https://cloud.google.com/bigquery/docs/reference/standard-sql/net_functions

What remains: NET.REG_DOMAIN and NET.PUBLIC_SUFFIX, which need the list of public suffixes.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Final

from sqlglot import exp

from etlkit.local.bigquery.patches.own_functions import PREFIX, OwnFunctions, call

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_HOST: Final = re.compile(r"\[[^\]]*\]|[^:/?#]*")
_SIZES: Final = (4, 16)


def _host(url: str) -> str:
    """The host of a URL; "" = it has none."""
    text = url.strip()
    scheme = _SCHEME.match(text)
    rest = text[scheme.end() :] if scheme is not None else text
    if rest.startswith("//"):
        authority = re.split(r"[/?#]", rest[2:], maxsplit=1)[0].rpartition("@")[2]
    else:
        authority = re.split(r"[/?#]", text, maxsplit=1)[0]
    match = _HOST.match(authority)
    return match[0] if match is not None else ""


def _address(text: str) -> bytes:
    try:
        return ipaddress.ip_address(text).packed
    except ValueError as error:
        raise ValueError(f"Invalid IP string: {text}") from error


def _safe_address(text: str) -> bytes:
    """An address; no bytes = it is none."""
    try:
        return ipaddress.ip_address(text).packed
    except ValueError:
        return b""


def _text(address: bytes) -> str:
    return str(ipaddress.ip_address(_of_size(address)))


def _of_size(address: bytes) -> bytes:
    if len(address) not in _SIZES:
        raise ValueError(f"The length of the address must be 4 or 16 bytes, not {len(address)}")
    return address


def _mask(size: int, prefix: int) -> bytes:
    if size not in _SIZES or not 0 <= prefix <= 8 * size:
        raise ValueError("Invalid output length or prefix length in NET.IP_NET_MASK")
    bits = 8 * size
    return (((1 << prefix) - 1) << (bits - prefix)).to_bytes(size, "big")


def _truncated(address: bytes, prefix: int) -> bytes:
    mask = _mask(len(_of_size(address)), prefix)
    return bytes(a & b for a, b in zip(address, mask, strict=True))


def _number(address: bytes) -> int:
    if len(address) != 4:
        raise ValueError("NET.IPV4_TO_INT64() requires an address of 4 bytes")
    return int.from_bytes(address, "big")


def _from_number(number: int) -> bytes:
    if not -(1 << 31) <= number < 1 << 32:
        raise ValueError("NET.IPV4_FROM_INT64() encountered a number that is no IPv4 address")
    return (number & 0xFFFFFFFF).to_bytes(4, "big")


_FUNCTIONS: Final[dict[str, tuple[Any, list[str], str]]] = {
    "host": (_host, ["VARCHAR"], "VARCHAR"),
    "ip_from_string": (_address, ["VARCHAR"], "BLOB"),
    "safe_ip_from_string": (_safe_address, ["VARCHAR"], "BLOB"),
    "ip_to_string": (_text, ["BLOB"], "VARCHAR"),
    "ip_net_mask": (_mask, ["BIGINT", "BIGINT"], "BLOB"),
    "ip_trunc": (_truncated, ["BLOB", "BIGINT"], "BLOB"),
    "ipv4_to_int64": (_number, ["BLOB"], "BIGINT"),
    "ipv4_from_int64": (_from_number, ["BIGINT"], "BLOB"),
}


_EMPTY: Final = ("host", "safe_ip_from_string")
"""Those that answer nothing for NULL."""


def _net(node: Any) -> exp.Expression | None:
    called = node.this
    if isinstance(called, exp.Host):
        return call("net_host", called.this)
    name = called.name.lower() if isinstance(called, exp.Anonymous) else ""
    return call(f"net_{name}", *called.expressions) if name in _FUNCTIONS else None


FUNCTIONS: Final = OwnFunctions(
    marks=r"\bnet\s*\.",
    rewrites={exp.NetFunc: _net},
    functions=[
        (f"net_{name}{'_text' if name in _EMPTY else ''}", *parts)
        for name, parts in _FUNCTIONS.items()
    ],
    macros=[
        f"net_{name}(x) AS nullif({PREFIX}net_{name}_text(x), CAST('' AS {_FUNCTIONS[name][2]}))"
        for name in _EMPTY
    ],
)
"""See the module."""

"""Vision's endpoints, and the key for them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from etlkit.calls.local_token import local_token, without_token
from etlkit.errors import ConfigError

SERVICE: Final = "vision"

KEY: Final = "ETLKIT_VISION_API_KEY"
REST_ENDPOINT: Final = "ETLKIT_VISION_ENDPOINT"
GRPC_ENDPOINT: Final = "ETLKIT_VISION_GRPC_ENDPOINT"

_HOST: Final = "vision.googleapis.com"
REGIONS: Final = ("eu", "us")
"""Source: https://cloud.google.com/vision/docs/ocr#regionalization"""

_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True)
class Address:
    """One host.

    Attributes:
        host: Name or IP address.
        port: Where it listens.
        secure: With TLS.
    """

    host: str
    port: int
    secure: bool

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine."""
        return self.host in _LOOPBACK

    @property
    def target(self) -> str:
        """`host:port`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """`https://host:port`, or `http://…` on loopback."""
        return f"{'https' if self.secure else 'http'}://{self.target}"


@dataclass(frozen=True)
class VisionEndpoint:
    """How to reach Vision, over one protocol.

    Attributes:
        address: Where it is.
        api_key: Sent in a header; None = Google's application default credentials. The local Vision
            takes the local server's token as its key.
        local_token: Sent beside the key over gRPC on loopback, where the address cannot tell whether
            the local Vision is meant; None = there is no local server.
    """

    address: Address
    api_key: str | None = field(default=None, repr=False)
    local_token: str | None = field(default=None, repr=False)

    @property
    def is_anonymous(self) -> bool:
        """Whether no credentials are needed: no Google service listens on loopback."""
        return self.api_key is None and self.address.is_loopback


def rest_endpoint(
    *, region: str | None = None, environ: Mapping[str, str] = os.environ
) -> VisionEndpoint:
    """The REST endpoint of Vision that the environment names.

    Args:
        region: `eu` or `us`: images stay there; None = the global endpoint. An endpoint in the
            environment takes precedence.
        environ: `ETLKIT_VISION_ENDPOINT` and `ETLKIT_VISION_API_KEY` are read, and
            `ETLKIT_LOCAL_TOKEN` for an address that ends with it.

    Raises:
        ConfigError: The endpoint is invalid, or on another machine without TLS; the key is invalid.
    """
    key = _api_key(environ)
    given = environ.get(REST_ENDPOINT)
    if not given:
        return VisionEndpoint(Address(_regional(region), 443, secure=True), key)
    token = local_token(given, environ)
    if token is not None and without_token(given, token) != given.rstrip("/"):
        given, key = without_token(given, token), token
    try:
        parts = urlsplit(given)
        port = parts.port
    except ValueError:
        raise ConfigError(f"{REST_ENDPOINT} must be http(s)://host:port") from None
    extra = parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc
    if parts.scheme not in {"http", "https"} or not parts.hostname or extra:
        raise ConfigError(f"{REST_ENDPOINT} must be http(s)://host:port, with nothing after it")
    secure = parts.scheme == "https"
    address = Address(parts.hostname, port or (443 if secure else 80), secure=secure)
    if not secure and not address.is_loopback:
        raise ConfigError(
            f"{REST_ENDPOINT} is http:// on another machine: images and key would be sent in plain "
            "text. Use https://, or a server on loopback"
        )
    return VisionEndpoint(address, key)


def grpc_endpoint(
    *, region: str | None = None, environ: Mapping[str, str] = os.environ
) -> VisionEndpoint:
    """The gRPC endpoint that the environment names: plain text on loopback, TLS elsewhere.

    Args:
        region: As in `rest_endpoint`.
        environ: `ETLKIT_VISION_GRPC_ENDPOINT`, `ETLKIT_VISION_API_KEY` and, on loopback,
            `ETLKIT_LOCAL_TOKEN` are read.

    Raises:
        ConfigError: The endpoint is not `host:port`, or the key is invalid.
    """
    key = _api_key(environ)
    given = environ.get(GRPC_ENDPOINT)
    if not given:
        return VisionEndpoint(Address(_regional(region), 443, secure=True), key)
    try:
        parts = urlsplit(f"//{given}")
        port = parts.port
    except ValueError:
        port = None
    if port is None or not parts.hostname or given != parts.netloc or "@" in given:
        raise ConfigError(f"{GRPC_ENDPOINT} must be host:port, without http://")
    return VisionEndpoint(
        Address(parts.hostname, port, secure=parts.hostname not in _LOOPBACK),
        key,
        local_token(given, environ),
    )


def _api_key(environ: Mapping[str, str]) -> str | None:
    """The key, checked: gRPC would report a key that no header can hold as a transient error."""
    key = environ.get(KEY) or None
    if key is not None and not (key.isascii() and key.isprintable() and " " not in key):
        raise ConfigError(
            f"{KEY} has a space, a line break or another character that no key has. "
            "Perhaps the file that it comes from ends with a line break"
        )
    return key


def _regional(region: str | None) -> str:
    check_region(region)
    return _HOST if region is None else f"{region}-{_HOST}"


def check_region(region: str | None) -> None:
    """Raise if Vision does not have a region.

    Raises:
        ConfigError: With the regions that it has.
    """
    if region is not None and region not in REGIONS:
        raise ConfigError(f"region {region!r}: use one of {', '.join(REGIONS)}, or None")

"""Which certificate authorities are trusted: one rule for every connection that etlkit makes itself."""

from __future__ import annotations

import functools
import os
import ssl
from pathlib import Path
from typing import Final

from etlkit.errors import ConfigError

_BUNDLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Variables that requests, and so Google's clients over REST, read. They come first there, too.
Source: https://requests.readthedocs.io/en/latest/user/advanced/#ssl-cert-verification"""

_OPENSSL: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")
"""Variables that OpenSSL reads.
Source: https://docs.openssl.org/master/man3/SSL_CTX_load_verify_locations/"""


def tls_context() -> ssl.SSLContext:
    """A client's TLS settings, made once a process for the same environment.

    Trusted are the authorities in the file or folder that the first of `REQUESTS_CA_BUNDLE`,
    `CURL_CA_BUNDLE`, `SSL_CERT_FILE` and `SSL_CERT_DIR` names, or else the system's.

    Raises:
        ConfigError: One of the variables names something that cannot be read.
    """
    names = (*_BUNDLES, *_OPENSSL)
    return _made(*((name, os.environ.get(name) or None) for name in names))


@functools.lru_cache(maxsize=8)
def _made(*variables: tuple[str, str | None]) -> ssl.SSLContext:
    for name, value in variables:
        if value is not None:
            return _trusting(name, Path(value))
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"]:  # python.org's macOS builds know no authorities
        import certifi

        context.load_verify_locations(certifi.where())
    return context


def _trusting(name: str, path: Path) -> ssl.SSLContext:
    try:
        if path.is_dir():
            return ssl.create_default_context(capath=path)
        return ssl.create_default_context(cafile=path)
    except OSError as error:  # ssl.SSLError among them: no certificate in the file
        reason = error.strerror or type(error).__name__
        raise ConfigError(
            f"{name}={path}: no certificate authorities can be read from there ({reason})"
        ) from error

"""Google's hosts for gRPC, as far as the local server answers for them.

A library that creates a storage client by itself, as `RowIterator.to_dataframe` does, names no
endpoint: it connects to `bigquerystorage.googleapis.com` with TLS, and no variable of Google's
libraries changes that. gRPC itself has two: `grpc_proxy`, the proxy for every connection, and
`GRPC_DEFAULT_SSL_ROOTS_FILE_PATH`, the certificates to trust. The gateway is such a proxy. It ends the
TLS of the hosts that it answers for and sends their bytes to the local services. It connects to nothing
else.

Source: https://github.com/grpc/grpc/blob/master/doc/environment_variables.md
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import ipaddress
import ssl
import sys
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ROOTS_FILE: Final = "grpc-roots.pem"

USER: Final = "etlkit"
"""The user of the proxy; the password is the server's token."""

_CHUNK_BYTES: Final = 256 * 1024
_REQUEST_TIMEOUT_S: Final = 10.0
_LIFETIME: Final = timedelta(days=30)


class GrpcGateway:
    """A proxy for gRPC that leads Google's hosts to the local services.

    Args:
        ports: The local port, without TLS, for each host.
        token: The proxy's password.
    """

    def __init__(self, ports: Mapping[str, int], token: str) -> None:
        self._ports = dict(ports)
        self._password = base64.b64encode(f"{USER}:{token}".encode()).decode()
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = _certificate(self._key, list(self._ports))
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def roots(self) -> str:
        """The certificate that clients must trust, as PEM."""
        return self._certificate.public_bytes(serialization.Encoding.PEM).decode()

    async def start(self, private_dir: Path) -> int:
        """Listen on a free port of loopback, and return it.

        Args:
            private_dir: Where the key of the certificate is for a moment: `ssl` reads it from a file.
        """
        self._context = self._make_context(private_dir)
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        """Close the listener and all connections."""
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _make_context(self, private_dir: Path) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["h2"])
        key = self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        with tempfile.NamedTemporaryFile(dir=private_dir) as file:  # for this user only: mode 0600
            file.write(key + self.roots.encode())
            file.flush()
            context.load_cert_chain(file.name)
        return context

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            return
        self._connections.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, EOFError, TimeoutError, asyncio.CancelledError, asyncio.LimitOverrunError):
            pass  # either end has gone, or the server stops
        finally:
            self._connections.discard(task)
            with contextlib.suppress(OSError):
                writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(_REQUEST_TIMEOUT_S):
            head = await reader.readuntil(b"\r\n\r\n")
        refusal, host = self._judge(head.decode("latin-1"))
        if refusal is not None:
            sys.stderr.write(f"gRPC gateway: {refusal}\n")
            writer.write(f"HTTP/1.1 {refusal}\r\ncontent-length: 0\r\n\r\n".encode())
            await writer.drain()
            return
        service_reader, service_writer = await asyncio.open_connection(
            "127.0.0.1", self._ports[host]
        )
        try:
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await writer.start_tls(self._context)
            await _pipe_both(reader, writer, service_reader, service_writer)
        finally:
            service_writer.close()

    def _judge(self, head: str) -> tuple[str | None, str]:
        """Why a request is refused, or None, and the host that it asks for."""
        first, *lines = head.split("\r\n")
        method, _, target = first.partition(" ")
        host = target.partition(" ")[0].rpartition(":")[0]
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        kind, _, password = headers.get("proxy-authorization", "").partition(" ")
        if kind.lower() != "basic" or not hmac.compare_digest(
            password.encode(), self._password.encode()
        ):
            return "407 The local server did not make this client's environment", host
        if method != "CONNECT":
            return "405 This is a proxy for gRPC alone: unset http_proxy", host
        if host not in self._ports:
            name = host if host.replace(".", "").replace("-", "").isalnum() else "this host"
            return f"403 The local world has no {name}: add it to no_grpc_proxy to reach it", host
        return None, host


async def _pipe_both(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    service_reader: asyncio.StreamReader,
    service_writer: asyncio.StreamWriter,
) -> None:
    """Send each end's bytes to the other until one of them closes."""
    pipes = [
        asyncio.ensure_future(_pipe(reader, service_writer)),
        asyncio.ensure_future(_pipe(service_reader, writer)),
    ]
    try:
        await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for pipe in pipes:
            pipe.cancel()
        await asyncio.gather(*pipes, return_exceptions=True)


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK_BYTES):
        writer.write(data)
        await writer.drain()


def _certificate(key: ec.EllipticCurvePrivateKey, hosts: list[str]) -> x509.Certificate:
    """A certificate for these hosts that is its own root."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "etlkit local server")])
    now = datetime.now(UTC)
    names = [
        *(x509.DNSName(host) for host in hosts),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )

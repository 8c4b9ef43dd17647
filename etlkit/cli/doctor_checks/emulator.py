"""Where `BIGQUERY_EMULATOR_HOST` leads: runs go there, and Google Cloud is not asked."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from etlkit.bigquery.client import EMULATOR_VARIABLE, GRPC_VARIABLE, NO_RETRY, Connection
from etlkit.bigquery.google_errors import google_message
from etlkit.calls.local_token import local_token, without_token
from etlkit.cli.doctor_checks.finding import Finding, ok, problem, warning
from etlkit.errors import EtlkitError

if TYPE_CHECKING:
    from etlkit.api.run import Settings

_TIMEOUT_S: Final = 15.0
_UNSET: Final = f"unset {EMULATOR_VARIABLE} {GRPC_VARIABLE}"


def is_emulated(settings: Settings) -> bool:
    """Whether runs with these settings go to an emulator."""
    return bool(settings.environ.get(EMULATOR_VARIABLE))


def check_emulator(settings: Settings) -> Iterator[Finding]:
    """Look whether both sides of the emulator answer, REST and gRPC."""
    given = settings.environ[EMULATOR_VARIABLE]
    address = without_token(given, local_token(given, settings.environ))
    text = f"{EMULATOR_VARIABLE} is set: runs go to {address}, not to Google Cloud"
    yield warning("emulator", text, _UNSET)
    yield _rest(settings, address)
    yield _grpc(settings.environ.get(GRPC_VARIABLE))


def _rest(settings: Settings, address: str) -> Finding:
    try:
        connection = Connection(settings, job_prefix="etlkit_doctor")
    except EtlkitError as error:
        return problem("emulator", str(error), _UNSET)
    try:
        list(connection.client.list_datasets(max_results=1, retry=NO_RETRY, timeout=_TIMEOUT_S))
    except Exception as error:
        return problem("emulator", f"{address}: {google_message(error)}", _UNSET)
    finally:
        connection.close()
    return ok("emulator", f"{address} answers for project {connection.project}")


def _grpc(endpoint: str | None) -> Finding:
    if not endpoint:
        text = f"{GRPC_VARIABLE} is not set: rows are read and written over gRPC"
        return problem("emulator", text, f"export {GRPC_VARIABLE}=HOST:PORT", "or add --local")
    host, _, port = endpoint.rpartition(":")
    if not host or not port.isdigit():
        return problem("emulator", f"{GRPC_VARIABLE}={endpoint} is not HOST:PORT", _UNSET)
    try:
        socket.create_connection((host.strip("[]"), int(port)), _TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        return problem("emulator", f"{GRPC_VARIABLE}={endpoint}: {error}", _UNSET)
    return ok("emulator", f"{endpoint} answers (gRPC)")

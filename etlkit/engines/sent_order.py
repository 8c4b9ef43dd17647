"""What goes to the workers of an engine, and what must not or cannot."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from etlkit.calls.local_token import is_loopback
from etlkit.engine.importable import check_importable
from etlkit.errors import ConfigError

if TYPE_CHECKING:
    from etlkit.api.job import TransferJob
    from etlkit.engine.worker_messages import Order
    from etlkit.engines.engine import Engine

_PASSED = ("GOOGLE_CLOUD_PROJECT", "ETLKIT_JOURNAL")
"""Nothing else of the environment leaves the machine: it may hold keys."""

_PASSED_LOCALLY = (
    "BIGQUERY_EMULATOR_HOST",
    "ETLKIT_BIGQUERY_GRPC_ENDPOINT",
    "ETLKIT_VISION_ENDPOINT",
    "ETLKIT_VISION_GRPC_ENDPOINT",
    "ETLKIT_LOCAL_TOKEN",
    "ETLKIT_BUCKETS",
    "GOOGLE_APPLICATION_CREDENTIALS",
)
"""Of the local world, whose server and files are on this machine."""


def sent_order(order: Order) -> bytes:
    """What `etlkit.worker_process.work` needs to carry out an order."""
    settings = order.request.settings
    passed = replace(settings, environ=_passed(settings.environ))
    order = replace(order, request=replace(order.request, settings=passed))
    return pickle.dumps((order, [each or "." for each in sys.path]))


def _passed(environ: Mapping[str, str]) -> dict[str, str]:
    names = [*_PASSED, *(_PASSED_LOCALLY if _is_local(environ) else ())]
    return {name: environ[name] for name in names if environ.get(name)}


def _is_local(environ: Mapping[str, str]) -> bool:
    return is_loopback(environ.get("BIGQUERY_EMULATOR_HOST") or "")


def check_sendable(job: TransferJob, environ: Mapping[str, str], engine: Engine) -> None:
    """Find without any I/O why an engine's workers could not run a job.

    Raises:
        ConfigError: They could not import what it is made of, or not reach the local world.
    """
    check_importable(job, with_script=False)
    if engine.is_remote and _is_local(environ):
        raise ConfigError(
            f"the local BigQuery is on this machine, and the workers of --engine {engine.name} with "
            "these arguments may be on others. Leave --local out, or the address"
        )

"""What goes to the workers of an engine, and what must not or cannot."""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any

from etlkit.calls.local_token import is_loopback
from etlkit.engine.worker_messages import pickled_job
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
    if engine.is_remote and _is_local(environ):
        raise ConfigError(
            f"the local BigQuery is on this machine, and the workers of --engine {engine.name} with "
            "these arguments may be on others. Leave --local out, or the address"
        )
    modules = _Modules(io.BytesIO(pickled_job(job)))
    modules.load()
    for name in sorted(modules.found):
        top = name.partition(".")[0]
        if top == "__main__":
            raise ConfigError(
                "the workers of an engine import the job's classes by the name of their module, and "
                "one of them is in the script that is running. Put transform, source and sink in a "
                "module of their own, and import it in the script"
            )
        if top in sys.stdlib_module_names or top == "etl_base":
            continue
        if PathFinder.find_spec(top) is None:
            place = getattr(sys.modules.get(name), "__file__", None) or name
            raise ConfigError(
                f"the workers of an engine import modules by name, and {place} is in no folder that "
                "Python imports from. Start the job in its folder, or add that to PYTHONPATH"
            )


class _Modules(pickle.Unpickler):
    """Finds the modules that a pickle refers to."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.found: set[str] = set()

    def find_class(self, module: str, name: str, /) -> Any:
        self.found.add(module)
        return super().find_class(module, name)

"""Whether other processes can import what a job is made of."""

from __future__ import annotations

import io
import pickle
import sys
from typing import TYPE_CHECKING, Any

from etlkit.engine.worker_messages import pickled_job
from etlkit.errors import ConfigError

if TYPE_CHECKING:
    from etlkit.api.job import TransferJob

_OURS = "etl_base"
"""Each worker makes this module for scripts that were written for TROCCO."""


def check_importable(job: TransferJob, *, with_script: bool) -> None:
    """Find without any I/O why workers could not read a job that is sent to them.

    Args:
        job: What is sent, by pickle.
        with_script: Whether they import the script that is running, as processes of this machine do.

    Raises:
        ConfigError: It cannot be pickled, or its classes are where workers do not find them.
    """
    modules = _Modules(io.BytesIO(pickled_job(job)))
    modules.load()
    for name in sorted(modules.found):
        top = name.partition(".")[0]
        if top == "__main__":
            if with_script:
                continue
            raise ConfigError(
                "the workers of an engine import the job's classes by the name of their module, and "
                "one of them is in the script that is running. Put transform, source and sink in a "
                "module of their own, and import it in the script"
            )
        if top in sys.stdlib_module_names or top == _OURS:
            continue
        if not _is_found(top):
            place = getattr(sys.modules.get(name), "__file__", None) or name
            raise ConfigError(
                f"workers import modules by name, and {place} is in no folder that Python imports "
                "from. Start the job in its folder, or add that to PYTHONPATH"
            )


def _is_found(module: str) -> bool:
    """Whether an import finds a module at the top, though it may be here already under that name.

    All finders are asked: a package that is installed to be edited may have one of its own.
    """
    finders = [getattr(finder, "find_spec", None) for finder in sys.meta_path]
    return any(find is not None and find(module, None) is not None for find in finders)


class _Modules(pickle.Unpickler):
    """Finds the modules that a pickle refers to."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.found: set[str] = set()

    def find_class(self, module: str, name: str, /) -> Any:
        self.found.add(module)
        return super().find_class(module, name)

"""Scripts written for TROCCO: `from etl_base import EtlBase`, one class `Etl` a file."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from etlkit.api.transform import EtlBase
from etlkit.engine.user_modules import import_file
from etlkit.errors import ConfigError

log: logging.Logger = logging.getLogger("etlkit")

SHIM = "etl_base"
"""The module that TROCCO provides to scripts; etlkit provides it unless the user has one."""


class _ShimFinder(MetaPathFinder, Loader):
    """Makes `etl_base` from `EtlBase`.

    It is last in `sys.meta_path`, so a user's own file `etl_base.py` is found first.
    """

    def find_spec(
        self, name: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(name, self, origin="etlkit") if name == SHIM else None

    def create_module(self, _spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        module.__doc__ = "Stands for the module of TROCCO's base class; this one is etlkit's."
        vars(module)["EtlBase"] = EtlBase


_FINDER = _ShimFinder()


def provide_etl_base() -> None:
    """Let `from etl_base import EtlBase` work from now on, in this process.

    A module of that name on the user's own path has precedence; a warning names its file.
    """
    if _FINDER not in sys.meta_path:
        sys.meta_path.append(_FINDER)
    loaded = sys.modules.get(SHIM)
    if loaded is not None and _is_ours(loaded):
        del sys.modules[SHIM]  # the path may have changed: let the next import look again
    own = PathFinder.find_spec(SHIM)
    if own is not None:
        log.warning("%s is taken from %s, not from etlkit", SHIM, own.origin)


def _is_ours(module: ModuleType) -> bool:
    spec = module.__spec__
    return spec is not None and spec.loader is _FINDER


def load_etl(path: str | os.PathLike[str]) -> type[EtlBase]:
    """Load the class `Etl` of a script, written for TROCCO or for etlkit.

    The file runs again at each call. Its folder comes first in `sys.path`, as it does for
    `python FILE`, so helpers beside it can be imported.

    Args:
        path: The script.

    Returns:
        The class; `TransferJob(transform=…)` and `run_transform` take it.

    Raises:
        ConfigError: No such file, it raises, or it has no class `Etl` derived from `EtlBase`; with
            file and line.
    """
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
        raise ConfigError(
            f"load_etl({path!r}): give the path of a script, e.g. 'transforms/etl.py'"
        )
    script = Path(path)
    folder = str(script.resolve().parent)
    if script.is_file() and folder not in sys.path:
        sys.path.insert(0, folder)
    provide_etl_base()
    module = import_file(script)
    etl = getattr(module, "Etl", None)
    if isinstance(etl, type) and issubclass(etl, EtlBase):
        return etl
    raise ConfigError(_what_is_wrong(script, module, etl))


def _what_is_wrong(script: Path, module: ModuleType, etl: Any) -> str:
    if etl is None:
        others = [
            (name, each)
            for name, each in vars(module).items()
            if isinstance(each, type) and each.__module__ == module.__name__
        ]
        if others:
            name, each = others[0]
            return f"{script}:{_line(each)}: the class {name} has to be called Etl"
        return f"{script}:1: the script has no class Etl; write: class Etl(EtlBase)"
    if not isinstance(etl, type):
        return (
            f"{script}:1: Etl is a {type(etl).__name__}; it has to be a class: class Etl(EtlBase)"
        )
    shim = sys.modules.get(SHIM)
    if shim is not None and not _is_ours(shim):
        return (
            f"{script}:{_line(etl)}: the EtlBase of this Etl comes from {shim.__file__}, which is "
            "not etlkit's. Take that file away, or let it say: from etlkit import EtlBase"
        )
    return f"{script}:{_line(etl)}: Etl has to be made from EtlBase: class Etl(EtlBase)"


def _line(cls: type) -> int:
    import inspect

    try:
        return inspect.getsourcelines(cls)[1]
    except (OSError, TypeError):
        return 1

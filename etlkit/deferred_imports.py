"""pandas, which Google's clients and pyarrow import wherever it is installed, and only users use.

It takes a third of the time in which a small job runs. Here it waits until somebody uses it.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType, SimpleNamespace
from typing import Any, Final

_READ_AT_IMPORT: Final[Mapping[str, Mapping[str, Any]]] = {
    "pandas": {},
    "db_dtypes": {
        "DateDtype": SimpleNamespace(name="dbdate"),
        "TimeDtype": SimpleNamespace(name="dbtime"),
    },
    "pandas_gbq": {},
    "pandas_gbq.schema": {},
    "pandas_gbq.schema.pandas_to_bigquery": {},
}
"""The modules for data frames that Google's clients import, and the attributes of them that they read
while they are imported. One that is missing here costs time, and nothing else."""

_lock: Final = threading.Lock()


@contextmanager
def deferred_pandas() -> Iterator[None]:
    """Import Google's clients and pyarrow in the `with` block, and pandas when it is used.

    The clients get stand-ins for the modules of data frames. A stand-in imports its module as soon as
    anybody reads an attribute of it, and then has all of them. After the block, `import pandas` gives
    everybody pandas itself. Nothing is put off that is already imported or is not installed.
    """
    stand_ins = [
        _StandIn(name, attributes)
        for name, attributes in _READ_AT_IMPORT.items()
        if name not in sys.modules and _is_installed(name)
    ]
    sys.modules.update({each.__name__: each for each in stand_ins})
    try:
        yield
    finally:
        for each in stand_ins:
            _take_out(each)
            for name in _READ_AT_IMPORT[each.__name__]:
                vars(each).pop(name, None)
    _defer_in_pyarrow()


class _StandIn(ModuleType):
    """Is there instead of a module until that is used."""

    def __init__(self, name: str, attributes: Mapping[str, Any]) -> None:
        super().__init__(name)
        vars(self).update(attributes)
        with suppress(PackageNotFoundError):  # a part of a package
            self.__version__ = version(name)

    def __getattr__(self, name: str) -> Any:
        return getattr(_module(self), name)

    def __dir__(self) -> list[str]:
        return dir(_module(self))


def _module(stand_in: ModuleType) -> ModuleType:
    _take_out(stand_in)
    return importlib.import_module(stand_in.__name__)


def _take_out(stand_in: ModuleType) -> None:
    """Let `import` find the module itself from now on."""
    with _lock:
        if sys.modules.get(stand_in.__name__) is stand_in:
            del sys.modules[stand_in.__name__]


def _is_installed(name: str) -> bool:
    """Whether a module can be found, without an import of its package."""
    package, *parts = name.split(".")
    try:
        found: ModuleSpec | None = importlib.util.find_spec(package)
    except ModuleNotFoundError:  # `NoPandas` is there
        return False
    for part in parts:
        if found is None or found.submodule_search_locations is None:
            return False
        found = PathFinder.find_spec(f"{found.name}.{part}", found.submodule_search_locations)
    return found is not None


def _defer_in_pyarrow() -> None:
    """Let pyarrow look for pandas when pandas is imported, and not at its own first array.

    pyarrow looks once. Until it has found pandas, it looks again when it needs pandas, as for `pd`.
    """
    shim = getattr(sys.modules.get("pyarrow.lib"), "_pandas_api", None)
    if shim is None or "pandas" in sys.modules or not _is_installed("pandas"):
        return
    missing = NoPandas()
    sys.meta_path.insert(0, missing)
    try:
        found = shim.have_pandas
    finally:
        sys.meta_path.remove(missing)
    if not found:
        sys.meta_path.insert(0, _PandasForPyarrow())


class NoPandas(MetaPathFinder):
    """While it is the first of `sys.meta_path`, pandas is not installed.

    An entry None in `sys.modules` is not enough: for modules written in Cython, such as pyarrow's, the
    module then *is* None.
    """

    def find_spec(self, fullname: str, *_: Any) -> None:
        """Raise the import system's own error for pandas."""
        if fullname == "pandas":
            raise ModuleNotFoundError("No module named 'pandas'", name="pandas")


class _PandasForPyarrow(MetaPathFinder):
    """Finds pandas once, and lets pyarrow look for it when it has been imported."""

    def find_spec(self, fullname: str, *_: Any) -> ModuleSpec | None:
        """Find nothing but pandas."""
        if fullname != "pandas":
            return None
        with suppress(ValueError):  # another thread has removed it
            sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _LoaderForPyarrow(spec.loader)
        return spec


class _LoaderForPyarrow(Loader):
    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)  # what reads the files of a package

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        with suppress(ImportError):  # a pandas that is too old for pyarrow
            sys.modules["pyarrow.lib"]._pandas_api.pd  # noqa: B018, SLF001 - it looks again

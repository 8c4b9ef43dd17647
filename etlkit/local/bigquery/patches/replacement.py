"""Replace parts of the emulator, but only those that are the same as when a patch was written."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

from etlkit.errors import ConfigError

ABSENT: Final = "absent"
"""The fingerprint of a name that must not exist yet: a patch adds it."""

_HASH_DIGITS: Final = 12
_ENTRY: Final = re.compile(r"(?P<mapping>[^\[]+)\[(?P<key>[^\]]+)\]")
_MEMORY_ADDRESS: Final = re.compile(r" at 0x[0-9a-f]+")
_MISSING: Final = object()


@dataclass(frozen=True)
class Original:
    """A part of the emulator, or of sqlglot, that patches replace.

    Attributes:
        path: `module:attribute.path`; `module:attribute.path[key]` is an entry of a mapping.
        fingerprint: What `fingerprint` returned when the patches were written.
        patches: The modules that replace it, below `etlkit/local/`, in the order in which they run.
        reason: Why it is replaced, in one sentence.
    """

    path: str
    fingerprint: str
    patches: tuple[str, ...]
    reason: str


class PatchTable:
    """Everything that patches replace. All originals are checked before the first replacement."""

    def __init__(self, originals: Sequence[Original], pinned_version: str) -> None:
        self._originals = {original.path: original for original in originals}
        self._pinned_version = pinned_version
        self._is_checked = False

    def check(self, installed_version: str) -> None:
        """Compare all originals with those for which the patches were written.

        Args:
            installed_version: The version of the installed emulator.

        Raises:
            ConfigError: The version differs, or an original is missing or has changed.
        """
        if self._is_checked:
            return
        if installed_version != self._pinned_version:
            raise ConfigError(
                f"The patches of the local server are written for bqemulator {self._pinned_version}, "
                f"but {installed_version} is installed: install {self._pinned_version}, or check "
                f"these patches: {self._names_of(self._originals.values())}"
            )
        changed = [original for original in self._originals.values() if not _is_same(original)]
        if changed:
            paths = ", ".join(original.path for original in changed)
            raise ConfigError(
                f"Parts that the local server replaces are missing or have changed ({paths}): "
                f"check these patches: {self._names_of(changed)}"
            )
        self._is_checked = True

    def replace(self, path: str, replacement: Any, *, key: Any = None) -> None:
        """Set the attribute or the entry at `path`.

        Args:
            path: The path of a row of the table.
            replacement: What to set.
            key: The key of the entry if it is not the string in the path.

        Raises:
            LookupError: The table has no such row, or has not been checked.
        """
        if path not in self._originals or not self._is_checked:
            raise LookupError(f"{path} is not a checked row of the table of patches")
        parent, name, is_entry = _resolve(path)
        if is_entry:
            parent[name if key is None else key] = replacement
        else:
            setattr(parent, name, replacement)

    @staticmethod
    def forget(path: str, key: Any) -> None:
        """Remove an entry of a cache that another package has made of what is replaced.

        Args:
            path: Of the cache, as in the table. It needs no row: it is empty when a process begins.
            key: The entry's; it may be missing.
        """
        parent, name, _ = _resolve(path)
        getattr(parent, name).pop(key, None)

    def replace_route(self, path: str, replacement: Any) -> None:
        """Let `replacement` answer the routes of the function at `path`, in its module's `router`.

        Raises:
            LookupError: The table has no such row, has not been checked, or no route has this function.
        """
        if path not in self._originals or not self._is_checked:
            raise LookupError(f"{path} is not a checked row of the table of patches")
        module, name, _ = _resolve(path)
        router, endpoint = module.router, getattr(module, name)
        routes = [route for route in router.routes if getattr(route, "endpoint", None) is endpoint]
        if not routes:
            raise LookupError(f"No route is answered by {path}")
        for route in routes:
            router.routes.remove(route)
            route_path = route.path.removeprefix(router.prefix)
            router.add_api_route(route_path, replacement, methods=list(route.methods))

    @staticmethod
    def _names_of(originals: Any) -> str:
        return ", ".join(sorted({name for original in originals for name in original.patches}))


def fingerprint(value: Any) -> str:
    """Hash the source of a function or class, the name of a module, or the repr of data."""
    if isinstance(value, ModuleType):
        text = value.__name__
    elif inspect.isroutine(value) or inspect.isclass(value):
        text = inspect.getsource(value)
    elif isinstance(value, set | frozenset):
        text = repr(sorted(value))  # the order of a set differs from process to process
    else:
        text = _MEMORY_ADDRESS.sub("", repr(value))
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_DIGITS]


def current_fingerprint(path: str) -> str | None:
    """The fingerprint of what is at `path` now; None = the module or a parent is missing."""
    try:
        parent, name, is_entry = _resolve(path)
    except (ImportError, AttributeError):
        return None
    value = _entry(parent, name) if is_entry else getattr(parent, name, _MISSING)
    return ABSENT if value is _MISSING else fingerprint(value)


def _is_same(original: Original) -> bool:
    try:
        return current_fingerprint(original.path) == original.fingerprint
    except OSError:  # inspect finds no source
        return False


def _resolve(path: str) -> tuple[Any, str, bool]:
    """The parent of what is at `path`, its name or key there, and whether it is an entry."""
    module_name, _, attributes = path.partition(":")
    value: Any = importlib.import_module(module_name)
    entry = _ENTRY.fullmatch(attributes)
    parents = entry["mapping"].split(".") if entry else attributes.split(".")[:-1]
    for name in parents:
        value = getattr(value, name)
    return value, entry["key"] if entry else attributes.split(".")[-1], entry is not None


def _entry(mapping: Mapping[Any, Any], key: str) -> Any:
    """The entry of a key, or of a class with this name."""
    for known, value in mapping.items():
        if key in (known, getattr(known, "__name__", None)):
            return value
    return _MISSING

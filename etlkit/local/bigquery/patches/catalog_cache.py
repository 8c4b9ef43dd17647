"""The emulator's cache of its catalog, used by several requests at the same time.

The emulator: one request after the other used it. Requests that read now list its entries while another
adds some, which plain dictionaries refuse.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

_K = TypeVar("_K")
_V = TypeVar("_V")

_JOBS: Final = "_jobs"
"""The entries of jobs: of all requests, so no transaction takes them back."""


class SharedDict(dict[_K, _V]):
    """A dictionary that may be changed while it is iterated: iterations see a copy."""

    def __iter__(self) -> Any:
        """The keys."""
        return iter(list(super().keys()))

    def keys(self) -> Any:
        """A copy of the keys."""
        return list(super().keys())

    def values(self) -> Any:
        """A copy of the values."""
        return list(super().values())

    def items(self) -> Any:
        """A copy of the pairs."""
        return list(super().items())


def share(catalog: Any) -> None:
    """Let several requests use the cache of a catalog."""
    cache = catalog._cache  # noqa: SLF001
    for name, entries in _dicts(cache).items():
        setattr(cache, name, SharedDict(entries))


def tables_of(catalog: Any) -> list[Any]:
    """All tables and views. The emulator lists those of one dataset, and looks at all for it."""
    return list(catalog._cache._tables.values())  # noqa: SLF001


def entries_of(catalog: Any) -> dict[str, dict[Any, Any]]:
    """Copies of what a transaction may change. Shallow ones are enough: the entries are frozen."""
    cache = _dicts(catalog._cache)  # noqa: SLF001
    return {name: SharedDict(found) for name, found in cache.items() if name != _JOBS}


def _dicts(cache: Any) -> dict[str, dict[Any, Any]]:
    return {name: found for name, found in vars(cache).items() if isinstance(found, dict)}

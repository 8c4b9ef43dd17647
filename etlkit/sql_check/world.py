"""The tables as they are when a job begins: those of the catalog, and what earlier jobs make."""

from __future__ import annotations

from collections.abc import Mapping

from etlkit.sql_check.known import Catalog, Known, KnownTable


class World:
    """What names mean at one point of a check.

    Args:
        catalog: What is there before the first job.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._made: dict[str, Known | None] = {}
        self._found: dict[str, Known | None] = {}
        self._allowed: set[str] = set()

    @property
    def project(self) -> str:
        """The project of names without one; empty = not known."""
        return self._catalog.project

    def find(self, name: str) -> Known | None:
        """What a name is now; None = it does not exist."""
        key = self._key(name)
        if key in self._made:
            return self._made[key]
        if key not in self._found:
            self._found[key] = self._catalog.find(name)
        return self._found[key]

    def find_table(self, name: str) -> KnownTable | None:
        """A table; None = there is none, or something else has the name."""
        found = self.find(name)
        return found if isinstance(found, KnownTable) else None

    def make(self, made: Mapping[str, Known | None]) -> None:
        """Note what a job makes, or drops (None)."""
        for name, known in made.items():
            self._made[self._key(name)] = known

    @property
    def asks(self) -> bool:
        """See `Catalog.asks`."""
        return self._catalog.asks

    def allow(self, name: str) -> None:
        """Note that a text may name a table; other words with dots in them are not looked up."""
        self._allowed.add(self._key(name))

    def may_find(self, name: str) -> bool:
        """Whether a name is worth a look-up."""
        key = self._key(name)
        return key in self._allowed or key in self._made or not self._catalog.asks

    def missing(self, name: str) -> str:
        """See `Catalog.missing`."""
        return self._catalog.missing(name)

    def _key(self, name: str) -> str:
        parts = name.replace("`", "").replace(":", ".").split(".")
        if len(parts) == 2 and self.project:
            return ".".join((self.project, *parts))
        if len(parts) > 2 and not self.project:  # one project is as good as another
            return ".".join(parts[-2:])
        return ".".join(parts)

    def shown(self, name: str) -> str:
        """A name without the project if that is the default one."""
        return self._key(name).removeprefix(f"{self.project}.") if self.project else self._key(name)

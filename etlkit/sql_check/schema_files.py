"""Tables from files: `schemas/dataset.table.json`, as `bq show --schema` writes them."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from pathlib import Path

from etlkit.errors import ConfigError
from etlkit.sql_check.known import Known, KnownTable, read_resource, wildcard


class SchemaFiles:
    """All schema files of a folder, read once.

    Args:
        folder: With files called `dataset.table.json` or `project.dataset.table.json`.
        project: The project of names without one; empty = a name with any project is the file's.

    Raises:
        ConfigError: No such folder, or files that cannot be read: all of them, one a line.
    """

    def __init__(self, folder: Path, project: str) -> None:
        if not folder.is_dir():
            raise ConfigError(
                f"no folder {folder}: write the schema of each table into it, e.g. "
                f"bq show --schema my_dataset.my_table > {folder}/my_dataset.my_table.json"
            )
        self._folder = folder
        self.project = project
        self._known: dict[str, Known] = {}
        problems = []
        for file in sorted(folder.glob("*.json")):
            try:
                self._known[_key(_name(file))] = _read(file)
            except ConfigError as error:
                problems.append(str(error))
        if problems:
            raise ConfigError("\n".join(problems))

    @property
    def title(self) -> str:
        """See `Catalog.title`."""
        number = len(self._known)
        return f"{number} {'schema' if number == 1 else 'schemas'} in {self._folder}"

    @property
    def asks(self) -> bool:
        """See `Catalog.asks`."""
        return False

    def prepare(self, _names: Iterable[str], /) -> None:
        """All files are read already."""

    def find(self, name: str, /) -> Known | None:
        """See `Catalog.find`; a file without a project is of the default one."""
        key = _key(name)
        if key.endswith("*"):
            return self._wildcard(key)
        found = self._known.get(key)
        if found is not None:
            return found
        project, dataset, table = _parts(key)
        if project and self.project in {"", project}:
            return self._known.get(f"{dataset}.{table}")
        if not project and self.project:
            return self._known.get(f"{self.project}.{key}")
        return None

    def _wildcard(self, key: str) -> Known | None:
        """The tables that a name with a `*` at its end stands for; the last one has the columns."""
        prefixes = {key[:-1], ".".join(_parts(key)[1:])[:-1]}
        names = [name for name in self._known if name.startswith(tuple(prefixes))]
        found = self._known[max(names)] if names else None
        return wildcard(found) if isinstance(found, KnownTable) else None

    def missing(self, name: str, /) -> str:
        """See `Catalog.missing`."""
        similar = difflib.get_close_matches(name, self._known, n=1)
        hint = f"; did you mean {similar[0]}?" if similar else ""
        return f"there is no {self._folder / name}.json and no job of this check makes it{hint}"


def _key(name: str) -> str:
    return name.replace("`", "").replace(":", ".")


def _parts(key: str) -> tuple[str, str, str]:
    rest, _, table = key.rpartition(".")
    project, _, dataset = rest.rpartition(".")
    return project, dataset, table


def _name(file: Path) -> str:
    name = file.name.removesuffix(".json")
    if "." not in name.strip("."):
        raise ConfigError(f"{file}: call it dataset.table.json or project.dataset.table.json")
    return name


def _read(file: Path) -> Known:
    try:
        return read_resource(json.loads(file.read_text(encoding="utf-8-sig")))
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"{file}:{error.lineno}:{error.colno}: it is not JSON: {error.msg}"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"{file}: {reason}") from error
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from error

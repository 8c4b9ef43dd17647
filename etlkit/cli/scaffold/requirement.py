"""How a new project says which etlkit it needs."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath

from etlkit.errors import ConfigError

DISTRIBUTION = "etlkit-bigquery"
_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


@dataclass(frozen=True)
class Requirement:
    """An etlkit that pip can install.

    Attributes:
        where: A direct reference of pip, e.g. `file:///home/ann/etlkit` or `git+https://…`; None = the
            package index has this version.
        wheel: A wheel that the project keeps a copy of; None = it keeps none.
    """

    where: str | None
    wheel: Path | None = None

    @classmethod
    def of(cls, given: str | None) -> Requirement:
        """Read what the user gave, or find where the running etlkit was installed from.

        Args:
            given: A wheel, a clone's folder or a URL; None = as the running one.

        Raises:
            ConfigError: It is none of them.
        """
        if given is None:
            return cls(_installed_from())
        if _URL.match(given):
            return cls(given)
        path = Path(given).expanduser().resolve()
        if path.suffix == ".whl" and path.is_file():
            # Hatch puts the project's folder in the place of {root:uri}, wherever it is cloned to.
            return cls(f"{{root:uri}}/wheels/{path.name}", path)
        if (path / "pyproject.toml").is_file():
            return cls(path.as_uri())
        raise ConfigError(
            f"--etlkit {given}: it must be a wheel (a file that ends with .whl), the folder of a clone "
            "of etlkit, or a URL"
        )

    def text(self, extra: str = "") -> str:
        """The line for `dependencies`; `extra` is e.g. `local`."""
        name = f"{DISTRIBUTION}[{extra}]" if extra else DISTRIBUTION
        return (
            f"{name}=={metadata.version(DISTRIBUTION)}"
            if self.where is None
            else f"{name} @ {self.where}"
        )

    def files(self) -> dict[PurePosixPath, bytes]:
        """The wheel, for the project."""
        if self.wheel is None:
            return {}
        return {PurePosixPath("wheels") / self.wheel.name: self.wheel.read_bytes()}

    @property
    def is_of_this_machine(self) -> bool:
        """Whether the project can only be installed where it was made."""
        return self.where is not None and self.where.startswith("file:")


def _installed_from() -> str | None:
    """Where pip took the running etlkit from; None = from a package index.

    Source: https://packaging.python.org/en/latest/specifications/direct-url/
    """
    text = metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
    if text is None:
        return None
    found = json.loads(text)
    if "vcs_info" in found:
        vcs = found["vcs_info"]
        return f"{vcs['vcs']}+{found['url']}@{vcs['commit_id']}"
    return str(found["url"])

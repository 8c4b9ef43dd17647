"""A file with the environment variables of a local server, for other people's tools."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from etlkit.errors import ConfigError
from etlkit.local.server.local_dir import write_private

_FIRST_LINE: Final = "# Written by `etlkit local serve`. It is deleted when the server ends.\n"


@contextmanager
def env_file(path: Path, variables: Mapping[str, str]) -> Iterator[None]:
    """Keep a file of `export NAME=value` lines while inside, readable for this user only.

    Args:
        path: Where to. A file that a server which was killed has left is replaced.
        variables: What a shell exports when it reads the file.

    Raises:
        ConfigError: There is a file of somebody else, or the file cannot be written.
    """
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in sorted(variables.items())]
    text = _FIRST_LINE + "".join(lines)
    _refuse_others(path)
    try:
        write_private(path, text)
    except OSError as error:
        raise ConfigError(f"--env {path} cannot be written: {error.strerror}") from error
    try:
        yield
    finally:
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            path.unlink()


def _refuse_others(path: Path) -> None:
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise ConfigError(f"--env {path} is not a plain file: choose another name")
    if path.exists() and not path.read_text("utf-8", "replace").startswith(_FIRST_LINE):
        raise ConfigError(
            f"--env {path} exists and is not one that `etlkit local serve` wrote: choose another "
            "name, or delete it"
        )

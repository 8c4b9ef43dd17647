"""Files made from templates: their names and texts with the values filled in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from etlkit.cli.key_files import KEY_FILES
from etlkit.errors import ConfigError

_TEMPLATES = Path(__file__).with_name("templates")
_SUFFIX = ".template"
_HIDDEN = {name: f".{name}" for name in ("dockerignore", "gitignore", "gitkeep", "github")}
"""Files whose name begins with a dot; in the package it does not, so that no tool obeys them there."""

_IN_EVERY_PROJECT = {
    "key_files": "\n".join(KEY_FILES),
    "key_files_anywhere": "\n".join(f"**/{each}" for each in KEY_FILES),
}
"""What stands for these names in a template, whatever the project."""

_PLACE = re.compile(r"@@(\w+)@@")


def made_from(template: str, values: Mapping[str, str]) -> dict[PurePosixPath, bytes]:
    """The files of a template, by their path in the project.

    Args:
        template: A folder of `templates`, e.g. `new/job`.
        values: What stands for each `@@name@@` in a text. In file names, NAME is the value of `name`.
    """
    folder = _TEMPLATES / template
    return {
        _place(path.relative_to(folder), values): _filled(path, values) for path in _all(folder)
    }


def write_all(root: Path, files: Mapping[PurePosixPath, bytes]) -> None:
    """Write files under a folder, or none of them.

    Raises:
        ConfigError: One of them is there already, or cannot be written.
    """
    there = [str(path) for path in files if (root / path).exists()]
    if there:
        verb = "exists" if len(there) == 1 else "exist"
        raise ConfigError(f"{_listed(there)} {verb} already; nothing was written")
    folders: list[Path] = []
    written: list[Path] = []
    target = root
    try:
        for path, content in files.items():
            target = root / path
            folders += [each for each in target.parents if not each.exists()]
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as file:
                written.append(target)
                file.write(content)
    except OSError as error:
        _remove(written, folders)
        raise ConfigError(
            f"{target.absolute()} cannot be written: {error.strerror}; nothing was written"
        ) from error


def _remove(files: Sequence[Path], folders: Sequence[Path]) -> None:
    """Remove what was made, as far as that is possible; a folder that holds anything else stays."""
    for file in files:
        with suppress(OSError):
            file.unlink()
    for folder in sorted(folders, key=lambda each: len(each.parts), reverse=True):
        with suppress(OSError):
            folder.rmdir()


def _all(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _place(path: Path, values: Mapping[str, str]) -> PurePosixPath:
    parts = [_HIDDEN.get(part, part) for part in path.as_posix().removesuffix(_SUFFIX).split("/")]
    return PurePosixPath(*(part.replace("NAME", values.get("name", "NAME")) for part in parts))


def _filled(path: Path, values: Mapping[str, str]) -> bytes:
    if path.suffix != _SUFFIX:
        return path.read_bytes()
    text, known = path.read_text(encoding="utf-8"), {**_IN_EVERY_PROJECT, **values}
    return _PLACE.sub(lambda found: known[found[1]], text).encode()


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"

"""Where the other version of a job is: a git revision, which is exported, or a file."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from etlkit.errors import ConfigError

_GIT_S = 60.0
_INSTALLED = ("site-packages", "dist-packages")


@dataclass(frozen=True, slots=True)
class OldCode:
    """The other version, ready to be imported by a process of its own.

    Attributes:
        shown: For people: `main (1a2b3c4)`, or the file.
        folder: The working directory of the process.
        path: What comes first in its `sys.path`.
        file: The file, with `:name` if it was given; None = the job's own module, as it was.
        tree: The folder of the working tree from which nothing may be imported; None = anything may.
    """

    shown: str
    folder: Path
    path: tuple[str, ...]
    file: str | None = None
    tree: Path | None = None


@contextmanager
def old_code(against: str) -> Iterator[OldCode]:
    """Find the other version, and export it if it is a revision.

    Args:
        against: As the user wrote it.

    Raises:
        ConfigError: It is neither a file nor a revision that git knows.
    """
    file = against.rpartition(":")[0] if ".py:" in against else against
    if file.endswith(".py") or Path(file).is_file():
        if not Path(file).is_file():
            raise ConfigError(f"--diff {against}: no file {file}")
        yield OldCode(against, Path.cwd(), (str(Path.cwd()),), against)
        return
    root = _root(against)
    commit = _git(["rev-parse", "--verify", "--quiet", "--end-of-options", f"{against}^{{commit}}"])
    if commit is None:
        raise ConfigError(
            f"--diff {against}: it is neither a file nor a revision that git knows here. Allowed are a "
            "commit, a branch, a tag, HEAD or HEAD~1, and the path of a .py file"
        )
    with tempfile.TemporaryDirectory(prefix="etlkit-diff-") as text:
        folder = Path(text).resolve()
        _export(root, commit, folder)
        here = folder / Path.cwd().resolve().relative_to(root)
        if not here.is_dir():
            raise ConfigError(f"--diff {against}: the folder {Path.cwd().name}/ was not there then")
        shown = against if commit.startswith(against) else f"{against} ({commit[:7]})"
        yield OldCode(shown, here, _mapped(root, folder, here), tree=root)


def _root(against: str) -> Path:
    found = _git(["rev-parse", "--show-toplevel"])
    if found is None:
        raise ConfigError(
            f"--diff {against}: there is no such file, and this folder is in no git repository in "
            "which it could be a revision"
        )
    return Path(found).resolve()


def _git(arguments: Sequence[str]) -> str | None:
    """What git answers; None = it fails, or is not installed."""
    try:
        done = subprocess.run(  # noqa: S603 - no shell  # nosec B603 B607
            ["git", *arguments],  # noqa: S607 - the user's git
            capture_output=True,
            text=True,
            timeout=_GIT_S,
            check=False,
        )
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _export(root: Path, commit: str, folder: Path) -> None:
    """Write the files of a commit into a folder. Working tree and repository stay as they are."""
    packed = folder.with_suffix(".tar")
    try:
        if _git(["-C", str(root), "archive", "--format=tar", f"--output={packed}", commit]) is None:
            raise ConfigError(f"git cannot export {commit[:7]}")
        with tarfile.open(packed) as archive:
            archive.extractall(folder, filter="data")
    finally:
        packed.unlink(missing_ok=True)
    # The project is found by its `pyproject.toml` or `.git`: paths of files are to be the same.
    if not (folder / ".git").exists():
        (folder / ".git").mkdir()


def _mapped(root: Path, folder: Path, here: Path) -> tuple[str, ...]:
    """The import path of this process, where it leads into the working tree: as it was then."""
    found = [here]
    for entry in sys.path:
        path = Path(entry or ".").resolve()
        if path.is_relative_to(root) and not any(name in path.parts for name in _INSTALLED):
            there = folder / path.relative_to(root)
            found += [there] if there.is_dir() else []
    return tuple(dict.fromkeys(map(str, found)))

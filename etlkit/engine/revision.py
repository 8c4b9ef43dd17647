"""The revision of the user's code, as git names it. No program is started: a run has no time for it."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

VARIABLES = ("ETLKIT_REVISION", "GITHUB_SHA", "CI_COMMIT_SHA", "COMMIT_SHA")
"""Where an image without `.git` is told its revision: ours, then those of CI systems."""

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_MAX_CHARS = 100


def revision_of(part: object, environ: Mapping[str, str]) -> str | None:
    """The commit that was checked out where a class or function is written.

    Files may have changed since: the run's fingerprint tells.

    Args:
        part: The class or function.
        environ: The environment; `ETLKIT_REVISION` in it takes the place of all else.

    Returns:
        The commit, or what the variable says; None = not known.
    """
    if own := environ.get(VARIABLES[0]):
        return own[:_MAX_CHARS]
    module = sys.modules.get(getattr(part, "__module__", None) or "")
    file = getattr(module, "__file__", None)
    if isinstance(file, str):
        for folder in Path(file).resolve().parents:
            if (folder / ".git").exists():
                return _checked_out(folder / ".git")
    given = (environ.get(name) for name in VARIABLES[1:])
    return next((value[:_MAX_CHARS] for value in given if value), None)


def _checked_out(git: Path) -> str | None:
    try:
        if git.is_file():  # of a worktree or a submodule: `gitdir: <path>`
            git = (git.parent / git.read_text("utf-8").partition(":")[2].strip()).resolve()
        head = (git / "HEAD").read_text("utf-8").strip()
        if not head.startswith("ref:"):
            return head if _COMMIT.fullmatch(head) else None
        return _commit_of(git, head.removeprefix("ref:").strip())
    except (OSError, UnicodeDecodeError):
        return None


def _commit_of(git: Path, ref: str) -> str | None:
    common = git / "commondir"
    homes = (
        [git, (git / common.read_text("utf-8").strip()).resolve()] if common.is_file() else [git]
    )
    for home in homes:
        if (loose := home / ref).is_file():
            text = loose.read_text("utf-8").strip()
            return text if _COMMIT.fullmatch(text) else None
    packed = homes[-1] / "packed-refs"
    for line in packed.read_text("utf-8").splitlines() if packed.is_file() else ():
        commit, _, name = line.partition(" ")
        if name == ref and _COMMIT.fullmatch(commit):
            return commit
    return None

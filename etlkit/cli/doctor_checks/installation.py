"""Is etlkit installed as it has to be: Python, its packages, the extra `local`."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement

from etlkit._version import __version__
from etlkit.cli.doctor_checks.finding import Finding, ok, problem

_DISTRIBUTION = "etlkit-bigquery"
_OLDEST = (3, 11)


def check_installation(extra: str | None = None) -> Iterator[Finding]:
    """Look at Python and at the packages that etlkit needs.

    Args:
        extra: Also those of this extra, e.g. `local`.
    """
    yield _python()
    wrong = sorted(_wrong_packages(extra))
    subject = f"extra {extra}" if extra else "packages"
    if wrong:
        wanted = f"'.[{extra}]'" if extra else "."
        yield problem(subject, "; ".join(wrong), f"cd CLONE_OF_ETLKIT && pip install -e {wanted}")
    else:
        yield ok(subject, "all there" if extra else f"etlkit {__version__} and what it needs")


def _python() -> Finding:
    text = f"{platform.python_version()} on {platform.system()} ({sys.executable})"
    if sys.version_info < _OLDEST:
        return problem("python", f"{text}: etlkit needs 3.11 or newer")
    return ok("python", text)


def _wrong_packages(extra: str | None) -> Iterator[str]:
    """What is missing, or has a version that etlkit does not take."""
    for line in metadata.requires(_DISTRIBUTION) or ():
        needed = Requirement(line)
        if not _counts(needed, extra):
            continue
        try:
            version = metadata.version(needed.name)
        except metadata.PackageNotFoundError:
            yield f"{needed.name} is missing"
            continue
        if not needed.specifier.contains(version, prereleases=True):
            yield f"{needed.name} is {version}, but {needed.specifier} is needed"


def _counts(needed: Requirement, extra: str | None) -> bool:
    """Whether a requirement is one of this machine, and of the extra if there is one."""
    if needed.marker is None:
        return extra is None
    plain = needed.marker.evaluate({"extra": ""})
    return plain if extra is None else not plain and needed.marker.evaluate({"extra": extra})

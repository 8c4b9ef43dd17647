"""`History`: the figures of all runs of the benches, one line of JSON each, and what became slower."""

import json
import os
import platform
import re
import statistics
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tests.bench.figures import Figure

FILE = Path(__file__).with_name("history.jsonl")

LEAST_SPREAD = 0.1
"""Two runs of the same code differ by this much, whatever their own runs say."""

PACKAGES = ("pyarrow", "google-cloud-bigquery", "google-cloud-bigquery-storage", "duckdb")


@dataclass(frozen=True)
class Entry:
    """The figures of one run of the benches.

    Attributes:
        at: When it began, as ISO 8601 in UTC.
        commit: Of the code; `+` behind it = with changes.
        machine: What is compared with each other: processor, cores, Python.
        versions: Of the packages that the figures depend on.
        load: Of the last minute, when it began. Above 0.5, others were at work.
        figures: By key.
    """

    at: str
    commit: str
    machine: str
    versions: dict[str, str]
    load: float
    figures: dict[str, Figure]

    @classmethod
    def from_json(cls, text: str) -> "Entry":
        """Read what `to_json` wrote."""
        given = json.loads(text)
        figures = {
            key: Figure(**{**each, "runs": tuple(each["runs"])})
            for key, each in given.pop("figures").items()
        }
        return cls(figures=figures, **given)

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self), ensure_ascii=False)


def new_entry() -> Entry:
    """An entry of this moment, without figures."""
    return Entry(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=_commit(),
        machine=_machine(),
        versions={"python": platform.python_version(), **_versions()},
        load=round(os.getloadavg()[0], 2),
        figures={},
    )


def read(path: Path = FILE) -> list[Entry]:
    """All entries, the oldest first."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [Entry.from_json(line) for line in lines if line]


def append(entry: Entry, path: Path = FILE) -> None:
    """Add an entry."""
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{entry.to_json()}\n")


def latest(entries: Iterable[Entry], machine: str) -> dict[str, tuple[Figure, Entry]]:
    """The latest figure of each key on a kind of machine, and the run that it is of."""
    found: dict[str, tuple[Figure, Entry]] = {}
    for entry in entries:
        if entry.machine == machine:
            found |= {key: (figure, entry) for key, figure in entry.figures.items()}
    return found


def slower(entry: Entry, earlier: Sequence[Entry]) -> list[str]:
    """Which figures are worse than in the last comparable run, by more than their spread."""
    before = latest(earlier, entry.machine)
    sentences = []
    for key, figure in entry.figures.items():
        if key not in before:
            continue
        old, its_entry = before[key]
        allowed = 1 + max(LEAST_SPREAD, _spread(old), _spread(figure))
        was, now = old.value, figure.value
        is_worse = now * allowed < was if figure.better == "higher" else now > was * allowed
        if is_worse:
            sentences.append(
                f"{figure.title}: {now:g} {figure.unit}, was {was:g} in {its_entry.commit} "
                f"({its_entry.at[:10]}); a difference up to {allowed - 1:.0%} is noise"
            )
    return sentences


def _spread(figure: Figure) -> float:
    if len(figure.runs) < 2 or not statistics.median(figure.runs):
        return 0.0
    return (max(figure.runs) - min(figure.runs)) / statistics.median(figure.runs)


def _machine() -> str:
    name = platform.machine()
    cpu_info = Path("/proc/cpuinfo")
    if cpu_info.exists():
        match = re.search(r"model name\s*: (.*)", cpu_info.read_text(encoding="utf-8"))
        name = match[1].strip() if match else name
    python = ".".join(platform.python_version_tuple()[:2])
    return f"{name}, {os.cpu_count()} cores, Python {python}"


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _commit() -> str:
    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments],  # noqa: S607 - whichever git there is
            cwd=FILE.parent,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "../../etlkit")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + ("+" if changed else "")

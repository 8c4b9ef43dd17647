"""Runs the benches and writes the table of docs/performance.md: `make bench`.

Each part is a process of its own, so one that fails does not lose the figures of the others. The
figures go to `tests/bench/history.jsonl`; what became slower than in the last run on such a machine is
said.
`python -m tests.bench.table rows calls` runs two parts; the others keep the figures that they had.
"""

import argparse
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from tests.bench import history
from tests.bench.figures import Figure
from tests.bench.history import Entry

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- table: written by `make bench` -->", "<!-- end of the table -->"
BEGIN_PROFILE, END_PROFILE = BEGIN.replace("table", "profile"), END.replace("table", "profile")

PARTS = ("rows", "calls", "journal", "whole_job", "workers", "memory", "startup")
"""Modules with `figures()`, in the order of the table."""

PEERS = "peers"
"""The part that runs in an environment of its own; its figures are those of other libraries."""

MAX_PART_S = 600.0
QUIET_LOAD = 0.5


def main() -> int:
    """Run the parts; gives the exit status."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("parts", nargs="*", choices=[*PARTS, PEERS, []])
    arguments.add_argument("--print-figures", metavar="PART", help="run one part, print its JSON")
    arguments.add_argument("--peers-python", help="the interpreter of the environment of the peers")
    arguments.add_argument("--no-history", action="store_true", help="only print the figures")
    given = arguments.parse_args()
    if given.print_figures:
        print(json.dumps([asdict(each) for each in figures_of(given.print_figures)]))
        return 0
    parts = given.parts or [part for part in PARTS if _is_there(part)]
    entry, failed = measure(parts, given.peers_python)
    earlier = history.read()
    if not given.no_history and entry.figures:
        history.append(entry)
        write_page([*earlier, entry], entry.machine)
    print("\n".join(table(history.latest([entry], entry.machine))))
    for sentence in history.slower(entry, earlier):
        print(f"slower: {sentence}")
    for part in failed:
        print(f"failed: {part}; its figures are as they were")
    return 1 if failed else 0


def figures_of(part: str) -> list[Figure]:
    """Run one part in this process."""
    found: list[Figure] = importlib.import_module(f"tests.bench.{part}").figures()
    return found


def _is_there(part: str) -> bool:
    if importlib.util.find_spec(f"tests.bench.{part}") is None:
        return False
    return "def figures(" in (Path(__file__).with_name(f"{part}.py")).read_text(encoding="utf-8")


def measure(parts: Sequence[str], peers_python: str | None) -> tuple[Entry, list[str]]:
    """Run parts one after the other; gives their figures, and the parts that failed."""
    entry, failed = history.new_entry(), []
    if entry.load > QUIET_LOAD:
        print(f"load {entry.load}: others are at work on this machine, so figures are noisy")
    found: dict[str, Figure] = {}
    for part in parts:
        began = time.monotonic()
        try:
            found |= {each.key: each for each in _run(part, peers_python)}
        except (subprocess.SubprocessError, ValueError) as error:
            print(f"{part}: {getattr(error, 'stderr', None) or error}", file=sys.stderr)
            failed.append(part)
        print(f"{part}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return replace(entry, figures=found), failed


def _run(part: str, peers_python: str | None) -> list[Figure]:
    python = peers_python if part == PEERS and peers_python else sys.executable
    done = subprocess.run(
        [python, "-m", "tests.bench.table", "--print-figures", part],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=MAX_PART_S,
        check=True,
    )
    given = json.loads(done.stdout.splitlines()[-1])
    return [Figure(**{**each, "runs": tuple(each["runs"])}) for each in given]


def write_page(entries: Sequence[Entry], machine: str) -> None:
    """Put the latest figures of this kind of machine into the page, between its two comments."""
    text = PAGE.read_text(encoding="utf-8")
    profiles = "\n".join(profile_table(history.latest(entries, machine)))
    text = _replaced(text, BEGIN, page_part(entries, machine), END)
    text = _replaced(text, BEGIN_PROFILE, profiles, END_PROFILE)
    PAGE.write_text(text, encoding="utf-8")


def _replaced(text: str, begin: str, part: str, end: str) -> str:
    before, rest = text.split(begin)
    return f"{before}{begin}\n{part}\n{end}{rest.split(end)[1]}"


def page_part(entries: Sequence[Entry], machine: str) -> str:
    """What stands between the comments."""
    found = history.latest(entries, machine)
    last = max((entry for _, entry in found.values()), key=lambda each: each.at)
    versions = ", ".join(f"{name} {number}" for name, number in last.versions.items())
    about = f"Measured on {last.at[:10]} at {last.commit}: {last.machine}; {versions}."
    noisy = [] if last.load <= QUIET_LOAD else [f"Others were at work there: load {last.load}.", ""]
    return "\n".join([about, "", *noisy, *table(found)])


def table(found: dict[str, tuple[Figure, Entry]]) -> list[str]:
    """The lines of the table, in the order of the parts."""
    last = max((entry.at for _, entry in found.values()), default="")[:10]
    lines = [
        "| | etlkit | wanted | beside it, in the same run | best peer |",
        "|---|---|---|---|---|",
    ]
    ours = {key: each for key, each in found.items() if not key.startswith(f"{PEERS}.")}
    for key, (figure, entry) in sorted(ours.items(), key=_by_part):
        peer = found.get(f"{PEERS}.{key}")
        when = "" if entry.at[:10] == last else f" ({entry.at[:10]})"
        beside = ", ".join(f"{name} {shown(value)}" for name, value in figure.beside.items())
        line = [
            figure.title,
            f"**{shown(figure.value)} {figure.unit}**{when}",
            wanted(figure),
            beside,
            "" if peer is None else best(peer[0]),
        ]
        lines.append(f"| {' | '.join(line)} |")
    return lines


def profile_table(found: dict[str, tuple[Figure, Entry]]) -> list[str]:
    """The lines of the table that says where the time goes, in the order of the other one."""
    lines = ["| | microseconds a row, or a call |", "|---|---|"]
    for _, (figure, _) in sorted(found.items(), key=_by_part):
        if figure.profile:
            parts = ", ".join(f"{name} {shown(value)}" for name, value in figure.profile.items())
            lines.append(f"| {figure.title} | {parts} |")
    return lines


def _by_part(each: tuple[str, tuple[Figure, Entry]]) -> tuple[int, str]:
    part = each[0].split(".")[0]
    return PARTS.index(part) if part in PARTS else len(PARTS), ""


def wanted(figure: Figure) -> str:
    """A figure's goal, and whether it is reached."""
    if figure.goal is None:
        return ""
    sign = "≥" if figure.better == "higher" else "≤"
    return f"{sign} {shown(figure.goal)}" + ("" if figure.is_reached else ", not reached")


def best(peer: Figure) -> str:
    """The peers, the best first."""
    order = sorted(peer.beside.items(), key=lambda each: each[1], reverse=peer.better == "higher")
    return ", ".join(f"{name} {shown(value)}" for name, value in order)


def shown(value: float) -> str:
    """Three digits, no more."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 0.1 else f"{value:.2f}"


if __name__ == "__main__":
    sys.exit(main())

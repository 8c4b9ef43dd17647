"""What a person sees of a proof: one live line, one table, and the commands that repeat what failed."""

from __future__ import annotations

import json
import shlex
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from shutil import get_terminal_size
from typing import TYPE_CHECKING

import click

from etlkit.api.quantities import number_of
from etlkit.cli.quantities import duration_text
from etlkit.cli.tables import print_table, printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from etlkit.testing.proving.report import ProofReport, ProvedRun

_LINE_EVERY_S = 10.0
_MAX_SHOWN = 5
_MAX_WIDTH = 100
_INDENT = 7
_NAMES = (
    "weather",
    "runs",
    "kills",
    "cuts",
    "lost",
    "doubled",
    "different",
    "calls",
    "repaid",
)
_DROPPABLE = ("cuts", "runs", "kills", "calls")
"""What a narrow terminal has no room for, the first of them first: what did not hold stays."""


@contextmanager
def progress_line(runs: int) -> Iterator[Callable[[str, int, ProofReport], None]]:
    """Show progress on stderr: one line that changes on a terminal, else a line now and then."""
    is_live = sys.stderr.isatty()
    began = shown_at = time.monotonic()
    last_what = ""

    def show(what: str, done: int, report: ProofReport) -> None:
        nonlocal shown_at, last_what
        now = time.monotonic()
        if not is_live and what == last_what and now - shown_at < _LINE_EVERY_S:
            return
        shown_at, last_what = now, what
        text = what if not done else _progress_text(done, runs, report, now - began)
        if is_live:
            width = get_terminal_size().columns - 1
            sys.stderr.write(f"\r\x1b[K{text[:width]}")
        else:
            sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    try:
        yield show
    finally:
        if is_live:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _progress_text(done: int, runs: int, report: ProofReport, spent_s: float) -> str:
    kills = sum(run.kills for run in report.runs)
    failed = len(report.failed)
    state = click.style(f"{failed} failed", fg="red") if failed else "nothing wrong"
    left = f", {duration_text(spent_s / done * (runs - done))} left" if 3 <= done < runs else ""
    return f"proving: {done} of {number_of(runs, 'run')}, {number_of(kills, 'kill')}, {state}{left}"


def print_report(report: ProofReport, again: Sequence[str], *, as_json: bool) -> None:
    """Print what was found.

    Args:
        report: The proof.
        again: The command, without seed and number of runs.
        as_json: One JSON object instead of a table.
    """
    if as_json:
        repeat = [_repeat(again, run) for run in report.failed]
        found = {**report.as_json(), "repeat": repeat}
        sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")
        return
    print_table(
        sys.stdout,
        _NAMES,
        _rows(report),
        numeric=_NAMES[1:],
        unbroken=_NAMES,
        droppable=_DROPPABLE if report.calls_undisturbed else ("repaid", "calls", *_DROPPABLE),
    )
    for text in report.notes:
        _say("yellow", "note", text)
    for text in _charges(report):
        _say(None, "calls", text)
    for text in report.findings:
        _say("red", "found", text)
    for run in report.failed[:_MAX_SHOWN]:
        _say("red", "failed", f"seed {run.seed} ({run.weather}, {number_of(run.kills, 'kill')})")
        for problem in run.problems:
            _say(None, "", problem)
        click.echo(f"{'':{_INDENT}}repeat it: {click.style(_repeat(again, run), bold=True)}")
    if len(report.failed) > _MAX_SHOWN:
        seeds = ", ".join(str(run.seed) for run in report.failed[_MAX_SHOWN:])
        _say("red", "failed", f"also the seeds {seeds}")
    _say(*_verdict(report))


def _rows(report: ProofReport) -> list[list[str]]:
    weathers = dict.fromkeys(run.weather for run in report.runs)
    rows = [_row(name, [r for r in report.runs if r.weather == name]) for name in weathers]
    return rows if len(rows) == 1 else [*rows, _row("all", report.runs)]


def _row(name: str, runs: Sequence[ProvedRun]) -> list[str]:
    numbers = (
        len(runs),
        sum(run.kills for run in runs),
        sum(run.cuts for run in runs),
        sum(run.lost for run in runs),
        sum(run.doubled for run in runs),
        sum(run.different for run in runs),
        sum(run.calls for run in runs),
        sum(run.repaid for run in runs),
    )
    return [name, *(f"{number:,}" for number in numbers)]


def _charges(report: ProofReport) -> list[str]:
    if not report.calls_undisturbed:
        return []
    after_kill = sum(sum(run.repaid_after_kill) for run in report.runs)
    after_loss = sum(run.repaid_after_loss for run in report.runs)
    kills = sum(run.kills for run in report.runs)
    real = number_of(report.recorded, "real call")
    recorded = f"; for the recording, {real} had to be made"
    undisturbed = f"an undisturbed run makes {report.calls_undisturbed:,}"
    worst = f", at most {report.worst_kill} after one" if after_kill else ""
    bound = f"{report.bound} may be in flight (max_concurrency {report.max_concurrency})"
    return [
        undisturbed + (recorded if report.recorded else ""),
        f"{after_kill:,} were paid again after {number_of(kills, 'kill')}{worst}; {bound}",
        f"{after_loss:,} were paid again because the answer was lost on its way",
    ]


def _verdict(report: ProofReport) -> tuple[str, str, str]:
    runs, took = len(report.runs), duration_text(report.seconds)
    if report.holds:
        what = f"{number_of(runs, 'run')} of {number_of(report.rows, 'row')}"
        return "green", "proved", f"{what}: none lost, none doubled, none different; in {took}"
    wrong = [f"{len(report.failed)} of {number_of(runs, 'run')} failed"] if report.failed else []
    wrong += ["the job itself does something wrong"] if report.findings else []
    return "red", "failed", f"{' and '.join(wrong)}; in {took}"


def _repeat(again: Sequence[str], run: ProvedRun) -> str:
    return shlex.join([*again, "--seed", str(run.seed), "--runs", "1"])


def _say(color: str | None, word: str, text: str) -> None:
    """Print a paragraph after a word, not wider than the terminal."""
    width = min(get_terminal_size().columns, _MAX_WIDTH)
    lines = textwrap.wrap(
        printable(text),
        width - _INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )
    first = f"{word:<{_INDENT - 1}} "
    for line in lines or [""]:
        click.echo(f"{click.style(first, fg=color)}{line}")
        first = " " * _INDENT

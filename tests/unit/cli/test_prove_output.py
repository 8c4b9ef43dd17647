"""What a person sees of a proof."""

import sys

import click
import pytest

from etlkit.cli.prove_output import print_report
from etlkit.testing.proving.report import ProofReport, ProvedRun
from tests.unit.cli.terminal import Terminal


@pytest.fixture
def lines(monkeypatch):
    """The lines of a report on a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")

    def printed(report):
        terminal = Terminal()
        monkeypatch.setattr(sys, "stdout", terminal)
        print_report(report, ["etlkit", "prove", "jobs.enrich"], as_json=False)
        return click.unstyle(terminal.getvalue()).splitlines()

    return printed


def proof(*weathers, calls, **found):
    runs = [ProvedRun(seed, name, 3, cuts=6, calls=calls) for seed, name in enumerate(weathers)]
    return ProofReport("jobs.enrich", 200, calls_undisturbed=calls, runs=runs, **found)


def test_the_table_fits_a_terminal(lines):
    """No cell is folded; what is left out is never what did not hold."""
    shown = lines(proof(*["lost answers", "429 storms"] * 50, calls=1000))
    assert max(map(len, shown)) <= 80
    head, last = shown[1], next(line for line in shown if line.startswith("│ all"))
    assert [each.strip() for each in head.split("│")[1:-1]] == [
        *("weather", "runs", "kills", "lost", "doubled", "different", "calls", "repaid")
    ]
    assert [each.strip() for each in last.split("│")[1:-1]] == [
        *("all", "100", "300", "0", "0", "0", "100,000", "0")
    ]
    assert "(no room for: cuts)" in shown


def test_a_job_without_calls_has_room_for_its_cuts(lines):
    """Its calls and what was paid twice say nothing."""
    shown = lines(proof("kills only", "cuts", calls=0))
    assert max(map(len, shown)) <= 80
    assert "cuts" in shown[1]
    assert "lost" in shown[1]

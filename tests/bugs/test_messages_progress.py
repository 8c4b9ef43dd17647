"""Progress: a person sees how fast it is now, how long it will take, and what it waits for."""

import io
import logging
import sys
from pathlib import Path

import pytest

from etlkit.api.outcomes import Counts
from etlkit.api.report import RunReport
from etlkit.calls import clock
from etlkit.calls.breaker import Breaker, CallState
from etlkit.calls.waits import Waits
from etlkit.cli import run_report
from etlkit.cli.console import show_report
from etlkit.cli.progress import LiveBar, Pace, progress_text
from etlkit.cli.run import main
from etlkit.errors import RetryableError


def paced(*samples):
    """The pace after samples of (second, rows)."""
    pace = Pace()
    for now, done in samples:
        pace.add(now, done)
    return pace


def test_the_rate_is_that_of_the_last_seconds():
    """A run that has become ten times slower says so within seconds."""
    pace = paced(*((s, s * 100) for s in range(30)), *((30 + s, 3000 + s * 10) for s in range(15)))
    assert pace.per_s == pytest.approx(10, rel=0.01)
    assert pace.rest_s(4140) == pytest.approx(100, rel=0.01)


@pytest.mark.edge_case(
    "progress of a resumed run", "terminal", "the rate counts neither earlier rows nor the start-up"
)
def test_resumed_rows_and_the_start_do_not_count():
    """90,000 rows of an earlier attempt, then a minute until the first row comes."""
    pace = paced((0, 90_000), (30, 90_000), (60, 90_000), (61, 90_010), (63, 90_030))
    assert pace.per_s == pytest.approx(10)
    assert pace.rest_s(90_130) == pytest.approx(10)


def test_nothing_is_guessed_at_the_start():
    """No rate before there is a row, and no rest before there is a rate of some seconds."""
    assert paced((0, 0)).per_s is None
    assert paced((0, 0), (1, 50)).rest_s(1000) is None
    assert paced((0, 0), (1, 50), (3, 150)).rest_s(None) is None
    assert progress_text(Counts(), 5, Pace()) == "0 of 5 rows, 0 written"


def counts(**values):
    """Counts with a few of everything, and calls that wait."""
    made = Counts(read=1_234_567, written=1_200_000, skipped=30_000, rejected=4_567, **values)
    made.row_errors = 34_567
    return made


def drawn(width, made):
    """The lines of the bar on a terminal of this width."""
    from rich.console import Console

    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    console = Console(file=stream, width=width, height=20, force_terminal=True, highlight=False)
    bar = LiveBar(console)
    bar("transform", made, 3_000_000)
    for second in range(20):
        bar._pace.add(1000.0 + second, made.read + second * 12_345)
    text = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=False)
    text.print(bar.render())
    return text.file.getvalue().rstrip("\n").split("\n")


def test_at_80_columns_the_bar_stays_when_row_errors_come():
    """Two lines, none of them broken, and the bar is one of them."""
    lines = drawn(80, counts())
    assert len(lines) == 2
    assert all(len(line) <= 80 for line in lines)
    assert "━━━" in lines[0]
    assert "12,345/s" in lines[0]
    assert "left" in lines[0]
    assert "34,567 row errors" in lines[1]


def test_on_a_narrow_terminal_the_numbers_come_first():
    """There is no room for a bar, and still one line each."""
    lines = drawn(40, counts())
    assert len(lines) == 2
    assert "1,234,567 of 3,000" in lines[0]


def test_before_the_first_row_the_stage_is_told():
    """Nothing is more worrying than an empty terminal."""
    from rich.console import Console

    console = Console(file=io.StringIO(), width=80, color_system=None)
    bar = LiveBar(console)
    console.print(bar.render())
    bar("snapshot", Counts(), None)
    console.print(bar.render())
    first, second = console.file.getvalue().splitlines()
    assert "starting, 0." in first
    assert "snapshot, 0." in second


@pytest.mark.edge_case(
    "a service that asks to wait 30 s", "terminal", "told, with the number of calls that wait"
)
def test_waits_are_told():
    """Those of a second or more, each kind once, with the number of calls."""
    waits = Waits()
    with waits.during("geo", "asked", clock.now() + 30):
        assert waits.texts() == ["geo asks to wait 30 s: 1 call waits"]
        made = counts(waits=waits)
        assert "; geo asks to wait 30 s: 1 call waits" in progress_text(made, None, Pace())
    assert waits.texts() == []
    with waits.during("geo", "retry", clock.now() + 0.4):
        assert waits.texts() == []
    with waits.during("geo", "down"):
        assert waits.texts() == ["geo is down: 1 call waits until it is back"]


def test_an_outage_that_passes_at_once_is_not_told(caplog):
    """The two messages used to take turns, with "is back after -0 s"."""
    caplog.set_level(logging.INFO, logger="etlkit")
    error = RetryableError("busy", status=503)
    with clock.no_sleep():
        breaker = Breaker("geo", 300)
        for _ in range(3):
            for _ in range(10):
                breaker.failed(CallState(1), error, 0.0)
            assert breaker.is_open
            breaker.succeeded()
        assert caplog.messages == []


def test_an_outage_that_lasts_is_told_once_and_so_is_its_end(caplog):
    """However often it is tested meanwhile."""
    caplog.set_level(logging.INFO, logger="etlkit")
    error = RetryableError("busy", status=503)
    with clock.no_sleep():
        breaker = Breaker("geo", 300)
        for _ in range(10):
            breaker.failed(CallState(1), error, 0.0)
        for _ in range(5):
            probe = CallState(1)
            for pause in breaker.admit(probe):
                assert clock.skip_to(pause.until)
            breaker.failed(probe, error, 0.0)
        breaker.succeeded()
    told, back = caplog.messages
    assert told.startswith("geo fails (busy): calls pause")
    assert back.startswith("geo is back after ")
    assert "-" not in back


def test_a_terminal_says_at_once_that_something_happens(monkeypatch):
    """Before the job is imported; a log for machines does not have the line."""
    monkeypatch.setattr("sys.stderr", Terminal())
    assert main(["jobs.no_such_job"]) == 2
    first, *_ = sys.stderr.getvalue().splitlines()
    assert first == "starting jobs.no_such_job …"
    for arguments, stream in (
        (["--log-format", "json"], Terminal),
        (["--quiet"], Terminal),
        ([], io.StringIO),
    ):
        monkeypatch.setattr("sys.stderr", stream())
        main(["jobs.no_such_job", *arguments])
        assert "starting" not in sys.stderr.getvalue()


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self):
        return True


REPORT = RunReport(
    run_id="20240131_120000123_1a2b3c4d", job="jobs.a", state="published", target="p.d.t",
    read=12, written=9, skipped=1, rejected=2, rows_published=9, row_errors=2,
    first_errors=["row 3: ValueError: x"], calls=14, retries=2, units=14, cost=0.5,
    seconds={"transform": 75.0},
)  # fmt: skip
AGAIN = f"--retry-rejects {REPORT.run_id}"
OPTIONS = {"quiet": False, "report_file": None, "html_file": None}


@pytest.mark.parametrize(
    ("out", "err", "file", "has_json"),
    [
        (Terminal, Terminal, None, False),
        (Terminal, Terminal, "-", True),
        (io.StringIO, Terminal, None, True),
        (Terminal, io.StringIO, None, True),
        (io.StringIO, io.StringIO, "-", True),
    ],
)
def test_json_is_for_programs(out, err, file, has_json, monkeypatch):
    """A person who sees the summary does not get the object as well, unless it is asked for."""
    monkeypatch.setattr("sys.stdout", out())
    monkeypatch.setattr("sys.stderr", err())
    options = {**OPTIONS, "report_file": None if file is None else Path(file)}
    run_report.print_report(REPORT, options)
    assert sys.stdout.getvalue() == (f"{REPORT.to_json()}\n" if has_json else "")
    assert "9 rows to p.d.t" in sys.stderr.getvalue()


def test_the_summary_is_what_a_person_wants_to_know(capsys):
    """Rows by outcome, the first errors, how to run rejected rows again, calls and their cost."""
    show_report(REPORT)
    assert capsys.readouterr().err.splitlines() == [
        "left out row 3: ValueError: x",
        "left out … and 1 more",
        f"rejected 2 rows are kept with their errors; to run them again: {AGAIN}",
        "published 9 rows to p.d.t (12 read, 9 written, 1 skipped, 2 rejected) in 1 min 15 s",
        "calls 14, 2 of them retries, 0.50 USD for 14 units",
    ]

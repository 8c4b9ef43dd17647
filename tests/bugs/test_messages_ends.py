"""Transforms that do not come back: a hanging row is named, and `os._exit` publishes nothing.

A thread cannot be stopped from outside, and `os._exit` cannot be caught: both are defined instead.
"""

import threading

import click
import pytest

from etlkit import ConfigError, EtlBase, RowTimeoutError, TransferJob
from etlkit.api.report import RunReport
from etlkit.api.run import RunRequest
from etlkit.calls import clock
from etlkit.calls.waits import Waits
from etlkit.cli.invocation import invoke
from etlkit.engine import pipeline
from etlkit.engine.row_watch import RowWatch
from etlkit.engine.task import Task
from etlkit.engine.transfer import run_transfer
from etlkit.testing import MemorySink, MemorySource


@pytest.fixture
def released(monkeypatch):
    """An event on which transforms hang; it is set when the run has ended."""
    monkeypatch.setattr(pipeline, "STOP_TIMEOUT_S", 0.05)
    event = threading.Event()
    yield event
    event.set()


def hanging(event, at, **attributes):
    """A job whose transform hangs at a row."""

    class Etl(EtlBase):
        max_concurrency = 2

        def transform_row(self, row):
            if row["n"] == at:
                event.wait()
            return row

    source = MemorySource([{"n": n} for n in range(1, 21)])
    return TransferJob(source=source, transform=Etl, sink=MemorySink(), **attributes)


@pytest.mark.edge_case(
    "a transform that hangs, with `row_timeout_s`",
    "transfer",
    "the run ends with `RowTimeoutError`: row, file and line; rows with a result are kept",
)
def test_a_row_that_hangs_ends_the_run_with_its_place(released):
    """What the transform is waiting for stands on the line that is named."""
    with pytest.raises(RowTimeoutError) as caught:
        run_transfer(hanging(released, 7, row_timeout_s=0.2), RunRequest("j"))
    error = caught.value
    text = str(error)
    assert text.startswith(
        "row 7 (id row-7): the transform has not returned within row_timeout_s=0.2"
    )
    assert "tests/bugs/test_messages_ends.py:" in text
    assert error.report.state == "failed"
    assert 6 <= error.report.kept < 20  # those before it, and those that were done behind it


def seen(*steps, timeout_s=10.0):
    """The error at each step of (second, outcomes so far, whether etlkit itself waits)."""
    now, waits, task = [0.0], Waits(), Task([{}] * 9)
    watch = RowWatch(timeout_s, waits, lambda: now[0])
    thread = threading.get_ident()
    found = []
    for now[0], done, is_waiting in steps:
        task.outcomes[:] = [{}] * done
        if is_waiting:
            with waits.during("geo", "asked", clock.now() + 60):
                found.append(watch.overdue({thread: task}))
        else:
            found.append(watch.overdue({thread: task}))
    return [None if each is None else type(each[1]) for each in found]


def test_each_row_has_the_whole_time():
    """The clock begins again with every row that is done."""
    assert seen((0, 0, 0), (9, 0, 0), (11, 1, 0), (20, 1, 0), (22, 1, 0)) == [
        None,
        None,
        None,
        None,
        RowTimeoutError,
    ]


def test_waits_of_etlkit_do_not_count():
    """A service that asks to wait a minute is no hanging transform."""
    assert seen((0, 0, 0), (5, 0, 1), (60, 0, 1), (65, 0, 0), (71, 0, 0)) == [
        None,
        None,
        None,
        None,
        RowTimeoutError,
    ]


def test_without_row_timeout_s_a_row_may_take_for_ever():
    """It is off by default: nobody knows what a row may take."""
    assert TransferJob.row_timeout_s is None
    assert seen((0, 0, 0), (10**6, 0, 0), timeout_s=None) == [None, None]


@pytest.mark.parametrize("value", [0, -1, "60", True, float("nan")])
def test_a_wrong_row_timeout_is_refused(value):
    """A text or zero would end every run, or none."""
    with pytest.raises(ConfigError, match=r"row_timeout_s=.*: it is above 0, or None"):
        hanging(None, 1, row_timeout_s=value)


@pytest.mark.edge_case(
    "`MemoryError` outside of a transform", "command line", "one sentence, and what is kept"
)
def test_the_process_may_run_out_of_memory_elsewhere(capsys):
    """While rows are encoded, for instance: no traceback, and how to go on."""
    error = MemoryError()
    error.report = RunReport(run_id="r", job="j", state="failed", target="t", kept=12)

    @click.command()
    def fails():
        raise error

    assert invoke(fails, [], "fails") == 1
    seen = capsys.readouterr().err
    assert seen.startswith(
        "error the process ran out of memory\nNothing was published. 12 rows have"
    )
    assert "continue with --resume" in seen

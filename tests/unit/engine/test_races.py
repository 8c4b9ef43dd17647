"""Threads that switch at any line of the row path: each row ends once, with its own values.

`ETLKIT_RACES` is the number of jobs of each test, `ETLKIT_SEED` says which ones: `make fuzz SEED=7`.
"""

import importlib
import os
from collections import Counter

import pytest

from etlkit import EtlkitError, TransferJob
from etlkit.api.run import Interrupted, RunRequest
from etlkit.engine.transfer import run_transfer
from tests.race_case import Case, as_written
from tests.race_job import ExpiringSource, RecordingSink, Switching, etl_of

ROUNDS = int(os.environ.get("ETLKIT_RACES", "4"))
SEED = int(os.environ.get("ETLKIT_SEED") or 1)

SEAMS = (
    "engine/arrow_loop.py",
    "engine/async_workers.py",
    "engine/batch_writer.py",
    "engine/chunk.py",
    "engine/dispatcher.py",
    "engine/made_rows.py",
    "engine/output_schema.py",
    "engine/pending_rows.py",
    "engine/pipeline.py",
    "engine/row_loop.py",
    "engine/task.py",
    "engine/task_window.py",
    "engine/worker_group.py",
    "engine/workers.py",
    "rows/batches.py",
)


@pytest.fixture
def run_case(monkeypatch, tmp_path):
    """Runs a case, and again after each stop, until its rows are published."""

    def run(case):
        for module, name, value in case.constants():
            monkeypatch.setattr(importlib.import_module(module), name, value)
        sink = RecordingSink(case)
        job = TransferJob(
            source=ExpiringSource(case),
            transform=etl_of(case),
            sink=sink,
            on_row_error=case.on_row_error,
            max_rejected=None if case.on_row_error != "fail" else "default",
            on_schema_change="add_columns",
        )
        resume, journal = None, str(tmp_path / str(case.seed))
        for _ in range(3):
            request = RunRequest("races", resume=resume, journal=journal)
            try:
                with Switching(case, SEAMS):
                    report = run_transfer(job, request, on_start=case.begin)
            except (EtlkitError, Interrupted) as error:
                if case.stop is None or len(case.calls) > 1:
                    raise
                resume = error.report.run_id
            else:
                return sink, report
        raise AssertionError("it is published after one stop")

    return run


def check(case, sink, report):
    """Compare what a run left with what a plain loop makes of its rows."""
    expected = {n: case.expected(n) for n in case.numbers}
    found = {n: [] for n in case.numbers}
    for row in sink.rows:
        found[row["n"]].append(as_written(row))
    wrong = {n: found[n] for n in case.numbers if found[n] != (expected[n] or [])}
    assert not wrong, [(n, expected[n], rows) for n, rows in wrong.items()][:3]
    twice = [key for key, times in Counter(sink.keys).items() if times > 1]
    refused = {f"row-{n + 1}" for n in case.numbers if n % 37 == 5}
    assert not [key for key in twice if key[0] not in refused], twice[:5]
    failed = {f"row-{n + 1}" for n in case.numbers if expected[n] is None}
    rejected = failed if case.on_row_error == "reject" else set()
    assert sorted(sink.rejected) == sorted(rejected)
    assert report.rejected == len(rejected)
    assert report.read == case.num_rows
    num_written = sum(bool(rows) for rows in expected.values())
    assert (report.written, report.rows_published) == (num_written, len(sink.rows))
    assert report.skipped == case.num_rows - num_written - len(rejected)
    order = [int(key[0][4:]) for key in sink.keys if expected[int(key[0][4:]) - 1]]
    if case.keeps_order and len(case.calls) == 1:
        assert order == sorted(order)
    check_calls(case)


def check_calls(case):
    """No row is transformed twice whose result was there; or slow, where the sink took none."""
    if case.hook == "arrow":
        return
    assert all(len(calls) == len(set(calls)) for calls in case.calls)
    if len(case.calls) > 1:
        again = set(case.returned[0]) & set(case.calls[1])
        if case.stop == "sink":
            again &= case.slow_rows
        assert not again, sorted(again)[:5]


@pytest.mark.parametrize("stops", [False, True], ids=["to the end", "with a stop"])
def test_each_row_ends_once_with_its_own_values_whoever_is_first(stops, run_case):
    """In random jobs, with random limits, whichever line a thread is at when another one goes on."""
    for seed in range(SEED * 1_000_000, SEED * 1_000_000 + ROUNDS):
        case = Case(seed, stops)
        try:
            check(case, *run_case(case))
        except BaseException as error:
            error.add_note(f"seed {seed}, {case.hook}, {case.workers} workers, stop: {case.stop}")
            raise

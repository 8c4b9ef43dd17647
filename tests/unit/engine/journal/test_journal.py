import logging
import os
import resource
import sys
import threading
import time
from typing import ClassVar

import pyarrow as pa
import pytest

from etlkit import EtlBase, RowError, TransferJob
from etlkit.api.outcomes import SKIPPED, FullOutcome, rows_of
from etlkit.api.run import Run, RunRecord, RunRequest, Settings
from etlkit.engine.journal.journal import MAX_SEGMENT_BYTES, Journal, open_journal
from etlkit.engine.journal.place import journals_folder
from etlkit.engine.transfer import run_transfer
from etlkit.errors import TransformError
from etlkit.testing import MemorySink, MemorySource
from tests.telling_sink import TellingSink

RUN_ID = "20240131_120000000_1a2b3c4d"


def attempt(number, fingerprint="code", run_id=RUN_ID):
    """An attempt at a run."""
    request = RunRequest("job")
    record = RunRecord(run_id, "job", number - 1, fingerprint)
    return Run(request, fingerprint=fingerprint, record=record)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "journals" / RUN_ID


@pytest.fixture
def journal(folder):
    """The journal of a run's first attempt, as a kill leaves it."""
    made = Journal(folder, attempt(1), keeps_errors=True, columns=("n",))
    yield made
    made.close(is_done=True)


def answers(folder, number=2, *, keeps_errors=True, columns=("n",), **changes):
    """What an attempt finds."""
    made = attempt(number, **changes)
    found = Journal(folder, made, keeps_errors=keeps_errors, columns=columns)
    return found.answers._outcomes


def numbered(*numbers):
    return {f"row-{n}": {"n": n} for n in numbers}


def keep(journal, rows):
    journal.keep(list(rows), list(rows.values()))


def files(folder):
    return sorted(path.name for path in folder.glob("*"))


def test_what_was_kept_is_found_by_the_next_attempt(journal, folder):
    """Written at once: nobody has closed the files."""
    rows = {**numbered(1, 2), "row-3": SKIPPED, "row-4": FullOutcome(({"n": 4}, {"n": 5}))}
    keep(journal, rows)
    found = answers(folder)
    assert {name: rows_of(found[name]) for name in found} == {
        name: rows_of(rows[name]) for name in rows
    }


def test_rows_that_lose_keys_meanwhile_are_kept(journal, folder):
    """The pipeline removes keys that have no column from rows that a worker still writes down."""
    row, is_over = {f"key {n}": "text" for n in range(500)}, threading.Event()

    def remove_and_add():
        while not is_over.is_set():
            row["unknown"] = row.pop("unknown", None)

    pipeline = threading.Thread(target=remove_and_add)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    pipeline.start()
    try:
        for _ in range(200):
            journal.keep(["row-1"], [row])
    finally:
        is_over.set()
        pipeline.join()
        sys.setswitchinterval(before)
    row.pop("unknown")
    assert answers(folder)["row-1"].items() >= row.items()


def test_nothing_is_written_before_there_is_a_row(journal, folder):
    """A run without calls never touches the disk."""
    journal.forget(pa.array(["row-1"]))
    assert not folder.exists()


def test_only_the_user_can_read_it(journal, folder):
    """Rows may hold personal data."""
    keep(journal, numbered(1))
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [path.stat().st_mode & 0o777 for path in folder.iterdir()] == [0o600]


def test_a_folder_of_others_is_neither_written_nor_read(journal, folder, caplog):
    """Another user could have put rows there."""
    keep(journal, numbered(1))
    folder.chmod(0o777)
    assert answers(folder) == {}
    other = Journal(folder, attempt(2), keeps_errors=True, columns=("n",))
    keep(other, numbered(2))
    assert len(files(folder)) == 1
    assert "cannot be written" in caplog.text


@pytest.mark.parametrize(
    "change",
    [
        {"number": 1},
        {"fingerprint": "other"},
        {"run_id": "20240131_120000000_00000000"},
        {"columns": ("n", "size")},
    ],
    ids=["this attempt's own", "other code", "another run's", "rows with other columns"],
)
def test_a_file_that_is_not_this_runs_is_not_used(journal, folder, change):
    """Neither another run's, nor rows of other code, nor those of a rival for the same attempt."""
    keep(journal, numbered(1))
    assert answers(folder, **change) == {}


def test_a_torn_record_and_a_damaged_file_are_left_out(journal, folder):
    """What is whole is used."""
    keep(journal, numbered(1))
    keep(journal, numbered(2))
    (path,) = folder.iterdir()
    path.write_bytes(path.read_bytes()[:-3])
    assert answers(folder) == numbered(1)
    path.write_bytes(path.read_bytes()[:5])
    assert answers(folder) == {}
    path.write_bytes(b"")
    (folder / "1-x-9.journal").mkdir()
    assert answers(folder) == {}


def test_errors_are_kept_only_where_the_run_goes_on_after_them(folder):
    """Under `fail` the row is called again, once the cause is mended."""
    outcome = FullOutcome((), TransformError("bad"))
    strict = Journal(folder, attempt(1), keeps_errors=False, columns=("n",))
    strict.keep(["row-1"], [outcome])
    assert not folder.exists()
    lenient = Journal(folder, attempt(1), keeps_errors=True, columns=("n",))
    lenient.keep(["row-1", "row-2"], [outcome, {"n": 2}])
    assert list(answers(folder)) == ["row-1", "row-2"]
    assert list(answers(folder, keeps_errors=False)) == ["row-2"]


def test_files_go_as_their_rows_become_durable(journal, folder):
    """So the journal holds little more than what is not durable yet."""
    text = "x" * (MAX_SEGMENT_BYTES // 4)
    for n in range(12):
        keep(journal, {f"row-{n}": {"text": text}})
    assert len(files(folder)) == 3
    journal.forget(pa.array([f"row-{n}" for n in range(11) if n != 5]))
    assert len(files(folder)) == 2
    journal.forget(pa.array(["row-5"]))
    assert len(files(folder)) == 1
    assert set(answers(folder)) == {f"row-{n}" for n in range(8, 12)}


def test_a_later_attempt_takes_over_the_files(journal, folder):
    """They go when their rows are durable, whoever has staged them."""
    keep(journal, numbered(1, 2))
    second = Journal(folder, attempt(2), keeps_errors=True, columns=("n",))
    keep(second, {"row-2": {"n": 22}, "row-3": {"n": 3}})
    assert answers(folder, 3) == {"row-1": {"n": 1}, "row-2": {"n": 22}, "row-3": {"n": 3}}
    second.forget(pa.array(["row-1", "row-2", "row-3"]))
    second.close(is_done=False)
    assert not folder.exists()


def test_an_attempt_that_lost_its_run_does_no_harm(journal, folder):
    """It still writes while the next one reads, and after the next one has removed everything."""
    keep(journal, numbered(1))
    second = Journal(folder, attempt(2), keeps_errors=True, columns=("n",))
    keep(journal, numbered(2))
    assert second.answers._outcomes == numbered(1)
    second.close(is_done=True)
    keep(journal, numbered(3))
    assert not folder.exists()


def test_a_full_disk_switches_it_off_with_one_warning(journal, folder, caplog):
    """The run goes on; what was written before can be used."""
    keep(journal, numbered(1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        for n in range(2, 6):
            keep(journal, {f"row-{n}": {"text": "x" * 3000}})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    keep(journal, numbered(7))
    assert list(answers(folder)) == ["row-1", "row-2"]
    warned = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warned) == 1
    assert "The run goes on without it" in warned[0]


def test_journals_of_runs_long_past_are_removed(journal, folder):
    """Those of etlkit alone, and not before they are of no use."""
    old, young, other = (folder.parent / n for n in (RUN_ID[:-1] + "e", RUN_ID[:-1] + "f", "mine"))
    for path in (old, young, other):
        path.mkdir(parents=True)
    long_ago = time.time() - 9 * 24 * 3600
    for path in (old, other):
        os.utime(path, (long_ago, long_ago))
    keep(journal, numbered(1))
    assert files(folder.parent) == sorted([folder.name, young.name, "mine"])


@pytest.mark.parametrize(
    ("chosen", "environ", "expected"),
    [
        ("off", {"HOME": "/h"}, None),
        ("/d", {"ETLKIT_JOURNAL": "off"}, "/d"),
        (None, {"ETLKIT_JOURNAL": "/e", "HOME": "/h"}, "/e"),
        (None, {"ETLKIT_JOURNAL": "off", "HOME": "/h"}, None),
        (None, {"XDG_STATE_HOME": "/x", "HOME": "/h"}, "/x/etlkit/journal"),
        (None, {"HOME": "/h"}, "/h/.local/state/etlkit/journal"),
        (None, {"HOME": "", "XDG_STATE_HOME": "relative"}, None),
        (None, {}, None),
    ],
)
def test_where_journals_are(chosen, environ, expected):
    """The command line or the job, then the environment, then the user's folder for state."""
    found = journals_folder(chosen, environ)
    assert (None if found is None else str(found)) == expected


class Paid(EtlBase):
    """Each row costs a call; those that are bad fail."""

    calls: ClassVar = []
    bad = frozenset()

    def transform_row(self, row):
        self.calls.append(row["n"])
        time.sleep(0.002)  # a call
        if row["n"] in self.bad:
            raise RowError(f"{row['n']} is bad")
        return row


class PaidBatch(Paid):
    batch_size = 4

    def transform_batch(self, rows):
        self.calls.extend(row["n"] for row in rows)
        return [RowError("bad") if row["n"] in self.bad else row for row in rows]


@pytest.mark.parametrize("base", [Paid, PaidBatch])
def test_a_resume_takes_from_the_journal_what_is_not_staged(base, folder):
    """Only the rest is called, everything is counted, and then nothing is left on the disk."""

    class Etl(base):
        calls: ClassVar = []
        bad = frozenset({3})

    sink, source = TellingSink(), MemorySource([{"n": n} for n in range(1, 41)])
    options = {"journal": str(folder.parent), "on_row_error": "fail"}
    job = TransferJob(source=source, transform=Etl, sink=sink, **options)
    with pytest.raises(RowError) as caught:
        run_transfer(job, RunRequest("job"))
    report = caught.value.report
    staged = {int(row_id.removeprefix("row-")) for row_id in sink._runs[report.run_id].rows}
    assert len(staged) == report.kept < 4
    run = Run(
        RunRequest("job"),
        fingerprint=sink._runs[report.run_id].fingerprint,
        record=RunRecord(report.run_id, "job", 0, ""),
    )
    left = Journal(folder.parent / report.run_id, run, keeps_errors=False, columns=["n"])
    keep(left, {f"row-{n}": {"n": n * 100} for n in (5, 6, 7, 12, 40)})
    Etl.calls.clear()
    Etl.bad = frozenset()
    again = run_transfer(job, RunRequest("job", resume=report.run_id))
    expected = [n for n in range(1, 41) if n not in staged | {5, 6, 7, 12, 40}]
    assert sorted(Etl.calls) == expected
    assert (again.read, again.written, again.resumed) == (40, 40, report.kept + 5)
    assert [row["n"] for row in sink.rows if row["n"] >= 100] == [500, 600, 700, 1200, 4000]
    assert not (folder.parent / report.run_id).exists()


def test_a_row_that_took_a_call_is_in_the_journal_and_others_are_not(folder):
    """Whoever makes the call: what counts is that the row took long."""
    seen = []

    class Etl(EtlBase):
        def transform_row(self, row):
            if row["n"] == 700:
                time.sleep(0.005)
            if row["n"] == 701:
                seen.extend(answers(next(folder.parent.iterdir()), 9, **ids))
            return row

    sink, source = TellingSink(), MemorySource([{"n": n} for n in range(1000)])
    job = TransferJob(source=source, transform=Etl, sink=sink, journal=str(folder.parent))
    ids = {}

    def started(run):
        ids.update(fingerprint=run.fingerprint, run_id=run.run_id)

    run_transfer(job, RunRequest("job"), on_start=started)
    assert "row-701" in seen
    assert len(seen) < 100


def test_a_row_that_becomes_thousands_is_kept_with_all_of_them(folder):
    """However soon the worker encodes them."""
    left = {}

    class Etl(EtlBase):
        def transform_row(self, row):
            time.sleep(0.005 if row["n"] < 3 else 0)
            if row["n"] == 3:
                left.update(answers(next(folder.parent.iterdir()), 9, **ids))
            return ({"n": row["n"], "part": part} for part in range(2_500))

    sink, source = TellingSink(), MemorySource([{"n": n} for n in range(4)])
    job = TransferJob(source=source, transform=Etl, sink=sink, journal=str(folder.parent))
    ids = {}

    def started(run):
        ids.update(fingerprint=run.fingerprint, run_id=run.run_id)

    report = run_transfer(job, RunRequest("job"), on_start=started)
    assert report.rows_published == 10_000
    assert set(left) == {"row-1", "row-2", "row-3"}
    assert {len(outcome.rows) for outcome in left.values()} == {2_500}


def test_a_sink_that_does_not_tell_what_is_durable_has_no_journal(tmp_path):
    """Nobody would know when a row can be dropped."""
    sink = MemorySink()
    job = TransferJob(
        source=MemorySource([{"n": 1}]), transform=Paid, sink=sink, journal=str(tmp_path)
    )
    with Run(RunRequest("job", Settings(environ={"HOME": "/h"}))) as run:
        writer = sink.open(job, run, job.source.open(job, run))
        assert open_journal(job, run, writer, ()) is None

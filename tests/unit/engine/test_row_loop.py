import threading
import weakref
from collections import Counter
from types import SimpleNamespace

import pyarrow as pa
import pytest

from etlkit import EtlBase, TransferJob
from etlkit.api.run import RunRequest
from etlkit.calls.worker import current_worker
from etlkit.engine import chunk_outcomes, pipeline, row_loop
from etlkit.engine import task as engine_task
from etlkit.engine.batch_writer import joined
from etlkit.engine.chunk_outcomes import MADE
from etlkit.engine.made_rows import MadeRows, make_rows
from etlkit.engine.pending_rows import PendingRows
from etlkit.engine.row_loop import RowLoop
from etlkit.engine.task_window import TaskWindow
from etlkit.engine.transfer import run_transfer
from etlkit.engine.workers import WorkerPool
from etlkit.testing import MemorySink, MemorySource, run_transform

pytestmark = pytest.mark.usefixtures("whole_rows")

NUM_ROWS = 5000
ROWS = [{"n": n, "text": f"row {n}", "same": 1.5} for n in range(NUM_ROWS)]


class Recording(MemorySink):
    """Remembers the batches that were written."""

    def open(self, job, run, reader):
        writer = super().open(job, run, reader)
        self.batches = []
        write = writer.write

        def remember(batch):
            self.batches.append(batch)
            write(batch)

        writer.write = remember
        return writer


def run(etl, rows=ROWS, **options):
    sink = Recording("replace")
    job = TransferJob(source=MemorySource(rows), transform=etl, sink=sink, **options)
    return run_transfer(job, RunRequest("rows")), sink


@pytest.fixture
def made(monkeypatch):
    """Counts the rows that workers encode, and those of them that had no dicts any more."""
    found = Counter()
    leave, pending_made = RowLoop._leave, PendingRows.made_rows

    def counted(loop, task, part, first, rows, marked):
        found["rows"] += len(rows.indices)
        found["untouched"] += sum(each is None for each in rows.arrays) * len(rows.indices)
        leave(loop, task, part, first, rows, marked)

    def counted_pending(pending, *given):
        rows = pending_made(pending, *given)
        found["pending"] += len(rows.indices)
        return rows

    monkeypatch.setattr(RowLoop, "_leave", counted)
    monkeypatch.setattr(PendingRows, "made_rows", counted_pending)
    return found


class Mixed(EtlBase):
    """Skips, fails, fans out, and leaves two columns as they are."""

    def transform_row(self, row):
        if row["n"] % 7 == 0:
            return None
        if row["n"] % 101 == 0:
            raise ValueError("bad")
        row["new"] = row["n"] * 2
        if row["n"] % 11 == 0:
            return [{**row, "new": part} for part in range(3)]
        return row


def expected(n):
    """The values of `new` that a row of `Mixed` becomes."""
    if n % 7 == 0 or n % 101 == 0:
        return []
    return [0, 1, 2] if n % 11 == 0 else [n * 2]


def test_rows_of_all_kinds_go_through_the_workers_own_encoding(made):
    """Skipped, rejected and several: whatever stands beside them, each row is what it should be."""
    report, sink = run(Mixed, on_row_error="reject")
    assert [(row["n"], row["new"]) for row in sink.rows] == [
        (n, new) for n in range(NUM_ROWS) for new in expected(n)
    ]
    assert all(row["text"] == f"row {row['n']}" and row["same"] == 1.5 for row in sink.rows)
    assert report.skipped == sum(n % 7 == 0 for n in range(NUM_ROWS))
    assert (
        report.rejected
        == len(sink.rejects)
        == sum(n % 101 == 0 and n % 7 != 0 for n in range(NUM_ROWS))
    )
    assert {r.source_row for r in sink.rejects} == {
        f'{{"n": {n}, "text": "row {n}", "same": 1.5}}'
        for n in range(NUM_ROWS)
        if n % 101 == 0 and n % 7 != 0
    }
    assert made["rows"] > len(sink.rows) / 2  # the first ones decide the columns
    assert made["untouched"] == 3 * made["rows"]
    assert made["pending"] > 500


def test_a_column_that_is_changed_now_and_then_is_seen(made):
    """Columns that were untouched for a long time are compared all the same."""

    class Etl(EtlBase):
        def transform_row(self, row):
            if row["n"] in {2500, 4999}:
                row["text"] = "changed"
            return row

    rows = run_transform(Etl, ROWS)
    assert [row["n"] for row in rows if row["text"] == "changed"] == [2500, 4999]
    assert 0 < made["untouched"] < 3 * made["rows"]


def test_values_that_are_equal_and_not_the_same_are_encoded():
    """-0.0 equals 0.0, and True equals 1: identity is what counts."""

    class Etl(EtlBase):
        def transform_row(self, row):
            row["f"] = -0.0
            return row

    rows = run_transform(Etl, [{"f": 0.0}] * 3000)
    assert {str(row["f"]) for row in rows} == {"-0.0"}


def test_columns_of_a_late_key_reach_rows_that_were_encoded_before():
    """Rows that a worker encoded with fewer columns have NULL in the new one."""

    class Etl(EtlBase):
        def transform_row(self, row):
            return row if row["n"] < 4000 else {**row, "late": row["n"]}

    rows = run_transform(Etl, ROWS)
    assert [row["late"] for row in rows] == [n if n >= 4000 else None for n in range(NUM_ROWS)]


class Held:
    """What a row that fails has in its hands, such as an image."""


def test_a_failed_row_keeps_nothing_in_memory():
    """Its traceback would, with all values of its block: only the first of a class is for the log."""
    held, alive = [], []

    class Etl(EtlBase):
        def transform_row(self, row):
            image = Held()
            held.append(weakref.ref(image))
            alive[:] = [at for at, each in enumerate(held[:-1]) if each() is not None]
            try:
                int(row["text"])
            except ValueError as error:
                raise ValueError("no picture") from error

    report, sink = run(Etl, ROWS[:50], on_row_error="reject", max_rejected=None, allow_empty=True)
    assert report.rejected == 50
    assert alive == [0]
    assert "ValueError: no picture (tests/unit/engine/test_row_loop.py:" in sink.rejects[49].message


def test_an_exception_object_that_is_raised_again_and_again_does_not_grow():
    """Python adds each raise to its traceback."""
    error = ValueError("the same")

    class Etl(EtlBase):
        def transform_row(self, row):
            raise error

    report, sink = run(Etl, ROWS[:500], on_row_error="reject", max_rejected=None, allow_empty=True)
    assert report.rejected == 500
    assert all("test_row_loop.py" in reject.message for reject in sink.rejects)
    length, entry = 0, error.__traceback__
    while entry is not None:
        length, entry = length + 1, entry.tb_next
    assert length < 10


def test_a_worker_waits_when_it_has_encoded_much(monkeypatch):
    """Fan-out makes rows faster than they are written; none is lost meanwhile."""
    monkeypatch.setattr(row_loop, "_MAX_MADE_BYTES", 10_000)
    waits, wait = [], WorkerPool.wait_until_taken

    def counted(pool, task):
        waits.append(task.num_made)
        wait(pool, task)

    monkeypatch.setattr(WorkerPool, "wait_until_taken", counted)

    class Etl(EtlBase):
        def transform_row(self, row):
            return ({"n": row["n"], "part": part} for part in range(100))

    rows = run_transform(Etl, ROWS[:300])
    assert [(row["n"], row["part"]) for row in rows] == [
        (n, part) for n in range(300) for part in range(100)
    ]
    assert len(waits) > 5


def test_rows_taken_one_by_one_are_not_taken_again_when_their_block_is_encoded():
    """The pipeline may have taken the first rows of a block as dicts."""
    made = MadeRows(None, range(10, 20), None, [pa.array(range(10)), None])
    rest = made.between(14, 20)
    assert list(rest.indices) == list(range(14, 20))
    assert rest.arrays[0].to_pylist() == [4, 5, 6, 7, 8, 9]
    assert rest.arrays[1] is None
    assert made.between(0, 100) is made
    assert not made.between(0, 10).indices


def test_rows_that_are_being_encoded_are_not_taken(monkeypatch):
    """Two threads would change the same dicts: a key that is null everywhere is taken out of them."""
    monkeypatch.setattr(engine_task, "_ENCODES_WITHIN_S", 0)
    taken, num_encoded = threading.Event(), 0

    def waiting(schema, chunk, start, outcomes, part):
        nonlocal num_encoded
        taken.clear()
        assert taken.wait(60)
        taken.clear()
        assert taken.wait(60)  # the pipeline has looked once from begin to end
        num_encoded += len(outcomes)
        own = {id(each) for each in outcomes}
        assert not own & {id(each) for each in given}
        return make_rows(schema, chunk, start, outcomes, part)

    given = []
    take_in_order = TaskWindow.take_in_order

    def noted(window):
        for chunk, start, outcomes in take_in_order(window):
            given.extend(outcomes)
            yield chunk, start, outcomes
        taken.set()

    monkeypatch.setattr(TaskWindow, "take_in_order", noted)
    monkeypatch.setattr(row_loop, "make_rows", waiting)
    monkeypatch.setattr(pipeline, "_POLL_INTERVAL_S", 0.001)

    class Etl(EtlBase):
        def transform_row(self, row):
            return {"n": row["n"], "null": None}

    report, sink = run(Etl, on_schema_change="add_columns")
    assert num_encoded  # how many depends on which thread is faster
    assert report.written == NUM_ROWS
    assert sink.rows == [{"n": n, "null": None} for n in range(NUM_ROWS)]


def test_an_error_of_our_own_while_rows_are_encoded_is_the_one_that_is_reported(monkeypatch):
    """And no row is left without itself: those of the block are staged before the run ends."""

    def broken(*_):
        raise ArithmeticError("broken")

    monkeypatch.setattr(PendingRows, "made_rows", broken)

    class Etl(EtlBase):
        def transform_row(self, row):
            return {"n": row["n"], "text": row["text"]}

    with pytest.raises(ArithmeticError, match="broken"):
        run(Etl)


def test_slow_rows_are_staged_before_their_block_is_done():
    """A row that is paid for does not wait for 499 others."""
    staged, release = threading.Event(), threading.Event()

    class Sink(MemorySink):
        def open(self, job, run, reader):
            writer = super().open(job, run, reader)
            write = writer.write

            def see(batch):
                write(batch)
                if batch.num_rows >= 3:
                    staged.set()

            writer.write = see
            return writer

    class Etl(EtlBase):
        def transform_row(self, row):
            if row["n"] == 3:
                assert staged.wait(30)
                release.set()
            return row

    job = TransferJob(source=MemorySource(ROWS[:400]), transform=Etl, sink=Sink("replace"))
    report = run_transfer(job, RunRequest("slow"))
    assert release.is_set()
    assert report.written == 400


def test_batches_are_joined_up_to_a_size():
    """Few large requests, and never one that is much larger."""
    batches = [pa.record_batch({"n": pa.array([n] * 100, pa.int64())}) for n in range(10)]
    found = list(joined([(batch, batch.nbytes) for batch in batches], 2500))
    assert [batch.num_rows for batch in found] == [300, 300, 300, 100]
    assert [n for batch in found for n in batch["n"].to_pylist()[::100]] == list(range(10))
    assert list(joined([], 10)) == []


def test_fast_rows_are_written_in_few_batches():
    """A source that gives a thousand rows at a time does not make a request of each."""

    class Same(EtlBase):
        def transform_row(self, row):
            return row

    _, sink = run(Same, [{"n": n} for n in range(20_000)])
    assert sum(batch.num_rows for batch in sink.batches) == 20_000
    assert len(sink.batches) < 15


def test_no_marker_reaches_the_counts():
    """`MADE` stands for rows; it is neither skipped nor an error."""
    assert MADE.error is None
    assert chunk_outcomes.errors_of([MADE, {"n": 1}, MADE], [1]) == []
    assert chunk_outcomes.num_unmade_rows([MADE, {"n": 1}, MADE]) == 1


@pytest.mark.parametrize("is_generator", [True, False])
def test_rows_of_a_slow_call_are_written_down_before_they_are_encoded(is_generator, monkeypatch):
    """A resume would take a row without its values for one that was skipped."""
    monkeypatch.setattr(row_loop, "_MAX_UNMADE", 1)
    monkeypatch.setattr(row_loop, "_MIN_MADE", 1)
    monkeypatch.setattr(row_loop, "CALL_S", 0.0)
    monkeypatch.setattr(row_loop, "_CALL_WAIT_S", -1.0)
    kept, known = [], []

    def keep(pool, task, first):
        known.append(pool.schema is not None)
        kept.extend(task.outcomes_between(first, len(task.outcomes)))

    monkeypatch.setattr(WorkerPool, "keep", keep)

    class Etl(EtlBase):
        def transform_row(self, row):
            rows = [{"n": row["n"], "part": part} for part in range(3)]
            return iter(rows) if is_generator else rows

    run_transform(Etl, ROWS[:3000])
    assert any(known)
    assert MADE not in kept
    assert {len(outcome.rows) for outcome in kept} == {3}


@pytest.mark.parametrize("makes_a_call", [True, False])
def test_rows_that_only_compute_are_not_written_down(makes_a_call, monkeypatch):
    """Each row takes two milliseconds: every second one waits for it, as for an answer."""
    passed = Counter()
    seconds = SimpleNamespace(
        monotonic=lambda: passed["computing"] + passed["waiting"],
        thread_time=lambda: passed["computing"],
    )
    monkeypatch.setattr(row_loop, "time", seconds)
    kept = []

    def keep(pool, task, first):
        kept.extend(row["n"] for row in task.outcomes_between(first, len(task.outcomes)))

    monkeypatch.setattr(WorkerPool, "keep", keep)

    class Etl(EtlBase):
        def transform_row(self, row):
            if makes_a_call:
                current_worker().begin_call()
            passed["waiting" if row["n"] % 2 else "computing"] += 0.002
            return row

    run_transform(Etl, ROWS[:100])
    assert kept == list(range(0 if makes_a_call else 1, 100, 1 if makes_a_call else 2))

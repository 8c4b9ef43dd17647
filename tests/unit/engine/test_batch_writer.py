import pyarrow as pa
import pytest

from etlkit import RowError, TransferJob
from etlkit.api.outcomes import Counts, FullOutcome
from etlkit.engine.batch_writer import FLUSH_INTERVAL_S, BatchWriter
from etlkit.engine.chunk import Chunk
from etlkit.engine.chunk_outcomes import MADE
from etlkit.engine.made_rows import make_rows
from etlkit.rows.batches import RowDecoder
from etlkit.rows.columns import Column
from etlkit.testing import MemorySink, MemorySource

COLUMNS = (Column("n", "INT64"),)


class Writer:
    """A sink's writer that remembers what it got."""

    known_columns = COLUMNS
    keeps_order = True

    def __init__(self):
        self.rows = []
        self.rejected = []

    def begin(self, columns):
        self.columns = columns

    def write(self, batch):
        self.rows += batch.column("n").to_pylist()

    def reject(self, rows):
        self.rejected += [row.row_id for row in rows]

    def refused(self):
        return []


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def chunk():
    batch = pa.RecordBatch.from_pydict(
        {"_etlkit_row_id": ["a", "b", "c"], "n": pa.array([1, 2, 3], pa.int64())}
    )
    decoder = RowDecoder(COLUMNS)
    return Chunk(batch, decoder, 1, decoder)


@pytest.fixture
def made():
    """A batch writer over a writer and a clock that the test sets."""
    writer, clock = Writer(), Clock()
    return BatchWriter(writer, COLUMNS, ["n"], None, job(), Counts(), clock), writer, clock


def job(**options):
    return TransferJob(
        source=MemorySource([]), transform=lambda: None, sink=MemorySink(), **options
    )


def test_a_finished_row_waits_for_others_a_bounded_time(made, chunk):
    """Not longer, however few there are; what waits is what a crash repeats."""
    batch_writer, writer, clock = made
    assert batch_writer.due_in() is None
    batch_writer.add(chunk, 0, [{"n": 1}])
    assert batch_writer.due_in() == pytest.approx(FLUSH_INTERVAL_S)
    clock.now += FLUSH_INTERVAL_S / 2
    batch_writer.add(chunk, 1, [{"n": 2}])
    batch_writer.step()
    assert writer.rows == []
    assert batch_writer.due_in() == pytest.approx(FLUSH_INTERVAL_S / 2)  # of the oldest row
    clock.now += FLUSH_INTERVAL_S / 2
    assert batch_writer.due_in() == 0.0
    batch_writer.step()
    assert writer.rows == [1, 2]
    assert batch_writer.due_in() is None


def test_the_next_row_has_the_whole_time_again(made, chunk):
    """It does not inherit the age of those that are staged."""
    batch_writer, writer, clock = made
    batch_writer.add(chunk, 0, [{"n": 1}])
    clock.now += 10 * FLUSH_INTERVAL_S
    batch_writer.step()
    batch_writer.add(chunk, 1, [{"n": 2}])
    batch_writer.step()
    assert writer.rows == [1]
    assert batch_writer.due_in() == pytest.approx(FLUSH_INTERVAL_S)


@pytest.mark.parametrize(
    ("options", "rejected", "counts"),
    [
        ({"on_row_error": "reject"}, ["b"], (3, 2, 0, 1)),
        ({"on_row_error": "skip"}, [], (3, 2, 1, 0)),
        ({"on_row_error": "fail"}, [], (2, 2, 0, 0)),
        ({"on_row_error": "reject", "max_rejected": 0}, [], (2, 2, 0, 0)),
    ],
)
def test_a_run_that_ends_keeps_failed_rows_that_the_job_takes(chunk, options, rejected, counts):
    """Their calls were paid, too: a resume must not make them again, however fast they were."""
    writer, found = Writer(), Counts()
    batch_writer = BatchWriter(writer, COLUMNS, ["n"], None, job(**options), found)
    batch_writer.keep(chunk, 0, [{"n": 1}, FullOutcome((), RowError("bad")), {"n": 3}])
    batch_writer.write_kept()
    assert [n for n in writer.rows if n is not None] == [1, 3]  # a skipped one has no values
    assert writer.rejected == rejected
    assert (found.read, found.written, found.skipped, found.rejected) == counts


def test_rows_wait_a_bounded_time_also_behind_a_change_of_the_columns(made, chunk):
    """Those that are encoded in the same pass as the row that brings a column."""
    batch_writer, writer, clock = made
    batch_writer.add(chunk, 0, [{"n": 1}])
    batch_writer.write_collected()
    writer.known_columns = (*COLUMNS, Column("late", "INT64"))
    batch_writer.add(chunk, 1, [{"n": 2, "late": 1}, {"n": 3}])
    batch_writer._encode_collected()  # as `step` does before they are due
    assert writer.rows == [1]
    assert batch_writer.due_in() == pytest.approx(FLUSH_INTERVAL_S)
    clock.now += FLUSH_INTERVAL_S
    batch_writer.step()
    assert writer.rows == [1, 2, 3]


def test_encoded_rows_that_no_longer_fit_leave_the_others_to_be_kept(made, chunk):
    """They were encoded for fewer columns, and the run ends at the first of them."""
    batch_writer, writer, _ = made
    batch_writer.add(chunk, 0, [{"n": 1}])
    batch_writer.write_collected()
    chunk.made.append(make_rows(batch_writer.schema, chunk, 1, [{"n": 2}], None))
    writer.known_columns = (*COLUMNS, Column("late", "INT64", "REQUIRED"))
    batch_writer.add(chunk, 2, [{"n": 3, "late": 1}])
    batch_writer.write_collected()
    batch_writer.add(chunk, 1, [MADE])
    with pytest.raises(RowError, match="late"):
        batch_writer.write_collected()
    batch_writer.keep(chunk, 2, [{"n": 4, "late": 1}])
    batch_writer.write_kept()
    assert writer.rows == [1, 3, 4]

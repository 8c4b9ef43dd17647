import pyarrow as pa
import pytest

from etlkit import RowError, RowSchemaError, TransferJob
from etlkit.api.outcomes import SKIPPED, Counts, FullOutcome
from etlkit.engine import batch_writer
from etlkit.engine.batch_writer import FLUSH_INTERVAL_S, BatchWriter
from etlkit.engine.chunk import Chunk
from etlkit.engine.chunk_outcomes import MADE
from etlkit.engine.made_rows import MadeRows, make_rows
from etlkit.engine.output_schema import OutputSchema
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


def test_encoded_rows_get_new_columns_without_being_decoded(made, chunk):
    """JSON's null is a value, which Python does not tell from NULL."""
    batch_writer, writer, _ = made
    batches = []
    writer.write = batches.append
    columns = (*COLUMNS, Column("document", "JSON"))
    writer.known_columns = (*columns, Column("late", "INT64"), Column("tags", "STRING", "REPEATED"))
    batch_writer.add(chunk, 0, [{"n": 1, "document": {}}])
    batch_writer.write_collected()
    arrays = [pa.array([2], pa.int64()), pa.array(["null"])]
    chunk.made.append(MadeRows(batch_writer.schema, range(1, 2), None, arrays))
    batch_writer.add(chunk, 2, [{"n": 3, "late": 1, "tags": ["a"]}])
    batch_writer.write_collected()
    batch_writer.add(chunk, 1, [MADE])
    batch_writer.write_collected()
    wanted = ["_etlkit_row_id", "n", "document", "late", "tags"]
    assert batches[-1].select(wanted).to_pylist() == [
        {"_etlkit_row_id": "b", "n": 2, "document": "null", "late": None, "tags": []}
    ]


def test_rows_that_are_left_after_an_error_are_staged_however_they_wait(chunk):
    """Encoded ones and dicts, in one group: those behind the row that ends the run are not lost."""
    writer, found = Writer(), Counts()
    rows = BatchWriter(writer, COLUMNS, ["n"], COLUMNS, job(), found)
    rows.add(chunk, 0, [{"n": 1}])
    rows.write_collected()
    batch = pa.RecordBatch.from_pydict(
        {
            "_etlkit_row_id": list("defghi"),
            "n": pa.array(range(4, 10), pa.int64()),
        }
    )
    decoder = RowDecoder(COLUMNS)
    rest = Chunk(batch, decoder, 4, decoder)
    rest.made.append(make_rows(rows.schema, rest, 2, [{"n": 60}, {"n": 70}], None))
    rows.add(rest, 0, [{"n": "no"}, SKIPPED, MADE, MADE, {"n": 80}, {"n": 90}])
    with pytest.raises(RowError, match="row 4"):
        rows.write_collected()
    rows.write_kept()
    assert sorted(n for n in writer.rows if n is not None) == [1, 60, 70, 80, 90]
    assert (found.written, found.skipped) == (5, 1)


def test_the_first_rows_are_encoded_with_the_columns_of_their_blocks():
    """Untouched columns come from the source; a bad row is named as among all of them."""
    columns = (*COLUMNS, Column("m", "INT64"))
    batch = pa.RecordBatch.from_pydict(
        {
            "_etlkit_row_id": list("abcdefg"),
            "n": pa.array(range(7), pa.int64()),
            "m": pa.array([10**6 + n for n in range(7)], pa.int64()),
        }
    )
    decoder = RowDecoder(columns)
    many = Chunk(batch, decoder, 1, decoder, rows_per_block=2)
    rows = [row for part in many.parts(0, 7) for row in part.block.rows]
    outcomes = [row | {"n": row["n"] + 1} for row in rows]
    outcomes[2] = SKIPPED
    schema = OutputSchema(columns, {})
    found = batch_writer._encoded(schema, many, 0, outcomes)
    assert found.arrays[1] is None
    assert found.batch(many).select(["_etlkit_row_id", "n", "m"]).to_pylist() == [
        {"_etlkit_row_id": "abcdefg"[n], "n": n + 1, "m": 10**6 + n} for n in range(7) if n != 2
    ]
    assert many.known_parts(0, 7) == []  # they are not needed any more
    list(many.parts(0, 7))
    outcomes[5] = {"n": "no", "m": 1}
    with pytest.raises(RowSchemaError) as caught:
        batch_writer._encoded(schema, many, 0, outcomes)
    assert caught.value.index == 4

"""A row is what it was when the hook returned it, and belongs to the row it was made from."""

from collections import OrderedDict

import pyarrow as pa
import pytest

from etlkit import EtlBase, JobError, TransferJob, TransformError
from etlkit.api.run import RunRequest
from etlkit.engine.transfer import run_transfer
from etlkit.testing import MemorySink, MemorySource, run_transform

pytestmark = pytest.mark.usefixtures("whole_rows")

ROWS = [{"n": n} for n in range(1500)]  # more than a chunk, and than the rows of a sample
IDS = list(range(1500))


class Same(EtlBase):
    """Returns one dict again and again."""

    def before_action(self):
        self.row = {}

    def transform_row(self, row):
        self.row["n"] = row["n"]
        return self.row


class Late(EtlBase):
    """Changes a dict after it was returned."""

    def before_action(self):
        self.last = {}

    def transform_row(self, row):
        self.last["n"] = -1
        self.last = row
        return row


class Nested(EtlBase):
    """Returns one list again and again, inside of new dicts."""

    def before_action(self):
        self.tags = []
        self.more = {"deep": []}

    def transform_row(self, row):
        self.tags[:] = [row["n"]]
        self.more["deep"][:] = [row["n"]]
        return {"n": row["n"], "tags": self.tags, "more": self.more}


class Bytes(EtlBase):
    """Returns one buffer again and again."""

    def before_action(self):
        self.buffer = bytearray(2)

    def transform_row(self, row):
        self.buffer[:] = row["n"].to_bytes(2, "big")
        return {"n": row["n"], "raw": self.buffer}


class Twice(EtlBase):
    """Returns a list that holds one dict twice, and changes the dict at the next row."""

    def before_action(self):
        self.row = {}

    def transform_row(self, row):
        self.row["n"] = row["n"]
        return [self.row, self.row]


class Sorting(EtlBase):
    """Sorts the list it was given, and answers in the order in which it got the rows."""

    batch_size = 7

    def transform_batch(self, rows):
        results = [{"n": row["n"]} for row in rows]
        rows.sort(key=lambda row: -row["n"])
        return results


@pytest.mark.parametrize("etl", [Same, Late, Sorting])
@pytest.mark.parametrize("workers", [1, 4])
def test_every_row_keeps_its_own_values(etl, workers):
    """However the transform reuses its objects."""
    chosen = type("Etl", (etl,), {"max_concurrency": workers})
    assert sorted(row["n"] for row in run_transform(chosen, ROWS)) == IDS


def test_lists_and_dicts_in_a_row_are_its_own():
    """Also those that are reused inside of rows, before and after the columns are known."""
    rows = run_transform(Nested, ROWS)
    assert [row["tags"] for row in rows] == [[n] for n in IDS]
    assert [row["more"] for row in rows] == [{"deep": [n]} for n in IDS]


def test_buffers_in_a_row_are_its_own():
    """A bytearray is a value that changes in place."""
    assert [int.from_bytes(row["raw"], "big") for row in run_transform(Bytes, ROWS)] == IDS


def test_a_dict_that_is_returned_twice_is_two_rows():
    """Both have the values that it had when it was returned."""
    rows = run_transform(Twice, ROWS)
    assert [row["n"] for row in rows] == [n for n in IDS for _ in range(2)]


def test_a_new_list_in_a_late_key_is_its_rows_own():
    """A key that appears when the columns are long known."""

    class Etl(EtlBase):
        def before_action(self):
            self.late = []

        def transform_row(self, row):
            self.late[:] = [row["n"]]
            return row if row["n"] < 1200 else {**row, "late": self.late}

    rows = run_transform(Etl, ROWS)
    assert [row["late"] for row in rows[1200:]] == [[n] for n in IDS[1200:]]


@pytest.mark.parametrize("workers", [1, 3])
def test_a_list_under_a_new_key_is_its_rows_own_although_there_are_no_more_keys(workers):
    """A key comes and another one goes: the number of keys says nothing."""

    class Etl(EtlBase):
        max_concurrency = workers

        def before_action(self):
            self.late = []

        def transform_row(self, row):
            self.late[:] = [row["n"]]
            return {"n": row["n"], ("early" if row["n"] < 1200 else "late"): self.late}

    rows = run_transform(Etl, ROWS)
    assert sorted(row["n"] for row in rows) == IDS
    assert all([row["n"]] == (row["early"] or row["late"]) for row in rows)


class Lists(list):
    """A list of a class of the user's own."""


@pytest.mark.parametrize(
    "show",
    [
        lambda kept: kept.setdefault("dict", OrderedDict()),
        lambda kept: (kept.setdefault("dict", {}),),
        lambda kept: kept.setdefault("list", Lists([0])),
        lambda kept: memoryview(kept.setdefault("buffer", bytearray(2))),
    ],
    ids=["a class of dict", "a tuple of dicts", "a class of list", "a view of a buffer"],
)
def test_whatever_can_be_changed_is_frozen(show):
    """Not only what is exactly a list or a dict."""

    class Etl(EtlBase):
        def before_action(self):
            self.kept = {}

        def transform_row(self, row):
            n, kept = row["n"], self.kept
            value = show(kept)
            kept.get("dict", {})["n"] = n
            kept.get("list", [0])[0] = n
            kept.get("buffer", bytearray(2))[:] = n.to_bytes(2, "big")
            return {"n": n, "value": value}

    def number(value):
        value = value[0] if isinstance(value, list) else value
        value = value["n"] if isinstance(value, dict) else value
        return int.from_bytes(value, "big") if isinstance(value, bytes) else value

    assert [number(row["value"]) for row in run_transform(Etl, ROWS)] == IDS


@pytest.mark.parametrize("workers", [1, 2])
def test_memory_of_results_in_arrow_may_be_used_again(workers):
    """A NumPy array becomes an Arrow array without a copy: both are the same memory."""

    class Etl(EtlBase):
        max_concurrency = workers

        def before_action(self):
            self.buffer = bytearray(8 * 8192)

        def transform_arrow(self, batch):
            numbers = batch["n"].to_pylist()
            self.buffer[: 8 * len(numbers)] = b"".join(n.to_bytes(8, "little") for n in numbers)
            buffers = [None, pa.py_buffer(self.buffer)]
            same = pa.Array.from_buffers(pa.int64(), len(numbers), buffers)
            return batch.append_column("same", same)

    source = MemorySource([{"n": n} for n in range(20_000)])
    sink = MemorySink("replace")
    run_transfer(TransferJob(source=source, transform=Etl, sink=sink), RunRequest("memory"))
    assert sink.rows == [{"n": n, "same": n} for n in range(20_000)]


class NoSuchPhotoError(TransformError):
    """An error of the user's own."""

    def __init__(self, name, *, code):
        super().__init__(f"there is no {name}")
        self.code = code


@pytest.mark.parametrize("hook", ["transform_row", "transform_batch"])
def test_an_error_that_is_raised_for_several_rows_names_each_of_them(hook):
    """One object, of a failed call for a batch or of a module; each rejected row has its own text."""
    shared = NoSuchPhotoError("cat.jpg", code=404)

    def fail(_etl, _rows):
        raise shared from KeyError("cat")

    etl = type("Etl", (EtlBase,), {hook: fail, "batch_size": 3})
    options = {"on_row_error": "reject", "max_rejected": None}
    sink = MemorySink("replace")
    job = TransferJob(source=MemorySource(ROWS[:7]), transform=etl, sink=sink, **options)
    report = run_transfer(job, RunRequest("errors"))
    found = [(row.row_id, row.message, row.code, row.error_class) for row in sink.rejects]
    text = "row {0} (id row-{0}): there is no cat.jpg"
    assert found == [(f"row-{n}", text.format(n), "404", "KeyError") for n in range(1, 8)]
    assert report.first_errors == [text.format(n) for n in range(1, 6)]


@pytest.mark.parametrize("in_place", [True, False])
def test_rows_that_come_back_in_another_order_are_refused(in_place):
    """A result that is a row of the batch, at the position of another one, belongs to neither."""

    class Etl(EtlBase):
        batch_size = 5

        def transform_batch(self, rows):
            if not in_place:
                return sorted(rows, key=lambda row: -row["n"])
            rows.sort(key=lambda row: -row["n"])
            return rows

    with pytest.raises(JobError, match="returned its rows in another order: result 0 is row 4"):
        run_transform(Etl, ROWS[:5])

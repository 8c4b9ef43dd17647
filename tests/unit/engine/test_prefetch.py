import threading

import pyarrow as pa
import pytest

from etlkit.engine import prefetch
from etlkit.engine.prefetch import Prefetcher
from etlkit.rows.columns import Column

COLUMNS = (Column("v", "STRING"),)


class Reader:
    """Batches of a test; `columns` as a source reader has them."""

    columns = COLUMNS

    def __init__(self, *batches):
        self._batches = batches

    def batches(self):
        yield from self._batches


def rows(first, last, chars):
    """Rows of one wide column."""
    ids = [f"id{n}" for n in range(first, last)]
    return pa.RecordBatch.from_pydict({"_etlkit_row_id": ids, "v": ["x" * chars] * len(ids)})


@pytest.fixture
def chunks():
    """All chunks of a source, waited for by events."""

    def read(chunk_rows, *batches, task_rows=1):
        woken = threading.Semaphore(0)
        prefetcher = Prefetcher(
            Reader(*batches), COLUMNS, chunk_rows, task_rows, None, woken.release
        )
        found = []
        while not prefetcher.ended or found[-1:] != [None]:
            found.append(prefetcher.next_chunk())
            if found[-1] is None and not prefetcher.ended:
                found.pop()
                assert woken.acquire(timeout=30)
        prefetcher.close()
        return found[:-1]

    return read


def test_a_chunk_of_wide_rows_is_bounded_in_bytes(chunks, monkeypatch):
    """Memory does not grow with the width of rows; no row is lost, none comes twice."""
    monkeypatch.setattr(prefetch, "_MAX_CHUNK_BYTES", 10_000)
    found = chunks(1000, rows(0, 30, 1000), rows(30, 50, 1000))
    assert all(chunk.batch.num_rows < 10 for chunk in found)
    ids = [chunk.row_id(i) for chunk in found for i in range(chunk.batch.num_rows)]
    assert ids == [f"id{n}" for n in range(50)]
    numbers = [chunk.first_row_number for chunk in found]
    assert numbers == [1 + ids.index(chunk.row_id(0)) for chunk in found]


def test_a_row_wider_than_the_bound_is_a_chunk_of_its_own(chunks, monkeypatch):
    """It must be read all the same."""
    monkeypatch.setattr(prefetch, "_MAX_CHUNK_BYTES", 10)
    assert [chunk.batch.num_rows for chunk in chunks(1000, rows(0, 3, 1000))] == [1, 1, 1]


def test_narrow_rows_fill_their_chunks_across_batches(chunks):
    """Only the last chunk is smaller."""
    found = chunks(8, rows(0, 5, 1), rows(5, 10, 1), rows(10, 20, 1))
    assert [chunk.batch.num_rows for chunk in found] == [8, 8, 4]


def test_wide_rows_are_not_read_ahead_without_bound(monkeypatch):
    """What waits is bounded in bytes, whatever the number of rows."""
    monkeypatch.setattr(prefetch, "_MAX_QUEUED_BYTES", 10_000)
    read = []

    class Counting(Reader):
        def batches(self):
            for n in range(10):
                read.append(n)
                yield rows(n, n + 1, 6_000)

    woken = threading.Semaphore(0)
    prefetcher = Prefetcher(Counting(), COLUMNS, 1000, 1, None, woken.release)
    assert woken.acquire(timeout=30)
    assert woken.acquire(timeout=30)  # two batches are more than the bound
    prefetcher.close()
    assert read == [0, 1]


def test_chunks_hold_whole_tasks():
    """A packed call is not smaller because a batch ended there."""
    woken = threading.Semaphore(0)
    reader = Reader(rows(0, 700, 1), rows(700, 1000, 1))
    prefetcher = Prefetcher(reader, COLUMNS, 512, 16, None, woken.release)
    sizes = []
    while not prefetcher.ended:
        chunk = prefetcher.next_chunk()
        if chunk is not None:
            sizes.append(chunk.batch.num_rows)
        elif not prefetcher.ended:
            assert woken.acquire(timeout=30)
    prefetcher.close()
    assert sum(sizes) == 1000
    assert all(size % 16 == 0 for size in sizes[:-1])


class SideBySide(Reader):
    """It says how it was read."""

    def batches_in_any_order(self):
        yield rows(7, 8, 1)


@pytest.mark.parametrize(("keeps_order", "row_id"), [(True, "id0"), (False, "id7")])
def test_rows_come_in_any_order_where_the_sink_keeps_none(keeps_order, row_id):
    """A sink that keeps the order gets them in the source's."""
    woken = threading.Semaphore(0)
    reader = SideBySide(rows(0, 1, 1))
    prefetcher = Prefetcher(reader, COLUMNS, 10, 1, None, woken.release, keeps_order=keeps_order)
    while (chunk := prefetcher.next_chunk()) is None:
        assert woken.acquire(timeout=30)
    prefetcher.close()
    assert chunk.row_id(0) == row_id

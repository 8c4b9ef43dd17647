"""Fast rows whose dicts are gone: each row is what it was when it came back, whatever happens."""

import random
import threading
import time
from array import array
from collections import OrderedDict, deque
from decimal import Decimal
from types import MappingProxyType

import pyarrow as pa
import pytest

from etlkit import EtlBase, JobError, TransferJob
from etlkit.api.run import RunRequest
from etlkit.api.source import ROW_ID
from etlkit.calls.worker import Worker
from etlkit.engine import pending_rows, row_loop, worker_group
from etlkit.engine import task as engine_task
from etlkit.engine.chunk import Chunk
from etlkit.engine.chunk_outcomes import MADE
from etlkit.engine.clock_marks import EVERY, ClockMarks
from etlkit.engine.made_rows import make_rows
from etlkit.engine.output_schema import OutputSchema
from etlkit.engine.pace import Pace
from etlkit.engine.pending_rows import ColumnPlan, ColumnPlans, PendingRows
from etlkit.engine.task import Task
from etlkit.engine.task_window import TaskWindow
from etlkit.engine.transfer import run_transfer
from etlkit.engine.workers import WorkerPool
from etlkit.rows.batches import RowDecoder
from etlkit.rows.columns import parse_schema
from etlkit.testing import MemorySink, MemorySource

pytestmark = pytest.mark.usefixtures("whole_rows")

NUM_ROWS = 9000
SCHEMA = MappingProxyType(
    {
        "n": "INT64",
        "text": "STRING",
        "price": "NUMERIC",
        "tags": "ARRAY<STRING>",
        "labels": "ARRAY<STRUCT<name STRING, score FLOAT64>>",
        "part": "INT64",
        "extra": "JSON",
    }
)
ROWS = [
    {
        "n": n,
        "text": f"row {n}",
        "price": Decimal(n),
        "tags": [f"t{n}"],
        "labels": [{"name": f"l{n}", "score": k / 7} for k in range(n % 3)],
    }
    for n in range(NUM_ROWS)
]
LAST = {"name": "last", "score": 0.5}


def new_dict(row):
    return {**row, "part": row["n"], "extra": {"n": [row["n"]]}}


def in_place(row):
    row["part"], row["extra"] = 1, [row["n"]]
    row["tags"].append("more")
    row["labels"].append(LAST)
    return row


def other_column(row):
    return {**in_place(row), "text": "another"}


def equal_value(row):
    """Equal to what came in, and not the same object."""
    return {**in_place(row), "n": int(str(row["n"])), "price": row["price"] + Decimal("0.0")}


def other_labels(row):
    """Structs that lack fields, have them in another order, or are of another class; no list."""
    kinds = [[{}, {"score": 1.0, "name": "x"}], (OrderedDict(name="y"), {"score": None}), None, []]
    return {**in_place(row), "labels": kinds[row["n"] % 4]}


def wrong_label(row):
    return {**in_place(row), "labels": [LAST, {"name": "x", "other": row["n"]}]}


def wrong_score(row):
    return {**in_place(row), "labels": [LAST, {"name": "x", "score": "high"}]}


def fewer_keys(row):
    return {"n": row["n"], "part": 2}


def skipped(row):
    return None


def fails(row):
    raise ValueError("no")


def several(row):
    return [{**row, "part": part, "extra": None} for part in range(3)]


def none_of_several(row):
    return []


def one_dict_several_times(row):
    row["extra"] = {}
    for part in range(4):
        row["part"] = part
        row["extra"]["part"] = part
        yield row


def fails_after_two(row):
    yield from several(row)[:2]
    raise ValueError("the third")


def several_kinds(row):
    yield {**row, "part": 0, "extra": None}
    yield {"n": row["n"]}
    yield {**row, "text": "x", "part": 2, "extra": "text"}


def a_part_that_is_none(row):
    yield {**row, "part": 0, "extra": None}
    yield None


ONES = [new_dict, in_place, other_column, equal_value, other_labels, fewer_keys, skipped, fails]
WRONG = [wrong_label, wrong_score]
MANY = [several, none_of_several, one_dict_several_times, fails_after_two, several_kinds]


def kinds_for(seed, usual, others):
    """What happens to each row: mostly the usual thing."""
    chosen = random.Random(seed)  # noqa: S311 - the same ones in each run
    share = 0.02 if set(others) <= {skipped, fails, fails_after_two, other_labels} else 0.001
    return [chosen.choice(others) if chosen.random() < share else usual for _ in range(NUM_ROWS)]


def as_returned(kind, row):
    """The rows that one row becomes, copied when they come; an empty list for one that fails."""

    def copied(result):
        tags = list(result["tags"]) if "tags" in result else []
        extra = result.get("extra")
        extra = type(extra)(extra) if isinstance(extra, (dict, list)) else extra
        labels = [{"name": None, "score": None, **each} for each in result.get("labels") or ()]
        return {
            **dict.fromkeys(SCHEMA),
            **result,
            "tags": tags,
            "labels": labels,
            "extra": extra,
        }

    if kind in WRONG:
        return []
    try:
        result = kind({**row, "tags": list(row["tags"]), "labels": list(map(dict, row["labels"]))})
        if result is None:
            return []
        return [copied(each) for each in ([result] if isinstance(result, dict) else result)]
    except (ValueError, TypeError):
        return []


class Keeping:
    """Keeps the last results and changes them when the next row comes."""

    def __init__(self):
        self.last = {}

    def seen(self, result):
        if "extra" in self.last:
            self.last["n"] = -1
            self.last["tags"].append("changed later")
            for each in self.last["labels"] or ():
                if each is not LAST:
                    each["name"] = "changed later"
        self.last = result
        return result


@pytest.mark.parametrize(
    ("usual", "others", "workers", "keeps"),
    [
        (new_dict, [*ONES, *MANY, a_part_that_is_none], 1, False),
        (new_dict, [*ONES, *MANY, a_part_that_is_none], 1, True),
        (in_place, [skipped, fails], 1, False),
        (in_place, [skipped, fails, other_labels], 1, True),
        (in_place, [*ONES, *MANY, *WRONG], 3, True),
        (other_labels, [skipped, fails, *WRONG], 1, True),
        (several, [*ONES, *MANY, a_part_that_is_none], 1, True),
        (one_dict_several_times, [skipped, fails, fails_after_two], 1, False),
    ],
)
def test_each_row_is_what_it_was_when_it_came_back(usual, others, workers, keeps, monkeypatch):
    """Beside rows of all kinds, and in a transform that keeps its results and changes them."""
    kinds = kinds_for(usual.__name__, usual, others)
    num_pending = []
    made_rows = PendingRows.made_rows

    def counted(pending, found, *rest):
        num_pending.append(len(found))
        return made_rows(pending, found, *rest)

    monkeypatch.setattr(PendingRows, "made_rows", counted)
    monkeypatch.setattr(engine_task, "_ENCODES_WITHIN_S", 60)  # on a busy machine, too
    monkeypatch.setattr(worker_group, "_SCHEMA_WAIT_S", 60)
    monkeypatch.setattr(pending_rows, "_MAX_BACKOFF", 0)  # soon again after each odd row

    class Etl(EtlBase):
        output_schema = SCHEMA
        max_concurrency = workers

        def before_action(self):
            self.keeping = Keeping()

        def transform_row(self, row):
            result = kinds[row["n"]](row)
            if keeps and isinstance(result, dict):
                self.keeping.seen(result)
            return result

    sink = MemorySink("replace")
    job = TransferJob(
        source=MemorySource(ROWS),
        transform=Etl,
        sink=sink,
        on_row_error="reject",
        max_rejected=None,
    )
    report = run_transfer(job, RunRequest("kinds"))
    expected = [as_returned(kind, row) for kind, row in zip(kinds, ROWS, strict=True)]
    found = sorted(sink.rows, key=lambda row: row["n"]) if workers > 1 else sink.rows
    assert found == [row for rows in expected for row in rows]
    failed = [k in {fails, fails_after_two, a_part_that_is_none, *WRONG} for k in kinds]
    assert (report.rejected, len(sink.rejects)) == (sum(failed), sum(failed))
    assert report.skipped == sum(not e and not f for e, f in zip(expected, failed, strict=True))
    assert workers > 1 or sum(num_pending) > 500


def test_a_value_that_does_not_fit_is_its_rows_error():
    """The values of its block wait without their rows; each other row is written."""

    class Etl(EtlBase):
        output_schema = MappingProxyType({"n": "INT64", "text": "STRING", "new": "INT64"})

        def transform_row(self, row):
            return {"n": row["n"], "text": row["text"], "new": "x" if row["n"] == 7000 else 1}

    sink = MemorySink("replace")
    job = TransferJob(source=MemorySource(ROWS), transform=Etl, sink=sink, on_row_error="reject")
    report = run_transfer(job, RunRequest("misfit"))
    assert (report.written, report.rejected) == (NUM_ROWS - 1, 1)
    assert "row 7001 " in sink.rejects[0].message
    assert [row["n"] for row in sink.rows] == [n for n in range(NUM_ROWS) if n != 7000]


def test_an_error_that_ends_the_run_names_its_row():
    """Also in the middle of a block, behind rows whose dicts are gone; those are staged."""

    class Etl(EtlBase):
        def transform_row(self, row):
            if row["n"] == 7777:
                raise JobError("over")
            return {"n": row["n"], "text": row["text"]}

    sink = MemorySink("replace")
    job = TransferJob(source=MemorySource(ROWS), transform=Etl, sink=sink)
    with pytest.raises(JobError, match="over") as caught:
        run_transfer(job, RunRequest("over"))
    assert "7778" in str(caught.value)
    assert caught.value.report.kept == 7777


def test_rows_before_a_row_that_hangs_are_staged():
    """Another thread takes them out of the block while its worker is busy."""
    written, enough = [], threading.Event()

    class Sink(MemorySink):
        def open(self, job, run, reader):
            writer = super().open(job, run, reader)
            write = writer.write

            def see(batch):
                write(batch)
                written.append(batch.num_rows)
                if sum(written) >= 7100:
                    enough.set()

            writer.write = see
            return writer

    class Etl(EtlBase):
        def transform_row(self, row):
            if row["n"] == 7100:
                assert enough.wait(30)
            return {"n": row["n"], "text": row["text"]}

    sink = Sink("replace")
    job = TransferJob(source=MemorySource(ROWS), transform=Etl, sink=sink)
    assert run_transfer(job, RunRequest("hang")).written == NUM_ROWS
    assert [row["n"] for row in sink.rows] == list(range(NUM_ROWS))


def test_slow_rows_after_fast_ones_are_written_down(monkeypatch):
    """The clock is not looked at after each fast row; no row of the group is left out."""
    kept = set()

    def keep(pool, task, first):
        outcomes = task.outcomes_between(first, len(task.outcomes))
        kept.update(row["n"] for row in outcomes if row is not MADE)

    now = [0.0]
    monkeypatch.setattr(WorkerPool, "keep", keep)
    monkeypatch.setattr(row_loop.time, "monotonic", lambda: now[0])

    class Etl(EtlBase):
        def transform_row(self, row):
            if 7001 <= row["n"] <= 7100:
                now[0] += 1.0
            return {"n": row["n"], "text": row["text"]}

    job = TransferJob(source=MemorySource(ROWS), transform=Etl, sink=MemorySink("replace"))
    run_transfer(job, RunRequest("slow"))
    assert kept >= set(range(7001, 7101))
    assert len(kept) < 100 + 2 * EVERY
    kept.clear()

    class Ends(EtlBase):
        def transform_row(self, row):
            if row["n"] == 7003:
                raise JobError("over")
            now[0] += row["n"] in {7001, 7002}
            return {"n": row["n"], "text": row["text"]}

    job = TransferJob(source=MemorySource(ROWS), transform=Ends, sink=MemorySink("replace"))
    with pytest.raises(JobError, match="over"):
        run_transfer(job, RunRequest("ends"))
    assert kept >= {7001, 7002}


def test_the_clock_is_looked_at_less_often_only_where_rows_are_fast():
    """And after each row from the first slow one on."""
    marks = ClockMarks()
    assert set(marks.begin(1000, each=False)) == {1}
    assert marks.step == 1
    sparse = marks.begin(500, each=False)
    assert (sum(sparse), sparse[-1], len(sparse)) == (-(-500 // EVERY), 1, 500)
    assert marks.step == EVERY
    begins_with_a_look = marks.begin(EVERY + 1, each=False)
    assert (begins_with_a_look[0], marks.step) == (1, EVERY)
    sparse = marks.begin(500, each=False)
    marks.add_slow()
    assert set(sparse) == {1}
    assert (set(marks.begin(500, each=False)), marks.step) == ({1}, 1)
    many = ClockMarks()
    many.begin(5000, each=False)
    assert sum(many.begin(100_000, each=False)) == 100_000 / EVERY
    assert set(many.begin(10, each=True)) == {1}


def test_a_pending_row_is_never_taken_for_a_skipped_one():
    """Whoever forgets to ask the task fails loudly."""
    with pytest.raises(AssertionError, match="outcomes_between"):
        _ = PendingRows.rows.fget(None)


def test_plans_wait_longer_after_each_row_that_did_not_fit():
    """Rows of many kinds would be run twice else."""
    plans = ColumnPlans()
    waits = []
    for _ in range(8):
        plans.fail()
        waits.append(plans._num_without)
    assert waits == [0, 1, 3, 7, 15, 31, 63, 63]
    assert Task([]).outcomes_between(0, 0) == []


def task_with_pending_rows(*, each):
    """A task of three rows, of which a worker has run some; `each`: the first."""
    columns = parse_schema({"n": "INT64", "text": "STRING"})
    decoder, schema = RowDecoder(parse_schema({"n": "INT64"})), OutputSchema(columns, {})
    ids, numbers = pa.array(map(str, range(6))), pa.array(range(6), pa.int64())
    chunk = Chunk(pa.RecordBatch.from_arrays([ids, numbers], [ROW_ID, "n"]), decoder, 1, decoder, 3)
    first, second = chunk.parts(0, 6)
    make_rows(schema, chunk, 0, [{"n": n, "text": f"text {n}"} for n in range(3)], first)
    pending = PendingRows(ColumnPlan.learned(schema, second, is_fan_out=False), second, 3)
    task = Task(chunk.rows(3, 6), chunk, 3)
    values = second.tuples(ClockMarks().begin(3, each=each))

    def with_text(row):
        return {**row, "text": f"text {row['n']}"}

    assert pending.run(values, with_text, task.outcomes, time.monotonic, 0.0, Worker()) is not None
    return task, pending


def test_a_task_whose_first_rows_were_taken_while_they_were_pending_is_measured():
    """Rows that a slow block has had taken early stay pending in the task that ends."""
    task, pending = task_with_pending_rows(each=False)
    chunk = task.chunk
    finished = deque()
    window = TaskWindow(9, finished, Pace(1))
    window.add(task)
    assert task.outcomes[0] is pending
    task.num_taken = 1  # as the pipeline does with a block that takes long
    task.is_done = True
    task.outcomes[1:] = [MADE] * len(task.outcomes[1:])
    finished.append(task)
    list(window.take_behind())
    assert window.held_bytes > chunk.batch.nbytes * 4


def test_rows_that_are_taken_stay_rows_when_the_next_ones_are_encoded_meanwhile():
    """The worker goes on between the pipeline's decision and its look at the outcomes."""
    task, pending = task_with_pending_rows(each=True)
    assert task.outcomes == [pending]

    class Handover:
        def __init__(self, lock):
            self.lock = lock

        def __enter__(self):
            self.lock.acquire()

        def __exit__(self, *_):
            self.lock.release()
            task._lock = self.lock
            start = task.begin_encoding(0)
            task.outcomes[start:] = [MADE]
            task.keep_made()
            task.end_encoding()

    task._lock = Handover(task._lock)
    assert task.take() == [{"n": 3, "text": "text 3"}]
    assert (task.num_taken, task.num_made) == (1, 2)


@pytest.mark.parametrize("gaps", [[0], [99], [0, 50, 99], list(range(40)), list(range(100))])
def test_values_of_rows_that_became_nothing_are_taken_out(gaps):
    """Few of them in another way than many."""
    rest = [n for n in range(100) if n not in gaps]
    assert pending_rows._without(list(range(100)), gaps) == rest
    assert pending_rows._without(array("q", range(100)), gaps) == array("q", rest)

import threading
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pyarrow as pa
import pytest

from etlkit import (
    ApiError,
    CallFailedError,
    ConfigError,
    CountMismatchError,
    EtlBase,
    JobError,
    ReadExpiredError,
    RowError,
    RowSchemaError,
    RunStateError,
    TooManyRejectedError,
    TransferJob,
    TransformError,
)
from etlkit.api.outcomes import RefusedRow
from etlkit.api.run import Interrupted, RunRequest
from etlkit.engine import transfer as transfer_module
from etlkit.engine.transfer import run_transfer
from etlkit.testing import MemorySink, MemorySource, run_transform
from etlkit.testing.memory import MemoryReader


def transfer(etl, rows, *, sink=None, limit=None, schema=None, batch_rows=1000, **options):
    """Run a job in memory; returns its report and its sink."""
    sink = MemorySink("replace") if sink is None else sink
    source = MemorySource(rows, schema, batch_rows=batch_rows)
    job = TransferJob(source=source, transform=etl, sink=sink, **options)
    return run_transfer(job, RunRequest("test", limit=limit)), sink


def make(transform_row, **attributes):
    """Make an Etl class of a function of the row."""
    return type(
        "Etl", (EtlBase,), {"transform_row": lambda self, row: transform_row(row), **attributes}
    )


def numbers(count):
    return [{"n": i} for i in range(count)]


def test_rows_go_in_and_come_out():
    """A changed value, a new column, a dropped column; the report says what happened."""

    def change(row):
        row["n"] += 1
        row["square"] = row["n"] ** 2
        del row["old"]
        return row

    report, sink = transfer(make(change), [{"n": 1, "old": "x"}, {"n": 2, "old": "y"}])
    assert sink.rows == [{"n": 2, "square": 4}, {"n": 3, "square": 9}]
    assert (report.state, report.read, report.written, report.skipped) == ("published", 2, 2, 0)
    assert set(report.seconds) == {"open", "snapshot", "transform", "publish"}


def test_skip_and_fan_out_are_counted():
    """None, an empty list, a list and a generator: read = written + skipped."""

    def spread(row):
        if row["n"] == 0:
            return None
        return ({"n": row["n"], "part": i} for i in range(row["n"] - 1))

    report, sink = transfer(make(spread), numbers(4))
    assert [(row["n"], row["part"]) for row in sink.rows] == [(2, 0), (3, 0), (3, 1)]
    assert (report.read, report.written, report.skipped, report.rows_published) == (4, 2, 2, 3)


def test_order_is_kept_under_concurrency():
    """Later rows finish first, yet the output order is the input order."""
    turn = threading.Semaphore(0)

    def late_first(row):
        if row["n"] == 0:
            turn.acquire(timeout=30)  # the first row ends after all others of its window
        elif row["n"] == 7:
            turn.release()
        return row

    _, sink = transfer(make(late_first, max_concurrency=8), numbers(50), batch_rows=7)
    assert [row["n"] for row in sink.rows] == list(range(50))


class Unordered(MemorySink):
    """A sink without an order, like a table, gets rows as they finish."""

    def open(self, job, run, reader):
        writer = super().open(job, run, reader)
        writer.keeps_order = False
        return writer


@pytest.mark.parametrize("size", [1, 3], ids=["rows", "batches"])
def test_a_slow_call_does_not_stop_the_others(size):
    """One slow call does not stop the rows far behind it."""
    others, done = 200 // size * size, threading.Event()
    seen = []

    def one_waits(rows):
        if rows[0]["n"] == 0:
            assert done.wait(timeout=30)
        else:
            seen.extend(rows)
            if len(seen) >= others - size:
                done.set()
        return rows

    class Etl(EtlBase):
        max_concurrency = 2
        batch_size = size

        def transform_batch(self, rows):
            return one_waits(rows)

    report, sink = transfer(Etl, numbers(others), sink=Unordered("replace"))
    assert sorted(row["n"] for row in sink.rows) == list(range(others))
    assert sink.rows[0]["n"] != 0
    assert report.written == others


def test_a_row_that_is_paid_for_is_staged_although_calls_before_it_are_slow():
    """Also while the workers have enough to do: a kill must not cost it again."""
    staged = threading.Event()

    class Noted(Unordered):
        def open(self, job, run, reader):
            writer = super().open(job, run, reader)
            write = writer.write

            def note(batch):
                write(batch)
                if 1 in batch.column("n").to_pylist():
                    staged.set()

            writer.write = note
            return writer

    def only_the_second_ends(row):
        if row["n"] != 1:
            assert staged.wait(timeout=30)
        return row

    etl = make(only_the_second_ends, max_concurrency=2)
    report, _ = transfer(etl, numbers(50), sink=Noted("replace"))
    assert report.written == 50


def test_a_row_error_behind_a_slow_call_waits_for_its_turn():
    """The first error is the first bad row, even if rows need no order."""
    later = threading.Event()

    def fail(row):
        if row["n"] == 0:
            assert later.wait(timeout=30)
            raise ValueError("the first")
        if row["n"] == 1:
            later.set()
            raise ValueError("the second")
        return row

    etl = make(fail, max_concurrency=2)
    with pytest.raises(TransformError, match=r"row 1 .*the first"):
        transfer(etl, numbers(50), sink=Unordered("replace"))


def test_max_concurrency_calls_are_in_flight():
    """Exactly four calls are in flight: a barrier that needs four opens; there are never more."""
    barrier = threading.Barrier(4)
    active, peak, lock = 0, 0, threading.Lock()

    def meet(row):
        nonlocal active, peak
        with lock:
            active += 1
            peak = max(peak, active)
        barrier.wait(timeout=30)
        with lock:
            active -= 1
        return row

    transfer(make(meet, max_concurrency=4), numbers(40))
    assert peak == 4


def test_the_job_overrides_the_concurrency_of_the_transform():
    """`TransferJob(max_concurrency=…)` wins over the class attribute."""
    threads = set()

    def note(row):
        threads.add(threading.current_thread().name)
        return row

    transfer(make(note, max_concurrency=8), numbers(40), max_concurrency=1)
    assert len(threads) == 1


def test_bytes_in_flight_are_bounded():
    """A source of 200 MB is not read while the transform makes no progress."""
    given = 0
    release = threading.Event()
    seen = threading.Event()

    class Source(MemorySource):
        def open(self, job, run):
            reader = super().open(job, run)
            inner = reader.batches

            def counting():
                nonlocal given
                for batch in inner():
                    given += 1
                    yield batch

            reader.batches = counting
            return reader

    def wait(row):
        seen.set()
        release.wait(timeout=30)
        return {"n": len(row["text"])}

    sink = MemorySink()
    rows = [{"text": "x" * 100_000}] * 2_000
    job = TransferJob(source=Source(rows, batch_rows=10), transform=make(wait), sink=sink)
    worker = threading.Thread(target=run_transfer, args=(job, RunRequest("test")))
    worker.start()
    assert seen.wait(timeout=30)
    ahead = given
    release.set()
    worker.join(timeout=60)
    assert ahead < 60
    assert sink.rows == [{"n": 100_000}] * 2_000


def test_the_first_error_in_order_stops_the_run():
    """Nothing is published, the row is named, the sink knows, and `after_action` has run."""
    ended = []

    class Etl(EtlBase):
        max_concurrency = 4

        def transform_row(self, row):
            if row["n"] >= 3:
                raise ValueError("no good")
            return row

        def after_action(self):
            ended.append(threading.current_thread().name)

    sink = MemorySink()
    with pytest.raises(TransformError, match=r"row 4 \(id row-4\): ValueError: no good") as caught:
        transfer(Etl, numbers(100), sink=sink)
    assert sink.rows == []
    assert sink.aborted is caught.value
    assert 1 <= len(ended) <= 4
    assert caught.value.report.state == "failed"
    assert isinstance(caught.value.__cause__, ValueError)


def test_skip_leaves_bad_rows_out():
    """With `on_row_error="skip"` the other rows continue; errors are counted and reported."""

    def odd(row):
        if row["n"] % 2:
            raise ValueError("odd")
        return row

    report, sink = transfer(make(odd), numbers(5), on_row_error="skip")
    assert [row["n"] for row in sink.rows] == [0, 2, 4]
    assert (report.read, report.written, report.skipped, report.row_errors) == (5, 3, 2, 2)
    assert report.first_errors[0].startswith("row 2 (id row-2): ValueError: odd")


def test_skip_also_covers_values_that_do_not_fit():
    """A wrong type in one row leaves that row out and keeps its neighbours."""

    def spoil(row):
        row["size"] = "many" if row["n"] == 1 else row["n"]
        return row

    etl = make(spoil, output_schema={"n": "INT64", "size": "INT64"})
    report, sink = transfer(etl, numbers(3), on_row_error="skip")
    assert sink.rows == [{"n": 0, "size": 0}, {"n": 2, "size": 2}]
    assert "row 2 (id row-2), column 'size'" in report.first_errors[0]


def test_an_outage_ends_the_run_even_under_skip():
    """A JobError in a transform is never turned into a row error."""

    def refuse(row):
        raise ApiError("403", service="vision", status=403)

    with pytest.raises(ApiError):
        transfer(make(refuse), numbers(3), on_row_error="skip")


@pytest.mark.parametrize(
    ("result", "kind"), [("oops", "a str"), (["oops"], "a list of str"), (3, "a int")]
)
def test_a_wrong_result_names_row_and_type(result, kind):
    """A transform that returns text fails with the row and the type."""
    with pytest.raises(TransformError, match=rf"row 1 \(id row-1\): .*returned {kind}"):
        transfer(make(lambda row: result), numbers(2))


def test_hooks_run_once_per_worker():
    """`before_action` before the first row and `after_action` after the last, on its own instance."""
    log = []

    class Etl(EtlBase):
        def before_action(self):
            self.prefix = "seen "
            log.append("before")

        def transform_row(self, row):
            log.append(self.prefix + str(row["n"]))
            return row

        def after_action(self):
            log.append("after")

    transfer(Etl, numbers(3))
    assert log == ["before", "seen 0", "seen 1", "seen 2", "after"]


@pytest.mark.parametrize("hook", ["before_action", "after_action", "__init__"])
def test_a_failing_hook_ends_the_run(hook):
    """A hook that fails publishes nothing and says which hook it was."""

    def fail(self):
        raise OSError("disk full")

    sink = MemorySink()
    etl = type("Etl", (EtlBase,), {"transform_row": lambda self, row: row, hook: fail})
    name = "constructor" if hook == "__init__" else hook
    with pytest.raises(JobError, match=f"{name} failed: OSError: disk full"):
        transfer(etl, numbers(3), sink=sink)
    assert sink.rows == []


class Records(MemorySink):
    """Keeps the report that a ledger would get when the run fails."""

    def open(self, job, run, reader):
        writer = super().open(job, run, reader)
        writer.abort = lambda error: setattr(self, "report", run.report(None, error))
        return writer


def test_what_is_recorded_of_a_failure_counts_each_second_once(monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(transfer_module, "time", SimpleNamespace(monotonic=lambda: clock.now))

    def slow(row):
        clock.now += 5
        raise RowError("bad")

    sink = Records()
    with pytest.raises(RowError) as failed:
        transfer(make(slow), numbers(1), sink=sink)
    assert failed.value.report.seconds["transform"] == 5
    assert sink.report.seconds == failed.value.report.seconds


def test_zero_rows_are_a_normal_run():
    """Nothing to do leaves an empty table and calls no hook."""
    etl = make(lambda row: 1 / 0, before_action=lambda self: 1 / 0)
    report, sink = transfer(etl, [], schema={"n": "INT64"})
    assert report.state == "published"
    assert sink.rows == []
    assert [c.name for c in sink.columns] == ["n"]


def test_the_limit_bounds_the_rows():
    """`--limit N` reads N rows."""
    report, sink = transfer(make(lambda row: row), numbers(100), limit=7)
    assert report.read == len(sink.rows) == 7


def test_columns_not_named_pass_through_in_arrow():
    """The transform sees the named columns only; the others arrive untouched, on the right rows."""
    seen = []
    rows = [{"n": i, "keep": f"k{i}", "at": datetime(2024, 1, 1, tzinfo=UTC)} for i in range(6)]

    def halve(row):
        seen.append(set(row))
        if row["n"] == 0:
            return None
        row["half"] = row["n"] / 2
        return [row, row] if row["n"] == 2 else row

    _, sink = transfer(make(halve, columns=("n",)), rows, batch_rows=4)
    assert seen == [{"n"}] * 6
    assert [(row["n"], row["keep"], row["half"]) for row in sink.rows] == [
        (n, f"k{n}", n / 2) for n in (1, 2, 2, 3, 4, 5)
    ]
    assert [c.name for c in sink.columns] == ["n", "keep", "at", "half"]


def test_columns_not_named_are_never_decoded(monkeypatch):
    """No value of a passing column becomes a Python object."""
    rows = [{"n": 1, "big": {"a": 1}}]
    import etlkit.rows.batches

    decoded = []
    inner = etlkit.rows.batches.RowDecoder.decode

    def noting(self, batch):
        result = inner(self, batch)
        decoded.extend(result.batch.schema.names)
        return result

    monkeypatch.setattr(etlkit.rows.batches.RowDecoder, "decode", noting)
    transfer(make(lambda row: row, columns=("n",)), rows, sink=_Discard())
    assert decoded == ["n"]


class _Discard(MemorySink):
    """A sink that takes Arrow without decoding it."""

    def open(self, job, run, reader):
        writer = super().open(job, run, reader)
        writer.write = lambda batch: None
        writer.commit = lambda counts: counts.parts
        return writer


def test_a_passing_column_cannot_be_written():
    """A value for a column that passes through is an error that says what to change."""
    etl = make(lambda row: {**row, "keep": "mine"}, columns=("n",))
    with pytest.raises(RowSchemaError, match="add it to the class attribute `columns`"):
        transfer(etl, [{"n": 1, "keep": "k"}])


def test_an_unknown_column_is_refused_before_anything_is_frozen():
    """`columns` that the source does not have are a configuration error."""
    sink = MemorySink()
    with pytest.raises(ConfigError, match="reads uri, but the source has only n"):
        transfer(make(lambda row: row, columns=("uri",)), numbers(1), sink=sink)
    assert sink.aborted is None


def test_a_string_as_columns_is_refused():
    """`columns = "uri"` would read u, r and i."""
    with pytest.raises(ConfigError, match=r"write \('uri',\)"):
        transfer(make(lambda row: row, columns="uri"), [{"uri": "x"}])


def test_a_key_no_column_has_is_an_error_after_the_sample():
    """pyarrow would drop it silently; here the error names the row."""

    def surprise(row):
        if row["n"] == 4000:
            row["surprise"] = 1
        return row

    with pytest.raises(RowSchemaError, match=r"row 4001 .*surprise"):
        transfer(make(surprise), numbers(4001), on_schema_change="fail")


def test_keys_that_differ_only_in_case_are_refused():
    """BigQuery's column names ignore case; the error has both names."""
    with pytest.raises((RowSchemaError, ConfigError), match=r"'N'.*'n'|'n'.*'N'"):
        transfer(make(lambda row: {"n": 1, "N": 2}), numbers(1))


def test_a_null_in_a_required_column_is_refused():
    """pyarrow lets it pass; BigQuery would refuse it at the very end."""
    etl = make(lambda row: {"n": None}, output_schema={"n": "INT64 NOT NULL"})
    with pytest.raises(RowSchemaError, match=r"row 1 .*column 'n'"):
        transfer(etl, numbers(1))


def test_new_columns_are_inferred_and_dicts_become_json():
    """A dict is a JSON column; if the target has the column, its type is used."""
    sink = MemorySink("replace")
    transfer(make(lambda row: {**row, "response": {"a": [1]}, "score": 0.5}), numbers(2), sink=sink)
    assert [(c.name, c.type) for c in sink.columns] == [
        ("n", "INT64"),
        ("response", "JSON"),
        ("score", "FLOAT64"),
    ]
    transfer(make(lambda row: {**row, "response": None, "score": 1}), numbers(2), sink=sink)
    assert [(c.name, c.type) for c in sink.columns][1:] == [
        ("response", "JSON"),
        ("score", "FLOAT64"),
    ]


def test_rows_skipped_at_first_do_not_decide_the_columns():
    """A thousand skipped rows before the first written one: its new column is still found."""

    def late(row):
        return {**row, "found": "yes"} if row["n"] == 2999 else None

    report, sink = transfer(make(late), numbers(3000))
    assert sink.rows == [{"n": 2999, "found": "yes"}]
    assert report.skipped == 2999


def test_batches_keep_order_and_fail_row_by_row():
    """`transform_batch` gets full batches across source batches; an exception fails only its row."""
    sizes = []

    class Etl(EtlBase):
        batch_size = 16

        def transform_batch(self, rows):
            sizes.append(len(rows))
            return [ValueError("bad") if row["n"] == 20 else row for row in rows]

    report, sink = transfer(Etl, numbers(100), batch_rows=7, on_row_error="skip")
    assert sizes == [16] * 6 + [4]
    assert [row["n"] for row in sink.rows] == [n for n in range(100) if n != 20]
    assert report.row_errors == 1


def test_a_batch_with_too_few_results_ends_the_run():
    """A wrong number of results ends the run: nobody can say which row a result belongs to."""

    class Etl(EtlBase):
        def transform_batch(self, rows):
            return rows[:-1]

    with pytest.raises(JobError, match="returned 2 results for 3 rows"):
        transfer(Etl, numbers(3))


def test_an_exception_from_a_whole_batch_fails_each_of_its_rows():
    """With `skip`, a failing call leaves out only its own rows."""

    class Etl(EtlBase):
        batch_size = 2

        def transform_batch(self, rows):
            if rows[0]["n"] == 2:
                raise ValueError("call failed")
            return rows

    report, sink = transfer(Etl, numbers(6), on_row_error="skip")
    assert [row["n"] for row in sink.rows] == [0, 1, 4, 5]
    assert report.row_errors == 2


def test_a_short_read_is_never_published():
    """A source that gives fewer rows than it froze fails the audit."""

    class Source(MemorySource):
        def open(self, job, run):
            reader = super().open(job, run)
            freeze = reader.freeze

            def count_wrong(recovered=None):
                freeze(recovered)
                reader.num_rows = 5

            reader.freeze = count_wrong
            return reader

    sink = MemorySink()
    job = TransferJob(source=Source(numbers(3)), transform=make(lambda row: row), sink=sink)
    with pytest.raises(CountMismatchError, match="holds 5 rows, but 3"):
        run_transfer(job, RunRequest("test"))
    assert sink.rows == []


def test_a_broken_source_ends_the_run_and_keeps_its_rows():
    """An error while reading is raised as it is; the reader is told that the run failed."""
    readers = []

    class Source(MemorySource):
        def open(self, job, run):
            reader = super().open(job, run)
            readers.append(reader)

            def broken():
                yield pa.RecordBatch.from_pydict({"_etlkit_row_id": ["a"], "n": [1]})
                raise JobError("stream cut", stage="read")

            reader.batches = broken
            return reader

    job = TransferJob(source=Source(numbers(3)), transform=make(lambda row: row), sink=MemorySink())
    with pytest.raises(JobError, match="stream cut"):
        run_transfer(job, RunRequest("test"))
    assert readers[0].closed is False


def test_no_thread_is_left_behind():
    """Workers and the reading thread have ended when a run has, failed or not."""
    before = set(threading.enumerate())
    transfer(make(lambda row: row, max_concurrency=4), numbers(100))
    with pytest.raises(TransformError):
        transfer(make(lambda row: 1 / 0, max_concurrency=4), numbers(100_000), batch_rows=10)
    assert set(threading.enumerate()) <= before  # one of an earlier test may have ended since


def test_a_slow_row_does_not_hold_back_staging():
    """A finished row is staged within about a second, while the next row is still in its call."""
    staged, release = threading.Event(), threading.Event()

    class Sink(MemorySink):
        def open(self, job, run, reader):
            writer = super().open(job, run, reader)
            inner = writer.write
            writer.write = lambda batch: (inner(batch), staged.set())
            return writer

    def second_waits(row):
        if row["n"] == 1:
            assert staged.wait(timeout=30)
            release.set()
        return row

    transfer(make(second_waits), numbers(2), sink=Sink())
    assert release.is_set()


def test_a_factory_makes_the_workers():
    """`transform` may be a function without arguments."""

    class Etl(EtlBase):
        def __init__(self, add):
            self.add = add

        def transform_row(self, row):
            return {"n": row["n"] + self.add}

    _, sink = transfer(lambda: Etl(10), numbers(2))
    assert sink.rows == [{"n": 10}, {"n": 11}]


def test_run_transform_takes_a_prepared_instance():
    """The test helper runs an instance with fakes through the real engine."""

    class Etl(EtlBase):
        max_concurrency = 8

        def transform_row(self, row):
            return {"n": self.fake(row["n"])}

    etl = Etl()
    etl.fake = lambda n: n * 2
    assert run_transform(etl, numbers(3)) == [{"n": 0}, {"n": 2}, {"n": 4}]
    with pytest.raises(RowSchemaError):
        run_transform(make(lambda row: {"n": "text"}), numbers(1), schema={"n": "INT64"})


def refuse_three(row):
    return "bad geography" if row["n"] == 3 else None


def test_a_row_the_sink_cannot_store_is_rejected_alone():
    """The warehouse refuses one row of a batch: it is rejected with its source row; the rest stays."""
    sink = MemorySink("replace", refuse_three)
    spread = make(lambda row: [dict(row, part=i) for i in range(2)])
    report, _ = transfer(spread, numbers(5), sink=sink, on_row_error="reject")
    assert (report.read, report.written, report.rejected, report.rows_published) == (5, 4, 1, 8)
    (put_aside,) = sink.rejects
    assert (put_aside.row_id, put_aside.source_row) == ("row-4", '{"n": 3}')
    assert "bad geography" in put_aside.message


def test_a_row_the_sink_cannot_store_is_skipped_or_ends_the_run():
    """`skip` and `fail` apply to such a row as well."""
    same = make(lambda row: row)
    report, sink = transfer(
        same, numbers(5), sink=MemorySink("replace", refuse_three), on_row_error="skip"
    )
    assert [row["n"] for row in sink.rows] == [0, 1, 2, 4]
    assert (report.written, report.skipped) == (4, 1)
    with pytest.raises(RowSchemaError, match=r"id row-4.*bad geography|bad geography"):
        transfer(same, numbers(5), sink=MemorySink("replace", refuse_three))


def test_reject_puts_rows_aside_until_there_are_too_many():
    """`max_rejected` as a count and as a share; the errors are summed up by class."""

    def odd(row):
        if row["n"] % 2:
            raise ValueError("odd")
        return row

    report, sink = transfer(make(odd), numbers(10), on_row_error="reject", max_rejected=5)
    assert (report.rejected, len(sink.rejects), report.written) == (5, 5, 5)
    for allowed in (4, 0.4):
        sink = MemorySink()
        with pytest.raises(TooManyRejectedError, match="ValueError 5"):
            transfer(make(odd), numbers(10), sink=sink, on_row_error="reject", max_rejected=allowed)
        assert sink.rows == sink.rejects == []


def test_a_share_of_rejected_rows_stops_early():
    """A run that rejects every row ends early."""
    calls = []

    def fail(row):
        calls.append(row)
        raise ValueError("always")

    with pytest.raises(TooManyRejectedError):
        transfer(make(fail), numbers(10_000), on_row_error="reject", max_rejected=0.1)
    assert len(calls) < 5_000


def test_a_session_that_ends_is_opened_again_for_the_rest():
    """After `ReadExpiredError` only rows without an outcome are read; no call is made twice."""
    calls = []
    sessions = []

    class Source(MemorySource):
        def open(self, job, run):
            reader = super().open(job, run)
            inner = reader.batches

            def expiring():
                sessions.append(reader.num_rows)
                for number, batch in enumerate(inner()):
                    if number == 3 and len(sessions) < 3:
                        raise ReadExpiredError("session expired")
                    yield batch

            reader.batches = expiring
            return reader

    def note(row):
        calls.append(row["n"])
        return row

    sink = MemorySink()
    etl = make(note, max_concurrency=3)
    job = TransferJob(source=Source(numbers(1000), batch_rows=100), transform=etl, sink=sink)
    report = run_transfer(job, RunRequest("test"))
    assert sessions == [1000, 700, 400]
    assert sorted(calls) == list(range(1000))
    assert [row["n"] for row in sink.rows] == list(range(1000))
    assert report.read == 1000


def resume(job, **options):
    return run_transfer(job, RunRequest("test", resume="last", **options))


def test_a_failed_run_goes_on_where_it_stood():
    """Rows that finished before the failure, or beside it, are not transformed again."""
    calls = []
    broken = True

    def sometimes(row):
        calls.append(row["n"])
        if broken and row["n"] == 30:
            raise ValueError("not yet")
        return row

    sink = MemorySink()
    source = MemorySource(numbers(50), batch_rows=10)
    etl = make(sometimes, max_concurrency=4)
    job = TransferJob(source=source, transform=etl, sink=sink)
    with pytest.raises(TransformError) as caught:
        run_transfer(job, RunRequest("test"))
    run_id = caught.value.report.run_id
    first = list(calls)
    broken = False
    report = resume(job)
    assert sorted(row["n"] for row in sink.rows) == list(range(50))
    assert (report.run_id, report.read, report.written) == (run_id, 50, 50)
    assert report.resumed >= 30
    repeated = set(first) & set(calls[len(first) :])
    assert repeated <= set(range(30, 47))
    again = resume(job)  # it is done, and says so instead of doing anything
    assert (again.state, again.run_id, again.resumed) == ("published", run_id, 50)
    assert len(sink.rows) == 50


class Flaky:
    """An Etl for rows of `numbers`, whose calls are counted and whose fault can be mended."""

    def __init__(self, fail, **attributes):
        self.calls, self.is_broken = [], True

        def call(row):
            self.calls.append(row["n"])
            return fail(row) if self.is_broken and row["n"] == 30 else row

        self.etl = make(call, **attributes)

    def fail_and_resume(self, num_rows=60, **options):
        """Gives the calls of the run that failed and those of its resume."""
        sink = MemorySink()
        job = TransferJob(
            source=MemorySource(numbers(num_rows)), transform=self.etl, sink=sink, **options
        )
        with pytest.raises((TransformError, RowSchemaError, JobError)):
            run_transfer(job, RunRequest("test"))
        first, self.calls, self.is_broken = self.calls, [], False
        report = resume(job)
        assert sorted(row["n"] for row in sink.rows) == list(range(num_rows))
        assert report.read == report.written == num_rows
        return first, self.calls


def bad(row):
    raise ValueError("not yet")


def test_no_row_is_begun_after_one_that_ends_the_run():
    """Its call would be paid for."""
    first, again = Flaky(bad).fail_and_resume()
    assert first == list(range(31))
    assert again == list(range(30, 60))


def test_rows_before_one_that_fails_are_still_transformed():
    """The first bad row is reported, although a later one failed first."""
    later_failed = threading.Event()

    def call(row):
        if row["n"] == 3:
            assert later_failed.wait(timeout=30)
        if row["n"] == 5:
            later_failed.set()
        if row["n"] in {4, 5}:
            assert later_failed.wait(timeout=30)
            raise ValueError("bad")
        return row

    with pytest.raises(TransformError, match="row 5 "):
        transfer(make(call, max_concurrency=3), numbers(20))


def test_the_results_beside_a_failed_one_in_a_batch_are_kept():
    """A resume asks only for the row that failed."""
    asked, is_broken = [], True

    class Etl(EtlBase):
        batch_size = 16

        def transform_batch(self, rows):
            asked.extend(row["n"] for row in rows)
            return [ValueError("bad") if is_broken and row["n"] == 5 else row for row in rows]

    sink = MemorySink()
    job = TransferJob(source=MemorySource(numbers(40)), transform=Etl, sink=sink)
    with pytest.raises(TransformError):
        run_transfer(job, RunRequest("test"))
    assert asked == list(range(16))
    is_broken = False
    resume(job)
    assert asked[16:] == [5, *range(16, 40)]


def test_the_rows_beside_one_that_fits_no_column_are_kept():
    """They were paid for, and the error is found when they are encoded: after all of them were made."""
    flaky = Flaky(lambda row: {"n": "no number"}, output_schema={"n": "INT64"})
    first, again = flaky.fail_and_resume()
    assert (len(first), again) == (60, [30])
    flaky = Flaky(lambda row: {"n": object()})
    first, again = flaky.fail_and_resume()
    assert (len(first), again) == (60, [30])


def test_all_rows_that_fit_no_column_are_left_out_at_once():
    """However many there are: every second one is bad."""
    calls, is_broken = [], True

    def call(row):
        calls.append(row["n"])
        return {"n": "no number"} if is_broken and row["n"] % 2 else row

    sink = MemorySink()
    etl = make(call, output_schema={"n": "INT64"})
    job = TransferJob(source=MemorySource(numbers(400)), transform=etl, sink=sink)
    with pytest.raises(RowSchemaError, match="row 2 "):
        run_transfer(job, RunRequest("test"))
    is_broken = False
    assert resume(job).resumed == 200
    assert calls[400:] == list(range(1, 400, 2))


def test_a_failing_after_action_costs_no_row():
    """All rows are transformed by then: a resume makes no call again."""
    flaky = Flaky(lambda row: row)

    def after_action(self):
        if flaky.is_broken:
            raise ValueError("cannot say goodbye")

    flaky.etl.after_action = after_action
    first, again = flaky.fail_and_resume()
    assert (first, again) == (list(range(60)), [])


def test_rows_whose_columns_cannot_stand_beside_each_other_end_the_run():
    """No row is to blame, so nothing can be staged."""
    with pytest.raises(RowSchemaError, match="'A'"):
        transfer(make(lambda row: {"A" if row["n"] % 2 else "a": 1}), numbers(10))


def test_changed_code_is_not_resumed_by_accident():
    """A run whose code changed is resumed only with `allow_code_change`."""

    def fail(row):
        raise ValueError("not yet")

    sink, source = MemorySink(), MemorySource(numbers(3))
    with pytest.raises(TransformError):
        run_transfer(
            TransferJob(source=source, transform=make(fail), sink=sink), RunRequest("test")
        )
    source.fingerprint = "another query"
    job = TransferJob(source=source, transform=make(dict), sink=sink)
    with pytest.raises(
        RunStateError, match=r"code or query changed since run \S+ began \(the query changed\):"
    ) as caught:
        resume(job)
    assert caught.value.report.run_id == ""  # not "last", which is no run's id
    assert resume(job, allow_code_change=True).written == 3


def test_auto_goes_on_with_a_run_that_did_not_publish_and_else_begins_one():
    """What a scheduler says each time: no run is lost, none is repeated, and none is left out."""
    flaky = Flaky(bad)
    sink, source = MemorySink(), MemorySource(numbers(60))
    job = TransferJob(source=source, transform=flaky.etl, sink=sink)
    auto = RunRequest("test", resume="auto")
    with pytest.raises(TransformError) as caught:
        run_transfer(job, auto)  # there is no run yet
    flaky.is_broken = False
    second = run_transfer(job, auto)
    assert (second.run_id, second.state) == (caught.value.report.run_id, "published")
    assert second.resumed >= 30
    third = run_transfer(job, auto)
    assert third.run_id != second.run_id
    assert (third.resumed, third.written) == (0, 60)


@pytest.mark.parametrize(
    ("change", "is_resumed"),
    [
        ({}, True),
        ({"later": timedelta(days=6, minutes=1)}, False),
        ({"query": "another query"}, False),
        ({"query": "another query", "allow_code_change": True}, True),
        ({"job_name": "another job"}, False),
    ],
)
def test_auto_begins_anew_after_a_change_or_a_long_time(change, is_resumed):
    """Nobody is there to say whether the rows of then are still wanted."""
    flaky = Flaky(bad)
    sink, source = MemorySink(), MemorySource(numbers(60))
    job = TransferJob(source=source, transform=flaky.etl, sink=sink)
    with pytest.raises(TransformError) as caught:
        run_transfer(job, RunRequest("test"))
    flaky.is_broken = False
    change = dict(change)
    source.fingerprint = change.pop("query", source.fingerprint)
    change["started_at"] = datetime.now(UTC) + change.pop("later", timedelta())
    report = run_transfer(job, RunRequest(**{"job_name": "test", "resume": "auto", **change}))
    assert (report.run_id == caught.value.report.run_id) is is_resumed
    assert len(sink.rows) == 60


def test_a_run_of_another_job_or_of_rejects_is_not_resumed():
    """The id of another job's run is refused; the message says what to do."""

    def fail(row):
        raise ValueError("not yet")

    sink, source = MemorySink(), MemorySource(numbers(3))
    job = TransferJob(source=source, transform=make(fail), sink=sink)
    with pytest.raises(TransformError) as caught:
        run_transfer(job, RunRequest("test"))
    run_id = caught.value.report.run_id
    with pytest.raises(RunStateError, match="is a run of job test, not of other"):
        run_transfer(job, RunRequest("other", resume=run_id))
    with pytest.raises(RunStateError, match="was started with no --retry-rejects"):
        run_transfer(job, RunRequest("test", resume=run_id, retry_of="20240101"))


def test_a_stop_finishes_the_rows_in_flight(caplog):
    """A stopped run ends cleanly, keeps finished rows, and is resumed without loss."""
    calls = []
    runs = []

    def stop_at_ten(row):
        calls.append(row["n"])
        if row["n"] == 10:
            runs[0].request_stop(15)
        return row

    sink = MemorySink()
    job = TransferJob(source=MemorySource(numbers(5000)), transform=make(stop_at_ten), sink=sink)
    with pytest.raises(Interrupted) as caught:
        run_transfer(job, RunRequest("test"), on_start=runs.append)
    assert caught.value.signum == 15
    assert caught.value.report.state == "interrupted"
    assert "calls in flight have 30 s to end; another Ctrl-C ends at once" in caplog.text
    assert sink.rows == []
    before = len(calls)
    assert before < 5000
    report = resume(job)
    assert report.resumed == before
    assert sorted(calls) == list(range(5000))
    assert len(sink.rows) == 5000


def test_a_row_that_can_have_no_columns_is_that_rows_error():
    """This holds while columns are still being inferred, and with the row number for every policy."""

    def odd(row):
        return {"x": {1, 2}} if row["n"] == 1 else {"m": row["n"]}

    report, sink = transfer(make(odd), numbers(3), on_row_error="skip")
    assert sink.rows == [{"m": 0}, {"m": 2}]
    assert report.first_errors[0].startswith("row 2 (id row-2), column 'x'")
    with pytest.raises(RowSchemaError, match=r"row 2 \(id row-2\), column 'x'"):
        transfer(make(odd), numbers(3))


def test_rows_without_a_single_column_are_refused():
    """An empty dict is not a row; publishing it silently would lose rows."""
    with pytest.raises(RowSchemaError, match="without a single column"):
        transfer(make(lambda row: {}), numbers(2))


def test_a_column_of_nulls_gets_its_type_from_its_first_value():
    """A key that is null at first gets the type of its first value; one that stays null is STRING."""

    def late(row):
        return {**row, "score": None if row["n"] < 1500 else 0.5, "never": None}

    _, sink = transfer(make(late), numbers(2000))
    assert [(c.name, c.type) for c in sink.columns] == [
        ("n", "INT64"),
        ("score", "FLOAT64"),
        ("never", "STRING"),
    ]
    assert [row["score"] for row in sink.rows[1498:1502]] == [None, None, 0.5, 0.5]
    assert sink.rows[0] == {"n": 0, "score": None, "never": None}


def test_a_job_that_never_ran_has_nothing_to_resume():
    """The message says so, and how to start."""
    job = TransferJob(source=MemorySource([]), transform=make(lambda row: row), sink=MemorySink())
    with pytest.raises(RunStateError, match="no run to resume"):
        resume(job)


def test_a_column_of_the_target_is_never_dropped():
    """`drop_columns` leaves out what the target lacks, not what the first rows happened to lack."""
    sink = MemorySink("replace")
    transfer(make(lambda row: {**row, "b": "old"}), numbers(1), sink=sink)

    def late(row):
        return {**row, "b": "new", "c": 1} if row["n"] > 5500 else row

    for policy in ("drop_columns", "fail"):
        if policy == "fail":
            late_c = late

            def late(row, inner=late_c):
                return {k: v for k, v in inner(row).items() if k != "c"}

        transfer(make(late), numbers(6000), sink=sink, on_schema_change=policy)
        assert [row["b"] for row in sink.rows[5500:5502]] == [None, "new"]
        assert "c" not in sink.rows[-1]


def test_a_share_counts_the_rows_of_its_own_batch():
    """30 % of errors stay below a limit of 50 %, wherever the batches end."""

    def some(row):
        if row["n"] % 10 < 3:
            raise ValueError("some")
        return row

    report, _ = transfer(make(some), numbers(450), on_row_error="reject", max_rejected=0.5)
    assert report.rejected == 135


def test_a_reused_dict_in_a_generator_keeps_its_values():
    """Each yielded row is what it was when it was yielded."""

    def reuse(row):
        for part in range(3):
            row["part"] = part
            yield row

    _, sink = transfer(make(reuse), numbers(1))
    assert [row["part"] for row in sink.rows] == [0, 1, 2]


def test_sys_exit_in_a_transform_is_a_failure():
    """`sys.exit` in a transform must not look like a success."""

    def leave(row):
        raise SystemExit(0)

    with pytest.raises(JobError, match=r"sys.exit\(0\)"):
        transfer(make(leave), numbers(1))


def test_a_bad_key_in_one_row_is_that_rows_error():
    """With `skip` the other rows continue."""
    etl = make(lambda row: {"a`b": 1} if row["n"] == 1 else row)
    report, sink = transfer(etl, numbers(3), on_row_error="skip")
    assert [row["n"] for row in sink.rows] == [0, 2]
    assert report.row_errors == 1


class LateRefusals(MemorySink):
    """A sink that refuses rows late, as an API does: `flush` returns with each few of them."""

    def __init__(self, wrong, *, at_once=1, also=lambda run: None):
        super().__init__("replace")
        self.wrong, self.at_once, self.also = wrong, at_once, also
        self.flushes = 0

    def open(self, job, run, reader):
        writer = super().open(job, run, reader)
        late, write, flush = [], writer.write, writer.flush
        self.refuse = lambda row: "wrong" if row["n"] in self.wrong else None

        def write_all(batch):
            write(batch)
            late.extend(writer._refused)
            writer._refused.clear()

        def flush_some():
            flush()
            self.flushes += 1
            self.also(run)
            for _ in range(min(self.at_once, len(late))):
                one = late.pop(0)
                error = CallFailedError("422", code="422", attempts=3)
                writer._refused.append(RefusedRow(one.row_id, one.num_parts, "", error))

        writer.write, writer.flush = write_all, flush_some
        return writer


def test_a_row_that_is_refused_late_keeps_the_sinks_error(monkeypatch):
    """Class, code and attempts go to the table of rejected rows; the source row needs no query."""
    sink = LateRefusals({3, 5})
    monkeypatch.setattr(MemoryReader, "fetch", None)
    report, _ = transfer(make(lambda row: row), numbers(9), sink=sink, on_row_error="reject")
    assert (report.written, report.rejected) == (7, 2)
    kept = [(r.source_row, r.error_class, r.code, r.attempts) for r in sink.rejects]
    assert kept == [(f'{{"n": {n}}}', "CallFailedError", "422", 3) for n in (3, 5)]


def test_the_final_share_counts_rows_that_are_refused_late():
    """`max_rejected` is looked at again when the last row has its outcome."""
    sink = LateRefusals({1, 2, 3}, at_once=3)
    with pytest.raises(TooManyRejectedError):
        transfer(
            make(lambda row: row), numbers(9), sink=sink, on_row_error="skip", max_rejected=0.3
        )


def test_a_stop_while_rows_are_flushed_ends_the_run():
    """A sink that was told to stop has cut its flush short: nothing is published then."""
    sink = LateRefusals({1}, also=lambda run: run.request_stop(2))
    with pytest.raises(Interrupted):
        transfer(make(lambda row: row), numbers(3), sink=sink, on_row_error="skip")
    assert sink.rows == []

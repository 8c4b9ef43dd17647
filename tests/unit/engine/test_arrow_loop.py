from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from etlkit import EtlBase, JobError, RowError, TransferJob, TransformCodeError
from etlkit.api.run import RunRequest
from etlkit.engine.preview import preview_transfer
from etlkit.engine.transfer import run_transfer
from etlkit.testing import MemorySink, MemorySource, run_transform

ROWS = [{"n": n, "name": f"row {n}"} for n in range(20)]


def doubled(batch):
    """The batch with `n` doubled."""
    return batch.set_column(0, "n", pc.multiply(batch["n"], 2))


class Double(EtlBase):
    def transform_arrow(self, batch):
        return doubled(batch)


class Even(EtlBase):
    """Skips rows by a mask."""

    def transform_arrow(self, batch):
        keep = pc.equal(pc.bit_wise_and(batch["n"], 1), 0)
        return batch.filter(keep), keep


class OddFails(EtlBase):
    """Fails for a whole batch, as a cast does, if one of its rows is bad."""

    def transform_arrow(self, batch):
        if pc.any(pc.is_in(batch["n"], pa.array([3, 11]))).as_py():
            raise ValueError("a bad number")
        return doubled(batch)


def run(etl, rows=ROWS, sink=None, schema=None, **options):
    sink = sink or MemorySink("replace")
    job = TransferJob(source=MemorySource(rows, schema), transform=etl, sink=sink, **options)
    return run_transfer(job, RunRequest("arrow")), sink


def test_a_batch_goes_in_and_comes_out():
    """In Arrow, in the order of the source."""
    assert run_transform(Double, ROWS) == [{**row, "n": row["n"] * 2} for row in ROWS]


@pytest.mark.parametrize(
    "made",
    [
        pa.table,
        lambda batch: pa.RecordBatchReader.from_batches(batch.schema, [batch]),
    ],
)
def test_whatever_has_an_arrow_stream_is_taken(made):
    """Tables, readers, data frames of polars and relations of DuckDB."""

    class Etl(EtlBase):
        def transform_arrow(self, batch):
            return made(batch)

    assert run_transform(Etl, ROWS) == ROWS


def test_rows_are_skipped_by_a_mask():
    """They are counted as skipped; a null in the mask skips as well."""
    report, sink = run(Even)
    assert [row["n"] for row in sink.rows] == list(range(0, 20, 2))
    assert (report.written, report.skipped) == (10, 10)

    class Nulls(EtlBase):
        def transform_arrow(self, batch):
            keep = pa.array([True, None] * (batch.num_rows // 2))
            return batch.filter(keep), keep

    report, sink = run(Nulls)
    assert (report.written, report.skipped) == (10, 10)


def test_only_bad_rows_fail():
    """A batch that raises is tried again by halves."""
    report, sink = run(OddFails, on_row_error="reject", max_rejected=5)
    assert [row["n"] for row in sink.rows] == [n * 2 for n in range(20) if n not in {3, 11}]
    assert [(r.row_id, r.error_class) for r in sink.rejects] == [
        ("row-4", "ValueError"),
        ("row-12", "ValueError"),
    ]
    assert sink.rejects[0].source_row == '{"n": 3, "name": "row 3"}'
    report, sink = run(OddFails, on_row_error="skip", max_rejected=5)
    assert (report.written, report.skipped, report.row_errors) == (18, 2, 2)


def test_the_first_bad_row_ends_the_run():
    """With its number and id, and the line of the user's code."""
    with pytest.raises(RowError, match=r"row 4 \(id row-4\).*a bad number.*test_arrow_loop.py:\d+"):
        run(OddFails)


def test_a_mistake_in_the_code_is_no_matter_of_rows():
    """It is called once, and ends the run."""
    calls = []

    class Etl(EtlBase):
        def transform_arrow(self, batch):
            calls.append(batch.num_rows)
            return nowhere(batch)  # noqa: F821 - the mistake

    with pytest.raises(TransformCodeError, match="nowhere"):
        run(Etl, on_row_error="reject")
    assert calls == [20]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda batch: batch.slice(1), r"returned 19 rows for 20 rows: it must return one"),
        (lambda batch: (batch, [True] * 19), r"a `keep` of 19 values for 20"),
        (lambda batch: (batch, [True] * 19 + [False]), r"20 rows for 20 rows: `keep` keeps 19"),
        (lambda batch: batch.to_pylist(), r"returned a list; it must return a RecordBatch"),
    ],
)
def test_a_result_of_another_shape_ends_the_run(returned, message):
    """The rows could belong to any of the source's."""

    class Etl(EtlBase):
        def transform_arrow(self, batch):
            return returned(batch)

    with pytest.raises(JobError, match=message):
        run(Etl, on_row_error="skip")


def test_arrow_types_that_hold_the_same_values_are_taken():
    """What libraries use instead: dictionaries, large strings, small integers."""

    class Etl(EtlBase):
        def transform_arrow(self, batch):
            return pa.table(
                {
                    "n": batch["n"].cast(pa.int8()),
                    "name": batch["name"].dictionary_encode(),
                    "text": batch["name"].cast(pa.large_string()),
                    "at": pa.array([0] * batch.num_rows).cast(pa.timestamp("ns", "UTC")),
                    "tags": pa.array([[1, 2]] * batch.num_rows, pa.large_list(pa.int32())),
                    "inner": pa.array([{"a": 1}] * batch.num_rows),
                }
            )

    _, sink = run(Etl)
    assert {c.name: c.ddl for c in sink.columns} == {
        "n": "INT64",
        "name": "STRING",
        "text": "STRING",
        "at": "TIMESTAMP",
        "tags": "ARRAY<INT64>",
        "inner": "STRUCT<`a` INT64>",
    }
    assert sink.rows[7] == {
        "n": 7,
        "name": "row 7",
        "text": "row 7",
        "at": datetime(1970, 1, 1, tzinfo=UTC),
        "tags": [1, 2],
        "inner": {"a": 1},
    }


def test_a_value_that_would_be_stored_changed_is_that_rows_error():
    """As from `transform_row`: nanoseconds, digits, a NULL in a required column."""

    class Etl(EtlBase):
        output_schema = {"n": "INT64 NOT NULL", "at": "TIMESTAMP", "d": "NUMERIC"}  # noqa: RUF012

        def transform_arrow(self, batch):
            numbers = batch["n"].to_pylist()
            return pa.table(
                {
                    "n": pa.array([None if n == 2 else n for n in numbers], pa.int64()),
                    "at": pa.array([1 if n == 5 else 1000 for n in numbers]).cast(
                        pa.timestamp("ns", "UTC")
                    ),
                    "d": pa.array(
                        [Decimal("1e-12") if n == 9 else Decimal(1) for n in numbers],
                        pa.decimal128(38, 12),
                    ),
                }
            )

    _, sink = run(Etl, on_row_error="reject", max_rejected=5)
    assert [row["n"] for row in sink.rows] == [n for n in range(20) if n not in {2, 5, 9}]
    assert [r.row_id for r in sink.rejects] == ["row-3", "row-6", "row-10"]


def test_text_is_not_a_number():
    """Types are as strict as for `transform_row`, whose 7 is not '7' either."""

    class Etl(EtlBase):
        def transform_arrow(self, batch):
            return batch.set_column(0, "n", batch["n"].cast(pa.string()))

    with pytest.raises(RowError, match=r"row 1 .*column 'n'.*expected INT64, got Arrow string"):
        run(Etl)


def test_columns_that_are_not_read_pass_through():
    """And cannot be written."""

    class Read(EtlBase):
        columns = ("n",)

        def transform_arrow(self, batch):
            assert batch.schema.names == ["n"]
            keep = pc.greater(batch["n"], 15)
            return batch.filter(keep), keep

    assert run_transform(Read, ROWS) == ROWS[16:]

    class Write(Read):
        def transform_arrow(self, batch):
            return batch.append_column("name", batch["n"].cast(pa.string()))

    with pytest.raises(RowError, match="'name', which passes through untouched"):
        run(Write)


@pytest.mark.parametrize("policy", ["add_columns", "drop_columns", "fail"])
def test_a_new_column_of_a_later_batch(policy):
    """`on_schema_change` decides, as for a new key."""
    rows = [{"n": n} for n in range(9000)]

    class Etl(EtlBase):
        def transform_arrow(self, batch):
            late = batch["n"][0].as_py() > 0
            return batch.append_column("late", batch["n"]) if late else batch

    if policy == "fail":
        with pytest.raises(RowError, match=r"row \d{4} .*'late'"):
            run(Etl, rows, on_schema_change=policy)
        return
    _, sink = run(Etl, rows, on_schema_change=policy)
    assert len(sink.rows) == 9000
    assert sink.rows[8999].get("late") == (8999 if policy == "add_columns" else None)
    assert sink.rows[0].get("late") is None
    assert (policy == "add_columns") == ("late" in sink.rows[0])


def test_workers_share_batches_in_order():
    """Order is kept under concurrency; each row comes once."""
    rows = [{"n": n} for n in range(40_000)]
    etl = type("Etl", (Double,), {"max_concurrency": 3})
    assert [row["n"] for row in run_transform(etl, rows)] == [n * 2 for n in range(40_000)]


def test_a_preview_shows_what_batches_become():
    """Skipped rows have nothing after."""
    job = TransferJob(source=MemorySource(ROWS), transform=Even, sink=MemorySink())
    shown = preview_transfer(job, RunRequest("preview", limit=3))
    assert [len(each.after) for each in shown.rows[:3]] == [1, 0, 1]


def test_a_class_has_one_of_the_transforms():
    """Which of two would run is a riddle."""
    with pytest.raises(TypeError, match="has transform_arrow and transform_row"):

        class Both(EtlBase):
            def transform_row(self, row):
                return row

            def transform_arrow(self, batch):
                return batch


def test_each_row_is_given_once_where_nothing_fails():
    """Batches have up to 8,192 rows."""
    seen = Counter()

    class Etl(EtlBase):
        def transform_arrow(self, batch):
            assert batch.num_rows <= 8192
            seen.update(batch["n"].to_pylist())
            return batch

    run(Etl, [{"n": n} for n in range(20_000)])
    assert set(seen.values()) == {1}
    assert len(seen) == 20_000

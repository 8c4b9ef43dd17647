"""What every sink promises, as a pytest class to inherit from.

```python
class TestMySink(SinkContract):
    def make_sink(self, mode): ...
    def visible_rows(self): ...
```
"""

# ruff: noqa: S101 - these are tests that ship
from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from etlkit.api.outcomes import Counts, RejectedRow
from etlkit.api.run import LAST, Run
from etlkit.api.sink import PART, PARTS
from etlkit.api.source import ROW_ID
from etlkit.errors import CountMismatchError, RunStateError
from etlkit.rows.batches import RowEncoder
from etlkit.rows.columns import Column

if TYPE_CHECKING:
    from etlkit.api.sink import Sink, SinkWriter
    from etlkit.rows.row import Row

COLUMNS = (Column("name", "STRING"), Column("size", "INT64"))


class SinkContract:
    """Override `make_sink`, `visible_rows`, `visible_rejects`; `make_run` if settings are needed.

    The target does not exist at first, and every sink of one test writes to the same one.
    """

    def make_sink(self, mode: Literal["append", "replace"]) -> Sink:
        """Make a sink for the test's target."""
        raise NotImplementedError

    def visible_rows(self) -> list[Row]:
        """What a reader of the target sees now, in any order; a missing target has no rows."""
        raise NotImplementedError

    def visible_rejects(self) -> list[tuple[str, str]]:
        """Row id and error class of every row in the table of rejected rows."""
        raise NotImplementedError

    def make_run(self, *, resume: str | None = None) -> Run:
        """Make a run whose settings fit the sink."""
        return Run("contract", resume=resume)

    def _seen(self) -> list[tuple[Any, ...]]:
        return sorted((row["name"], row["size"]) for row in self.visible_rows())

    def _publish(self, mode: Literal["append", "replace"], *rows: list[Row]) -> int:
        """One run; each argument is what one source row became."""
        with self.make_run() as run:
            writer = self.make_sink(mode).open(run)
            writer.begin(COLUMNS)
            for number, parts in enumerate(rows):
                writer.write(batch_of(f"id{number}", parts))
            writer.flush()
            return writer.commit(counts_of(rows))

    def test_shows_nothing_before_commit(self) -> None:
        """Staged rows are invisible until `commit`, and all of them are visible after it."""
        with self.make_run() as run:
            writer = self.make_sink("append").open(run)
            writer.begin(COLUMNS)
            rows: list[Row] = [{"name": "a", "size": 1}]
            writer.write(batch_of("id1", rows))
            writer.flush()
            assert self._seen() == []
            assert writer.commit(counts_of([rows])) == 1
        assert self._seen() == [("a", 1)]

    def test_publishes_repeats_once(self) -> None:
        """Staging is at least once: a row that was staged twice is published once."""
        with self.make_run() as run:
            writer = self.make_sink("append").open(run)
            writer.begin(COLUMNS)
            rows: list[Row] = [{"name": "a", "size": 1}, {"name": "b", "size": 2}]
            writer.write(batch_of("id1", rows))
            writer.write(batch_of("id1", rows))
            writer.flush()
            assert writer.commit(counts_of([rows])) == 2
        assert self._seen() == [("a", 1), ("b", 2)]

    def test_append_keeps_what_was_there(self) -> None:
        """`append` adds to the rows of earlier runs."""
        self._publish("append", [{"name": "a", "size": 1}])
        self._publish("append", [{"name": "b", "size": 2}], [])
        assert self._seen() == [("a", 1), ("b", 2)]

    def test_replace_leaves_only_the_new_rows(self) -> None:
        """`replace` makes the run's rows the only ones, twice in a row too."""
        self._publish("replace", [{"name": "a", "size": 1}])
        self._publish("replace", [{"name": "b", "size": 2}])
        assert self._seen() == [("b", 2)]

    def test_replace_by_no_rows_empties_the_target(self) -> None:
        """Zero rows are a normal run."""
        self._publish("replace", [{"name": "a", "size": 1}])
        assert self._publish("replace") == 0
        assert self._seen() == []

    def test_abort_leaves_the_target_alone(self) -> None:
        """What was staged before an abort is never seen."""
        self._publish("replace", [{"name": "a", "size": 1}])
        with self.make_run() as run:
            writer = self.make_sink("replace").open(run)
            writer.begin(COLUMNS)
            writer.write(batch_of("id1", [{"name": "b", "size": 2}]))
            writer.abort(RuntimeError("stop"))
        assert self._seen() == [("a", 1)]

    def test_publishes_nothing_when_a_row_is_missing(self) -> None:
        """Counts that do not match what was staged fail the audit; the target is untouched."""
        self._publish("replace", [{"name": "a", "size": 1}])
        with self.make_run() as run:
            writer = self.make_sink("replace").open(run)
            writer.begin(COLUMNS)
            rows: list[Row] = [{"name": "b", "size": 2}]
            writer.write(batch_of("id1", rows))
            writer.flush()
            assert _refuses(writer, counts_of([rows, rows]))
        assert self._seen() == [("a", 1)]

    def test_publishes_rejected_rows_beside_the_others(self) -> None:
        """A rejected row is in the table of rejects, once, when the others are in the target."""
        with self.make_run() as run:
            writer = self.make_sink("append").open(run)
            writer.begin(COLUMNS)
            rows: list[Row] = [{"name": "a", "size": 1}]
            writer.write(batch_of("id1", rows))
            for _ in range(2):
                writer.reject([rejected("id2", "ValueError")])
            writer.flush()
            assert self.visible_rejects() == []
            counts = counts_of([rows])
            counts.read, counts.rejected = 2, 1
            writer.commit(counts)
        assert self._seen() == [("a", 1)]
        assert self.visible_rejects() == [("id2", "ValueError")]

    def test_a_resumed_run_knows_what_is_settled(self) -> None:
        """Written, skipped and rejected rows of an earlier attempt need not be settled again."""
        first: list[Row] = [{"name": "a", "size": 1}, {"name": "a2", "size": 1}]
        second: list[Row] = [{"name": "b", "size": 2}]
        with self.make_run() as run:
            writer = self.make_sink("append").open(run)
            assert writer.recover().counts.settled == 0
            writer.begin(COLUMNS)
            writer.write(batch_of("id1", first))
            writer.write(batch_of("id2", []))
            writer.reject([rejected("id3", "ValueError")])
            writer.flush()
            writer.abort(RuntimeError("stop"))
        for resume in (LAST, run.run_id):
            with self.make_run(resume=resume) as again:
                writer = self.make_sink("append").open(again)
                assert again.run_id == run.run_id
                earlier = writer.recover()
                counts = earlier.counts
                assert (counts.read, counts.parts) == (3, 2)
                assert (counts.written, counts.skipped, counts.rejected) == (1, 1, 1)
                assert sorted(earlier.ids()) == ["id1", "id2", "id3"]
                assert {"name", "size"} <= {column.name for column in writer.known_columns}
                if resume == LAST:
                    writer.abort(RuntimeError("stop again"))
                    continue
                writer.begin(COLUMNS)
                writer.write(batch_of("id4", second))
                writer.flush()
                counts.read += 1
                counts.add(1)
                assert writer.commit(counts) == 3
        assert self._seen() == [("a", 1), ("a2", 1), ("b", 2)]
        assert self.visible_rejects() == [("id3", "ValueError")]

    def test_a_published_run_cannot_be_resumed(self) -> None:
        """There is nothing to go on with, by id or by job."""
        with self.make_run() as run:
            writer = self.make_sink("append").open(run)
            writer.begin(COLUMNS)
            writer.commit(counts_of([]))
        for resume in (LAST, run.run_id):
            with self.make_run(resume=resume) as again:
                assert _cannot_open(self.make_sink("append"), again)

    def test_changed_code_is_not_resumed_by_accident(self) -> None:
        """A run whose code changed since goes on only when that is asked for."""
        with self.make_run() as run:
            self.make_sink("append").open(run).abort(RuntimeError("stop"))
        with self.make_run(resume=run.run_id) as again:
            again.fingerprint = "other"
            assert _cannot_open(self.make_sink("append"), again)
            again.allow_code_change = True
            self.make_sink("append").open(again).abort(RuntimeError("enough seen"))

    def test_knows_the_columns_of_its_target(self) -> None:
        """A target that exists tells its columns, so that new values get its types."""
        self._publish("append", [{"name": "a", "size": 1}])
        with self.make_run() as run:
            writer = self.make_sink("append").open(run)
            known = {column.name: column.type for column in writer.known_columns}
            writer.abort(RuntimeError("enough seen"))
        assert known == {"name": "STRING", "size": "INT64"}

    def test_takes_new_columns_on_the_way(self) -> None:
        """A second `begin` changes the columns; rows staged before have nulls there."""
        first: list[Row] = [{"name": "a"}]
        second: list[Row] = [{"name": "b", "size": 2}]
        with self.make_run() as run:
            writer = self.make_sink("replace").open(run)
            writer.begin(COLUMNS[:1])
            writer.write(batch_of("id1", first, COLUMNS[:1]))
            writer.begin(COLUMNS)
            writer.write(batch_of("id2", second))
            writer.flush()
            writer.commit(counts_of([first, second]))
        assert self._seen() == [("a", None), ("b", 2)]


def _refuses(writer: SinkWriter, counts: Counts) -> bool:
    try:
        writer.commit(counts)
    except CountMismatchError as error:
        writer.abort(error)
        return True
    return False


def _cannot_open(sink: Sink, run: Run) -> bool:
    try:
        sink.open(run)
    except RunStateError:
        return True
    return False


def rejected(row_id: str, error_class: str) -> RejectedRow:
    """A row put aside."""
    return RejectedRow(row_id, "{}", error_class, None, "no good", 1, datetime.now(UTC))


def batch_of(row_id: str, rows: list[Row], columns: tuple[Column, ...] = COLUMNS) -> pa.RecordBatch:
    """A settled batch of what one source row became; no rows = skipped."""
    data = RowEncoder(columns).encode(rows or [{}])
    parts = list(range(max(1, len(rows))))
    meta = [
        pa.array([row_id] * len(parts), pa.string()),
        pa.array(parts, pa.int64()),
        pa.array([len(rows)] * len(parts), pa.int64()),
    ]
    names = [ROW_ID, PART, PARTS]
    fields = [pa.field(name, array.type) for name, array in zip(names, meta, strict=True)]
    return pa.RecordBatch.from_arrays(
        [*meta, *data.columns], schema=pa.schema([*fields, *data.schema])
    )


def counts_of(rows: Any) -> Counts:
    """The counts an engine would have for these source rows."""
    counts = Counts()
    for parts in rows:
        counts.read += 1
        counts.add(len(parts))
    return counts

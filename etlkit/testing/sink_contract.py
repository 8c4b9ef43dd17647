"""The contract of every sink, as a pytest class to inherit from.

```python
class TestMySink(SinkContract):
    def make_sink(self, mode): ...
    def visible_rows(self): ...
```
"""

# ruff: noqa: S101 - these are tests that ship
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from unittest import SkipTest

import pyarrow as pa

from etlkit.api.outcomes import Counts, RejectedRow
from etlkit.api.run import LAST, Run, RunRequest
from etlkit.api.sink import PART, PARTS
from etlkit.api.source import ROW_ID
from etlkit.errors import CountMismatchError, RunStateError
from etlkit.rows.batches import RowEncoder
from etlkit.rows.columns import Column
from etlkit.testing.contract_job import contract_job

if TYPE_CHECKING:
    from etlkit.api.sink import Sink, SinkWriter
    from etlkit.rows.row import Row

COLUMNS = (Column("name", "STRING"), Column("size", "INT64"))


class SinkContract:
    """Override `make_sink`, `visible_rows`, `visible_rejects`; `make_request` if settings are needed.

    The target does not exist at first, and every sink of one test writes to the same one.

    Attributes:
        is_atomic: Whether readers see nothing before `commit`. False = the target sees each row as it
            is written and nothing is taken back, as an API does; `make_sink` is never asked for
            `replace` then.
        has_columns: Whether the target tells its columns.
    """

    is_atomic: ClassVar[bool] = True
    has_columns: ClassVar[bool] = True

    def make_sink(self, mode: Literal["append", "replace"]) -> Sink:
        """Make a sink for the test's target."""
        raise NotImplementedError

    def visible_rows(self) -> list[Row]:
        """What a reader of the target sees now, in any order; a missing target has no rows."""
        raise NotImplementedError

    def visible_rejects(self) -> list[tuple[str, str]]:
        """Row id and error class of every row in the table of rejected rows."""
        raise NotImplementedError

    def make_request(self, *, resume: str | None = None) -> RunRequest:
        """Make a request whose settings fit the sink."""
        return RunRequest("contract", resume=resume)

    def _start(self, sink: Sink, *, resume: str | None = None) -> Run:
        request = self.make_request(resume=resume)
        return Run(request, record=None if resume is None else sink.find_run(request))

    @contextmanager
    def _writing(
        self, mode: Literal["append", "replace"], *, resume: str | None = None
    ) -> Iterator[tuple[Run, SinkWriter]]:
        sink = self.make_sink(mode)
        job = contract_job(sink=sink)
        with self._start(sink, resume=resume) as run:
            yield run, sink.open(job, run, job.source.open(job, run))

    def _seen(self) -> list[tuple[Any, ...]]:
        return sorted((row["name"], row["size"]) for row in self.visible_rows())

    def _publish(self, mode: Literal["append", "replace"], *rows: list[Row]) -> int:
        """One run; each argument is what one source row became."""
        with self._writing(mode) as (_run, writer):
            writer.begin(COLUMNS)
            for number, parts in enumerate(rows):
                writer.write(batch_of(f"id{number}", parts))
            writer.flush()
            return writer.commit(counts_of(rows))

    @property
    def _any_mode(self) -> Literal["append", "replace"]:
        """A mode for tests that mean none in particular."""
        return "replace" if self.is_atomic else "append"

    def _needs(self, holds: bool, what: str) -> None:
        """Skip a promise that this kind of target cannot give."""
        if not holds:
            raise SkipTest(what)

    def test_shows_nothing_before_commit(self) -> None:
        """Staged rows are invisible until `commit`, and all of them are visible after it."""
        self._needs(self.is_atomic, "the target sees rows as they are written")
        with self._writing("append") as (_run, writer):
            writer.begin(COLUMNS)
            rows: list[Row] = [{"name": "a", "size": 1}]
            writer.write(batch_of("id1", rows))
            writer.flush()
            assert self._seen() == []
            assert writer.commit(counts_of([rows])) == 1
        assert self._seen() == [("a", 1)]

    def test_publishes_repeats_once(self) -> None:
        """Staging is at least once: a row that was staged twice is published once."""
        with self._writing("append") as (_run, writer):
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
        self._needs(self.is_atomic, "nothing is replaced")
        self._publish("replace", [{"name": "a", "size": 1}])
        self._publish("replace", [{"name": "b", "size": 2}])
        assert self._seen() == [("b", 2)]

    def test_replace_by_no_rows_empties_the_target(self) -> None:
        """Zero rows are a normal run."""
        self._needs(self.is_atomic, "nothing is replaced")
        self._publish("replace", [{"name": "a", "size": 1}])
        assert self._publish("replace") == 0
        assert self._seen() == []

    def test_abort_leaves_the_target_alone(self) -> None:
        """What was staged before an abort is never seen."""
        self._needs(self.is_atomic, "the target sees rows as they are written")
        self._publish("replace", [{"name": "a", "size": 1}])
        with self._writing("replace") as (_run, writer):
            writer.begin(COLUMNS)
            writer.write(batch_of("id1", [{"name": "b", "size": 2}]))
            writer.abort(RuntimeError("stop"))
        assert self._seen() == [("a", 1)]

    def test_publishes_nothing_when_a_row_is_missing(self) -> None:
        """Counts that do not match what was staged fail the audit; the target is untouched."""
        self._publish(self._any_mode, [{"name": "a", "size": 1}])
        with self._writing(self._any_mode) as (run, writer):
            writer.begin(COLUMNS)
            rows: list[Row] = [{"name": "b", "size": 2}]
            writer.write(batch_of("id1", rows))
            writer.flush()
            assert _refuses(writer, counts_of([rows, rows]))
        if self.is_atomic:
            assert self._seen() == [("a", 1)]
        sink = self.make_sink(self._any_mode)
        assert sink.find_run(self.make_request(resume=run.run_id)).published is None

    def test_publishes_rejected_rows_beside_the_others(self) -> None:
        """A rejected row is in the table of rejects, once, when the others are in the target."""
        with self._writing("append") as (_run, writer):
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

    def test_a_resumed_run_knows_the_finished_rows(self) -> None:
        """Written, skipped and rejected rows of an earlier attempt are not transformed again."""
        first: list[Row] = [{"name": "a", "size": 1}, {"name": "a2", "size": 1}]
        second: list[Row] = [{"name": "b", "size": 2}]
        with self._writing("append") as (run, writer):
            assert writer.recover().counts.finished == 0
            writer.begin(COLUMNS)
            writer.write(batch_of("id1", first))
            writer.write(batch_of("id2", []))
            writer.reject([rejected("id3", "ValueError")])
            writer.flush()
            writer.abort(RuntimeError("stop"))
        for attempt, resume in ((2, LAST), (3, run.run_id)):
            with self._writing("append", resume=resume) as (again, writer):
                assert (again.run_id, again.attempt) == (run.run_id, attempt)
                recovered = writer.recover()
                counts = recovered.counts
                assert (counts.read, counts.parts) == (3, 2)
                assert (counts.written, counts.skipped, counts.rejected) == (1, 1, 1)
                assert sorted(recovered.ids()) == ["id1", "id2", "id3"]
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

    def test_a_published_run_is_known_as_published(self) -> None:
        """There is nothing to resume, by id or by job; the record says how its rows ended."""
        rows: list[Row] = [{"name": "a", "size": 1}]
        with self._writing("append") as (run, writer):
            writer.begin(COLUMNS)
            writer.write(batch_of("id1", rows))
            writer.commit(counts_of([rows]))
        for resume in (LAST, run.run_id):
            sink = self.make_sink("append")
            record = sink.find_run(self.make_request(resume=resume))
            assert record.run_id == run.run_id
            assert record.published is not None
            assert (record.published.written, record.published.parts) == (1, 1)

    def test_check_writes_nothing(self) -> None:
        """It names the target, and leaves neither rows nor a run behind."""
        sink = self.make_sink(self._any_mode)
        job = contract_job(sink=sink)
        with self._start(sink) as run:
            reader = job.source.open(job, run)
            for columns in (None, COLUMNS):
                assert sink.check(job, run, reader, columns).target
        assert self._seen() == []
        assert _cannot_find(self.make_sink(self._any_mode), self.make_request(resume=run.run_id))

    def test_an_unknown_run_is_not_resumed(self) -> None:
        """Neither an id that nobody knows nor a job without runs can be resumed."""
        for resume in (LAST, "20200101_000000000_00000000"):
            assert _cannot_find(self.make_sink("append"), self.make_request(resume=resume))

    def test_a_record_has_what_the_run_began_with(self) -> None:
        """The fingerprint tells changed code, the number of attempts tells who may go on."""
        sink = self.make_sink("append")
        job = contract_job(sink=sink)
        with Run(self.make_request(), fingerprint="code-1", code={"a.py": "1"}) as run:
            writer = sink.open(job, run, job.source.open(job, run))
            writer.abort(RuntimeError("stop"))
        record = sink.find_run(self.make_request(resume=run.run_id))
        assert (record.run_id, record.job_name) == (run.run_id, run.job_name)
        assert (record.fingerprint, record.attempts) == ("code-1", 1)
        assert record.code in ({"a.py": "1"}, {})  # a sink need not keep it
        assert (record.retry_of, record.published) == (None, None)

    def test_two_processes_do_not_resume_the_same_attempt(self) -> None:
        """Of two that found the same record, the second one to open is refused."""
        sink = self.make_sink("append")
        job = contract_job(sink=sink)
        with self._writing("append") as (run, writer):
            writer.abort(RuntimeError("stop"))
        request = self.make_request(resume=run.run_id)
        record = sink.find_run(request)
        with Run(request, record=record) as first, Run(request, record=record) as second:
            writer = sink.open(job, first, job.source.open(job, first))
            assert _cannot_open(sink, second)
            writer.abort(RuntimeError("done"))

    def test_knows_the_columns_of_its_target(self) -> None:
        """A target that exists tells its columns, so that new values get its types."""
        self._needs(self.has_columns, "the target has no columns")
        self._publish("append", [{"name": "a", "size": 1}])
        with self._writing("append") as (_run, writer):
            known = {column.name: column.type for column in writer.known_columns}
            writer.abort(RuntimeError("done"))
        assert known == {"name": "STRING", "size": "INT64"}

    def test_takes_new_columns_on_the_way(self) -> None:
        """A second `begin` changes the columns; rows staged before have nulls there."""
        first: list[Row] = [{"name": "a"}]
        second: list[Row] = [{"name": "b", "size": 2}]
        with self._writing(self._any_mode) as (_run, writer):
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
    job = contract_job(sink=sink)
    try:
        sink.open(job, run, job.source.open(job, run))
    except RunStateError:
        return True
    return False


def _cannot_find(sink: Sink, request: RunRequest) -> bool:
    try:
        sink.find_run(request)
    except RunStateError:
        return True
    return False


def rejected(row_id: str, error_class: str) -> RejectedRow:
    """A rejected row."""
    return RejectedRow(row_id, "{}", error_class, None, "no good", 1, datetime.now(UTC))


def batch_of(row_id: str, rows: list[Row], columns: tuple[Column, ...] = COLUMNS) -> pa.RecordBatch:
    """A batch of what one source row became; no rows = skipped."""
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

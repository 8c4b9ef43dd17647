"""`Sink` and `SinkWriter`: the protocols of everything that rows are written to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import pyarrow as pa

    from etlkit.api.job_options import JobOptions
    from etlkit.api.outcomes import Counts, Recovered, RefusedRow, RejectedRow
    from etlkit.api.reuse import Reuse
    from etlkit.api.run import Run, RunRecord, RunRequest
    from etlkit.api.source import Source, SourceReader
    from etlkit.api.worker_report import WorkerReport
    from etlkit.rows.columns import Column
    from etlkit.rows.row import Row
    from etlkit.variables.definitions import Value

PART = "_etlkit_part"
"""INT64: 0 for the first row a source row became, 1 for the second, …; 0 for a skipped row."""

PARTS = "_etlkit_parts"
"""INT64: how many rows the source row became; 0 = skipped, and all data columns are null."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a run would do to its target.

    Attributes:
        target: The target's full name.
        changes: What would change in it beside its rows, one sentence each.
    """

    target: str
    changes: Sequence[str] = ()


@runtime_checkable
class SendsRequests(Protocol):
    """A sink that sends rows to an API, and can show a request without sending it."""

    def first_request(self, rows: Sequence[Row], /) -> str:
        """The request that the first of these rows would be in, secrets hidden; for people."""


@runtime_checkable
class ReadsBack(Protocol):
    """A sink whose rows can be read back after a run. A sink need not be one."""

    def read_rows(self, run: Run, /, *, is_published: bool, max_bytes: int) -> pa.Table:
        """The target's rows, or those that the run has staged.

        Args:
            run: The run, one attempt later than its last.
            is_published: Whether the target is asked for.
            max_bytes: More are refused.

        Raises:
            ConfigError: There are more bytes.
            JobError: The rows cannot be read.
        """


@runtime_checkable
class TellsDurable(Protocol):
    """A `SinkWriter` that tells which rows are durable. One that does not has no journal."""

    def on_durable(self, notify: Callable[[pa.Array], None], /) -> None:
        """Call a function with the ids of rows once what became of them is durable, on any thread."""


@runtime_checkable
class KeepsResults(Protocol):
    """A sink that can keep results for later runs of a job."""

    def check_reuse(self, source: Source, /) -> None:
        """Find what is in the way without any I/O.

        Raises:
            ConfigError: Results cannot be kept for rows of this source, or with this sink's mode.
        """

    def count_results(self, run: Run, reuse: Reuse, /) -> int:
        """How many source rows have results that would count. Writes nothing."""


@runtime_checkable
class ReadsResults(Protocol):
    """A sink that can read the results that are kept for rows, without a run."""

    def read_results(
        self, run: Run, reuse: Reuse, frozen: str, /
    ) -> tuple[tuple[Column, ...], dict[str, list[Row]]]:
        """What is known of frozen rows.

        Args:
            run: For the connection.
            reuse: Which results count.
            frozen: The table of the rows.

        Returns:
            The columns, and by row id the target rows; an empty list = the row was skipped.
        """


@runtime_checkable
class TakesResults(Protocol):
    """A writer of a sink that keeps results."""

    def take_results(self, reuse: Reuse, /) -> int:
        """Stage the results of known rows, as if they had been transformed.

        Called once in an attempt, when the rows are frozen. What an earlier attempt took stays. When
        the run is published, its other results are kept.

        Returns:
            Source rows that were known.
        """


@runtime_checkable
class SharesRun(Protocol):
    """A `SinkWriter` whose run many processes can work on at the same time."""

    def open_shards(self) -> int:
        """Make the rows that have no outcome yet free for workers. What earlier ones claimed is void.

        Called by the process that holds the run, after the source is frozen, and before workers begin.

        Returns:
            How many rows there are.
        """

    def workers(self) -> Sequence[WorkerReport]:
        """What each worker has done, of all attempts at the run."""

    def workers_now(self) -> WorkersNow:
        """How far the workers are that cannot tell it themselves. Takes a query."""

    def stop_workers(self) -> None:
        """Tell such workers to finish the rows in flight and to end; returns at once."""


@dataclass(frozen=True, slots=True)
class WorkersNow:
    """What the workers of a run have told BigQuery.

    Attributes:
        num_rows: About how many of the rows that `open_shards` has made free are settled.
        have_failed: Whether one of them ended with an error that ends the run.
    """

    num_rows: int
    have_failed: bool


@runtime_checkable
class TakesWorkers(Protocol):
    """A sink whose runs many processes can share."""

    def check_workers(self, source: Source, /) -> None:
        """Find what is in the way without any I/O.

        Raises:
            ConfigError: Rows of this source cannot be shared, or not with this sink's mode.
        """

    def join(self, job: JobOptions, run: Run, source: Source, /) -> tuple[SourceReader, SinkWriter]:
        """Join a run as one of its workers, `run.worker`.

        Returns:
            A reader of the rows that this worker claims, and a writer whose `commit` publishes nothing:
            it tells that the worker has finished.

        Raises:
            RunTakenOverError: The run is over, or another attempt at it has begun.
            SinkError: BigQuery refuses.
        """


@dataclass(slots=True)
class Findings:
    """What a rehearsal has found out at its target.

    Attributes:
        table: The throw-away table.
        failed_checks: What the job's checks say of the sample's rows, one sentence for each that fails.
        num_known: Rows of the whole source whose results would be reused by a run that begins now;
            None = the job has no `reuse`.
        differences: What the rehearsal did in another way than a run, one sentence each.
    """

    table: str = ""
    failed_checks: list[str] = field(default_factory=list)
    num_known: int | None = None
    differences: list[str] = field(default_factory=list)


class SinkWriter(Protocol):
    """One run's way into the target. Nothing is visible there before `commit`.

    A writer whose runs cannot be resumed may say so with an attribute `keeps_rows = False`; messages
    do not offer to continue then.
    """

    @property
    def keeps_order(self) -> bool:
        """Whether rows have to come in the source's order.

        False = the target has no order: rows that finished behind a slow call come before it.
        """

    @property
    def known_columns(self) -> tuple[Column, ...]:
        """The columns of the target as it is now; empty = it does not exist yet."""

    @property
    def target(self) -> str:
        """The target's full name, for people and reports."""

    def recover(self) -> Recovered:
        """Find the rows that this run has finished so far, in this attempt and in earlier ones."""

    def begin(self, columns: tuple[Column, ...]) -> None:
        """Prepare for batches of these columns. A later call changes them from then on."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Stage rows; may return before they are durable.

        Args:
            batch: `ROW_ID`, `PART`, `PARTS`, then the columns of `begin`. All rows that one source
                row became stand together.

        Raises:
            SinkError: The rows cannot be staged.
        """

    def reject(self, rows: Sequence[RejectedRow]) -> None:
        """Stage rejected rows with their errors; as durable as what goes through `write`.

        Raises:
            SinkError: The rows cannot be staged.
        """

    def refused(self) -> Sequence[RefusedRow]:
        """Rows given to `write` that could not be stored; each is returned once.

        The rows beside them are stored. Complete when nothing is refused after a `flush`.
        """

    def flush(self) -> None:
        """Return when every row given to `write` and `reject` is durable, or is `refused`.

        May return earlier once rows are `refused`, so that the job can end early if there are too
        many: take them and flush again.
        """

    def is_ready(self) -> bool:
        """Whether the next row may be transformed. Called from the workers' threads; must be cheap.

        Returns:
            False = what was staged is not becoming durable now, so a crash would make a resume pay
            for the next rows again. The workers ask until it is True.

        Raises:
            RunTakenOverError: Another process has taken the run over, or may have done so.
            SinkError: Nothing can be staged any more.
        """

    def commit(self, counts: Counts) -> int:
        """Audit what was staged against `counts`, then publish it in one atomic step.

        What was written and not flushed yet is flushed first.

        Returns:
            Rows published, i.e. counted after fan-out.

        Raises:
            CountMismatchError: The audit failed; the target is untouched.
            SinkError: Publishing failed; the target is untouched.
        """

    def abort(self, error: BaseException, /) -> None:
        """Record that the run failed. The target stays as it was. Must not raise."""


class Sink(Protocol):
    """Where rows go."""

    def expand(self, values: Mapping[str, Value]) -> tuple[Sink, frozenset[str]]:
        """Put the values of custom variables into the sink's texts; see `Source.expand`."""

    def find_run(self, request: RunRequest) -> RunRecord:
        """Look up the run to resume. Writes nothing.

        Args:
            request: Its `resume` is an id, or `LAST` for the latest run of the job.

        Raises:
            RunStateError: There is no such run, it is in progress, or it cannot be resumed with
                this sink (another target, another mode).
            SinkError: The sink's records cannot be read.
        """

    def check(
        self,
        job: JobOptions,
        run: Run,
        reader: SourceReader,
        columns: tuple[Column, ...] | None,
    ) -> Outlook:
        """Find what would be refused later, before a row is paid for. Writes nothing.

        Called when a run opens, before `open`, and by a dry run.

        Args:
            job: What the user described; this sink is its `sink`.
            run: What this attempt knows.
            reader: The opened source.
            columns: The columns that the rows will have; None = not known before there are rows.

        Returns:
            What the run would do to the target.

        Raises:
            SinkError: The target cannot be written, or not with these columns.
        """

    def open(self, job: JobOptions, run: Run, reader: SourceReader) -> SinkWriter:
        """Check the target and record that the run has started, or that it goes on.

        If `run.attempt` is above 1, the sink takes the run over: of two processes that try, one
        succeeds.

        Args:
            job: What the user described; this sink is its `sink`.
            run: What this attempt knows. It is complete, and stays as it is.
            reader: The opened source.

        Raises:
            RunStateError: Another run of the job is in progress, or another process has resumed
                this run.
            SinkError: The target cannot be written: no such dataset, no access.
            ConfigError: The sink is described wrongly, found before any I/O.
        """

    def rejected_rows(self, source: Source, run_id: str, only: str | None) -> Source:
        """Make a source of the rows that an earlier run rejected.

        Args:
            source: The job's own source; its columns are those of the rows.
            run_id: The run that rejected them.
            only: Rows with this class of error; None = all.

        Raises:
            ConfigError: This sink keeps no rejected rows that could be read again.
        """

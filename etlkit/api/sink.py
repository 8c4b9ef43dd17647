"""The seam settled rows go out through. Implementations live elsewhere; none is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

    from etlkit.api.outcomes import Counts, Recovered, RefusedRow, RejectedRow
    from etlkit.api.run import Run
    from etlkit.rows.columns import Column

PART = "_etlkit_part"
"""INT64: 0 for the first row a source row became, 1 for the second, …; 0 for a skipped row."""

PARTS = "_etlkit_parts"
"""INT64: how many rows the source row became; 0 = skipped, and all data columns are null."""


class SinkWriter(Protocol):
    """One run's way into the target. Nothing is visible there before `commit`.

    Rows come in the source's order. A writer that has no use for it says `keeps_order = False`; then
    what is settled behind a slow call comes before that call's rows.
    """

    @property
    def known_columns(self) -> tuple[Column, ...]:
        """The columns of the target as it is now; empty = it does not exist yet."""

    @property
    def target(self) -> str:
        """The target's full name, for people and reports."""

    def recover(self) -> Recovered:
        """What this run has settled so far, in this attempt and in those before it."""

    def begin(self, columns: tuple[Column, ...]) -> None:
        """Get ready for batches of these columns. A later call changes them from then on."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Stage settled rows; may return before they are durable.

        Args:
            batch: `ROW_ID`, `PART`, `PARTS`, then the columns of `begin`. All rows of one source
                row stand together.

        Raises:
            SinkError: The rows cannot be staged.
        """

    def reject(self, rows: Sequence[RejectedRow]) -> None:
        """Put rows aside with their errors; as durable as what goes through `write`.

        Raises:
            SinkError: The rows cannot be staged.
        """

    def refused(self) -> Sequence[RefusedRow]:
        """Rows handed to `write` that turned out not to be storable, each told once.

        The rows beside them are stored. Complete after `flush`.
        """

    def flush(self) -> None:
        """Return when every row handed to `write` and `reject` is durable, or is `refused`."""

    def commit(self, counts: Counts) -> int:
        """Audit what was staged against `counts`, then publish it in one atomic step.

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

    def open(self, run: Run) -> SinkWriter:
        """Check the target and record that the run has started or goes on.

        For a run to resume, the sink finds its id if it is `LAST`, makes sure that nobody else is
        at it, and sets `run.attempt`.

        Raises:
            JobError: Another run of the job is in progress, or there is nothing to resume.
            SinkError: The target cannot be written: no such dataset, no access.
            ConfigError: The sink is described wrongly, found before any I/O.
        """

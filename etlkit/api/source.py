"""The seam rows come in through. Implementations live elsewhere and are never imported here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

    from etlkit.api.outcomes import Recovered
    from etlkit.api.run import Run
    from etlkit.rows.columns import Column
    from etlkit.rows.row import Row

ROW_ID = "_etlkit_row_id"
"""First column of every source batch: STRING, unique among the rows of a run, never null."""


class SourceReader(Protocol):
    """The rows of one run. A source gives row ids itself."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """The user's columns, in order, without `ROW_ID`."""

    @property
    def num_rows(self) -> int | None:
        """Rows that `batches` will give; None = not known before they are read."""

    def freeze(self, earlier: Recovered | None = None) -> None:
        """Keep the rows of this run as they are now, so that every later read sees the same ones.

        A resumed run finds the rows it froze at first. Called again in the same run, after a
        `ReadExpiredError`, it makes the rest readable again.

        Args:
            earlier: Rows that are settled already and shall not be read again; None = none are.

        Raises:
            SourceError: The rows cannot be kept, or those of the run to resume are gone.
        """

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Give every row once, in the source's order.

        A run calls it after `freeze`; a preview calls it without, and nothing is written anywhere.

        Returns:
            Batches of any size, `ROW_ID` first and then `columns`, in the Arrow types of
            `etlkit.rows.columns.arrow_schema`.

        Raises:
            SourceError: The rows cannot be read any further.
            ReadExpiredError: Not in this session; `freeze` makes the rest readable again.
        """

    def fetch(self, row_ids: Sequence[str]) -> Mapping[str, Row]:
        """Give a few frozen rows again, by id, with all columns as native values.

        Raises:
            SourceError: The rows cannot be read.
        """

    def close(self, *, succeeded: bool) -> None:
        """Release what the reader holds. After success also the frozen rows; else they expire."""


class Source(Protocol):
    """Where rows come from."""

    @property
    def fingerprint(self) -> str:
        """A text that changes when the rows this source means to give change, e.g. its query."""

    def open(self, run: Run) -> SourceReader:
        """Check that the source can be read and find its columns. Writes nothing.

        Raises:
            SourceError: The source cannot be read: no such table, bad SQL, no access.
            ConfigError: The source is described wrongly.
        """

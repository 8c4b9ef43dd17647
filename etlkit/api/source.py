"""`Source` and `SourceReader`: the protocols of everything that rows are read from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import pyarrow as pa

    from etlkit.api.job_options import JobOptions
    from etlkit.api.outcomes import Recovered
    from etlkit.api.run import Run
    from etlkit.rows.columns import Column
    from etlkit.rows.row import Row
    from etlkit.variables.definitions import Value

ROW_ID = "_etlkit_row_id"
"""First column of every source batch: STRING, unique among the rows of a run, never null."""


class SourceReader(Protocol):
    """The rows of one run. The source itself gives each row its id."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """The user's columns, in order, without `ROW_ID`."""

    @property
    def num_rows(self) -> int | None:
        """Rows that `batches` will give; None = unknown before they are read."""

    @property
    def num_bytes(self) -> int | None:
        """Bytes that BigQuery bills for the rows, by its estimate; None = none, or not known."""

    @property
    def details(self) -> Mapping[str, Any]:
        """Where the rows come from, for the run's history: query parameters, files, …."""

    def freeze(self, recovered: Recovered | None = None) -> None:
        """Freeze the rows of this run, so that every later read sees the same ones.

        A resumed run finds the rows that its first attempt froze. Called again after a
        `ReadExpiredError`, it makes the rest readable again.

        Args:
            recovered: Rows that have an outcome already and are not read again; None = there are none.

        Raises:
            SourceError: The rows cannot be kept, or those of the run to resume are gone.
        """

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield every row once, in the source's order. See also `ReadsSideBySide`.

        A run calls it after `freeze`. A preview calls it without `freeze`; nothing is written then.

        Returns:
            Batches of any size; an empty one says that the next may come late, so that the rows before
            it are worked on at once. `ROW_ID` first and then `columns`, in the Arrow types of
            `etlkit.rows.columns.arrow_schema`.

        Raises:
            SourceError: The rows cannot be read any further.
            ReadExpiredError: The session expired; `freeze` makes the rest readable again.
        """

    def fetch(self, row_ids: Sequence[str]) -> Mapping[str, Row]:
        """Read a few frozen rows again, by id, with all columns as native values.

        Raises:
            SourceError: The rows cannot be read.
        """

    def close(self, *, succeeded: bool) -> None:
        """Release all resources. After success, also drop the frozen rows; otherwise they expire."""


@runtime_checkable
class ReadsSideBySide(Protocol):
    """A `SourceReader` that can read parts of its rows side by side. A reader need not be one."""

    def batches_in_any_order(self) -> Iterator[pa.RecordBatch]:
        """As `SourceReader.batches`, where the order of the rows does not matter.

        A run calls it if its sink keeps no order. A reader whose user asked for an order keeps it.
        """


@runtime_checkable
class StopsReading(Protocol):
    """A `SourceReader` whose `batches` may wait long for something. A reader need not be one."""

    def stop_reading(self) -> None:
        """End `batches` soon, from another thread: nobody needs more rows."""


@runtime_checkable
class TakesOver(Protocol):
    """A worker's `SourceReader`, which may come to rows that other workers have left behind."""

    on_taken_over: Callable[[Iterable[str]], None] | None
    """Called with the ids of workers that were lost, before such rows are read; None = nobody is."""


@runtime_checkable
class GuessesColumns(Protocol):
    """A `SourceReader` whose data have no schema of their own.

    Whatever they begin with gives the columns, also if it is no table: a web server may answer with one
    line that says it is busy. A sink does not put that in the place of a table.
    """

    @property
    def guesses_columns(self) -> bool:
        """Whether that is so."""


@dataclass(slots=True)
class Sampling:
    """Which rows a sample has, and what is found out while it is taken.

    Attributes:
        num_rows: Rows to take at most, at random.
        seed: Another one gives other rows; the same one gives the same rows of the same source.
        num_source_rows: Rows of the whole source; None = it has not been read yet.
    """

    num_rows: int
    seed: int = 0
    num_source_rows: int | None = None


class Source(Protocol):
    """Where rows come from."""

    @property
    def fingerprint(self) -> str:
        """A text that changes when the source would give other rows, e.g. its query."""

    def expand(self, values: Mapping[str, Value]) -> tuple[Source, frozenset[str]]:
        """Put the values of custom variables `$name$` into the source's texts.

        Returns:
            The source, and the names of the variables that it uses; `self` and an empty set for a
            source without texts.

        Raises:
            ConfigError: An unknown variable, or a value that cannot stand where it is used.
        """

    def open(self, job: JobOptions, run: Run) -> SourceReader:
        """Check that the source can be read and find its columns. Writes nothing.

        Args:
            job: What the user described; this source is its `source`.
            run: What this attempt knows. It is complete, and stays as it is.

        Raises:
            SourceError: The source cannot be read: no such table, bad SQL, no access.
            ConfigError: The source is described wrongly.
        """

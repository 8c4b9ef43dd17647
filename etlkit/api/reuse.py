"""Results that are kept for later runs: what a job says of them, and who can keep them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from etlkit.errors import ConfigError

if TYPE_CHECKING:
    from etlkit.api.run import Run
    from etlkit.api.source import Source
    from etlkit.rows.columns import Column

Keys: TypeAlias = "str | Sequence[str] | bool | None"
"""The names of columns, as one text or several; True = all that the transform reads; None = none."""


def parse_keys(reuse: Keys) -> tuple[str, ...] | bool:
    """The names in `"uri, generation"`, or of a sequence; True and False as they are, None = False.

    Raises:
        ConfigError: It is none of these, or empty.
    """
    if reuse is None or isinstance(reuse, bool):
        return bool(reuse)
    names = reuse.split(",") if isinstance(reuse, str) else reuse
    if (
        isinstance(names, Sequence)
        and names
        and all(isinstance(n, str) and n.strip() for n in names)
    ):
        return tuple(dict.fromkeys(name.strip() for name in names))
    raise ConfigError(
        f"reuse={reuse!r}: write the columns that say whether a row is known, e.g. 'uri, generation', "
        "or True for all columns that the transform reads"
    )


@dataclass(frozen=True, slots=True)
class Reuse:
    """Which results of earlier runs count for a run, and what is kept of it.

    Attributes:
        keys: Source columns; a row is known if a result was kept for the same values. NULL is equal to
            NULL.
        passing: The columns that the transform does not read, in the rows that it makes. They come
            from the source's row of today, never from what was kept.
        code: Digest of the transform's code. Results of other code do not count.
        parameters: Digest of what else decides the result: names of the keys, `output_schema`, and the
            values of the transform's attributes. Results of others do not count.
        days: Older results do not count, and are deleted.
        is_fresh: Take no results; keep them all the same.
        across_code: Results of other code count, too.
        keeps_skipped: Whether skipped rows are kept: no failed row is among them.
    """

    keys: tuple[Column, ...]
    passing: tuple[Column, ...]
    code: str
    parameters: str
    days: int
    is_fresh: bool = False
    across_code: bool = False
    keeps_skipped: bool = True


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
class TakesResults(Protocol):
    """A writer of a sink that keeps results."""

    def take_results(self, reuse: Reuse, /) -> int:
        """Stage the results of known rows, as if they had been transformed.

        Called once in an attempt, when the rows are frozen. What an earlier attempt took stays. When
        the run is published, its other results are kept.

        Returns:
            Source rows that were known.
        """

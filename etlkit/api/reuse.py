"""Results that are kept for later runs: which of them count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from etlkit.errors import ConfigError

if TYPE_CHECKING:
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
        job: Name of the job whose results they are.
        days: Older results do not count, and are deleted.
        is_fresh: Take no results; keep them all the same.
        across_code: Results of other code count, too.
        keeps_skipped: Whether skipped rows are kept: no failed row is among them.
    """

    keys: tuple[Column, ...]
    passing: tuple[Column, ...]
    code: str
    parameters: str
    job: str
    days: int
    is_fresh: bool = False
    across_code: bool = False
    keeps_skipped: bool = True

"""The report of a comparison: what two versions of a transform make of the same rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

RowState = Literal["written", "skipped", "rejected"]


@dataclass(frozen=True, slots=True)
class SideReport:
    """What one version did.

    Attributes:
        version: Where its code is from.
        written: Rows that became one or more target rows.
        skipped: Rows left out.
        rejected: Rows that failed.
        error_classes: How many of them failed with which class of error.
        known: Rows whose results were kept by earlier runs; they made no call.
        calls: Calls that were made through etlkit, retries included. They were real.
        replayed: Requests that were equal to one of the other version, and got its answer.
        units: Billing units of the calls.
        cost: Their cost at the job's `price_per_unit`; None = it has none.
    """

    version: str
    written: int = 0
    skipped: int = 0
    rejected: int = 0
    error_classes: dict[str, int] = field(default_factory=dict)
    known: int = 0
    calls: int = 0
    replayed: int = 0
    units: int = 0
    cost: float | None = None


@dataclass(frozen=True, slots=True)
class ColumnDiff:
    """One column of the target rows.

    Attributes:
        column: Its name.
        old_type: What it is with the old code; None = it is not there.
        new_type: With the new code; likewise.
        changed: Target rows with another value, of rows that both versions wrote.
    """

    column: str
    old_type: str | None
    new_type: str | None
    changed: int = 0


@dataclass(frozen=True, slots=True)
class RowSide:
    """What a version made of one row.

    Attributes:
        state: How it ended.
        rows: Target rows, as JSON values.
        error: Why it failed; None = it did not.
    """

    state: RowState
    rows: Sequence[dict[str, Any]] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class RowDiff:
    """A row of which the two versions make something else.

    Attributes:
        number: Its position in the sample, 1 = first.
        source: The source row, as JSON values.
        old: By the old code.
        new: By the new code.
    """

    number: int
    source: dict[str, Any]
    old: RowSide
    new: RowSide


@dataclass(frozen=True, kw_only=True)
class DiffReport:
    """The outcome of a comparison. Nothing was written.

    Attributes:
        job: The job's name.
        old: The old version.
        new: The new one.
        source_rows: Rows of the whole source; None = not known.
        seed: Which rows the sample has.
        rows: Rows of the sample.
        same: Rows of which both versions make the same.
        changed: Rows that both wrote, with other values or another number of target rows.
        moved: Rows that ended in another way, e.g. `written -> rejected`, and how many.
        columns: Columns that differ.
        changed_files: Which files of the code differ; None = the versions have other files.
        examples: A few rows of each kind of difference.
        currency: Of all prices.
    """

    job: str
    old: SideReport
    new: SideReport
    source_rows: int | None = None
    seed: int = 0
    rows: int = 0
    same: int = 0
    changed: int = 0
    moved: dict[str, int] = field(default_factory=dict)
    columns: Sequence[ColumnDiff] = ()
    changed_files: Sequence[str] | None = None
    examples: Sequence[RowDiff] = ()
    currency: str = "USD"

    @property
    def is_same(self) -> bool:
        """Whether no row and no column differs."""
        return self.same == self.rows and not self.columns

    def to_json(self) -> str:
        """One line of JSON, keys in the order of the attributes."""
        return json.dumps({**asdict(self), "is_same": self.is_same}, ensure_ascii=False)

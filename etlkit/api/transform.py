"""`EtlBase`: the class users write. No I/O happens here."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from etlkit.api.misspellings import similar_names, warn_of_similar_names
from etlkit.rows.row import Row

if TYPE_CHECKING:
    import pyarrow as pa

ArrowResult: TypeAlias = "pa.RecordBatch | pa.Table | Any"
"""Rows in Arrow: a batch, a table, or another library's with `__arrow_c_stream__`."""

RowResult: TypeAlias = "Row | Iterable[Row] | None"
"""What a row became: a dict = written, None = skipped, an iterable of dicts = fan-out."""

BatchResult: TypeAlias = "Sequence[RowResult | BaseException]"
"""What the rows of a batch became, in their order; an exception object = that row failed."""


class EtlBase:
    """Turn source rows into target rows. Subclass it, name the class `Etl`, write `transform_row`.

    A subclass overrides `transform_row`, `transform_batch` or `transform_arrow` (a `TypeError` at
    import says so if it does none of them; `class MyBase(EtlBase, abstract=True)` is exempt). An own
    `__init__` need not call `super().__init__()`. Each worker has an instance of its own, so `self`
    needs no locks.

    The hooks may be `async def`. One event loop then runs all rows with one instance, so that
    `before_action` runs once, and what rows keep on `self` is shared between awaits.

    Attributes:
        max_concurrency: Rows, or batches, at work at the same time, each on a thread with its own
            instance; or up to 10,000 on one event loop, if the hooks are async.
        max_parked: Rows that may wait for a retry beside them, each on one more thread and instance
            (async: on the same); 0 = rows that wait keep their slots. None = 128 (async: 10,000).
        batch_size: Rows handed to one `transform_batch` call, at most.
        units_per_row: Billing units per row, for the estimate before the first call.
        columns: The columns the transform reads. All others pass through in Arrow without being
            decoded. None = the transform sees every column that it can ask for: those that its code
            does not mention may pass through as well, where nobody can tell.
        output_schema: The target's columns, e.g. `{"uri": "STRING NOT NULL", "response": "JSON"}`;
            types are BigQuery's own names, as in DDL. None = columns passed through keep their
            type, new ones take theirs from the target or from the first rows.
    """

    max_concurrency: ClassVar[int] = 1
    max_parked: ClassVar[int | None] = None
    batch_size: ClassVar[int] = 100
    units_per_row: ClassVar[int] = 1
    columns: ClassVar[Sequence[str] | None] = None
    output_schema: ClassVar[Mapping[str, str] | None] = None

    def __init_subclass__(cls, *, abstract: bool = False, **kwargs: Any) -> None:
        """Look at a class when it is defined, not at the first row.

        Raises:
            TypeError: It has no transform, or `transform_arrow` and another.

        Warns:
            MisspelledWarning: A name looks like that of a hook or a class attribute.
        """
        super().__init_subclass__(**kwargs)
        similar = similar_names(cls, EtlBase)
        if overrides_arrow(cls) and (overrides_row(cls) or overrides_batch(cls)):
            other = "transform_row" if overrides_row(cls) else "transform_batch"
            raise TypeError(f"{cls.__name__} has transform_arrow and {other}: write one of them")
        if not (abstract or overrides_row(cls) or overrides_batch(cls) or overrides_arrow(cls)):
            meant = [f"{cls.__name__}.{name}: did you mean {of}?" for name, of in similar.items()]
            raise TypeError(
                f"{cls.__name__} overrides neither transform_row(self, row) nor "
                "transform_batch(self, rows) nor transform_arrow(self, batch): write one of them, or "
                "declare the class with "
                "abstract=True if it is a base of your own" + "".join(f". {each}" for each in meant)
            )
        warn_of_similar_names(cls, similar)

    def before_action(self) -> Awaitable[None] | None:
        """Prepare this worker: open clients, load models. Runs once, before the first row."""

    def transform_row(self, row: Row) -> RowResult | Awaitable[RowResult]:
        """Turn one row into the rows to write.

        Args:
            row: Column name to native Python value; yours to change in place.

        Returns:
            A dict: one target row; a new key is a new column, a deleted key drops the column.
            None: the row is skipped. An iterable of dicts: several target rows.

        Raises:
            Exception: This row failed; `on_row_error` of the job decides. A `JobError` ends the run.
        """
        raise NotImplementedError

    def transform_batch(self, rows: list[Row]) -> BatchResult | Awaitable[BatchResult]:
        """Turn several rows with one call, for providers that take many items at once.

        Args:
            rows: Up to `batch_size` rows.

        Returns:
            One result per row, in the order of `rows`: what `transform_row` would return, or an
            exception object for a row that failed.
        """
        raise NotImplementedError

    def transform_arrow(self, batch: pa.RecordBatch) -> ArrowResult | tuple[ArrowResult, Any]:
        """Turn a batch of rows in Arrow, without a dict: for pyarrow.compute, DuckDB or polars.

        It may be called again with parts of the same batch, to find a row that is bad. So what it makes
        of a row must not depend on the rows beside it.

        Args:
            batch: Up to 8,192 rows and about 4 MB, with the columns of `columns`, in the source's order
                and in the Arrow types of BigQuery's Storage API.

        Returns:
            One row per row of `batch`, in the same order: a RecordBatch, a Table, or anything else that
            has an Arrow stream, such as a polars DataFrame. Or `(rows, keep)`: `keep` says for each row
            of `batch` whether it is kept, the others are skipped, and `rows` has those that are.

        Raises:
            Exception: A row of the batch failed. It is called again with halves, down to the row.
        """
        raise NotImplementedError

    def after_action(self) -> Awaitable[None] | None:
        """Clean up this worker. Runs once, always, also after a failure."""


def overrides_row(cls: type[EtlBase]) -> bool:
    """Whether the class has its own `transform_row`."""
    return cls.transform_row is not EtlBase.transform_row


def overrides_batch(cls: type[EtlBase]) -> bool:
    """Whether the class has its own `transform_batch`."""
    return cls.transform_batch is not EtlBase.transform_batch


def overrides_arrow(cls: type[EtlBase]) -> bool:
    """Whether the class has its own `transform_arrow`."""
    return cls.transform_arrow is not EtlBase.transform_arrow

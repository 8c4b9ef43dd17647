"""Parquet files: their columns and batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from etlkit.errors import SourceError
from etlkit.files.file_columns import common_columns, conform_to_columns
from etlkit.files.head import Head, read_heads
from etlkit.rows.columns import Column, parse_schema

if TYPE_CHECKING:
    from etlkit.files.file import File

_BATCH_ROWS = 8192


@dataclass
class ParquetFormat:
    """Parquet as an `etlkit.files.reader.Format`. The option is that of `ParquetSource`."""

    guesses_columns: ClassVar[bool] = False
    types: Mapping[str, str]
    _declared: dict[str, Column] = field(init=False)

    def __post_init__(self) -> None:
        self._declared = {column.name: column for column in parse_schema(self.types)}

    def columns(self, files: Sequence[File], limit: int | None) -> tuple[Column, ...]:
        """See `Format`."""
        return common_columns(read_heads(files, _look, limit), self._declared)

    def batches(
        self, file: File, columns: tuple[Column, ...], *, is_checked: bool
    ) -> Iterator[pa.RecordBatch]:
        """See `Format`."""
        num_rows = 0
        with _opened(file) as parquet:
            # One by one: pyarrow cannot join the dictionaries of nested columns.
            for group in range(parquet.num_row_groups):
                for batch in parquet.iter_batches(_BATCH_ROWS, row_groups=[group]):
                    yield conform_to_columns(batch, columns, file, num_rows, is_checked=is_checked)
                    num_rows += batch.num_rows


def _look(file: File) -> Head[pa.Schema]:
    with _opened(file) as parquet:
        return Head(file, parquet.metadata.num_rows, parquet.schema_arrow)


@contextmanager
def _opened(file: File) -> Iterator[Any]:
    with file.open(whole=True) as stream:
        try:
            with pq.ParquetFile(stream) as parquet:
                yield parquet
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
            raise SourceError(
                f"{file.name} is not a complete Parquet file, or has something in it that pyarrow "
                f"cannot read ({type(error).__name__})",
                stage="read",
            ) from error

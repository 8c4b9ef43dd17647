"""Parquet files: their columns and batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from etlkit.errors import SourceError
from etlkit.files.file_columns import columns_of, conform_to_columns

if TYPE_CHECKING:
    from etlkit.files.file import File
    from etlkit.rows.columns import Column

_BATCH_ROWS = 8192


@dataclass(frozen=True)
class ParquetFormat:
    """Parquet as an `etlkit.files.reader.Format`. The option is that of `ParquetSource`."""

    types: Mapping[str, str]

    def columns(self, file: File) -> tuple[Column, ...]:
        """See `Format`."""
        with _opened(file) as parquet:
            return columns_of(parquet.schema_arrow, self.types, file)

    def batches(self, file: File, columns: tuple[Column, ...]) -> Iterator[pa.RecordBatch]:
        """See `Format`."""
        with _opened(file) as parquet:
            for batch in parquet.iter_batches(batch_size=_BATCH_ROWS):
                yield conform_to_columns(batch, columns, file)


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

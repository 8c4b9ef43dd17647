"""Parquet files in batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from etlkit.errors import SourceError
from etlkit.files.arrow_types import columns_of, conform

if TYPE_CHECKING:
    from etlkit.files.file import File
    from etlkit.files.source import ParquetSource
    from etlkit.rows.columns import Column

_BATCH_ROWS = 8192


class ParquetFormat:
    """See `etlkit.files.reader.Format`."""

    def __init__(self, source: ParquetSource) -> None:
        self._types = source.types

    def columns(self, file: File) -> tuple[Column, ...]:
        """See `Format`."""
        with _opened(file) as parquet:
            return columns_of(parquet.schema_arrow, self._types, file)

    def batches(self, file: File, columns: tuple[Column, ...]) -> Iterator[pa.RecordBatch]:
        """See `Format`."""
        with _opened(file) as parquet:
            for batch in parquet.iter_batches(batch_size=_BATCH_ROWS):
                yield conform(batch, columns, file)


@contextmanager
def _opened(file: File) -> Iterator[Any]:
    with file.open(whole=True) as stream:
        try:
            with pq.ParquetFile(stream) as parquet:
                yield parquet
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
            raise SourceError(
                f"{file.name} is no whole Parquet file, or has something in it that pyarrow cannot "
                f"read ({type(error).__name__})",
                stage="read",
            ) from error

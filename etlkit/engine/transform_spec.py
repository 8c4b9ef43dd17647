"""What the engine knows about a transform before the first row."""

from __future__ import annotations

import hashlib
import inspect
from pathlib import Path
from typing import TYPE_CHECKING

from etlkit.api.transform import EtlBase, overrides_arrow, overrides_batch
from etlkit.api.user_errors import user_error_text
from etlkit.errors import ConfigError, EtlkitError
from etlkit.rows.columns import parse_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from etlkit.api.job import TransferJob
    from etlkit.api.source import Source
    from etlkit.rows.columns import Column

_CHUNK_ROWS = 8192
"""Rows that one worker takes at once where it is the only one: handing over rows costs as much as
running some hundred fast ones."""

_SHARED_CHUNK_ROWS = 512
"""Rows that several workers share."""


class TransformSpec:
    """What the engine knows about a transform before the first row.

    Raises:
        ConfigError: A class attribute is out of range or names no type.
    """

    def __init__(self, job: TransferJob) -> None:
        self.make = job.transform
        # A factory is called once here: what its product declares comes from the class.
        etl = job.transform if isinstance(job.transform, type) else _made_by(job.transform)
        self._class = etl
        if not issubclass(etl, EtlBase):
            raise ConfigError(
                f"transform made a {etl.__name__}: it must make instances of etlkit.EtlBase"
            )
        self.max_concurrency = job.max_concurrency or _positive(etl, "max_concurrency")
        self.batch_size = _positive(etl, "batch_size")
        self.units_per_row = _positive(etl, "units_per_row")
        self.batched = overrides_batch(etl)
        self.is_arrow = overrides_arrow(etl)
        self.columns = etl.columns
        if isinstance(self.columns, str):
            raise ConfigError(f"{etl.__name__}.columns is a str; write ({self.columns!r},)")
        schema = etl.output_schema
        self.output_schema = None if schema is None else parse_schema(schema)

    def fingerprint(self, source: Source) -> str:
        """A text that changes with the transform's code or the source's query.

        The whole module counts: a helper beside the class matters as much as the class.
        """
        try:
            code = Path(inspect.getfile(self._class)).read_bytes()
        except (OSError, TypeError):  # defined in a console: there is no file
            code = self._class.__qualname__.encode()
        digest = hashlib.sha256(code)
        digest.update(source.fingerprint.encode())
        return digest.hexdigest()[:16]

    def read_columns(self, source: tuple[Column, ...]) -> tuple[Column, ...]:
        """The source columns that rows will have, in the source's order.

        Raises:
            ConfigError: The transform declares a column that the source does not have.
        """
        if self.columns is None:
            return source
        missing = set(self.columns) - {column.name for column in source}
        if missing:
            raise ConfigError(
                f"the transform reads {', '.join(sorted(missing))}, but the source has only "
                + ", ".join(column.name for column in source)
            )
        return tuple(column for column in source if column.name in set(self.columns))

    def check_passing(self, source: tuple[Column, ...]) -> None:
        """Raise if `output_schema` gives another type to a column that passes through untouched.

        Raises:
            ConfigError: Says which column.
        """
        if self.output_schema is not None and self.columns is not None:
            read = {column.name for column in self.read_columns(source)}
            passing = {column.name: column for column in source if column.name not in read}
            refuse_conversions(self.output_schema, passing)

    @property
    def task_rows(self) -> int:
        """Rows per task, at least: those of one call."""
        return self.batch_size if self.batched else 1

    @property
    def takes_many(self) -> bool:
        """Whether one call gets many rows."""
        return self.batched or self.is_arrow

    @property
    def is_sequential(self) -> bool:
        """Whether one worker runs one row after the other."""
        return self.max_concurrency == 1 and not self.takes_many

    @property
    def chunk_rows(self) -> int:
        """Rows per chunk, at most: a multiple of `task_rows`."""
        if self.is_sequential or self.is_arrow:
            return _CHUNK_ROWS
        return max(1, _SHARED_CHUNK_ROWS // self.task_rows) * self.task_rows


def _made_by(factory: Callable[[], EtlBase]) -> type[EtlBase]:
    try:
        return type(factory())
    except EtlkitError:
        raise
    except Exception as error:
        raise ConfigError(f"the transform cannot be made: {user_error_text(error)}") from error


def refuse_conversions(columns: tuple[Column, ...], passing: Mapping[str, Column]) -> None:
    """Raise if a column would have to be converted that the transform does not read.

    Args:
        columns: The output columns.
        passing: Source columns that pass through, by name.

    Raises:
        ConfigError: Says which column.
    """
    for column in columns:
        source = passing.get(column.name)
        if source is not None and source.ddl != column.ddl:
            raise ConfigError(
                f"output_schema says {column.name} {column.ddl}, but the column passes through "
                f"as {source.ddl}; add it to the class attribute `columns` to convert it"
            )


def _positive(etl: type[EtlBase], name: str) -> int:
    value = getattr(etl, name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{etl.__name__}.{name} = {value!r}: it is a whole number, 1 or more")
    return value

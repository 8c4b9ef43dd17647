"""Reports whose rows can be read back, for a look at small results in a script or a notebook."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from etlkit.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

MAX_BYTES = 100_000_000

ReadRows: TypeAlias = "Callable[[int], pa.Table]"
"""Reads rows of at most so many bytes."""


class ReadableRows:
    """What reports of transfers and of datamarts have in common: their rows."""

    _read: ClassVar[Any] = None

    def rows_as_arrow(self, *, max_bytes: int = MAX_BYTES) -> pa.Table:
        """The rows of the target, those of earlier runs included; of a failed run its staged rows.

        Of a datamart in query mode, the rows of its last SELECT, which BigQuery keeps for 24 hours.
        They are read when this is called; of the local BigQuery while `local_world` is entered.

        Args:
            max_bytes: More are refused: read a large table with a query.

        Returns:
            A table in Arrow, the columns in the target's order, the rows in no order.

        Raises:
            ConfigError: There are more bytes, or this report was not given by `run_job` or
                `run_datamart`.
            JobError: The rows cannot be read, or there are none.
        """
        if self._read is None:
            raise ConfigError(
                "only a report that run_job or run_datamart gave in this process can read rows"
            )
        rows: pa.Table = self._read(max_bytes)
        return rows

    def to_pandas(self, *, max_bytes: int = MAX_BYTES) -> Any:
        """The same as a `pandas.DataFrame`; pandas must be installed."""
        _imported("pandas")
        return self.rows_as_arrow(max_bytes=max_bytes).to_pandas()

    def to_polars(self, *, max_bytes: int = MAX_BYTES) -> Any:
        """The same as a `polars.DataFrame`; polars must be installed."""
        return _imported("polars").from_arrow(self.rows_as_arrow(max_bytes=max_bytes))

    def with_reader(self, read: ReadRows) -> None:
        """Say how the rows are read; for those who make the report."""
        object.__setattr__(self, "_read", read)  # reports of transfers are frozen


def _imported(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigError(f"to_{name} needs {name}, which cannot be imported: {error}") from error

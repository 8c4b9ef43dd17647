"""Collects one output of a model over many calls into a column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from etlkit.errors import ConfigError
from etlkit.local.ml.tensors import BIGQUERY_TYPES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from etlkit.local.ml.tensors import Tensor

_DTYPES: Final[dict[str, type[np.generic]]] = {
    "BOOL": np.bool_,
    "FLOAT64": np.float64,
    "INT64": np.int64,
}


class OutputColumn:
    """One output over all calls. Many threads may add rows at once.

    Args:
        tensor: The output.
        num_rows: The rows of all calls together.
    """

    def __init__(self, tensor: Tensor, num_rows: int) -> None:
        self._tensor = tensor
        self._dtype = np.float32 if tensor.is_single else _DTYPES[BIGQUERY_TYPES[tensor.dtype]]
        # Written in place, so that large outputs are in memory once, not twice.
        size = tensor.row_size
        self._whole = None if size is None else np.empty((num_rows, size), self._dtype)
        self._parts: dict[int, NDArray[Any]] = {}

    def put(self, start: int, values: NDArray[Any], num_rows: int) -> None:
        """Add the values that one call returned for the rows from `start` on.

        Raises:
            ConfigError: The model did not return one value per row, or not in its declared shape.
        """
        if num_rows != 1 and (not values.shape or values.shape[0] != num_rows):
            raise ConfigError(
                f"The output {self._tensor.describe()} has no batch dimension, so its values cannot "
                "be assigned to rows"
            )
        rows = values.reshape(num_rows, -1)
        if self._whole is None:
            self._parts[start] = rows.astype(self._dtype)
        elif rows.shape[1] == self._whole.shape[1]:
            self._whole[start : start + num_rows] = rows
        else:
            raise ConfigError(
                f"The output {self._tensor.describe()} came with {rows.shape[1]} values per row"
            )

    def column(self) -> pa.Array:
        """All rows. Call this once every call has added its own."""
        if self._whole is not None:
            return self._lists(self._whole)
        parts = [self._lists(self._parts[start]) for start in sorted(self._parts)]
        return pa.concat_arrays(parts)

    def _lists(self, rows: NDArray[Any]) -> pa.Array:
        flat = pa.array(rows.reshape(-1))
        if not self._tensor.row_shape:
            return flat
        offsets = np.arange(len(rows) + 1) * rows.shape[1]
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), flat)

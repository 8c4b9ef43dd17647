"""Runs a model over Arrow columns: the function that DuckDB calls for one ML.PREDICT."""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from etlkit.errors import ConfigError, EtlkitError, ImageError
from etlkit.local.ml import arrow_columns, pixels
from etlkit.local.ml.arrow_columns import BYTES, FILE, NUMBERS
from etlkit.local.ml.image_expressions import decode_file
from etlkit.local.ml.output_column import OutputColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from etlkit.local.ml.image_expressions import ImageOperation
    from etlkit.local.ml.pixels import Picture
    from etlkit.local.ml.runtimes import Runtime
    from etlkit.local.ml.tensors import Tensor

# A call of the model gets as many rows as fit: one picture, which is as fast as more, or many small
# vectors.
_MAX_CALL_BYTES: Final = 1024 * 1024
_MAX_CALL_ROWS: Final = 1024


@dataclass(frozen=True)
class ModelInput:
    """How one input of the model is read from its column.

    Attributes:
        tensor: The input.
        kind: What the column has: paths of files (FILE), files (BYTES), images (STRUCT) or NUMBERS.
        operations: What to apply to each picture before it is resized for the model.
    """

    tensor: Tensor
    kind: str
    operations: tuple[ImageOperation, ...] = ()


@cache
def workers() -> ThreadPoolExecutor:
    """The threads that all statements share, one per core."""
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="etlkit-model")


class Predictor:
    """Turns the input columns into a STRUCT of the outputs. Memory does not grow with the rows.

    Args:
        runtime: The loaded model.
        inputs: One per input of the model, in order.
        buckets_root: The folder of the buckets. Messages turn paths in it into addresses.
        has_uri: Whether another column has the address of each row, for messages.
    """

    def __init__(
        self, runtime: Runtime, inputs: Sequence[ModelInput], buckets_root: Path, *, has_uri: bool
    ) -> None:
        self._runtime = runtime
        self._inputs = inputs
        self._buckets_root = buckets_root
        self._has_uri = has_uri
        self._call_rows = _call_rows([each.tensor for each in inputs])

    def __call__(self, *columns: pa.ChunkedArray) -> pa.StructArray:
        """Run the model over some rows.

        Raises:
            ConfigError: A value does not fit the model.
            ImageError: A picture is damaged; the message has its address.
        """
        whole = [_combined(column) for column in columns]
        num_rows = len(whole[0])
        tensors = self._runtime.signature.outputs
        outputs = [OutputColumn(tensor, num_rows) for tensor in tensors]

        def call(start: int) -> None:
            self._call([column.slice(start, self._call_rows) for column in whole], start, outputs)

        for _ in workers().map(call, range(0, num_rows, self._call_rows)):
            pass  # this raises the first error of a call
        return pa.StructArray.from_arrays(
            [output.column() for output in outputs], names=[tensor.name for tensor in tensors]
        )

    def _call(self, columns: list[pa.Array], start: int, outputs: list[OutputColumn]) -> None:
        num_rows = len(columns[0])
        uris = columns[len(self._inputs)] if self._has_uri else None
        tensors = {
            each.tensor.name: self._values(each, column, uris)
            for each, column in zip(self._inputs, columns, strict=False)
        }
        for output, values in zip(outputs, self._runtime.run(tensors), strict=True):
            output.put(start, values, num_rows)

    def _values(
        self, model_input: ModelInput, column: pa.Array, uris: pa.Array | None
    ) -> NDArray[Any]:
        if model_input.kind == NUMBERS:
            return arrow_columns.numbers(model_input.tensor, column)
        tensors = []
        for row in range(len(column)):
            uri = None if uris is None else uris[row].as_py()
            try:
                tensors.append(self._picture(model_input, column[row]))
            except EtlkitError as exc:
                raise self._with_address(exc, model_input, column[row], uri) from exc
        return np.stack(tensors)

    def _picture(self, model_input: ModelInput, value: pa.Scalar) -> NDArray[Any]:
        if not value.is_valid:
            raise arrow_columns.null_error(model_input.tensor)
        picture = _picture(model_input.kind, value)
        for operation in model_input.operations:
            picture = operation.apply(picture)
        return _fitted(model_input.tensor, picture)

    def _with_address(
        self, error: EtlkitError, model_input: ModelInput, value: pa.Scalar, uri: str | None
    ) -> EtlkitError:
        """Add to an error which row it is about."""
        if model_input.kind == FILE and value.is_valid:
            uri = address(value.as_py(), self._buckets_root)
        if isinstance(error, ImageError):
            return image_error(error, uri)
        return ConfigError(f"The row of {uri}: {error.message}" if uri else error.message)


def make_function(predictor: Predictor, refuse: Callable[[str], Exception]) -> Callable[..., Any]:
    """Make the function that DuckDB calls.

    Args:
        predictor: Computes the outputs.
        refuse: Makes the query's error from a message.
    """

    def predict(*columns: pa.ChunkedArray) -> pa.StructArray:
        try:
            return predictor(*columns)
        except EtlkitError as exc:
            raise refuse(exc.message) from exc

    return predict


def image_error(error: ImageError, uri: str | None) -> ImageError:
    """Add the address of the image to an error; None = it is unknown."""
    where = f" of {uri}" if uri else ""
    return ImageError(f"The image{where} cannot be read: {error.message}", code=error.code)


def address(path: str, buckets_root: Path) -> str:
    """The `gs://…` address of a file in the folder of the buckets."""
    return "gs://" + path.removeprefix(f"{buckets_root}/")


def _picture(kind: str, value: pa.Scalar) -> Picture:
    if kind == FILE:
        return decode_file(value.as_py())
    if kind == BYTES:
        return pixels.decode(value.as_py())
    return arrow_columns.picture(value)


def _fitted(tensor: Tensor, picture: Picture) -> NDArray[Any]:
    """Resize a picture to what the model takes, as BigQuery does if the query does not."""
    height, width, channels = tensor.row_shape
    if channels is not None and picture.shape[2] != channels:
        raise ConfigError(
            f"Invalid shape of column '{tensor.name}': the image has the shape "
            f"{list(picture.shape)}, and the model wants {tensor.describe()}"
        )
    if height is not None and width is not None:
        picture = pixels.resize(picture, height, width)
    if tensor.dtype.startswith(("int", "uint")) and not picture.is_integer:
        raise ConfigError(
            f"Invalid type of column '{tensor.name}': the model wants {tensor.describe()}; make "
            "integers of the image with ML.CONVERT_IMAGE_TYPE"
        )
    return picture.tensor(tensor.dtype)


def _call_rows(tensors: Sequence[Tensor]) -> int:
    if not all(tensor.takes_batches for tensor in tensors):
        return 1
    row_bytes = sum(
        math.prod(size or 1 for size in tensor.row_shape) * np.dtype(tensor.dtype).itemsize
        for tensor in tensors
    )
    return max(1, min(_MAX_CALL_ROWS, _MAX_CALL_BYTES // max(1, row_bytes)))


def _combined(column: pa.ChunkedArray) -> pa.Array:
    if isinstance(column, pa.ChunkedArray):
        return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    return column

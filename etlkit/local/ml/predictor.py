"""One ML.PREDICT of one statement: the function that DuckDB calls with its rows."""

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
from etlkit.local.ml import arrays, pixels
from etlkit.local.ml.arrays import BYTES, FILE, NUMBERS
from etlkit.local.ml.outputs import OutputColumn
from etlkit.local.ml.steps import picture_of_file

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from etlkit.local.ml.pixels import Picture
    from etlkit.local.ml.runtimes import Runtime
    from etlkit.local.ml.steps import Step
    from etlkit.local.ml.tensors import Tensor

# A call gets as many rows as fit: one picture, which is as fast as more, or many small vectors.
_MAX_CALL_BYTES: Final = 1024 * 1024
_MAX_CALL_ROWS: Final = 1024


@dataclass(frozen=True)
class Feed:
    """How one input of the model gets its values.

    Attributes:
        tensor: The input.
        kind: What the column has: paths of files (FILE), files (BYTES), images (STRUCT), NUMBERS.
        steps: What is done to each picture before the model's own size.
    """

    tensor: Tensor
    kind: str
    steps: tuple[Step, ...] = ()


@cache
def workers() -> ThreadPoolExecutor:
    """One thread per core, for all statements."""
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="etlkit-model")


class Predictor:
    """Turns the columns of the inputs into a STRUCT of the outputs; memory does not grow with the rows.

    Args:
        runtime: The loaded model.
        feeds: One per input of the model, in order.
        buckets_root: Tells the address of a file; for messages.
        has_uri: Whether one more column has the address of each row; for messages.
    """

    def __init__(
        self, runtime: Runtime, feeds: Sequence[Feed], buckets_root: Path, *, has_uri: bool
    ) -> None:
        self._runtime = runtime
        self._feeds = feeds
        self._buckets_root = buckets_root
        self._has_uri = has_uri
        self._call_rows = _call_rows([feed.tensor for feed in feeds])

    def __call__(self, *columns: pa.ChunkedArray) -> pa.StructArray:
        """Answer some rows.

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
            pass  # the first error of a call is raised here
        return pa.StructArray.from_arrays(
            [output.column() for output in outputs], names=[tensor.name for tensor in tensors]
        )

    def _call(self, columns: list[pa.Array], start: int, outputs: list[OutputColumn]) -> None:
        num_rows = len(columns[0])
        uris = columns[len(self._feeds)] if self._has_uri else None
        inputs = {
            feed.tensor.name: self._values(feed, column, uris)
            for feed, column in zip(self._feeds, columns, strict=False)
        }
        for output, values in zip(outputs, self._runtime.run(inputs), strict=True):
            output.put(start, values, num_rows)

    def _values(self, feed: Feed, column: pa.Array, uris: pa.Array | None) -> NDArray[Any]:
        if feed.kind == NUMBERS:
            return arrays.numbers(feed.tensor, column)
        tensors = []
        for row in range(len(column)):
            uri = None if uris is None else uris[row].as_py()
            try:
                tensors.append(self._picture(feed, column[row]))
            except EtlkitError as exc:
                raise self._at(exc, feed, column[row], uri) from exc
        return np.stack(tensors)

    def _picture(self, feed: Feed, value: pa.Scalar) -> NDArray[Any]:
        if not value.is_valid:
            raise arrays.null_error(feed.tensor)
        picture = _picture(feed.kind, value)
        for step in feed.steps:
            picture = step.apply(picture)
        return _fitted(feed.tensor, picture)

    def _at(self, error: EtlkitError, feed: Feed, value: pa.Scalar, uri: str | None) -> EtlkitError:
        """Say which picture it was."""
        if feed.kind == FILE and value.is_valid:
            uri = address(value.as_py(), self._buckets_root)
        if isinstance(error, ImageError):
            return image_error(error, uri)
        return ConfigError(f"The row of {uri}: {error.message}" if uri else error.message)


def make_function(predictor: Predictor, refuse: Callable[[str], Exception]) -> Callable[..., Any]:
    """A predictor as DuckDB calls it.

    Args:
        predictor: The work.
        refuse: Makes the error of the query out of a message.
    """

    def predict(*columns: pa.ChunkedArray) -> pa.StructArray:
        try:
            return predictor(*columns)
        except EtlkitError as exc:
            raise refuse(exc.message) from exc

    return predict


def image_error(error: ImageError, uri: str | None) -> ImageError:
    """Say which image it was; None = nobody knows."""
    where = f" of {uri}" if uri else ""
    return ImageError(f"The image{where} cannot be read: {error.message}", code=error.code)


def address(path: str, buckets_root: Path) -> str:
    """`gs://…` of a file below the folder of the buckets."""
    return "gs://" + path.removeprefix(f"{buckets_root}/")


def _picture(kind: str, value: pa.Scalar) -> Picture:
    if kind == FILE:
        return picture_of_file(value.as_py())
    if kind == BYTES:
        return pixels.decode(value.as_py())
    return arrays.picture(value)


def _fitted(tensor: Tensor, picture: Picture) -> NDArray[Any]:
    """The picture in the size that the model takes, as BigQuery does it where the query does not."""
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
            "whole numbers of the image with ML.CONVERT_IMAGE_TYPE"
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

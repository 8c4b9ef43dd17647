"""Checks Arrow columns and converts them to what a model takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from etlkit.errors import ConfigError
from etlkit.local.ml import pixels
from etlkit.local.ml.tensors import BIGQUERY_TYPES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from etlkit.local.ml.pixels import Picture
    from etlkit.local.ml.tensors import Tensor

# What an input column can have: paths of files, files, images, numbers.
FILE: Final = "file"
BYTES: Final = "bytes"
STRUCT: Final = "struct"
NUMBERS: Final = "numbers"

# BigQuery's names for the fields of an anonymous STRUCT.
SIZES: Final = "_field_1"
VALUES: Final = "_field_2"

_FLOATS: Final = pa.types.is_floating
_WHOLE: Final = pa.types.is_integer
_NAMES: Final = (
    (_WHOLE, "INT64"),
    (_FLOATS, "FLOAT64"),
    (pa.types.is_decimal, "NUMERIC"),
    (pa.types.is_boolean, "BOOL"),
    (pa.types.is_binary, "BYTES"),
    (pa.types.is_large_binary, "BYTES"),
    (pa.types.is_string, "STRING"),
    (pa.types.is_large_string, "STRING"),
)


def check_type(tensor: Tensor, kind: pa.DataType) -> None:
    """Check whether an input can be read from a column, before any row is read.

    Raises:
        ConfigError: It cannot; the message has both types.
    """
    if is_image_struct(kind):
        element = kind.field(1).type.value_type
        fits = tensor.is_image
    elif is_list(kind):
        element = kind.value_type
        fits = bool(tensor.row_shape)
    else:
        element = kind
        fits = tensor.row_size == 1
    if fits and _fits(tensor, element):
        return
    if tensor.is_image and BIGQUERY_TYPES[tensor.dtype] == "INT64" and is_image_struct(kind):
        hint = ". ML.CONVERT_IMAGE_TYPE makes an image of integers"
    elif tensor.is_image:
        hint = ", which ML.DECODE_IMAGE gives"
    elif is_image_struct(kind):
        hint = (
            f". Images are for inputs of batch x height x width x channels, not {tensor.describe()}"
        )
    else:
        hint = ""
    raise ConfigError(
        f"Invalid type of column '{tensor.name}' for ML.PREDICT: it is {type_name(kind)}, and the "
        f"model wants {wanted_type(tensor)}{hint}"
    )


def check_source(tensor: Tensor, kind: pa.DataType, source: str) -> None:
    """Check whether pictures can be made from a column.

    Args:
        tensor: The input of the model.
        kind: The column's type.
        source: FILE, BYTES or STRUCT, as in `ModelInput.kind`.

    Raises:
        ConfigError: It cannot.
    """
    if source == STRUCT:
        if not is_image_struct(kind):
            raise ConfigError(
                f"No matching signature for the image function over column '{tensor.name}': its "
                f"argument is {type_name(kind)}, not an image"
            )
    elif source == BYTES and type_name(kind) != "BYTES":
        raise ConfigError(
            "No matching signature for function ML.DECODE_IMAGE for argument types: "
            f"{type_name(kind)}. Supported signature: ML.DECODE_IMAGE(BYTES)"
        )


def wanted_type(tensor: Tensor) -> str:
    """The column type that an input needs."""
    if tensor.is_image:
        return f"an image, STRUCT<ARRAY<INT64>, ARRAY<{BIGQUERY_TYPES[tensor.dtype]}>>"
    return tensor.bigquery_type


def is_list(kind: pa.DataType) -> bool:
    """Whether the type is an ARRAY."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def is_image_struct(kind: pa.DataType) -> bool:
    """Whether the type is STRUCT<ARRAY<INT64>, ARRAY<number>>, with any field names."""
    if not pa.types.is_struct(kind) or kind.num_fields != 2:
        return False
    sizes, values = kind.field(0).type, kind.field(1).type
    return is_list(sizes) and is_list(values) and bool(_WHOLE(sizes.value_type))


def type_name(kind: pa.DataType) -> str:
    """BigQuery's name of an Arrow type, for messages."""
    if is_list(kind):
        return f"ARRAY<{type_name(kind.value_type)}>"
    if pa.types.is_struct(kind):
        fields = (kind.field(index).type for index in range(kind.num_fields))
        return f"STRUCT<{', '.join(type_name(each) for each in fields)}>"
    for is_kind, name in _NAMES:
        if is_kind(kind):
            return name
    return str(kind).upper()


def picture(scalar: pa.StructScalar) -> Picture:
    """Read the image of a STRUCT.

    Raises:
        ImageError: The number of values does not match the sizes.
    """
    sizes, values = scalar[0].values, scalar[1].values
    return pixels.from_values(
        sizes.to_numpy(zero_copy_only=False), values.to_numpy(zero_copy_only=False)
    )


def pictures_to_structs(pictures: Sequence[Picture | None], *, whole: bool) -> pa.StructArray:
    """Make a column of images; None = NULL."""
    sizes: list[Any] = [None if each is None else each.shape for each in pictures]
    flat = [np.empty(0) if each is None else each.values().reshape(-1) for each in pictures]
    offsets = np.concatenate([[0], np.cumsum([len(values) for values in flat])])
    element = pa.int64() if whole else pa.float64()
    joined = np.concatenate(flat) if flat else np.empty(0)
    lists = pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()),
        pa.array(joined.astype(element.to_pandas_dtype(), copy=False)),
    )
    return pa.StructArray.from_arrays(
        [pa.array(sizes, pa.list_(pa.int64())), lists],
        names=[SIZES, VALUES],
        mask=pa.array([each is None for each in pictures]),
    )


def numbers(tensor: Tensor, column: pa.Array) -> NDArray[Any]:
    """Convert a column of numbers, or of ARRAYs of numbers, to one array of shape (rows, …).

    Raises:
        ConfigError: There is a NULL, or an ARRAY has not the length that the model takes.
    """
    if column.null_count:
        raise null_error(tensor)
    num_rows = len(column)
    sizes = [size for size in tensor.row_shape if size is not None]
    if not is_list(column.type):
        flat = column
        shape = [num_rows, *sizes]
    else:
        lengths = np.diff(column.offsets.to_numpy())
        length = int(lengths[0]) if num_rows else 0
        wanted = tensor.row_size
        bad = next((n for n in lengths if n != (length if wanted is None else wanted)), None)
        if bad is not None:
            raise ConfigError(
                f"Invalid shape of column '{tensor.name}': an ARRAY has {bad} elements, and the "
                f"model wants {tensor.describe()}"
            )
        flat = column.flatten()
        shape = [num_rows, *_row_shape(tensor, length)]
    if flat.null_count:
        raise null_error(tensor)
    if pa.types.is_decimal(flat.type):
        flat = flat.cast(pa.float64())
    values = flat.to_numpy(zero_copy_only=False).astype(tensor.dtype, copy=False)
    return np.ascontiguousarray(values.reshape(shape if tensor.row_shape else [num_rows]))


def null_error(tensor: Tensor) -> ConfigError:
    """The error for a NULL, which no model takes."""
    return ConfigError(
        f"Column '{tensor.name}' is NULL in a row, and models take no NULL. Filter such rows with "
        "WHERE, or replace NULL with IFNULL"
    )


def _row_shape(tensor: Tensor, length: int) -> list[int]:
    """The shape of one row. An unknown size follows from the length."""
    known = [size for size in tensor.row_shape if size is not None]
    product = int(np.prod(known)) if known else 1
    unknown = len(tensor.row_shape) - len(known)
    if unknown > 1 or (unknown and length % product):
        raise ConfigError(
            f"Invalid shape of column '{tensor.name}': {length} elements do not fit "
            f"{tensor.describe()}"
        )
    return [length // product if size is None else size for size in tensor.row_shape]


def _fits(tensor: Tensor, element: pa.DataType) -> bool:
    wanted = BIGQUERY_TYPES[tensor.dtype]
    if wanted == "BOOL":
        return bool(pa.types.is_boolean(element))
    if wanted == "INT64":
        return bool(_WHOLE(element))
    return bool(_WHOLE(element) or _FLOATS(element) or pa.types.is_decimal(element))

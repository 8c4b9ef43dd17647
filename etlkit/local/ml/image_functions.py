"""`ML.DECODE_IMAGE` and the other image functions, anywhere in a query.

Sources: https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-decode-image,
and the pages of the other three beside it.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
from sqlglot import exp

from etlkit.errors import EtlkitError, ImageError
from etlkit.local.bigquery.extensions import api_errors
from etlkit.local.bigquery.extensions.sql_functions import (
    PythonFunction,
    ScalarFunction,
    declare,
    function_name,
)
from etlkit.local.ml import arrow_columns, pixels
from etlkit.local.ml.image_expressions import (
    COLOR,
    DECODE,
    RESIZE,
    SIGNATURES,
    TYPE,
    decode_file,
)
from etlkit.local.ml.late_decoding import object_path
from etlkit.local.ml.predictor import address, image_error, workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pyarrow as pa

    from etlkit.local.bigquery.extensions.subqueries import Scope
    from etlkit.local.ml.pixels import Picture

_FLOAT_IMAGE: Final = f"STRUCT({arrow_columns.SIZES} BIGINT[], {arrow_columns.VALUES} DOUBLE[])"
_WHOLE_IMAGE: Final = f"STRUCT({arrow_columns.SIZES} BIGINT[], {arrow_columns.VALUES} BIGINT[])"

_DECODE_FILE: Final = "etlkit_ml_decode_image"
DECODE_OBJECT: Final = "etlkit_ml_decode_object"
_RESIZE_FLOAT: Final = "etlkit_ml_resize_image"
_RESIZE_WHOLE: Final = "etlkit_ml_resize_whole_image"
_COLOR: Final = "etlkit_ml_convert_color_space"
_TYPE: Final = "etlkit_ml_convert_image_type"

# The largest result of one call. DuckDB asks for 2,048 rows at once, and decoded photos are large.
_MAX_RESULT_BYTES: Final = 4 * 1024**3


def declare_functions(buckets_root: Path) -> None:
    """Declare the image functions.

    Args:
        buckets_root: The folder of the buckets. Only files in it are read.
    """

    def decode_object(path: str) -> Picture:
        if not Path(path).resolve().is_relative_to(buckets_root):
            raise ImageError(f"{path} is not in a local bucket")
        try:
            return decode_file(path)
        except ImageError as exc:
            raise image_error(exc, address(path, buckets_root)) from exc

    python = (
        (_DECODE_FILE, pixels.decode, _FLOAT_IMAGE),
        (DECODE_OBJECT, decode_object, _FLOAT_IMAGE),
        (_RESIZE_FLOAT, _resize_float, _FLOAT_IMAGE),
        (_RESIZE_WHOLE, _resize, _WHOLE_IMAGE),
        (_COLOR, _convert_color_space, _FLOAT_IMAGE),
        (_TYPE, _convert_type, _WHOLE_IMAGE),
    )
    declare(
        *(ScalarFunction(signature, _rewrite) for signature in SIGNATURES.values()),
        python=[
            PythonFunction(name, _by_column(function, whole=result == _WHOLE_IMAGE), result)
            for name, function, result in python
        ],
    )


async def _rewrite(node: exp.Dot, scope: Scope) -> exp.Expr:
    """Replace a call by that of the function in DuckDB."""
    name = function_name(node) or ""
    call = exp.Anonymous(this="", expressions=node.expression.expressions)
    call.set("this", _duckdb_name(name, call, scope, node))
    return call


def _duckdb_name(name: str, call: exp.Anonymous, scope: Scope, node: exp.Expr) -> str:
    if name == DECODE:
        path = object_path(call.expressions[0], node, scope.context)
        if path is None:
            return _DECODE_FILE
        call.set("expressions", [path])
        return DECODE_OBJECT
    if name == RESIZE:
        inner = call.expressions[0].unnest()
        is_whole = isinstance(inner, exp.Anonymous) and inner.this in {_TYPE, _RESIZE_WHOLE}
        return _RESIZE_WHOLE if is_whole else _RESIZE_FLOAT
    return _COLOR if name == COLOR else _TYPE


def _by_column(function: Callable[..., Picture], *, whole: bool) -> Callable[..., Any]:
    """Make a function of columns from a function of one image; NULL gives NULL."""

    def one(row: tuple[Any, ...]) -> Picture | None:
        return None if None in row else function(*row)

    def of_columns(*columns: pa.ChunkedArray) -> pa.StructArray:
        pictures, num_bytes = [], 0
        try:
            for picture in workers().map(one, zip(*map(_python, columns), strict=True)):
                num_bytes += 0 if picture is None else math.prod(picture.shape) * 8
                if num_bytes > _MAX_RESULT_BYTES:
                    raise api_errors.invalid(
                        "Resources exceeded during query execution: the decoded images take more than "
                        f"{_MAX_RESULT_BYTES >> 30} GB at once. Decode them in the query of "
                        "ML.PREDICT, or make them smaller there with ML.RESIZE_IMAGE"
                    )
                pictures.append(picture)
        except EtlkitError as exc:
            raise api_errors.invalid(exc.message) from exc
        return arrow_columns.pictures_to_structs(pictures, whole=whole)

    return of_columns


def _python(column: pa.ChunkedArray) -> Iterable[Any]:
    if not arrow_columns.is_image_struct(column.type):
        return column.to_pylist()  # type: ignore[no-any-return]
    return (arrow_columns.picture(value) if value.is_valid else None for value in column)


def _resize(picture: Picture, height: int, width: int, keep_ratio: bool) -> Picture:
    _require_picture(picture, RESIZE)
    return pixels.resize(picture, height, width, keep_ratio=keep_ratio)


def _resize_float(picture: Picture, height: int, width: int, keep_ratio: bool) -> Picture:
    resized = _resize(picture, height, width, keep_ratio)
    if resized.is_integer:
        raise ImageError(
            "In the local BigQuery, ML.RESIZE_IMAGE of a column with INT64 images works only inside "
            "ML.PREDICT; elsewhere put ML.CONVERT_IMAGE_TYPE around the column"
        )
    return resized


def _convert_color_space(picture: Picture, space: str) -> Picture:
    _require_picture(picture, COLOR)
    return pixels.convert_color_space(picture, space)


def _convert_type(picture: Picture) -> Picture:
    _require_picture(picture, TYPE)
    return pixels.convert_type(picture)


def _require_picture(value: Any, name: str) -> None:
    if not isinstance(value, pixels.Picture):
        raise ImageError(
            f"No matching signature for function {name}. Supported signature: {SIGNATURES[name]}"
        )

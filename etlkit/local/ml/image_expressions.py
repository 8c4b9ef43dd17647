"""Nested image functions, such as `ML.RESIZE_IMAGE(ML.DECODE_IMAGE(data), 224, 224, FALSE)`.

Such an expression is read as a source, whether it is decoded, and a list of operations. So the file
can travel through the query and the operations are done next to the model, one picture per core. A
decoded photo of a megapixel takes 24 MB as a STRUCT, and DuckDB works on 2,048 rows at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlglot import exp

from etlkit.errors import ImageError
from etlkit.local.bigquery.extensions import sql_functions
from etlkit.local.bigquery.extensions.signatures import Argument, Signature
from etlkit.local.ml import pixels

if TYPE_CHECKING:
    from collections.abc import Mapping

    from etlkit.local.ml.pixels import Picture

DECODE: Final = "ML.DECODE_IMAGE"
RESIZE: Final = "ML.RESIZE_IMAGE"
COLOR: Final = "ML.CONVERT_COLOR_SPACE"
TYPE: Final = "ML.CONVERT_IMAGE_TYPE"

_FLOAT_IMAGE: Final = "STRUCT<ARRAY<INT64>, ARRAY<FLOAT64>>"
_WHOLE_IMAGE: Final = "STRUCT<ARRAY<INT64>, ARRAY<INT64>>"
_IMAGE: Final = Argument("image", (_FLOAT_IMAGE, _WHOLE_IMAGE))

SIGNATURES: Final[Mapping[str, Signature]] = {
    signature.name: signature
    for signature in (
        Signature(DECODE, (Argument("file", ("BYTES",)),), _FLOAT_IMAGE),
        Signature(
            RESIZE,
            (
                _IMAGE,
                Argument("target_height", ("INT64",)),
                Argument("target_width", ("INT64",)),
                Argument("preserve_aspect_ratio", ("BOOL",)),
            ),
            _FLOAT_IMAGE,
        ),
        Signature(COLOR, (_IMAGE, Argument("target_color_space", ("STRING",))), _FLOAT_IMAGE),
        Signature(TYPE, (Argument("image", (_FLOAT_IMAGE,)),), _WHOLE_IMAGE),
    )
}


@dataclass(frozen=True)
class ImageOperation:
    """An image function with its arguments, other than ML.DECODE_IMAGE.

    Attributes:
        function: RESIZE, COLOR or TYPE.
        arguments: The arguments after the image; all are literals.
    """

    function: str
    arguments: tuple[Any, ...] = ()

    def apply(self, picture: Picture) -> Picture:
        """Apply the function to one picture.

        Raises:
            ImageError: The arguments do not fit the function or the picture.
        """
        if self.function == RESIZE:
            height, width, keep_ratio = self.arguments
            return pixels.resize(picture, height, width, keep_ratio=keep_ratio)
        if self.function == COLOR:
            return pixels.convert_color_space(picture, *self.arguments)
        return pixels.convert_type(picture)


@dataclass(frozen=True)
class ImageExpression:
    """Nested image functions over one source.

    Attributes:
        source: Files (BYTES) if `decodes`, otherwise image STRUCTs.
        decodes: Whether the innermost function is ML.DECODE_IMAGE.
        operations: The other functions, innermost first.
        outermost: The whole expression.
    """

    source: exp.Expr
    decodes: bool
    operations: tuple[ImageOperation, ...]
    outermost: exp.Expr


def _image_function(node: exp.Expr) -> str | None:
    """The name of the image function that a node calls; None = it calls none."""
    name = sql_functions.function_name(node)
    return name if name in SIGNATURES else None


def parse_image_expression(node: exp.Expr) -> ImageExpression | None:
    """Read nested image functions; None = there are none, or an argument is not a literal."""
    operations: list[ImageOperation] = []
    inner = node.unnest()
    while (name := _image_function(inner)) is not None:
        arguments = inner.expression.expressions
        literals = [_literal(argument) for argument in arguments[1:]]
        if not arguments or None in literals or not _is_complete(name, literals):
            return None
        if name == DECODE:
            operations.reverse()
            return ImageExpression(
                arguments[0], decodes=True, operations=tuple(operations), outermost=node
            )
        operations.append(ImageOperation(name, tuple(literals)))
        inner = arguments[0].unnest()
    if not operations:
        return None
    operations.reverse()
    return ImageExpression(inner, decodes=False, operations=tuple(operations), outermost=node)


def with_source(
    expression: ImageExpression, source: exp.Expr, *, decoded: exp.Expr | None = None
) -> exp.Expr:
    """Build the same functions over another source.

    Args:
        expression: The functions; it is not changed.
        source: Replaces the argument of the innermost function.
        decoded: Replaces the whole call of ML.DECODE_IMAGE instead; None = the call stays.
    """
    whole = exp.Paren(this=expression.outermost.copy())
    inner = whole.this.unnest()
    while (name := _image_function(inner)) is not None:
        if name == DECODE and decoded is not None:
            break
        inner = inner.expression.expressions[0].unnest()
    inner.replace(source if decoded is None else decoded)
    return whole


def decode_file(path: str) -> Picture:
    """Decode a file of a local bucket.

    Raises:
        ImageError: The file is gone, or is not an image.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as exc:
        raise ImageError("The object is not there any more") from exc
    return pixels.decode(data)


def _is_complete(name: str, literals: list[Any]) -> bool:
    if name == RESIZE:
        return [type(each) for each in literals] == [int, int, bool]
    return [type(each) for each in literals] == ([str] if name == COLOR else [])


def _literal(node: exp.Expr) -> Any:
    """The value of a literal; None = the node is something else."""
    if isinstance(node, exp.Boolean):
        return bool(node.this)
    if not isinstance(node, exp.Literal):
        return None
    text = str(node.this)
    if node.is_string:
        return text
    return int(text) if text.isdigit() else None

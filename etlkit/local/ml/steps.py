"""Chains of image functions, carried out where the picture is needed and not before.

`ML.RESIZE_IMAGE(ML.DECODE_IMAGE(data), 224, 224, FALSE)` is a source and two steps. A decoded photo
of a megapixel takes 24 MB as a STRUCT, and DuckDB works on 2,048 rows at a time: so the file travels
through the query, and the steps are done next to the model, one picture per core.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlglot import exp

from etlkit.errors import ImageError
from etlkit.local.ml import pixels

if TYPE_CHECKING:
    from collections.abc import Mapping

    from etlkit.local.ml.pixels import Picture

DECODE: Final = "DECODE_IMAGE"
RESIZE: Final = "RESIZE_IMAGE"
COLOR: Final = "CONVERT_COLOR_SPACE"
TYPE: Final = "CONVERT_IMAGE_TYPE"

SIGNATURES: Final[Mapping[str, str]] = {
    DECODE: "BYTES",
    RESIZE: "STRUCT<ARRAY<INT64>, ARRAY<FLOAT64 or INT64>>, INT64, INT64, BOOL",
    COLOR: "STRUCT<ARRAY<INT64>, ARRAY<FLOAT64 or INT64>>, STRING",
    TYPE: "STRUCT<ARRAY<INT64>, ARRAY<FLOAT64>>",
}


@dataclass(frozen=True)
class Step:
    """One function of a chain after the decoding.

    Attributes:
        function: RESIZE, COLOR or TYPE.
        arguments: Those after the image; literals all.
    """

    function: str
    arguments: tuple[Any, ...] = ()

    def apply(self, picture: Picture) -> Picture:
        """Do it to one picture.

        Raises:
            ImageError: The arguments, or the picture, do not allow it.
        """
        if self.function == RESIZE:
            height, width, keep_ratio = self.arguments
            return pixels.resize(picture, height, width, keep_ratio=keep_ratio)
        if self.function == COLOR:
            return pixels.convert_color_space(picture, *self.arguments)
        return pixels.convert_type(picture)


@dataclass(frozen=True)
class Chain:
    """A source of pictures and what is done to them.

    Attributes:
        source: Files (BYTES) if `decodes`, else STRUCTs.
        decodes: Whether the first function is ML.DECODE_IMAGE.
        steps: The others, innermost first.
        outermost: The whole expression.
    """

    source: exp.Expr
    decodes: bool
    steps: tuple[Step, ...]
    outermost: exp.Expr


def function_name(node: exp.Expr | None) -> str | None:
    """`DECODE_IMAGE` for `ml.decode_image(…)`; None = it is no image function."""
    if not isinstance(node, exp.Dot) or not isinstance(node.expression, exp.Anonymous):
        return None
    name = str(node.expression.this).upper()
    is_ours = isinstance(node.this, exp.Identifier) and node.this.name.upper() == "ML"
    return name if is_ours and name in SIGNATURES else None


def chain_of(node: exp.Expr) -> Chain | None:
    """Read a chain; None = it is none, or an argument is not a literal."""
    steps: list[Step] = []
    inner = node.unnest()
    while (name := function_name(inner)) is not None:
        arguments = inner.expression.expressions
        literals = [_literal(argument) for argument in arguments[1:]]
        if not arguments or None in literals or not _is_complete(name, literals):
            return None
        if name == DECODE:
            steps.reverse()
            return Chain(arguments[0], decodes=True, steps=tuple(steps), outermost=node)
        steps.append(Step(name, tuple(literals)))
        inner = arguments[0].unnest()
    steps.reverse()
    return Chain(inner, decodes=False, steps=tuple(steps), outermost=node) if steps else None


def around(chain: Chain, source: exp.Expr, *, decoded: exp.Expr | None = None) -> exp.Expr:
    """The same functions around another source.

    Args:
        chain: The functions; it is not changed.
        source: In place of what the innermost function takes.
        decoded: In place of ML.DECODE_IMAGE and what it takes; None = the call stays.
    """
    whole = exp.Paren(this=chain.outermost.copy())
    inner = whole.this.unnest()
    while (name := function_name(inner)) is not None:
        if name == DECODE and decoded is not None:
            break
        inner = inner.expression.expressions[0].unnest()
    inner.replace(source if decoded is None else decoded)
    return whole


def picture_of_file(path: str) -> Picture:
    """Decode the object of a local bucket.

    Raises:
        ImageError: It is gone, or is no image.
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
    """A literal's value; None = it is something else."""
    if isinstance(node, exp.Boolean):
        return bool(node.this)
    if not isinstance(node, exp.Literal):
        return None
    text = str(node.this)
    if node.is_string:
        return text
    return int(text) if text.isdigit() else None

"""The inputs and outputs of a model, with their types in numpy, BigQuery and DuckDB."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# numpy's name of an element type to BigQuery's. Strings are missing: not every runtime has them.
# Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-create-onnx
BIGQUERY_TYPES: Final[Mapping[str, str]] = {
    "bool": "BOOL",
    "float16": "FLOAT64",
    "float32": "FLOAT64",
    "float64": "FLOAT64",
    "int8": "INT64",
    "int16": "INT64",
    "int32": "INT64",
    "int64": "INT64",
    "uint8": "INT64",
    "uint16": "INT64",
    "uint32": "INT64",
    "uint64": "INT64",
}
_DUCKDB_TYPES: Final = {"BOOL": "BOOLEAN", "FLOAT64": "DOUBLE", "INT64": "BIGINT"}

_IMAGE_RANK: Final = 4


@dataclass(frozen=True)
class Tensor:
    """One input or output of a model.

    Attributes:
        name: The name in the model, which is also the name of the column.
        dtype: numpy's name of the element type, one of `BIGQUERY_TYPES`.
        shape: The sizes, the batch first; None = any size. () = one value for the whole batch.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    @property
    def row_shape(self) -> tuple[int | None, ...]:
        """The shape of one row."""
        return self.shape[1:]

    @property
    def row_size(self) -> int | None:
        """The number of values in a row; None = it differs from row to row."""
        if None in self.row_shape:
            return None
        return math.prod(size for size in self.row_shape if size is not None)

    @property
    def is_image(self) -> bool:
        """Whether it takes images: batch, height, width, channels."""
        return len(self.shape) == _IMAGE_RANK and self.shape[-1] in {1, 3, 4, None}

    @property
    def takes_batches(self) -> bool:
        """Whether one call can take many rows."""
        return bool(self.shape) and self.shape[0] is None and None not in self.row_shape

    @property
    def bigquery_type(self) -> str:
        """`FLOAT64`, or `ARRAY<FLOAT64>` where a row has many values; higher ranks are flattened."""
        element = BIGQUERY_TYPES[self.dtype]
        return f"ARRAY<{element}>" if self.row_shape else element

    @property
    def is_single(self) -> bool:
        """Whether FLOAT, which is half as large as FLOAT64, holds its numbers exactly."""
        return self.dtype in {"float16", "float32"}

    @property
    def duckdb_type(self) -> str:
        """The type in DuckDB, which is FLOAT where that is enough."""
        element = "FLOAT" if self.is_single else _DUCKDB_TYPES[BIGQUERY_TYPES[self.dtype]]
        return f"{element}[]" if self.row_shape else element

    def describe(self) -> str:
        """A text for messages: `input_1 (float32, shape [?, 224, 224, 3])`."""
        sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name} ({self.dtype}, shape [{sizes}])"

    def field(self) -> dict[str, Any]:
        """The `StandardSqlField` that models.get returns."""
        element = BIGQUERY_TYPES[self.dtype]
        kind: dict[str, Any] = {"typeKind": element}
        if self.row_shape:
            kind = {"typeKind": "ARRAY", "arrayElementType": kind}
        return {"name": self.name, "type": kind}


@dataclass(frozen=True)
class Signature:
    """All inputs and outputs of a model, in the model's order."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def to_json(self) -> dict[str, Any]:
        """Convert to JSON for the catalog."""
        return {"inputs": _to_json(self.inputs), "outputs": _to_json(self.outputs)}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Signature:
        """Read the JSON of the catalog."""
        return cls(_from_json(body["inputs"]), _from_json(body["outputs"]))

    def describe_inputs(self) -> str:
        """A text for messages that lists all inputs."""
        return ", ".join(tensor.describe() for tensor in self.inputs)


def _to_json(tensors: Sequence[Tensor]) -> list[dict[str, Any]]:
    return [{"name": t.name, "dtype": t.dtype, "shape": list(t.shape)} for t in tensors]


def _from_json(body: Sequence[Mapping[str, Any]]) -> tuple[Tensor, ...]:
    return tuple(Tensor(t["name"], t["dtype"], tuple(t["shape"])) for t in body)

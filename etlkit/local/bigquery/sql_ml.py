"""BigQuery ML's functions as the analyzer needs them declared: they are no part of GoogleSQL.

https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-predict and the pages
beside it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from etlkit.local.bigquery.sql_catalog import (
    Argument,
    ColumnTypes,
    Function,
    Model,
    Path,
    TableFunction,
)
from etlkit.local.bigquery.sql_types import SqlType

_FLOAT_IMAGE: Final = SqlType.parse("STRUCT<ARRAY<INT64>, ARRAY<FLOAT64>>")
_WHOLE_IMAGE: Final = SqlType.parse("STRUCT<ARRAY<INT64>, ARRAY<INT64>>")
_ANY: Final = Argument()


def _value(kind: str) -> Argument:
    return Argument(SqlType(kind))


IMAGE_FUNCTIONS: Final = (
    Function(("ML", "DECODE_IMAGE"), (_value("BYTES"),), _FLOAT_IMAGE),
    Function(("ML", "CONVERT_COLOR_SPACE"), (_ANY, _value("STRING")), _FLOAT_IMAGE),
    Function(("ML", "CONVERT_IMAGE_TYPE"), (_ANY,), _WHOLE_IMAGE),
    Function(
        ("ML", "RESIZE_IMAGE"),
        (_ANY, _value("INT64"), _value("INT64"), _value("BOOL")),
        _FLOAT_IMAGE,
    ),
)
"""https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-decode-image and the
pages of the others."""

_MODEL: Final = re.compile(
    r"\bML\s*\.\s*(?P<function>\w+)\s*\(\s*"
    r"(?P<argument>MODEL\s+(?P<name>(?:`[^`]+`|[\w-]+)(?:\s*\.\s*(?:`[^`]+`|[\w-]+))*))",
    re.IGNORECASE,
)
_MAX_MODELS: Final = 9

_ANNOTATION: Final = (
    ("ml_annotate_image_result", SqlType("JSON")),
    ("ml_annotate_image_status", SqlType("STRING")),
)
"""https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-annotate-image"""


@dataclass(frozen=True)
class ModelCall:
    """A call of a function with a model in a statement.

    Attributes:
        function: Its name behind `ML.`, in capitals.
        model: The model's name, as the statement writes it.
        start: Where the name begins.
        name_start: Where the name of the function begins.
        argument_start: Where the word MODEL begins.
        argument_end: Where the model's name ends.
    """

    function: str
    model: Path
    start: int
    name_start: int
    argument_start: int
    argument_end: int


def model_calls(sql: str) -> list[ModelCall]:
    """The calls of `ML` functions with a model, in order."""
    return [
        ModelCall(
            match["function"].upper(),
            tuple(re.sub(r"[`\s]", "", match["name"]).split(".")),
            match.start("name"),
            match.start("function"),
            match.start("argument"),
            match.end("argument"),
        )
        for match in _MODEL.finditer(sql)
    ]


def declared(
    sql: str, find_model: Callable[[Path], Model | None]
) -> tuple[str, list[TableFunction]]:
    """A statement that the analyzer takes, and the functions that it calls.

    The analyzer finds the columns of a function by its body only if no argument is a model: NULL stands
    in for it, so that all positions stay. Functions of different models get names of their own.

    Args:
        sql: A statement.
        find_model: What a name is; a model that is not found leaves the statement as it is.
    """
    functions: dict[Path, TableFunction] = {}
    for call in model_calls(sql)[:_MAX_MODELS]:
        model = find_model(call.model)
        if model is None or call.function not in {"PREDICT", "ANNOTATE_IMAGE"}:
            continue
        added = model.outputs if call.function == "PREDICT" else _ANNOTATION
        name = f"{call.function[:-1]}{len(functions)}"
        functions["ML", name] = _appending(("ML", name), added)
        end = call.name_start + len(name)
        blank = re.sub(r"[^\n]", " ", sql[call.argument_start + len("NULL") : call.argument_end])
        between = sql[end : call.argument_start]
        sql = f"{sql[: call.name_start]}{name}{between}NULL{blank}{sql[call.argument_end :]}"
    return sql, [*functions.values()]


def _appending(path: Path, columns: ColumnTypes) -> TableFunction:
    """A function that gives the columns of its rows behind some of its own."""
    own = [f"CAST(NULL AS {kind.text}) AS `{name}`" for name, kind in columns]
    return TableFunction(
        path,
        (
            Argument(name="model"),
            Argument(name="input", kind="RELATION"),
            Argument(name="settings", is_optional=True),
        ),
        body=f"SELECT {', '.join([*own, '*'])} FROM input",
    )

"""Signatures of SQL functions: arguments and results in BigQuery's types.

They refuse wrong calls, and they are what GoogleSQL's analyzer has to know about a function.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlglot import exp
from sqlglot.errors import ParseError

from etlkit.local.bigquery.extensions import api_errors
from etlkit.rows.types import ALIASES, STRUCT, TYPES

MODEL: Final = "MODEL"
"""The type of an argument that names a model."""

TABLE: Final = "TABLE"
"""The type of an argument that names a table or is a query in parentheses."""

_COERCED: Final = {
    "INT64": {"FLOAT64", "NUMERIC", "BIGNUMERIC"},
    "NUMERIC": {"FLOAT64", "BIGNUMERIC"},
    "BIGNUMERIC": {"FLOAT64"},
    "FLOAT64": {"NUMERIC", "BIGNUMERIC"},
    "DATE": {"DATETIME", "TIMESTAMP"},
    "DATETIME": {"TIMESTAMP"},
    "STRING": {"DATE", "DATETIME", "TIME", "TIMESTAMP"},
}
"""The types to which BigQuery converts a literal implicitly.

Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/conversion_rules
"""


@dataclass(frozen=True)
class Argument:
    """One argument of a function or procedure.

    Attributes:
        name: The name in BigQuery's documentation.
        types: The types that it may have, as DDL writes them, or MODEL or TABLE.
        is_optional: Whether it may be left out. All arguments after it are optional, too.
        is_repeated: Whether it may be given any number of times. It is the last one then.
    """

    name: str
    types: tuple[str, ...]
    is_optional: bool = False
    is_repeated: bool = False

    def __post_init__(self) -> None:
        for text in self.types:
            if text not in {MODEL, TABLE}:
                parse_type(text)

    def __str__(self) -> str:
        text = " or ".join(self.types)
        if self.is_repeated:
            text += ", ..."
        return f"[{text}]" if self.is_optional or self.is_repeated else text

    def accepts(self, given: str | None) -> bool:
        """Whether a value of a type fits; None = the type is not known before the query runs."""
        if given is None:
            return True
        return given in self.types or not _COERCED.get(given, set()).isdisjoint(self.types)


@dataclass(frozen=True)
class ResultTable:
    """The columns that a table-valued function returns.

    Attributes:
        columns: Name and type of each column that the function itself adds.
        has_model_columns: Whether the outputs of the model come first. They differ between models.
        has_input_columns: Whether the columns of the input table follow.
    """

    columns: tuple[tuple[str, str], ...] = ()
    has_model_columns: bool = False
    has_input_columns: bool = False

    def __post_init__(self) -> None:
        for _, text in self.columns:
            parse_type(text)


@dataclass(frozen=True)
class Signature:
    """What a function or procedure takes and returns.

    Attributes:
        name: The name for messages, with its namespace or dataset.
        arguments: In order.
        result: The type of a value, or the columns of a table; None = a procedure, which returns
            nothing.
    """

    name: str
    arguments: tuple[Argument, ...]
    result: str | ResultTable | None = None

    def __post_init__(self) -> None:
        if isinstance(self.result, str):
            parse_type(self.result)

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(str, self.arguments))})"

    def check_call(self, arguments: Sequence[exp.Expr]) -> None:
        """Raise if a call has a wrong number of arguments, or a literal of a wrong type."""
        self.check_types([literal_type(each) for each in arguments])

    def check_types(self, given: Sequence[str | None]) -> None:
        """Raise if arguments of these types do not fit.

        Args:
            given: The type of each argument; None = not known before the query runs.

        Raises:
            InvalidQueryError: The message has the signature.
        """
        required = [
            each for each in self.arguments if not each.is_optional and not each.is_repeated
        ]
        is_open = bool(self.arguments) and self.arguments[-1].is_repeated
        if len(given) < len(required) or (len(given) > len(self.arguments) and not is_open):
            raise self.refused(f"Number of arguments does not match for function {self.name}")
        for position, kind in enumerate(given):
            argument = self.arguments[min(position, len(self.arguments) - 1)]
            if not argument.accepts(kind):
                raise self.refused(
                    f"No matching signature for function {self.name}: "
                    f"argument {position + 1} has type {kind}"
                )

    def refused(self, problem: str) -> Exception:
        """The error for a wrong call: what is wrong with it, and the signature."""
        return api_errors.invalid(f"{problem}. Supported signature: {self}")


def parse_type(text: str) -> exp.DataType:
    """Parse a type as DDL writes it; the fields of a STRUCT may have no names.

    Raises:
        ValueError: It is not a type of BigQuery, or not in BigQuery's standard spelling.
    """
    try:
        tree = exp.DataType.build(text, dialect="bigquery")
    except ParseError as error:
        raise ValueError(f"{text!r} is not a type of BigQuery") from error
    names = {standard_name(node) for node in tree.find_all(exp.DataType)}
    if tree.sql(dialect="bigquery") != text or not names <= {*TYPES, STRUCT, "ARRAY"}:
        raise ValueError(f"{text!r} is not a type of BigQuery")
    return tree


def standard_name(node: exp.DataType) -> str:
    """BigQuery's standard name of a parsed type, without what follows it in brackets."""
    name = node.sql(dialect="bigquery").upper().split("<")[0].split("(")[0]
    return ALIASES.get(name, name)


def value_type(value: Any) -> str | None:
    """The type of a Python value; None = NULL, or a value that is not a scalar."""
    return next((name for name, kind in TYPES.items() if type(value) in kind.exact), None)


def literal_type(node: exp.Expr) -> str | None:
    """The type of a literal or of a CAST to a scalar; None = it depends on the query, or is NULL."""
    value = node.unnest()
    if isinstance(value, exp.Neg):
        value = value.this
    if isinstance(value, exp.Literal):
        if value.is_string:
            return "STRING"
        return "INT64" if str(value.this).isdigit() else "FLOAT64"
    if isinstance(value, exp.Boolean):
        return "BOOL"
    if isinstance(value, exp.ByteString):
        return "BYTES"
    if isinstance(value, exp.Cast):
        name = standard_name(value.to)
        return name if name in TYPES else None
    return None

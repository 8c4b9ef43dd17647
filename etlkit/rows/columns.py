"""Columns: their names, BigQuery types and modes, and the Arrow types that carry them."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from etlkit.errors import ConfigError
from etlkit.rows.ddl_types import TypeNode, parse_type
from etlkit.rows.types import STRUCT, TYPES, standard_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

MODES = ("NULLABLE", "REQUIRED", "REPEATED")

MAX_COLUMNS = 9_997
"""BigQuery's 10,000 (https://cloud.google.com/bigquery/quotas#table_limits) less the three
`_etlkit_*` columns of a staging table. Fields of a STRUCT count one by one."""

MAX_NAME_CHARS = 300
"""https://cloud.google.com/bigquery/docs/schemas#column_names."""

RESERVED_PREFIXES = (
    "_TABLE_",
    "_FILE_",
    "_PARTITION",
    "_ROW_TIMESTAMP",
    "__ROOT__",
    "_COLIDENTIFIER",
)
"""BigQuery refuses names that start with one of these, in any case; see the page above."""

OWN_PREFIX = "_etlkit_"
"""Columns of staging tables: row id, part, parts."""

# Flexible column names: https://cloud.google.com/bigquery/docs/schemas#flexible-column-names
_NAME_CATEGORIES = frozenset("LNM")
_NAME_PUNCTUATION = frozenset({"Pc", "Pd"})
_NAME_CHARS = frozenset("&%=+:'<>#| ")


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table, or one field of a STRUCT.

    Attributes:
        name: As in BigQuery; `check_names` checks it.
        type: BigQuery's standard name, e.g. `INT64`; aliases (`INTEGER`, `RECORD`, …) in any case
            are replaced by it.
        mode: `NULLABLE`, `REQUIRED` or `REPEATED`; a repeated column is `ARRAY<type>`.
        fields: A STRUCT's fields, at least one; empty for every other type.
        description: Shown in BigQuery; None = there is none.
        parameters: What stands in brackets behind the type: the length of a STRING (in characters)
            or of BYTES, precision and scale of a NUMERIC or BIGNUMERIC. Empty = the type's full range.

    Raises:
        ConfigError: Unknown type or mode, a STRUCT without fields, fields without a STRUCT,
            parameters that the type does not have.
    """

    name: str
    type: str
    mode: str = "NULLABLE"
    fields: tuple[Column, ...] = ()
    description: str | None = None
    parameters: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "type", standard_name(self.type, self.name))
        object.__setattr__(self, "mode", self.mode.upper())
        if self.mode not in MODES:
            raise ConfigError(
                f"column {self.name!r}: mode {self.mode!r} is unknown; allowed: {', '.join(MODES)}"
            )
        if (self.type == STRUCT) != bool(self.fields):
            need = "needs at least one field" if self.type == STRUCT else "has no fields"
            raise ConfigError(f"column {self.name!r}: a {self.type} {need}")
        if self.parameters and (self.fields or not TYPES[self.type].allows(self.parameters)):
            raise ConfigError(
                f"column {self.name!r}: BigQuery has no {self.type}"
                f"({', '.join(map(str, self.parameters))})"
            )

    @classmethod
    def parse(cls, name: str, text: str) -> Column:
        """Parse a column from BigQuery's type text.

        Args:
            name: The column's name.
            text: E.g. `STRING(50) NOT NULL` or `ARRAY<STRUCT<a INT64, b NUMERIC(10, 2)>>`.

        Raises:
            ConfigError: The text is not a type; says at which character.
        """
        return _from_node(name, parse_type(name, text))

    @property
    def is_comparable(self) -> bool:
        """Whether BigQuery's `=` takes such a column, so that it can be a key."""
        return not self.fields and self.mode != "REPEATED" and TYPES[self.type].is_comparable

    @property
    def ddl(self) -> str:
        """The type, without parameters and NOT NULL, e.g. ``ARRAY<STRUCT<`a` INT64>>``."""
        return self._type_text(
            self.type, ", ".join(f"{quoted(f.name)} {f.ddl}" for f in self.fields)
        )

    @property
    def parameterized_ddl(self) -> str:
        """The type with its parameters, without NOT NULL, e.g. `STRING(50)`."""
        fields = ", ".join(f"{quoted(f.name)} {f.parameterized_ddl}" for f in self.fields)
        return self._type_text(self._parameterized_type, fields)

    @property
    def _parameterized_type(self) -> str:
        shown = ", ".join(map(str, self.parameters))
        return f"{self.type}({shown})" if shown else self.type

    def limited_by(self, target: Column) -> Column:
        """The same column with what a table's column demands: NOT NULL, length, precision, scale.

        Args:
            target: The table's column. If it has another type, nothing is taken over.
        """
        if target.ddl != self.ddl:
            return self
        there = {field.name: field for field in target.fields}
        fields = tuple(field.limited_by(there[field.name]) for field in self.fields)
        mode = target.mode if target.mode == "REQUIRED" else self.mode
        return replace(self, mode=mode, fields=fields, parameters=target.parameters)

    @property
    def definition(self) -> str:
        """The column as written inside the parentheses of `CREATE TABLE`.

        Has the quoted name, the type, NOT NULL (also of nested fields) and the description, e.g.
        ``'`uri` STRING NOT NULL OPTIONS(description="where")'``.
        """
        fields = ", ".join(f.definition for f in self.fields)
        text = f"{quoted(self.name)} {self._type_text(self._parameterized_type, fields)}"
        if self.mode == "REQUIRED":
            text += " NOT NULL"
        if self.description is not None:
            # BigQuery reads JSON's escapes, except surrogate pairs: ensure_ascii=False avoids them.
            text += f" OPTIONS(description={json.dumps(self.description, ensure_ascii=False)})"
        return text

    def _type_text(self, scalar: str, fields: str) -> str:
        text = f"STRUCT<{fields}>" if self.fields else scalar
        return f"ARRAY<{text}>" if self.mode == "REPEATED" else text


def quoted(name: str) -> str:
    """A name as a quoted identifier of BigQuery; any character is allowed in it."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def parse_schema(schema: Mapping[str, str]) -> tuple[Column, ...]:
    """Parse columns from name -> type text, e.g. `EtlBase.output_schema`; keeps the order.

    Raises:
        ConfigError: It is no dict of texts, a text is not a type, or a name breaks a rule of
            `check_names`.
    """
    if not isinstance(schema, Mapping):
        raise ConfigError(
            f"columns are a dict of names and types, e.g. {{'uri': 'STRING'}}; got {schema!r}"
        )
    for name, text in schema.items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise ConfigError(
                f"column {name!r}: name and type are texts, e.g. {{'uri': 'STRING'}}; got {text!r}"
            )
    columns = tuple(Column.parse(name, text) for name, text in schema.items())
    check_names(columns)
    return columns


def check_names(columns: Sequence[Column]) -> None:
    """Check names now that BigQuery would refuse only at the end of the run.

    Rules: at most `MAX_COLUMNS` columns; no two that differ only in case; BigQuery's characters for
    flexible names; at most `MAX_NAME_CHARS` characters; no reserved prefix. Fields of a STRUCT obey
    the same rules among themselves.

    Raises:
        ConfigError: The first rule that is broken, with the names.
    """
    num_columns = _num_leaves(columns)
    if num_columns > MAX_COLUMNS:
        raise ConfigError(
            f"{num_columns:,} columns are too many: BigQuery tables hold 10,000, and etlkit needs "
            f"three of them while it stages rows, so {MAX_COLUMNS:,} are allowed"
        )
    for siblings, path in _levels(columns, ""):
        seen: dict[str, str] = {}
        for column in siblings:
            name = path + column.name
            _check_name(column.name, name)
            key = column.name.casefold()
            if key in seen:
                raise ConfigError(
                    f"columns {seen[key]!r} and {name!r} are one column to BigQuery, which "
                    "ignores case in names; rename one of them"
                )
            seen[key] = name


def is_nested(column: Column) -> bool:
    """Whether a row may hold a list, dict or bytearray for this column, which it can change later."""
    is_array = column.mode == "REPEATED"
    return (
        is_array or bool(column.fields) or TYPES[column.type].is_mutable or column.type == "BYTES"
    )


def arrow_type(column: Column) -> pa.DataType:
    """The Arrow type that carries a column's values, the one BigQuery's Storage API uses.

    REPEATED gives a list of it; fields are nullable on every level.

    Source: https://cloud.google.com/bigquery/docs/reference/storage#arrow_schema_details
    """
    import pyarrow as pa

    if column.fields:
        carrier = pa.struct([pa.field(f.name, arrow_type(f)) for f in column.fields])
    else:
        carrier = TYPES[column.type].arrow(pa)
    return pa.list_(carrier) if column.mode == "REPEATED" else carrier


def arrow_schema(columns: Sequence[Column]) -> pa.Schema:
    """The Arrow schema of a table's columns.

    Every field is nullable, even if the column is REQUIRED: a staging table also holds skipped rows,
    whose columns are all NULL. `RowEncoder` checks REQUIRED.
    """
    import pyarrow as pa

    return pa.schema([pa.field(column.name, arrow_type(column)) for column in columns])


def _from_node(name: str, node: TypeNode) -> Column:
    fields = tuple(_from_node(field, child) for field, child in node.fields)
    return Column(name, node.type, node.mode, fields, parameters=node.parameters)


def _num_leaves(columns: Sequence[Column]) -> int:
    return sum(_num_leaves(column.fields) if column.fields else 1 for column in columns)


def _levels(columns: Sequence[Column], path: str) -> Iterator[tuple[Sequence[Column], str]]:
    """The columns, then the fields of each STRUCT; each time with the prefix of their path."""
    yield columns, path
    for column in columns:
        if column.fields:
            yield from _levels(column.fields, f"{path}{column.name}.")


def _check_name(name: str, path: str) -> None:
    if not name or len(name) > MAX_NAME_CHARS:
        raise ConfigError(
            f"column name {path!r} has {len(name)} characters; "
            f"BigQuery allows 1 to {MAX_NAME_CHARS}"
        )
    for character in name:
        if not _is_allowed(character):
            raise ConfigError(
                f"column name {path!r} has the character {character!r}; BigQuery allows letters, "
                "digits, marks, underscores, dashes, spaces and & % = + : ' < > # |"
            )
    upper = name.upper()
    for prefix in (*RESERVED_PREFIXES, OWN_PREFIX):
        if upper.startswith(prefix.upper()):
            owner, way_out = "BigQuery", "rename the column"
            if prefix == OWN_PREFIX:
                owner = "etlkit"
                way_out += f", or leave it out: SELECT * EXCEPT ({name})"
            raise ConfigError(
                f"column name {path!r} starts with {prefix!r}, which {owner} reserves; {way_out}"
            )


def _is_allowed(character: str) -> bool:
    category = unicodedata.category(character)
    return (
        category[0] in _NAME_CATEGORIES or category in _NAME_PUNCTUATION or character in _NAME_CHARS
    )

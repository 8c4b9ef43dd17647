"""What a check knows of tables, models and functions; read from resources of BigQuery's REST API."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from etlkit.errors import ConfigError
from etlkit.rows.columns import Column, quoted
from etlkit.rows.types import TYPES

_STANDARD_NAMES = {
    "INTEGER": "INT64",
    "FLOAT": "FLOAT64",
    "BOOLEAN": "BOOL",
    "RECORD": "STRUCT",
    "DECIMAL": "NUMERIC",
    "BIGDECIMAL": "BIGNUMERIC",
}
"""https://cloud.google.com/bigquery/docs/reference/rest/v2/tables#TableFieldSchema.FIELDS.type"""

_TYPES = frozenset({*TYPES, "STRUCT", "INTERVAL", "RANGE"})

OBJECT_COLUMNS = (
    ("uri", "STRING"),
    ("generation", "INT64"),
    ("content_type", "STRING"),
    ("size", "INT64"),
    ("md5_hash", "STRING"),
    ("updated", "TIMESTAMP"),
    ("metadata", "ARRAY<STRUCT<name STRING, value STRING>>"),
)
"""https://cloud.google.com/bigquery/docs/object-table-introduction#object_table_schema"""

OBJECT_PSEUDO_COLUMNS = (("data", "BYTES"), ("ref", ("STRUCT<uri STRING, version STRING, "
    "authorizer STRING, details JSON>")))  # fmt: skip
"""Of object tables; `*` does not include them. The same page."""


@dataclass(frozen=True)
class KnownColumn:
    """A column of a table, or of the result of a query.

    Attributes:
        name: Its name; empty = it has none.
        type: As GoogleSQL writes it, e.g. `ARRAY<STRUCT<a INT64>>`.
        is_required: Whether it is NOT NULL.
        has_default: Whether rows may leave it out.
    """

    name: str
    type: str
    is_required: bool = False
    has_default: bool = False

    @property
    def text(self) -> str:
        """For people: `name TYPE`."""
        return f"{self.name} {self.type}" + (" NOT NULL" if self.is_required else "")


Columns = tuple[KnownColumn, ...]


@dataclass(frozen=True)
class KnownTable:
    """A table or view, as it is before the job that is looked at.

    Attributes:
        columns: In order.
        pseudo_columns: Columns that `*` does not include.
        is_complete: Whether these are all columns; a transform without `output_schema` may make more.
        maker: The job that makes it; empty = it is there already.
        why: If it is not complete: why not, a sentence each.
        resource: As the REST API describes it, for partitioning and clustering; empty = not known.
        is_view: Whether rows cannot be written to it.
    """

    columns: Columns
    pseudo_columns: Columns = ()
    is_complete: bool = True
    maker: str = ""
    why: tuple[str, ...] = ()
    resource: Mapping[str, Any] = field(default_factory=dict, compare=False)
    is_view: bool = False


@dataclass(frozen=True)
class KnownModel:
    """A model.

    Attributes:
        inputs: Its features; empty = not known.
        outputs: What `ML.PREDICT` adds; empty = not known.
        maker: As in `KnownTable`.
    """

    inputs: Columns = ()
    outputs: Columns = ()
    maker: str = ""


@dataclass(frozen=True)
class KnownRoutine:
    """A function, table function or procedure.

    Attributes:
        kind: `SCALAR_FUNCTION`, `AGGREGATE_FUNCTION`, `TABLE_VALUED_FUNCTION` or `PROCEDURE`.
        arguments: Name and type; an empty type = any.
        result: The type of its value; empty = it is found from the body.
        columns: Of a table function.
        body: SQL of a function without a type; empty = another language.
        maker: As in `KnownTable`.
    """

    kind: str
    arguments: tuple[tuple[str, str], ...] = ()
    result: str = ""
    columns: Columns = ()
    body: str = ""
    maker: str = ""


Known = KnownTable | KnownModel | KnownRoutine


class Catalog(Protocol):
    """Where tables are found that no job of the check makes."""

    @property
    def title(self) -> str:
        """For people, e.g. `the local catalog`."""

    @property
    def project(self) -> str:
        """The project of names without one."""

    @property
    def asks(self) -> bool:
        """Whether a look-up is a request: then only names of tables are looked up, not all names."""

    def prepare(self, names: Iterable[str], /) -> None:
        """Look several names up at once, where that is faster."""

    def find(self, name: str, /) -> Known | None:
        """What `dataset.name` or `project.dataset.name` is; None = it does not exist."""

    def missing(self, name: str, /) -> str:
        """What to do if a name is not there, as the end of a sentence."""


def as_columns(columns: Sequence[KnownColumn]) -> tuple[Column, ...]:
    """The columns as rows have them.

    Raises:
        ConfigError: A type that rows cannot hold, such as INTERVAL.
    """
    return tuple(
        Column.parse(each.name, each.type + (" NOT NULL" if each.is_required else ""))
        for each in columns
    )


def from_rows(columns: Iterable[Column]) -> Columns:
    """The columns of rows as GoogleSQL knows them."""
    return tuple(KnownColumn(each.name, each.ddl, each.mode == "REQUIRED") for each in columns)


def read_resource(resource: Any) -> Known:
    """Read what the REST API says of a table, model or routine; a bare schema is a table's.

    Args:
        resource: What `bq show --schema`, `bq show --format=json` or `get` answer, parsed.

    Raises:
        ConfigError: It is none of these.
    """
    if isinstance(resource, list):
        return KnownTable(_fields(resource))
    if not isinstance(resource, Mapping):
        raise ConfigError("it is neither a list of columns nor a table")
    if "modelReference" in resource:
        return KnownModel(
            _typed(resource.get("featureColumns", ())), _typed(resource.get("labelColumns", ()))
        )
    if "routineReference" in resource:
        return _routine(resource)
    schema = resource.get("schema", resource)
    fields = schema.get("fields") if isinstance(schema, Mapping) else None
    is_object_table = bool((resource.get("externalDataConfiguration") or {}).get("objectMetadata"))
    if is_object_table:
        return object_table()
    if not isinstance(fields, list):
        raise ConfigError("it has no list of columns: write it with bq show --schema")
    columns = _fields(fields)
    return KnownTable(
        columns,
        _pseudo_columns(resource, columns),
        resource=resource,
        is_view=resource.get("type", "TABLE") not in {"TABLE", ""},
    )


def wildcard(table: KnownTable) -> KnownTable:
    """Several tables under one name: the columns are those of one of them.

    Source: https://cloud.google.com/bigquery/docs/querying-wildcard-tables
    """
    suffix = KnownColumn("_TABLE_SUFFIX", "STRING")
    return replace(table, pseudo_columns=(*table.pseudo_columns, suffix), is_view=True)


def object_table(maker: str = "") -> KnownTable:
    """An object table."""
    columns, pseudo = (
        tuple(KnownColumn(name, kind) for name, kind in each)
        for each in (OBJECT_COLUMNS, OBJECT_PSEUDO_COLUMNS)
    )
    return KnownTable(columns, pseudo, maker=maker, is_view=True)


def _pseudo_columns(resource: Mapping[str, Any], columns: Columns) -> Columns:
    """Those of a table that is partitioned by the time of loading."""
    names = {each.name.upper() for each in columns}
    by_load = resource.get("timePartitioning")
    if by_load is None or by_load.get("field") or "_PARTITIONTIME" in names:
        return ()
    more = [KnownColumn("_PARTITIONTIME", "TIMESTAMP")]
    if by_load.get("type", "DAY") == "DAY":
        more.append(KnownColumn("_PARTITIONDATE", "DATE"))
    return tuple(more)


def _fields(fields: Sequence[Any]) -> Columns:
    return tuple(
        KnownColumn(
            _text(each, "name"),
            _field_type(each),
            str(each.get("mode") or "").upper() == "REQUIRED",
            bool(each.get("defaultValueExpression")),
        )
        for each in map(_mapping, fields)
    )


def _field_type(field_: Mapping[str, Any]) -> str:
    kind = _text(field_, "type").upper()
    kind = _STANDARD_NAMES.get(kind, kind)
    if kind not in _TYPES:
        raise ConfigError(f"column {_text(field_, 'name')}: BigQuery has no type {kind}")
    if kind == "STRUCT":
        inner = ", ".join(
            f"{quoted(_text(each, 'name'))} {_field_type(each)}"
            for each in map(_mapping, field_.get("fields") or ())
        )
        if not inner:
            raise ConfigError(f"column {_text(field_, 'name')} is a STRUCT without fields")
        kind = f"STRUCT<{inner}>"
    if kind == "RANGE":
        kind = f"RANGE<{_text(_mapping(field_.get('rangeElementType')), 'type').upper()}>"
    return f"ARRAY<{kind}>" if str(field_.get("mode") or "").upper() == "REPEATED" else kind


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"a column is {value!r}: it has a name and a type")
    return value


def _text(of: Mapping[str, Any], key: str) -> str:
    value = of.get(key)
    if not isinstance(value, str) or not value:
        raise ConfigError(f"a column has no {key}: {dict(of)}")
    return value


def _typed(columns: Iterable[Any]) -> Columns:
    """Columns with types as routines and models have them."""
    return tuple(
        KnownColumn(str(each.get("name", "")), standard_type(each.get("type"))) for each in columns
    )


def standard_type(data_type: Any) -> str:
    """The GoogleSQL text of a `StandardSqlDataType`; empty = any type.

    Source: https://cloud.google.com/bigquery/docs/reference/rest/v2/StandardSqlDataType
    """
    if not isinstance(data_type, Mapping):
        return ""
    kind = str(data_type.get("typeKind", ""))
    if kind == "ARRAY":
        return f"ARRAY<{standard_type(data_type.get('arrayElementType'))}>"
    if kind == "STRUCT":
        fields = (data_type.get("structType") or {}).get("fields") or ()
        inner = ", ".join(
            f"{quoted(each['name'])} {standard_type(each.get('type'))}"
            if each.get("name")
            else standard_type(each.get("type"))
            for each in fields
        )
        return f"STRUCT<{inner}>"
    return _STANDARD_NAMES.get(kind, kind)


def _routine(resource: Mapping[str, Any]) -> KnownRoutine:
    arguments = tuple(
        (str(each.get("name", "")), standard_type(each.get("dataType")))
        for each in resource.get("arguments") or ()
    )
    columns = (resource.get("returnTableType") or {}).get("columns") or ()
    is_sql = resource.get("language", "SQL") == "SQL" and not resource.get("remoteFunctionOptions")
    return KnownRoutine(
        str(resource.get("routineType", "SCALAR_FUNCTION")),
        arguments,
        standard_type(resource.get("returnType")),
        _typed(columns),
        str(resource.get("definitionBody", "")) if is_sql else "",
    )

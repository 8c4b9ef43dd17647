"""Names of datasets, tables and columns."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Final

from bqemulator.domain.errors import ValidationError

from etlkit.local.bigquery.rules.registry import Asked, rule

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bqemulator.catalog.models import TableFieldSchema, TableMeta
    from sqlglot import exp

_MAX_BYTES: Final = 1024
_MAX_COLUMN: Final = 300
_DATASET: Final = re.compile(r"[A-Za-z0-9_]{1,1024}")
_TABLE_CATEGORIES: Final = ("L", "M", "N", "Pc", "Pd", "Zs")
_NOT_IN_COLUMNS: Final = frozenset('!"$()*,./;?@[\\]^`{}~')
_RESERVED: Final = (
    "_PARTITION",
    "_TABLE_",
    "_FILE_",
    "_ROW_TIMESTAMP",
    "__ROOT__",
    "_COLIDENTIFIER",
)


def is_table_name(name: str) -> bool:
    """Whether a table may have this name."""
    kinds = (unicodedata.category(character) for character in name)
    return 0 < len(name.encode()) <= _MAX_BYTES and all(
        kind.startswith(_TABLE_CATEGORIES) for kind in kinds
    )


@rule(
    Asked.DEFINITION,
    "Names of tables have letters, marks, numbers, connectors, dashes and spaces of all languages; "
    "`$`, `*` and `@` are decorators.",
    "tables#table_naming",
)
def table_name(meta: TableMeta, tree: exp.Create | None) -> None:  # noqa: ARG001
    """Refuse other names."""
    if not is_table_name(meta.table_id):
        raise ValidationError(
            f'Invalid table ID "{meta.table_id}". Table IDs must be alphanumeric (plus underscores) '
            "and must be at most 1024 characters long. Also, Table decorators cannot be used."
        )


@rule(
    Asked.DEFINITION,
    "Names of columns have at most 300 characters, none of which is reserved, and differ by more than "
    "their case.",
    "schemas#column_names",
)
def column_names(meta: TableMeta, tree: exp.Create | None) -> None:  # noqa: ARG001
    """Refuse other names, also of nested fields."""
    _check(meta.schema_.fields)


@rule(
    Asked.RESOURCE,
    "Names of datasets have letters, digits and `_`, at most 1,024 characters.",
    "datasets#dataset-naming",
)
def dataset_name(name: str) -> None:
    """Refuse other names."""
    if not _DATASET.fullmatch(name):
        raise ValidationError(
            f'Invalid dataset ID "{name}". Dataset IDs must be alphanumeric (plus underscores and '
            "dashes) and must be at most 1024 characters long."
        )


def _check(fields: Iterable[TableFieldSchema]) -> None:
    seen = set()
    for field in fields:
        name = field.name
        if not 0 < len(name) <= _MAX_COLUMN or _NOT_IN_COLUMNS & {*name}:
            raise ValidationError(
                f'Invalid field name "{name}". Fields must contain the allowed characters, and be at '
                f"most {_MAX_COLUMN} characters long."
            )
        if name.upper().startswith(_RESERVED):
            raise ValidationError(
                f'Invalid field name "{name}". Field names are not allowed to start with the '
                "(case-insensitive) prefixes _PARTITION, _TABLE_, _FILE_, _ROW_TIMESTAMP, __ROOT__ "
                "and _COLIDENTIFIER"
            )
        if name.casefold() in seen:
            raise ValidationError(f"Field {name} already exists in schema")
        seen.add(name.casefold())
        _check(field.fields)

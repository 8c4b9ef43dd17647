"""Arrays in results and tables have no NULL in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as is_

from etlkit.local.bigquery.extensions import api_errors
from etlkit.local.bigquery.patches.types import quote
from etlkit.local.bigquery.rules.registry import Asked, rule
from etlkit.local.bigquery.rules.type_parameters import sent_columns

if TYPE_CHECKING:
    from bqemulator.catalog.models import TableFieldSchema

    from etlkit.local.bigquery.rules.writes import Written

_SOURCE: Final = "reference/standard-sql/data-types#array_nulls"
_MESSAGE: Final = "Array cannot have a null element; error in writing field {}"


@rule(Asked.RESULT, "An array in the result of a query has no NULL element.", _SOURCE)
def result_elements(rows: pa.Table) -> None:
    """Refuse a result that has one, also in a struct or an array."""
    for name in rows.column_names:
        column = rows.column(name)
        if any(_has_null_element(chunk) for chunk in column.chunks):
            raise api_errors.invalid(_MESSAGE.format(name))


@rule(Asked.WRITTEN, "An array in a table has no NULL element.", _SOURCE)
def written_elements(written: Written) -> None:
    """Refuse rows that have one."""
    for field in written.meta.schema_.fields:
        for path, condition in _conditions(field, quote(field.name), field.name):
            if written.has(condition):
                raise api_errors.invalid(_MESSAGE.format(path))


@rule(Asked.APPEND, "A repeated field of an appended row has no NULL element.", _SOURCE)
def appended_elements(
    rows: pa.Table, fields: Sequence[TableFieldSchema]
) -> Iterator[tuple[int, str]]:
    """Name the rows that have one."""
    for field, column in sent_columns(rows, fields):
        if field.mode != "REPEATED":
            continue
        values, parents = pc.list_flatten(column), pc.list_parent_indices(column)
        if values.null_count:
            for index in sorted(set(parents.filter(values.is_null()).to_pylist())):
                yield index, _MESSAGE.format(field.name)


def _has_null_element(values: Any) -> bool:
    if is_.is_list(values.type) or is_.is_large_list(values.type):
        elements = values.flatten()
        return bool(elements.null_count) or _has_null_element(elements)
    if is_.is_struct(values.type):
        return any(_has_null_element(child) for child in values.flatten())
    return False


def _conditions(field: TableFieldSchema, value: str, path: str) -> Iterator[tuple[str, str]]:
    """Path of each array that is not in another one, and DuckDB's SQL that finds a NULL in it."""
    if field.mode == "REPEATED":
        yield path, f"list_aggregate({value}, 'count') < len({value})"
        return
    for child in field.fields:
        yield from _conditions(child, f"{value}.{quote(child.name)}", f"{path}.{child.name}")

"""Ask a BigQuery client for the answers of expressions, many in one query."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, Final

from google.api_core.exceptions import GoogleAPICallError

from etlkit.rows.types import ALIASES
from tests.reference.answers import ERROR, Interval, is_error, written

if TYPE_CHECKING:
    from google.cloud import bigquery

BATCH: Final = 60
Ask = Callable[[str], Any]
"""Runs SQL and gives the rows, with their schema."""


def by_job(client: bigquery.Client) -> Ask:
    """`client.query`: a job, and then its results."""
    return lambda sql: client.query(sql, retry=None, job_retry=None).result(retry=None)


def by_query(client: bigquery.Client) -> Ask:
    """`client.query_and_wait`: one call of `jobs.query`."""
    return lambda sql: client.query_and_wait(sql, retry=None, job_retry=None)


def answers(ask: Ask, expressions: Sequence[str]) -> list[str]:
    """The answer of each expression, in the form of `tests.reference.answers`."""
    found: list[str] = []
    for start in range(0, len(expressions), BATCH):
        found += _batch(ask, expressions[start : start + BATCH])
    return found


def _batch(ask: Ask, expressions: Sequence[str]) -> list[str]:
    """A batch that fails is asked in halves, down to the expressions that fail."""
    columns = (f"{expression} AS c{at}" for at, expression in enumerate(expressions))
    try:
        rows = ask("SELECT " + ",\n".join(columns))
        (row,) = rows
    except (GoogleAPICallError, ValueError, TypeError, OverflowError) as error:
        if len(expressions) == 1:
            return [f"{ERROR}{_sentence(error)}"]
        half = len(expressions) // 2
        return _batch(ask, expressions[:half]) + _batch(ask, expressions[half:])
    kinds = [_kind(field) for field in rows.schema]
    return [written(kind, _value(kind, cell)) for kind, cell in zip(kinds, row, strict=True)]


def _sentence(error: Exception) -> str:
    """An error's first line, without the address of the request."""
    text = str(error).partition("\n")[0]
    return re.sub(r"^\d+ (?:POST|GET) \S+: ", "", text)


def _kind(field: bigquery.SchemaField) -> Any:
    kind: Any = ALIASES.get(field.field_type, field.field_type)
    if kind == "STRUCT":
        kind = ["STRUCT", [[each.name, _kind(each)] for each in field.fields]]
    return ["ARRAY", kind] if field.mode == "REPEATED" else kind


def _value(kind: Any, value: Any) -> Any:
    """The client gives a STRUCT as a dict, and an INTERVAL as a class of another package."""
    if value is None or isinstance(kind, str):
        return _interval(value) if kind == "INTERVAL" and value is not None else value
    if kind[0] == "ARRAY":
        return [_value(kind[1], each) for each in value]
    cells = value.values() if isinstance(value, dict) else value
    return [_value(each, cell) for (_, each), cell in zip(kind[1], cells, strict=True)]


def _interval(value: Any) -> Interval:
    """From the client's `relativedelta`."""
    seconds = (value.hours * 60 + value.minutes) * 60 + value.seconds
    micros = seconds * 1_000_000 + value.microseconds
    return Interval(value.years * 12 + value.months, value.days, micros)


def all_of(ask: Ask, reference: dict[str, str], suspects: Collection[str]) -> dict[str, str]:
    """Our answers to the expressions of `reference`.

    Args:
        ask: Runs SQL.
        reference: The evaluator's answers.
        suspects: Expressions that may be refused here: a refusal costs a batch much time, so they are
            asked one by one, as those that should be refused.
    """
    alone = {each for each, answer in reference.items() if is_error(answer)} | set(suspects)
    together = [each for each in reference if each not in alone]
    local = dict(zip(together, answers(ask, together), strict=True))
    for each in reference:
        if each in alone:
            (local[each],) = answers(ask, [each])
    return {each: local[each] for each in reference}

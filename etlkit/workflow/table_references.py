"""The tables that a task reads and writes, for `depends="auto"` and for writers without an order."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from etlkit.api.checks import Check
from etlkit.api.datamart import Datamart
from etlkit.api.job import TransferJob
from etlkit.errors import ConfigError
from etlkit.variables.definitions import Plain, String
from etlkit.variables.values import bare_name
from etlkit.workflow.sql_tables import name_with_values, sql_tables
from etlkit.workflow.task_kind import Tables


def query_tables(sql: str, variables: Mapping[str, Any]) -> Tables:
    """The tables that SQL reads and writes. No I/O.

    Args:
        sql: GoogleSQL with `$name$`.
        variables: See `Runnable.tables`.
    """
    return sql_tables(sql, known_values(variables))


def transfer_tables(
    job: TransferJob, variables: Mapping[str, Any], *, queries: bool = True
) -> Tables:
    """The tables that a transfer reads and writes. No I/O.

    Args:
        job: The transfer.
        variables: They take precedence over those of the job; see `Runnable.tables`.
        queries: See `sql_tables`.
    """
    from etlkit.bigquery.http_sink.sink import HttpSink
    from etlkit.bigquery.sink import BigQuerySink
    from etlkit.bigquery.source import BigQuerySource

    values = known_values(job.variables, variables)
    sink, written, found = job.sink, [], [_checks(job.checks, values, queries=queries)]
    if isinstance(job.source, BigQuerySource):
        found.append(sql_tables(job.source.query, values, queries=queries))
    if isinstance(sink, BigQuerySink):
        written.append(sink.table)
        found.append(sql_tables(sink.before_load or "", values, queries=queries))
    if isinstance(sink, HttpSink) and sink.responses is not None:
        written.append(sink.responses)
    if job.on_row_error == "reject" and isinstance(sink, (BigQuerySink, HttpSink)):
        rejecting = sink.table if isinstance(sink, BigQuerySink) else sink.name
        written.append(f"{rejecting}_rejects")
    names = frozenset(name_with_values(name, values) for name in written)
    return union(*found, Tables(writes=names))


def datamart_tables(job: Datamart, variables: Mapping[str, Any], *, queries: bool = True) -> Tables:
    """The tables that a datamart reads and writes. No I/O beyond its file.

    Args:
        job: The datamart.
        variables: As in `transfer_tables`.
        queries: See `sql_tables`.
    """
    values = known_values(job.variables, variables)
    try:
        found = sql_tables(job.text(), values, queries=queries)
    except ConfigError as error:  # the run will say so too
        found = Tables(unclear=(str(error),))
    if job.destination is None:
        return found
    target = Tables(writes=frozenset({name_with_values(job.destination, values)}))
    before = sql_tables(job.before_load or "", values, queries=queries)
    return union(found, target, before, _checks(job.checks, values, queries=queries))


def union(*several: Tables) -> Tables:
    """All tables of several parts of a task."""
    return Tables(
        frozenset().union(*(each.reads for each in several)),
        frozenset().union(*(each.writes for each in several)),
        tuple(dict.fromkeys(text for each in several for text in each.unclear)),
    )


def same_table(one: str, other: str) -> bool:
    """Whether two names may be those of one table.

    A missing project fits every project; the `*` of a wildcard table and `$name$` fit any text.
    """
    ours, theirs = table_parts(one), table_parts(other)
    length = min(len(ours), len(theirs))
    pairs = zip(ours[-length:], theirs[-length:], strict=True)
    return all(_have_common_text(_pieces(our), _pieces(their)) for our, their in pairs)


def table_parts(table: str) -> list[str]:
    """Project if it is there, dataset and table. A project of a domain has dots itself."""
    return table.replace("`", "").rsplit(".", 2)


_ANY = re.compile(r"\*|\$[^\W\d]\w*\$")


def _pieces(name: str) -> list[str]:
    """Single characters, and `*` for each part that fits any text."""
    return list(_ANY.sub("*", name))


def _have_common_text(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether some text fits both patterns."""
    reachable = {0}  # positions in `other` that go with the part of `one` looked at so far

    def closed(positions: set[int]) -> set[int]:
        """With the positions behind each `*` that is met, which may stand for nothing."""
        for position in range(len(other)):
            if position in positions and other[position] == "*":
                positions.add(position + 1)
        return positions

    closed(reachable)
    for character in one:
        if character == "*":
            reachable = set(range(min(reachable, default=len(other) + 1), len(other) + 1))
            continue
        reachable = closed(
            {
                position + (other[position] != "*")
                for position in reachable
                if position < len(other) and other[position] in {character, "*"}
            }
        )
    return len(other) in reachable


def _checks(checks: Any, values: Mapping[str, Any], *, queries: bool) -> Tables:
    """What the checks read beside the staged rows."""
    texts = [check.sql if isinstance(check, Check) else check for check in checks]
    texts = [text.replace("{staged}", "staged") for text in texts]
    return union(*(sql_tables(text, values, queries=queries) for text in texts))


def known_values(*variables: Mapping[str, Any]) -> dict[str, Any]:
    """The values that are known before a run begins, by bare name; later ones take precedence."""
    named = {bare_name(name): given for each in variables for name, given in each.items()}
    texts = {name: v.value if isinstance(v, String) else v for name, v in named.items()}
    return {name: value for name, value in texts.items() if isinstance(value, get_args(Plain))}

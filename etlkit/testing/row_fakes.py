"""`fake_rows`: rows for tests, plausible and hard ones; `sample_rows`: some of a table's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, count, islice
from random import Random
from typing import TYPE_CHECKING, Any

from etlkit.errors import ConfigError
from etlkit.rows.columns import Column, parse_schema
from etlkit.testing.arguments import short, whole_number
from etlkit.testing.fake_values import FAKE_TYPES
from etlkit.testing.frozen_time import going_on

if TYPE_CHECKING:
    from etlkit.api.source import SourceReader
    from etlkit.rows.row import Row

_SHARE = 0.1
"""Of the values in mixed rows that are NULL, and of those that are edge values."""

_MAX_ITEMS = 3
_COLUMNS = "{'uri': 'STRING NOT NULL'}"


def fake_rows(
    of: Mapping[str, str] | str,
    n: int = 50,
    *,
    seed: int = 0,
    nulls: bool = True,
    edges: bool = True,
) -> list[Row]:
    """Make rows for a test, as a source with these columns might give them.

    The first row has plausible values. The second one has NULL wherever a column may be NULL. Then come
    rows of edge values (the largest number, an empty text, the first day), and after them rows in which
    all of these are mixed. The same arguments always give the same rows.

    Args:
        of: Columns as in `EtlBase.output_schema`, e.g. `{"uri": "STRING NOT NULL"}`; or a query; or a
            table, `dataset.table` or `project.dataset.table`. A query or table is only asked for its
            columns, which costs nothing.
        n: How many rows, 0 or more.
        seed: Another seed, a whole number, gives other rows.
        nulls: Whether there are NULL values.
        edges: Whether there are edge values.

    Returns:
        Native values, as `transform_row` gets them. A column called `id` or `…_id` has another value in
        each plausible row; names such as `uri`, `email` or `city` get values that look like it.

    Raises:
        ConfigError: An argument is of another kind, or a type is unknown.
        SourceError: The query or the table cannot be read.
    """
    whole_number("fake_rows: n", n, at_least=0)
    whole_number("fake_rows: seed", seed)
    if isinstance(of, Mapping):
        if not of:
            raise ConfigError(f"fake_rows({{}}): name the columns, e.g. {_COLUMNS}")
        columns: Sequence[Column] = parse_schema(of)
    else:
        columns = _columns_of(_query_or_table("fake_rows", of, f"columns, e.g. {_COLUMNS}; "))
    return fake_rows_of(columns, n, seed=seed, nulls=nulls, edges=edges)


def fake_rows_of(
    columns: Sequence[Column], n: int, *, seed: int = 0, nulls: bool = True, edges: bool = True
) -> list[Row]:
    """As `fake_rows`, for columns that are known."""
    made = _Rows(columns, Random(seed))  # noqa: S311 - nothing here is secret  # nosec B311
    parts = [
        [made.plain(0)],
        [made.nulls(1)] if nulls else [],
        made.hard() if edges else [],
        (made.mixed(number, nulls=nulls, edges=edges) for number in count(2)),
    ]
    return list(islice(chain.from_iterable(parts), n))


def sample_rows(of: str, n: int = 50, *, seed: int = 0) -> list[Row]:
    """Read some rows of a table or query, chosen by a hash of their content.

    BigQuery bills the whole query, or the whole table.

    Args:
        of: A query, or a table, `dataset.table` or `project.dataset.table`.
        n: How many rows, 1 or more; fewer if there are not that many.
        seed: Another seed, a whole number, chooses other rows.

    Returns:
        Native values, as `transform_row` gets them; the same ones as long as the table does not change.

    Raises:
        ConfigError: An argument is of another kind.
        SourceError: The query or the table cannot be read.
    """
    from etlkit.bigquery.sql.user_sql import sample_of
    from etlkit.rows.batches import RowDecoder

    of = _query_or_table("sample_rows", of)
    whole_number("sample_rows: n", n, at_least=1)
    whole_number("sample_rows: seed", seed)

    with _opened(sample_of(of, n, seed), limit=n) as reader:
        decoder = RowDecoder(reader.columns)
        return [row for batch in reader.batches() for row in decoder.decode(batch).rows]


def _query_or_table(function: str, of: object, other: str = "") -> str:
    if isinstance(of, str) and of.strip():
        return of
    raise ConfigError(
        f"{function}({short(of)}): give {other}a query, e.g. 'SELECT uri FROM photos.images'; or a "
        "table, e.g. 'photos.images'"
    )


def _columns_of(of: str) -> Sequence[Column]:
    from etlkit.bigquery.sql.user_sql import query_of

    with _opened(query_of(of)) as reader:
        return reader.columns


@contextmanager
def _opened(query: str, limit: int | None = None) -> Iterator[SourceReader]:
    from etlkit.api.job_options import JobOptions
    from etlkit.api.run import Run, RunRequest
    from etlkit.bigquery.source import BigQuerySource
    from etlkit.runner import environment

    with going_on(), Run(RunRequest("fake_rows", environment(), limit=limit)) as run:
        reader = BigQuerySource(query).open(JobOptions(), run)
        try:
            yield reader
        finally:
            reader.close(succeeded=True)


class _Rows:
    """Makes rows of one kind after the other.

    Args:
        columns: Of the rows.
        random: Chooses values.
    """

    def __init__(self, columns: Sequence[Column], random: Random) -> None:
        self._columns = columns
        self._random = random

    def plain(self, number: int) -> Row:
        """A row of plausible values; `number` counts rows from 0."""
        return {each.name: self._value(each, number) for each in self._columns}

    def nulls(self, number: int) -> Row:
        """A row with NULL wherever it may be; an array is empty then, as BigQuery's are."""
        return {
            each.name: self._value(each, number) if each.mode == "REQUIRED" else _null(each)
            for each in self._columns
        }

    def hard(self) -> list[Row]:
        """As many rows as it takes for every edge value of every column."""
        edges = {each.name: _edges(each) for each in self._columns}
        num_rows = max(map(len, edges.values()), default=0)
        return [
            {name: values[number % len(values)] for name, values in edges.items()}
            for number in range(num_rows)
        ]

    def mixed(self, number: int, *, nulls: bool, edges: bool) -> Row:
        """A row in which each column has a plausible value, or now and then another one."""
        row: Row = {}
        for each in self._columns:
            drawn = self._random.random()
            if nulls and drawn < _SHARE and each.mode != "REQUIRED":
                row[each.name] = _null(each)
            elif edges and drawn > 1 - _SHARE:
                row[each.name] = self._random.choice(_edges(each))
            else:
                row[each.name] = self._value(each, number)
        return row

    def _value(self, column: Column, number: int) -> Any:
        if column.mode == "REPEATED":
            items = self._random.randint(1, _MAX_ITEMS)
            return [self._one(column, number * _MAX_ITEMS + item) for item in range(items)]
        return self._one(column, number)

    def _one(self, column: Column, number: int) -> Any:
        if column.fields:
            return {each.name: self._value(each, number) for each in column.fields}
        make = FAKE_TYPES[column.type].plain
        return make(self._random, column.name, column.parameters, number)


def _null(column: Column) -> Any:
    return [] if column.mode == "REPEATED" else None


def _edges(column: Column) -> Sequence[Any]:
    """The edge values of a column; at least one."""
    if column.fields:
        parts = {each.name: _edges(each) for each in column.fields}
        longest = max(map(len, parts.values()))
        values: Sequence[Any] = [
            {name: found[number % len(found)] for name, found in parts.items()}
            for number in range(longest)
        ]
    else:
        values = FAKE_TYPES[column.type].edges(column.parameters)
    return [[], list(values)] if column.mode == "REPEATED" else values

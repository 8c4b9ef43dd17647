"""What a run reads and writes, as datasets with columns: facts for its events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from etlkit.api.run_watch import WatchedRun
from etlkit.bigquery.client import Connection
from etlkit.bigquery.names import parse_table
from etlkit.errors import ConfigError
from etlkit.variables.sql_tokens import one_query

if TYPE_CHECKING:
    from etlkit.rows.columns import Column

IDENTITY, TRANSFORMATION, AGGREGATION = "IDENTITY", "TRANSFORMATION", "AGGREGATION"
_ORDER = (IDENTITY, TRANSFORMATION, AGGREGATION)


class Source(Protocol):
    """A column of a table that another column comes from."""

    @property
    def table(self) -> str:
        """Name of the table."""

    @property
    def column(self) -> str:
        """Name of the column."""

    @property
    def how(self) -> str:
        """`IDENTITY`, `TRANSFORMATION` or `AGGREGATION`."""


class StatementSources(Protocol):
    """Where what a statement gives or writes comes from."""

    @property
    def columns(self) -> Mapping[str, Sequence[Source]]:
        """By the names of its columns; empty = not known."""

    @property
    def reads(self) -> frozenset[str]:
        """Names of the tables that it reads."""

    @property
    def writes(self) -> str:
        """Name of the table that it makes or inserts into; empty = none."""


LookUp: TypeAlias = Callable[[str], "tuple[str, Iterable[Mapping[str, Any]]] | None"]
SourcesOf: TypeAlias = Callable[[str, str, LookUp], StatementSources]
"""Gives the sources of the columns of a statement: SQL, project, and what looks tables up."""


_Columns: TypeAlias = "dict[str, dict[tuple[str, str], str]]"


@dataclass
class Table:
    """A table, with its fields as `tables.get` writes them.

    Attributes:
        name: `project.dataset.table`.
        fields: Empty = not known.
    """

    name: str
    fields: Sequence[Mapping[str, Any]] = ()


@dataclass
class Facts:
    """What a run reads and writes.

    Attributes:
        inputs: Tables that it reads.
        outputs: Tables that it writes.
        columns: For each output, and for each of its columns, the columns of tables that it comes from:
            (table, column) -> how.
    """

    inputs: dict[str, Table] = field(default_factory=dict)
    outputs: dict[str, Table] = field(default_factory=dict)
    columns: dict[str, _Columns] = field(default_factory=dict)


def worse(one: str, other: str) -> str:
    """How a column comes from another over two steps."""
    return max(one, other, key=_ORDER.index)


class Finder:
    """Finds the facts of runs. Used on one thread.

    Args:
        run: Whose settings are used to look tables up: metadata, which costs nothing.
        sources_of: The analyzer; None = there is none, so there is no column lineage.
    """

    def __init__(self, run: WatchedRun, sources_of: SourcesOf | None) -> None:
        self._run = run
        self._sources_of = sources_of
        self._connection: Connection | None = None
        self._known: dict[str, Table | None] = {}

    def close(self) -> None:
        """Close the connection, if there was one."""
        if self._connection is not None:
            self._connection.close()

    def facts(self) -> Facts:
        """What is known of the run by now."""
        if self._run.kind == "transfer":
            return self._of_transfer()
        return self._of_statements() if self._run.kind == "datamart" else Facts()

    def _of_transfer(self) -> Facts:
        run, facts = self._run, Facts()
        query: _Columns = {}
        tables = set(run.tables)
        for text in run.statements:
            found = self._sources(text)
            if found is not None:
                query, reads = _by_column(found), found.reads
                tables |= {each.name for each in map(self._table, reads) if each is not None}
        facts.inputs = {name: self._table(name) or Table(name) for name in sorted(tables)}
        if run.target:
            facts.outputs = {run.target: Table(run.target, tuple(map(_field, run.columns)))}
            sources = {c.name: _through_transform(c.name, run, query) for c in run.columns}
            facts.columns[run.target] = {name: each for name, each in sources.items() if each}
        return facts

    def _of_statements(self) -> Facts:
        run, facts = self._run, Facts()
        for text in run.statements:
            found = self._sources(text)
            if found is None:
                continue
            written = self._forgotten(run.target or found.writes)
            for name in found.reads:
                if (table := self._table(name)) is not None and table.name != written:
                    facts.inputs[table.name] = table
            if written:
                known = facts.columns.setdefault(written, {})
                for column, sources in _by_column(found).items():  # more than one may write a table
                    known[column] = {**known.get(column, {}), **sources}
        for name in filter(None, {run.target, *facts.columns}):
            facts.outputs[name] = self._table(name) or Table(name)
        for name in facts.outputs:
            facts.inputs.pop(name, None)
        return facts

    def _forgotten(self, name: str) -> str:
        """The full name of a table that is looked up again: it may be new."""
        if not name:
            return ""
        self._known.pop(name, None)
        full = str(parse_table(name, self._project()))
        self._known.pop(full, None)
        return full

    def _sources(self, text: str) -> StatementSources | None:
        """The sources of the columns of a statement; None = they are not known."""
        if self._sources_of is None:
            return None
        try:
            functions, select = one_query(text)
        except Exception:  # no query: a statement of another kind
            functions, select = "", text
        if functions:
            return None
        return self._sources_of(select, self._project(), self._look_up)

    def _project(self) -> str:
        return self._connected().project

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = Connection(self._run.settings, job_prefix="etlkit_lineage")
        return self._connection

    def _look_up(self, name: str) -> tuple[str, Iterable[Mapping[str, Any]]] | None:
        found = self._table(name)
        return None if found is None else (found.name, found.fields)

    def _table(self, name: str) -> Table | None:
        """Look a table up; None = there is none, or this is no name of one."""
        if name not in self._known:
            connection = self._connected()
            try:  # the analyzer asks for all names that might be tables, also for aliases
                full = parse_table(name, connection.project)
            except ConfigError:
                self._known[name] = None
                return None
            found = connection.find_table(full)
            fields = () if found is None else [each.to_api_repr() for each in found.schema]
            self._known[name] = None if found is None else Table(str(full), fields)
        return self._known[name]


def _by_column(found: StatementSources) -> _Columns:
    return {
        name: {(each.table, each.column): each.how for each in sources}
        for name, sources in found.columns.items()
    }


def _through_transform(name: str, run: WatchedRun, query: _Columns) -> dict[tuple[str, str], str]:
    """The sources of a column of the rows that a transform makes.

    A column that the transform does not read is as it was. Any other may come from all that it reads.
    """
    passing = {c.name for c in run.source_columns} - set(run.read)
    own = [name] if name in passing else run.read
    how = IDENTITY if name in passing else TRANSFORMATION
    found: dict[tuple[str, str], str] = {}
    for column in own:
        for place, its in query.get(column, {}).items():
            found[place] = worse(found.get(place, IDENTITY), worse(how, its))
    return found


def _field(column: Column) -> dict[str, Any]:
    fields = [_field(each) for each in column.fields]
    made: dict[str, Any] = {"name": column.name, "type": column.type, "mode": column.mode}
    return made | ({"fields": fields} if fields else {})

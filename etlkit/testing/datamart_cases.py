"""Tests of datamarts in YAML: given rows, and the rows that are expected of them.

The form is that of dbt's unit tests, https://docs.getdbt.com/docs/build/unit-tests.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etlkit.errors import ConfigError, RowError, missing_packages
from etlkit.rows.columns import Column, parse_schema
from etlkit.rows.types import STRUCT, TYPES
from etlkit.testing.datamart_run import run_on_rows
from etlkit.testing.row_comparison import assert_rows

if TYPE_CHECKING:
    from etlkit.api.datamart import Datamart
    from etlkit.rows.row import Row

_KEYS = ("name", "description", "datamart", "now", "variables", "given", "expect")
_GIVEN_KEYS = ("input", "schema", "rows", "format", "fixture")
_EXPECT_KEYS = ("rows", "format", "fixture", "by", "ordered")
_FORMATS = ("dict", "csv")


@dataclass(frozen=True)
class DatamartCase:
    """One test.

    Attributes:
        where: File, line and name, for messages.
        datamart: `package.module`, `package.module:name`, or the path of a file.
        given: Table to its rows, as the file has them.
        schemas: Table to its columns, where they are said.
        expected: The rows, as the file has them. Only the columns that they have are compared.
        by: Columns that identify a row; None = rows are compared by position.
        ordered: Whether their order matters.
        now: The moment in which it runs; None = the clock.
        variables: Values of custom variables.
    """

    where: str
    datamart: str
    given: Mapping[str, Sequence[Row]]
    schemas: Mapping[str, Mapping[str, str]]
    expected: Sequence[Row]
    by: str | Sequence[str] | None = None
    ordered: bool = True
    now: datetime | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)

    def check(self, job: Datamart) -> None:
        """Run the datamart on the given rows, in the local BigQuery, and compare.

        Raises:
            AssertionError: The rows differ.
            ConfigError: This is not the local BigQuery, or a given value is not of its column's type.
            EtlkitError: The datamart failed.
        """
        __tracebackhide__ = True
        given = {
            table: typed(rows, parse_schema(self.schemas[table]), f"{self.where}, {table}")
            if table in self.schemas
            else rows
            for table, rows in self.given.items()
        }
        with self._placed(ConfigError, RowError):
            rows, columns = run_on_rows(job, given, self.schemas, self.variables, self.now)
        compared = {name for row in self.expected for name in row}
        if compared:
            rows = [{name: row[name] for name in row if name in compared} for row in rows]
        expected = typed(self.expected, columns, f"{self.where}, expect")
        with self._placed(TypeError, ValueError):
            assert_rows(rows, expected, by=self.by, ordered=self.ordered)

    @contextmanager
    def _placed(self, *kinds: type[Exception]) -> Iterator[None]:
        """Say of a mistake of the test where it stands."""
        try:
            yield
        except kinds as error:
            raise ConfigError(f"{self.where}: {error}") from None


def _of_type(kind: type) -> Callable[[Any], Any]:
    def checked(value: Any) -> Any:
        if type(value) is not kind:
            raise TypeError
        return value

    return checked


_PLAIN: Mapping[str, Callable[[Any], Any]] = {
    "INT64": _of_type(int),
    "BOOL": _of_type(bool),
    "STRING": str,
    "FLOAT64": float,
    "NUMERIC": lambda value: Decimal(str(value)),
    "BIGNUMERIC": lambda value: Decimal(str(value)),
}


def read_cases(file: Path) -> list[tuple[str, DatamartCase | ConfigError]]:
    """Read a file of tests.

    Args:
        file: YAML with a list `unit_tests`. Fixtures are beside it.

    Returns:
        Each test with its name, in the order of the file. An error = what is wrong with that test; the
        others are not concerned.

    Raises:
        ConfigError: The file is not of that form; says where.
    """
    try:
        import yaml
    except ImportError:
        raise missing_packages("tests of datamarts in YAML need PyYAML", "local") from None
    try:
        text = file.read_text(encoding="utf-8")
        content, root = yaml.safe_load(text), yaml.compose(text, Loader=yaml.SafeLoader)
    except OSError as error:
        raise ConfigError(f"{file.name}: {error.strerror}") from None
    except (ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{file.name} is not YAML: {error}") from None
    if not isinstance(content, dict) or not isinstance(content.get("unit_tests"), list):
        raise ConfigError(f"{file.name}: it needs a list unit_tests")
    top = _Place(file, root, "").below("unit_tests")
    cases: dict[str, DatamartCase | ConfigError] = {}
    for number, entry in enumerate(content["unit_tests"]):
        name = entry.get("name") if isinstance(entry, dict) else None
        name = f"test {number + 1}" if name is None else str(name)
        place = top.item(number, f"test {name!r}")
        if name in cases:
            name, case = _also(name, cases), ConfigError(f"{place}: another test has this name")
            cases[name] = case
            continue
        try:
            cases[name] = _case(entry, place)
        except ConfigError as error:
            cases[name] = error
    return list(cases.items())


def _also(name: str, names: Collection[str]) -> str:
    return next(each for n in count(2) if (each := f"{name} ({n})") not in names)


@dataclass(frozen=True)
class _Place:
    """A place in a file of tests.

    Attributes:
        file: The file.
        node: What stands there, as PyYAML has parsed it.
        what: Name of what stands there.
    """

    file: Path
    node: Any
    what: str

    def below(self, key: str, what: str = "") -> _Place:
        """The value of a key; this place if there is no such key."""
        pairs = self.node.value if isinstance(self.node.value, list) else []
        found = [pair for pair in pairs if isinstance(pair, tuple) and pair[0].value == key]
        node = found[-1][1] if found else self.node
        return _Place(self.file, node, ", ".join(filter(None, (self.what, what))))

    def item(self, number: int, what: str) -> _Place:
        """An item of the list that stands here, from 0."""
        return _Place(
            self.file, self.node.value[number], ", ".join(filter(None, (self.what, what)))
        )

    def __str__(self) -> str:
        """For messages."""
        return f"{self.file.name}:{self.node.start_mark.line + 1}, {self.what}"


def _case(entry: Any, place: _Place) -> DatamartCase:
    if (again := _key_twice(place.node)) is not None:
        place = _Place(place.file, again, place.what)
        raise ConfigError(f"{place}: the key {again.value!r} is there twice")
    _check(entry, place, _KEYS, needed=("name", "datamart", "expect"))
    given: dict[str, Sequence[Row]] = {}
    schemas: dict[str, Mapping[str, str]] = {}
    tables = entry.get("given") or []
    if not isinstance(tables, list):
        raise ConfigError(f"{place.below('given', 'given')}: it is a list of tables")
    for number, table in enumerate(tables):
        where = place.below("given").item(number, "given")
        _check(table, where, _GIVEN_KEYS, needed=("input",))
        if table["input"] in given:
            raise ConfigError(f"{where}: {table['input']} is given twice")
        given[table["input"]] = _rows(table, where)
        if table.get("schema"):
            schemas[table["input"]] = _schema(table["schema"], given[table["input"]], where)
    expect, where = entry["expect"], place.below("expect", "expect")
    _check(expect, where, _EXPECT_KEYS, needed=())
    if not isinstance(expect.get("ordered", True), bool):
        raise ConfigError(f"{where.below('ordered')}: ordered is true or false")
    if "rows" not in expect and "fixture" not in expect:
        raise ConfigError(f"{where}: it needs rows or a fixture")
    return DatamartCase(
        where=str(place),
        datamart=str(entry["datamart"]),
        given=given,
        schemas=schemas,
        expected=_rows(expect, where),
        by=expect.get("by"),
        ordered=expect.get("ordered", True),
        now=_moment(entry.get("now"), place.below("now")),
        variables=entry.get("variables") or {},
    )


def _schema(schema: Any, rows: Sequence[Row], place: _Place) -> Mapping[str, str]:
    try:
        names = {column.name for column in parse_schema(schema)}
    except ConfigError as error:
        raise ConfigError(f"{place.below('schema', 'schema')}: {error}") from None
    if unknown := next((name for row in rows for name in row if name not in names), None):
        raise ConfigError(f"{place.below('rows')}: schema has no column {unknown!r}")
    made: Mapping[str, str] = schema
    return made


def _key_twice(node: Any) -> Any:
    """The second of two equal keys of a mapping, which hides the first one in YAML; None = none."""
    below = node.value if isinstance(node.value, list) else []
    names: set[Any] = set()
    for key in (each[0] for each in below if isinstance(each, tuple)):
        if key.value in names:
            return key
        names.add(key.value)
    values = (each[1] if isinstance(each, tuple) else each for each in below)
    return next(filter(None, map(_key_twice, values)), None)


def _check(entry: Any, place: _Place, keys: Sequence[str], needed: Sequence[str]) -> None:
    if not isinstance(entry, dict):
        raise ConfigError(f"{place}: it is a mapping with some of {', '.join(keys)}")
    if unknown := [key for key in entry if key not in keys]:
        raise ConfigError(
            f"{place.below(unknown[0])}: unknown {unknown[0]!r}; it is one of {', '.join(keys)}"
        )
    if missing := [key for key in needed if not entry.get(key)]:
        raise ConfigError(f"{place}: {missing[0]} is missing")


def _moment(value: Any, place: _Place) -> datetime | None:
    if value is None:
        return None
    if isinstance(value, datetime):
        return value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    raise ConfigError(f"{place}: now is a time, e.g. 2026-01-31T09:00:00Z")


def _rows(entry: Mapping[str, Any], place: _Place) -> list[Row]:
    rows, kind = entry.get("rows"), entry.get("format", "dict")
    if kind not in _FORMATS:
        raise ConfigError(f"{place.below('format')}: format is one of {', '.join(_FORMATS)}")
    if fixture := entry.get("fixture"):
        return _fixture(str(fixture), place.below("fixture"))
    if kind == "csv":
        return _of_csv(str(rows or "").strip().splitlines(), str(place.below("rows")))
    if rows is None:
        return []
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ConfigError(
            f"{place.below('rows')}: rows is a list of mappings, or text with format: csv"
        )
    return rows


def _fixture(name: str, place: _Place) -> list[Row]:
    file, where = place.file.parent / name, f"{place}: fixture {name}"
    if file.suffix not in {".csv", ".jsonl"}:
        raise ConfigError(f"{where}: it is a .csv or a .jsonl file")
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"{where}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{where}: it is not UTF-8: {error}") from None
    if file.suffix == ".csv":
        return _of_csv(lines, where)
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line) if line.strip() else {}
        except ValueError as error:
            raise ConfigError(f"{where}, line {number}: {error}") from None
        if not isinstance(row, dict):
            raise ConfigError(f'{where}, line {number}: it is an object, e.g. {{"id": 1}}')
        if line.strip():
            rows.append(row)
    return rows


def _of_csv(lines: Iterable[str], where: str) -> list[Row]:
    """Rows of CSV with a header; each cell is read as YAML reads it, an empty one is null."""
    import yaml

    rows = []
    for number, row in enumerate(csv.DictReader(lines, skipinitialspace=True), 1):
        if None in row or None in row.values():
            raise ConfigError(f"{where}, row {number}: it has more or fewer cells than the header")
        try:
            rows.append(
                {name: yaml.safe_load(cell) if cell else None for name, cell in row.items()}
            )
        except yaml.YAMLError as error:
            raise ConfigError(f"{where}, row {number}: {error}") from None
    return rows


def typed(rows: Sequence[Row], columns: Sequence[Column], where: str) -> list[Row]:
    """Rows whose values are of their columns' types, as a query gives them.

    YAML has texts, numbers, dates and times; BigQuery has more.

    Args:
        rows: As the file has them.
        columns: A column that is not among them stays as it is.
        where: For the message.

    Raises:
        ConfigError: A value cannot be one of its column's type.
    """
    kinds = {column.name: column for column in columns}
    made = []
    for number, row in enumerate(rows, 1):
        made.append(dict(row))
        for name, value in row.items():
            column = kinds.get(name)
            if column is None:
                continue
            try:
                made[-1][name] = _value(value, column)
            except (TypeError, ValueError, ArithmeticError):
                raise ConfigError(
                    f"{where}, row {number}: {name} is {column.ddl}, and {value!r} is none"
                ) from None
    return made


def _value(value: Any, column: Column) -> Any:
    if value is None:
        return [] if column.mode == "REPEATED" else None
    if column.mode == "REPEATED":
        if not isinstance(value, list):
            raise TypeError
        single = Column(column.name, column.type, fields=column.fields)
        return [_value(each, single) for each in value]
    if column.type == STRUCT:
        inner = {each.name: each for each in column.fields}
        return {name: _value(each, inner[name]) for name, each in value.items()}
    return _scalar(value, column.type)


def _scalar(value: Any, kind: str) -> Any:
    plain = _PLAIN.get(kind)
    if plain is not None:
        return plain(value)
    if kind == "TIME" and type(value) is int:  # YAML 1.1 reads 10:30:00 as a number of base 60
        return time(value // 3600, value // 60 % 60, value % 60)
    if kind in {"TIMESTAMP", "DATETIME"} and type(value) is date:
        value = datetime(value.year, value.month, value.day)  # noqa: DTZ001 - it has no zone yet
    if kind == "TIMESTAMP" and isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    from_json = TYPES[kind].from_json
    is_native = isinstance(value, (date, time, bytes))
    return value if from_json is None or is_native else from_json(value)

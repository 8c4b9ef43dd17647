"""Tests of datamarts in YAML: given rows, and the rows that are expected of them.

The form is that of dbt's unit tests, https://docs.getdbt.com/docs/build/unit-tests.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etlkit.errors import ConfigError
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
        name: Unique in its file.
        datamart: `package.module`, `package.module:name`, or the path of a file.
        given: Table to its rows, as the file has them.
        schemas: Table to its columns, where they are said.
        expected: The rows, as the file has them. Only the columns that they have are compared.
        by: Columns that identify a row; None = rows are compared by position.
        ordered: Whether their order matters.
        now: The moment in which it runs; None = the clock.
        variables: Values of custom variables.
    """

    name: str
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
            table: typed(rows, parse_schema(self.schemas[table]), f"{self.name}: {table}")
            if table in self.schemas
            else rows
            for table, rows in self.given.items()
        }
        rows, columns = run_on_rows(job, given, self.schemas, self.variables, self.now)
        compared = {name for row in self.expected for name in row}
        if compared:
            rows = [{name: row[name] for name in row if name in compared} for row in rows]
        expected = typed(self.expected, columns, f"{self.name}: expect")
        assert_rows(rows, expected, by=self.by, ordered=self.ordered)


_PLAIN: Mapping[str, Callable[[Any], Any]] = {
    "STRING": str,
    "FLOAT64": float,
    "NUMERIC": lambda value: Decimal(str(value)),
    "BIGNUMERIC": lambda value: Decimal(str(value)),
}


def read_cases(file: Path) -> list[DatamartCase]:
    """Read a file of tests.

    Args:
        file: YAML with a list `unit_tests`. Fixtures are beside it.

    Raises:
        ConfigError: It is not of that form; says where.
    """
    try:
        import yaml
    except ImportError:
        raise ConfigError(
            "tests of datamarts in YAML need PyYAML, which comes with the extra `local`"
        ) from None
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{file.name} is not YAML: {error}") from None
    if not isinstance(content, dict) or not isinstance(content.get("unit_tests"), list):
        raise ConfigError(f"{file.name}: it needs a list unit_tests")
    cases = [_case(entry, file) for entry in content["unit_tests"]]
    names = [case.name for case in cases]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"{file.name}: two tests have the name {', '.join(twice)}")
    return cases


def _case(entry: Any, file: Path) -> DatamartCase:
    name = entry.get("name") if isinstance(entry, dict) else None
    where = f"{file.name}, test {name or entry!r}"
    _check(entry, where, _KEYS, needed=("name", "datamart", "expect"))
    given: dict[str, Sequence[Row]] = {}
    schemas: dict[str, Mapping[str, str]] = {}
    for table in entry.get("given") or []:
        _check(table, f"{where}, given", _GIVEN_KEYS, needed=("input",))
        given[table["input"]] = _rows(table, f"{where}, {table['input']}", file)
        if table.get("schema"):
            schemas[table["input"]] = table["schema"]
    expect = entry["expect"]
    _check(expect, f"{where}, expect", _EXPECT_KEYS, needed=())
    if "rows" not in expect and "fixture" not in expect:
        raise ConfigError(f"{where}, expect: it needs rows or a fixture")
    return DatamartCase(
        name=str(name),
        datamart=str(entry["datamart"]),
        given=given,
        schemas=schemas,
        expected=_rows(expect, f"{where}, expect", file),
        by=expect.get("by"),
        ordered=bool(expect.get("ordered", True)),
        now=_moment(entry.get("now"), where),
        variables=entry.get("variables") or {},
    )


def _check(entry: Any, where: str, keys: Sequence[str], needed: Sequence[str]) -> None:
    if not isinstance(entry, dict):
        raise ConfigError(f"{where}: it is a mapping with some of {', '.join(keys)}")
    if unknown := [key for key in entry if key not in keys]:
        raise ConfigError(f"{where}: unknown {unknown[0]!r}; it is one of {', '.join(keys)}")
    if missing := [key for key in needed if not entry.get(key)]:
        raise ConfigError(f"{where}: {missing[0]} is missing")


def _moment(value: Any, where: str) -> datetime | None:
    if value is None:
        return None
    if isinstance(value, datetime):
        return value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    raise ConfigError(f"{where}: now is a time, e.g. 2026-01-31T09:00:00Z")


def _rows(entry: Mapping[str, Any], where: str, file: Path) -> list[Row]:
    rows, kind = entry.get("rows"), entry.get("format", "dict")
    if kind not in _FORMATS:
        raise ConfigError(f"{where}: format is one of {', '.join(_FORMATS)}")
    if fixture := entry.get("fixture"):
        return _fixture(file.parent / fixture, where)
    if kind == "csv":
        return _of_csv(str(rows or "").strip().splitlines())
    if rows is None:
        return []
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ConfigError(f"{where}: rows is a list of mappings, or text with format: csv")
    return rows


def _fixture(file: Path, where: str) -> list[Row]:
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{where}: fixture {file.name}: {error.strerror}") from None
    if file.suffix == ".csv":
        return _of_csv(text.splitlines())
    if file.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    raise ConfigError(f"{where}: fixture {file.name}: it is a .csv or a .jsonl file")


def _of_csv(lines: Iterable[str]) -> list[Row]:
    """Rows of CSV with a header; each cell is read as YAML reads it, an empty one is null."""
    import yaml

    return [
        {name: yaml.safe_load(cell) if cell else None for name, cell in row.items()}
        for row in csv.DictReader(lines, skipinitialspace=True)
    ]


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

"""CSV files: how autodetect finds their columns, and how they are read.

Real BigQuery: the first row is a header if it has only text and other rows do not. Without a header the
columns are `int64_field_0`, `string_field_1`, and the first row is data. With a schema,
`skipLeadingRows` rows are skipped. The emulator: DuckDB named columns `column0`, or by the values of
the first row, and the first row was always lost.

https://cloud.google.com/bigquery/docs/schema-detect
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from etlkit.local.bigquery.patches.types import columns_of, quote
from etlkit.rows.types import REST_NAMES, TYPES

if TYPE_CHECKING:
    from collections.abc import Sequence

_SAMPLE_ROWS: Final = 500
"""BigQuery looks at up to 500 rows of a file."""

_DETECTED: Final = {
    "BIGINT": "INT64",
    "DOUBLE": "FLOAT64",
    "BOOLEAN": "BOOL",
    "DATE": "DATE",
    "TIME": "TIME",
    "TIMESTAMP WITH TIME ZONE": "TIMESTAMP",
}
"""BigQuery's type for a column whose values have a DuckDB type of `_CHECKS`; others are STRING."""

_FROM_TEXT: Final = {"BLOB": "from_base64({})", "GEOMETRY": "ST_GeomFromText({})"}
"""DuckDB types that are read as text and then converted, because DuckDB reads them differently."""


@dataclass(frozen=True)
class CsvOptions:
    """The format of CSV files.

    Attributes:
        skip: The number of rows before the data; None = not given.
        delimiter: The text between fields.
        quote: The character around a field.
        null: The text that means NULL.
        has_short_rows: Whether fields may be missing at the end of a row. They are NULL then.
        max_bad: The maximum number of wrong rows. They are left out.
    """

    skip: int | None = None
    delimiter: str = ","
    quote: str = '"'
    null: str = ""
    has_short_rows: bool = False
    max_bad: int = 0

    @classmethod
    def of_load(cls, load: dict[str, Any]) -> CsvOptions:
        """From `configuration.load`, or from `csvOptions` of an external table."""
        skip = load.get("skipLeadingRows")
        delimiter = load.get("fieldDelimiter") or ","
        return cls(
            skip=None if skip is None else int(skip),
            delimiter="\t" if delimiter in {"\\t", "tab"} else delimiter,
            quote=load.get("quote", '"'),
            null=load.get("nullMarker") or "",
            has_short_rows=bool(load.get("allowJaggedRows")),
            max_bad=int(load.get("maxBadRecords") or 0),
        )

    def arguments(self) -> str:
        """The arguments for DuckDB's `read_csv`."""
        texts = {"delim": self.delimiter, "quote": self.quote, "nullstr": self.null}
        given = [f"{name} = {literal(text)}" for name, text in texts.items()]
        given += ["header = false", "allow_quoted_nulls = false", "strict_mode = false"]
        if self.has_short_rows:
            given += ["null_padding = true", "parallel = false"]
        if self.max_bad:
            given.append("ignore_errors = true")
        return ", ".join(given)


@dataclass(frozen=True)
class Detected:
    """The columns that autodetect found.

    Attributes:
        fields: The fields of the schema, as in the REST API.
        skip: The number of rows before the data.
    """

    fields: list[dict[str, Any]]
    skip: int


def detect(connection: Any, path: str, options: CsvOptions) -> Detected:
    """Find the columns of a file."""
    # Of N leading rows the last may be a header. If no number is given, the first row may be one.
    may_have_header = options.skip != 0
    before = max((options.skip or 1) - 1, 0)
    first = _types(connection, path, options, before, rows=1)
    rest = _types(connection, path, options, before + 1) if may_have_header else []
    is_header = (
        bool(rest)
        and all(kind == "VARCHAR" for _, kind in first)
        and any(kind != "VARCHAR" for _, kind in rest)
    )
    if is_header:
        names = [_column_name(value, number) for number, (value, _) in enumerate(first)]
        return Detected(_fields(names, _detected(rest)), before + 1)
    skip = options.skip or 0
    found = _detected(_types(connection, path, options, skip))
    words = [TYPES[kind].guessed_name or kind.lower() for kind in found]
    names = [f"{word}_field_{number}" for number, word in enumerate(words)]
    return Detected(_fields(names, found), skip)


def _detected(columns: Sequence[tuple[str, str]]) -> list[str]:
    """BigQuery's standard types of columns, from their DuckDB types."""
    return [_DETECTED.get(kind, "STRING") for _, kind in columns]


def rows_sql(paths: Sequence[str], columns: Sequence[tuple[str, Any]], options: CsvOptions) -> str:
    """DuckDB SQL that reads files into columns of these names and types, by position."""
    files = ", ".join(literal(path) for path in paths)
    kinds = {name: str(kind) for name, kind in columns}
    read = ", ".join(
        f"{literal(name)}: {literal('VARCHAR' if kind in _FROM_TEXT else kind)}"
        for name, kind in kinds.items()
    )
    taken = ", ".join(
        f"{_FROM_TEXT.get(kind, '{}').format(quote(name))} AS {quote(name)}"
        for name, kind in kinds.items()
    )
    return (
        f"SELECT {taken} FROM read_csv([{files}], auto_detect = false, "
        f"columns = {{{read}}}, skip = {options.skip or 0}, {options.arguments()})"
    )


def load(engine: Any, path: str, table: str, options: CsvOptions) -> None:
    """Add the rows of a file to a DuckDB table, by position."""
    columns = [(name, kind) for name, kind, _ in columns_of(engine, table)]
    engine.execute(f"INSERT INTO {table} {rows_sql([path], columns, options)}")


def _types(
    connection: Any, path: str, options: CsvOptions, skip: int, rows: int = _SAMPLE_ROWS
) -> list[tuple[str, str]]:
    """First value and DuckDB type of each column, from some rows; [] = there are no rows."""
    texts = connection.execute(
        f"SELECT * FROM read_csv(?, all_varchar = true, skip = {skip}, {options.arguments()}, "
        f"null_padding = true, parallel = false) LIMIT {rows}",
        [path],
    ).fetchall()
    if not texts:
        return []
    return [(values[0] or "", _type_of(connection, values)) for values in zip(*texts, strict=True)]


def _type_of(connection: Any, values: Sequence[str | None]) -> str:
    """The narrowest type that all values have."""
    kinds = ", ".join(
        f"count(TRY_CAST(v AS {kind})) FILTER (WHERE {check})" for kind, check in _CHECKS.items()
    )
    counts = connection.execute(
        f"SELECT count(v), {kinds} FROM (SELECT unnest(?::VARCHAR[]) AS v)", [list(values)]
    ).fetchone()
    total, *matching = counts
    if not total:
        return "VARCHAR"
    return next((kind for kind, n in zip(_CHECKS, matching, strict=True) if n == total), "VARCHAR")


_NUMBER: Final = r"regexp_full_match(v, '[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?')"
_CHECKS: Final = {
    "BIGINT": r"regexp_full_match(v, '[+-]?\d+')",
    "DOUBLE": _NUMBER,
    "BOOLEAN": "lower(v) IN ('true', 'false')",
    "DATE": r"regexp_full_match(v, '\d{4}-\d{1,2}-\d{1,2}')",
    "TIME": r"regexp_full_match(v, '\d{1,2}:\d{2}:\d{2}(\.\d{1,6})?')",
    "TIMESTAMP WITH TIME ZONE": r"regexp_full_match(v, '\d{4}-\d{1,2}-\d{1,2}[ T]\d{1,2}:\d{2}.*')",
}
"""What a value must also look like, because DuckDB's casts accept more than BigQuery's autodetect."""


def _column_name(value: str, number: int) -> str:
    """The column name for a cell of the header: letters, digits and underscores."""
    name = "".join(each if each.isalnum() or each == "_" else "_" for each in value.strip())
    if not name:
        return f"string_field_{number}"
    return f"_{name}" if name[0].isdigit() else name


def _fields(names: Sequence[str], kinds: Sequence[str]) -> list[dict[str, Any]]:
    taken: dict[str, int] = {}
    fields = []
    for name, kind in zip(names, kinds, strict=True):
        number = taken.get(name.casefold(), 0)
        taken[name.casefold()] = number + 1
        own = f"{name}_{number}" if number else name
        fields.append({"name": own, "type": REST_NAMES[kind], "mode": "NULLABLE"})
    return fields


def literal(text: str) -> str:
    """A text as a literal in DuckDB's SQL."""
    escaped = text.replace("'", "''")
    return f"'{escaped}'"

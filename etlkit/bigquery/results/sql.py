"""The SQL texts of results that are kept for later runs, as pure functions."""

from __future__ import annotations

from collections.abc import Sequence

from etlkit.api.reuse import Reuse
from etlkit.api.sink import PART, PARTS
from etlkit.api.source import ROW_ID
from etlkit.bigquery.names import TableName, literal
from etlkit.bigquery.sql.expiration import expires
from etlkit.bigquery.sql.staging import ATTEMPT, Staged, outcomes, staged_rows
from etlkit.rows.columns import Column, quoted

KEY = "_etlkit_key"
CODE = "_etlkit_code"
PARAMETERS = "_etlkit_parameters"
MADE_AT = "_etlkit_made_at"
RUN = "_etlkit_run"

MADE_BY_RUN = "_etlkit_made_by_run"
MADE_BY_ROW = "_etlkit_made_by_row"
"""Of a staging table of results: the run that made a result, and its source row there."""

RESULT_COLUMNS = (
    Column(KEY, "STRING", description="Hash of the values of the key columns"),
    Column(CODE, "STRING", description="Digest of the transform's code"),
    Column(PARAMETERS, "STRING", description="Digest of the transform's attributes and schema"),
    Column(MADE_AT, "TIMESTAMP", description="When the result was published"),
    Column(RUN, "STRING", description="The run that made it"),
    Column(ROW_ID, "STRING", description="The source row of that run"),
    Column(PART, "INT64", description="0 for the first row that the source row became"),
    Column(PARTS, "INT64", description="How many rows it became; 0 = skipped"),
)
"""What stands before the columns that the transform made."""


def key_of(keys: Sequence[Column], table: str) -> str:
    """A hash of key columns, whatever their types.

    NULL is equal to NULL, NaN to NaN, and a JSON value, a STRUCT or an ARRAY to one of the same text.

    Args:
        keys: The columns, in any order.
        table: What they are read from.
    """
    values = ", ".join(
        f"{_comparable(key, table)} AS {quoted(key.name)}"
        for key in sorted(keys, key=lambda key: key.name)
    )
    return f"TO_HEX(SHA256(TO_JSON_STRING(STRUCT({values}))))"


def _comparable(key: Column, table: str) -> str:
    value = f"{table}.{quoted(key.name)}"
    is_area = key.type == "GEOGRAPHY" and key.mode != "REPEATED"
    return f"ST_ASTEXT({value})" if is_area else value


def _counting(results: TableName, reuse: Reuse) -> str:
    """The results that count."""
    code = "" if reuse.across_code else f"AND {CODE} = {literal(reuse.code)} "
    return (
        f"FROM {results.sql}\nWHERE {PARAMETERS} = {literal(reuse.parameters)} {code}"
        f"AND {MADE_AT} > TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL {int(reuse.days)} DAY)"
    )


def count(results: TableName, reuse: Reuse) -> str:
    """How many source rows have results that count, as `n`."""
    return f"SELECT COUNT(DISTINCT {KEY}) AS n {_counting(results, reuse)}"


def unknown(rows: str, results: TableName, reuse: Reuse) -> str:
    """What is true of rows without results that count; `rows` is the alias of their table."""
    return f"{key_of(reuse.keys, rows)} NOT IN (SELECT {KEY} {_counting(results, reuse)})"


def count_known(frozen: TableName, results: TableName, reuse: Reuse) -> str:
    """How many frozen rows have results that count, as `n`."""
    return (
        f"SELECT COUNTIF({key_of(reuse.keys, 'frozen')} IN (SELECT {KEY} {_counting(results, reuse)}))"
        f" AS n\nFROM {frozen.sql} AS frozen"
    )


def take(
    into: TableName,
    frozen: TableName,
    results: TableName,
    made: Sequence[Column],
    reuse: Reuse,
) -> str:
    """Make a staging table of the frozen rows that are known, with the latest of their results.

    `IF NOT EXISTS`: an attempt that comes later finds what was taken. Rows that would not fit the
    target are left out: transformed again, they are errors of their own.

    Args:
        into: The staging table.
        frozen: The frozen source rows.
        results: The table of results.
        made: The columns to take from it, with what the target demands of them.
        reuse: Its `passing` columns have what the target demands of them.
    """
    return (
        f"CREATE TABLE IF NOT EXISTS {into.sql} OPTIONS({expires()}) AS\n"
        f"{known(frozen, results, made, reuse)}"
    )


def known(frozen: TableName, results: TableName, made: Sequence[Column], reuse: Reuse) -> str:
    """The frozen rows that are known, with the latest of their results; see `take`."""
    values = [*((c, f"r.{quoted(c.name)}") for c in made)]
    values += [(c, f"s.{quoted(c.name)}") for c in reuse.passing]
    chosen = "".join(f",\n  {value} AS {quoted(column.name)}" for column, value in values)
    fits = [condition for column, value in values for condition in _demands(column, value)]
    fitting = "".join(f"\n  AND {each}" for each in fits)
    return (
        f"SELECT s.{ROW_ID}, 0 AS {ATTEMPT}, r.{PART}, r.{PARTS}{chosen},\n"
        f"  r.{RUN} AS {MADE_BY_RUN}, r.{ROW_ID} AS {MADE_BY_ROW}\n"
        f"FROM (\n  SELECT *, {key_of(reuse.keys, 'frozen')} AS {KEY} FROM {frozen.sql} AS frozen\n"
        ") AS s\nJOIN (\n"
        f"  SELECT * {_counting(results, reuse)}\n"
        "  QUALIFY RANK() OVER (\n"
        f"    PARTITION BY {KEY} ORDER BY {MADE_AT} DESC, {RUN} DESC, {ROW_ID}) = 1\n"
        f") AS r ON s.{KEY} = r.{KEY}\nWHERE r.{PARTS} = 0 OR (TRUE{fitting})"
    )


def _demands(column: Column, value: str) -> list[str]:
    """What the target demands of a column's values, as conditions that must be true of all parts."""
    found = []
    if column.mode == "REQUIRED":
        found.append(f"{value} IS NOT NULL")
    if column.parameters:
        if column.mode == "REPEATED":
            inner = _within(column, "each")
            found.append(f"NOT EXISTS (SELECT 1 FROM UNNEST({value}) AS each WHERE NOT ({inner}))")
        else:
            found.append(f"({value} IS NULL OR {_within(column, value)})")
    return found


def _within(column: Column, value: str) -> str:
    most, *scales = column.parameters
    if column.type in {"STRING", "BYTES"}:
        length = "CHAR_LENGTH" if column.type == "STRING" else "BYTE_LENGTH"
        return f"{length}({value}) <= {most}"
    scale = scales[0] if scales else 0
    bound = f"CAST('1e{most - scale}' AS BIGNUMERIC)"
    return f"{value} = ROUND({value}, {scale}) AND ABS({value}) < {bound}"


def count_rows(table: TableName) -> str:
    """How many source rows a staging table has, as `n`."""
    return f"SELECT COUNT(DISTINCT {ROW_ID}) AS n FROM {table.sql}"


def keep(
    results: TableName,
    frozen: TableName,
    staged: Staged,
    made: Sequence[Column],
    reuse: Reuse,
    run_id: str,
) -> str:
    """Add the outcomes of a run's rows to the results; rejected rows are not among them.

    Args:
        results: The table of results.
        frozen: The frozen source rows.
        staged: The work tables.
        made: The columns that the transform made.
        reuse: What the results are known by.
        run_id: The run.
    """
    rows = staged_rows(staged, made, with_ids=True, skipped=True)
    names = [*(column.name for column in RESULT_COLUMNS), *(column.name for column in made)]
    values = [
        key_of(reuse.keys, "s"),
        literal(reuse.code),
        literal(reuse.parameters),
        "CURRENT_TIMESTAMP()",
        literal(run_id),
        *(f"o.{quoted(name)}" for name in names[5:]),
    ]
    where = [] if reuse.keeps_skipped else [f"o.{PARTS} > 0"]
    if staged.rejects is not None:
        rejected = f"SELECT {ROW_ID} FROM (\n{outcomes(staged)}\n) WHERE rejected"
        where.append(f"o.{ROW_ID} NOT IN (\n{rejected}\n)")
    condition = f"\nWHERE {' AND '.join(where)}" if where else ""
    return (
        f"INSERT INTO {results.sql} ({', '.join(map(quoted, names))})\n"
        f"SELECT {', '.join(values)}\nFROM (\n{rows}\n) AS o\n"
        f"JOIN {frozen.sql} AS s ON o.{ROW_ID} = s.{ROW_ID}{condition}"
    )

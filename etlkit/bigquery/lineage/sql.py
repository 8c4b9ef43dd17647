"""The SQL texts of lineage, as pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from etlkit.api.lineage import RUN_ID
from etlkit.api.source import ROW_ID
from etlkit.bigquery.names import TableName, literal
from etlkit.bigquery.results.sql import MADE_BY_ROW, MADE_BY_RUN
from etlkit.bigquery.sql.staging import ATTEMPT, Staged, outcomes
from etlkit.rows.columns import Column, quoted

RECORDED_AT = "recorded_at"


def lineage_table(dataset: tuple[str, str]) -> TableName:
    """Where the lineage of rows is, for all jobs of a work dataset."""
    return TableName(*dataset, "row_lineage")


LINEAGE_TABLE_COLUMNS = (
    Column(RECORDED_AT, "TIMESTAMP", description="When the row was published"),
    Column("run_id", "STRING", description="The run that published the target rows"),
    Column("row_id", "STRING", description="The source row, within that run"),
    Column("num_rows", "INT64", description="How many target rows it became"),
    Column("attempt", "INT64", description="Attempt at the run that staged them; 0 = reused"),
    Column("made_by_run_id", "STRING", description="The run whose code and calls made the result"),
    Column("made_by_row_id", "STRING", description="The source row of that run"),
    Column("calls", "INT64", description="Calls made for it, retries included; null = not known"),
    Column("units", "INT64", description="Billing units of these calls"),
    Column("shared_by", "INT64", description="How many source rows shared these calls"),
    Column("cost", "FLOAT64", description="Its share of their price; null = no price is declared"),
    Column("source_row", "JSON", description="The source row; null = the row id says where it is"),
)

CALL_COLUMNS = (
    Column(ROW_ID, "STRING"),
    Column(ATTEMPT, "INT64"),
    Column("number", "INT64", description="Tells records of an attempt apart"),
    Column("calls", "INT64"),
    Column("units", "INT64"),
    Column("shared_by", "INT64"),
)
"""Of the work table of calls. It is written at least once, so the same record may be there twice."""


@dataclass(frozen=True)
class LineageRows:
    """Where the lineage of a run's rows comes from.

    Attributes:
        run_id: The run.
        staged: Its rows.
        frozen: Its frozen source rows; None = the source freezes none in BigQuery.
        source: Columns of the frozen rows; None = they have `source_row`, which is JSON.
        calls: The work table of calls; None = none was counted.
        taken: The staging table of results of earlier runs, if it says which run made each.
        price: Of a billing unit; None = none is declared.
    """

    run_id: str
    staged: Staged
    frozen: TableName | None
    source: tuple[Column, ...] | None
    calls: TableName | None
    taken: TableName | None
    price: float | None


def record(into: TableName, rows: LineageRows) -> str:
    """Add the lineage of all source rows that became target rows."""
    made_by = ("NULL", "NULL") if rows.taken is None else ("t.run_id", "t.row_id")
    values = {
        RECORDED_AT: "CURRENT_TIMESTAMP()",
        "run_id": literal(rows.run_id),
        "row_id": f"o.{ROW_ID}",
        "num_rows": "o.parts",
        "attempt": f"o.{ATTEMPT}",
        "made_by_run_id": f"IFNULL({made_by[0]}, {literal(rows.run_id)})",
        "made_by_row_id": f"IFNULL({made_by[1]}, o.{ROW_ID})",
        "calls": "c.calls" if rows.calls is not None else "NULL",
        "units": "c.units" if rows.calls is not None else "NULL",
        "shared_by": "c.shared_by" if rows.calls is not None else "NULL",
        "cost": "NULL",
        "source_row": "s.source_row" if rows.frozen is not None else "NULL",
    }
    if rows.calls is not None and rows.price is not None:
        values["cost"] = f"c.share * {float(rows.price)!r}"
    types = {column.name: column.type for column in LINEAGE_TABLE_COLUMNS}
    chosen = [
        f"CAST(NULL AS {types[name]})" if value == "NULL" else value
        for name, value in values.items()
    ]
    return (
        f"INSERT INTO {into.sql} ({', '.join(values)})\n"
        f"SELECT {', '.join(chosen)}\nFROM (\n{outcomes(rows.staged)}\n) AS o"
        f"{_joins(rows)}\nWHERE o.parts > 0"
    )


def _joins(rows: LineageRows) -> str:
    joined = ""
    if rows.taken is not None:
        joined += (
            f"\nLEFT JOIN (\n  SELECT DISTINCT {ROW_ID}, {MADE_BY_RUN} AS run_id, "
            f"{MADE_BY_ROW} AS row_id FROM {rows.taken.sql}\n"
            f") AS t ON t.{ROW_ID} = o.{ROW_ID} AND o.{ATTEMPT} = 0"
        )
    if rows.calls is not None:
        names = ", ".join(column.name for column in CALL_COLUMNS)
        joined += (
            "\nLEFT JOIN (\n"
            f"  SELECT {ROW_ID}, SUM(calls) AS calls, SUM(units) AS units, "
            "MAX(shared_by) AS shared_by, SUM(units / shared_by) AS share\n"
            f"  FROM (SELECT DISTINCT {names} FROM {rows.calls.sql})\n  GROUP BY {ROW_ID}\n"
            f") AS c ON c.{ROW_ID} = o.{ROW_ID}"
        )
    if rows.frozen is not None:
        joined += (
            f"\nLEFT JOIN (\n  SELECT {ROW_ID}, {_as_json(rows.source)} AS source_row "
            f"FROM {rows.frozen.sql} AS f\n) AS s ON s.{ROW_ID} = o.{ROW_ID}"
        )
    return joined


def _as_json(columns: Sequence[Column] | None) -> str:
    if columns is None:
        return "source_row"
    values = ", ".join(f"f.{quoted(each.name)} AS {quoted(each.name)}" for each in columns)
    return f"TO_JSON(STRUCT({values}))"


def target_rows(target: TableName, where: str | None, limit: int) -> str:
    """Target rows as JSON text, with the run and source row of each.

    Args:
        target: The table.
        where: A condition over its columns; None = any rows.
        limit: Rows at most.
    """
    condition = "" if where is None else f"\nWHERE {where}"
    return (
        f"SELECT TO_JSON_STRING(t) AS target_row, t.{RUN_ID} AS run_id, t.{ROW_ID} AS row_id\n"
        f"FROM {target.sql} AS t{condition}\nLIMIT {int(limit)}"
    )


def records(lineage: TableName) -> str:
    """What is kept of the source rows `@row_ids` of the runs `@run_ids`.

    The ids are parameters, not joined: so BigQuery reads only the blocks that may hold them.
    """
    return (
        f"SELECT * EXCEPT (source_row), TO_JSON_STRING(source_row) AS source_row\n"
        f"FROM {lineage.sql}\nWHERE run_id IN UNNEST(@run_ids) AND row_id IN UNNEST(@row_ids)"
    )

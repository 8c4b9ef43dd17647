"""The SQL texts of `HttpSink`, as pure functions."""

from __future__ import annotations

from collections.abc import Sequence

from etlkit.api.sink import PART, PARTS
from etlkit.api.source import ROW_ID
from etlkit.bigquery.names import TableName, literal
from etlkit.bigquery.sql.dml import names_of
from etlkit.bigquery.sql.staging import ATTEMPT, Staged, outcomes, staged_rows
from etlkit.rows.columns import Column

BUNDLE = "_etlkit_bundle"
POSITION = "_etlkit_position"
ROW = "_etlkit_row"

OUTBOX_COLUMNS = (
    Column(BUNDLE, "INT64", description="Position of the first item of its request"),
    Column(POSITION, "INT64", description="Counts the items of an attempt, in order"),
    Column(ROW, "STRING", description="The row as JSON"),
)
"""What is staged of a row that will be sent."""

ANSWER_COLUMNS = (
    Column(ROW_ID, "STRING"),
    Column(ATTEMPT, "INT64", description="The attempt that staged the item"),
    Column(PART, "INT64"),
    Column("outcome", "STRING", description="accepted, refused or failed"),
    Column("status", "INT64", description="HTTP status; null = no answer"),
    Column("answer", "JSON", description="What the API answered; null = not kept"),
    Column("error_class", "STRING"),
    Column("code", "STRING"),
    Column("message", "STRING"),
    Column("attempts", "INT64", description="Requests made with it"),
    Column("answered_at", "TIMESTAMP"),
)
"""The work table of outcomes, at least once."""

RESPONSE_COLUMNS = (
    Column("run_id", "STRING", "REQUIRED", description="The run that sent the row"),
    Column("row_id", "STRING", "REQUIRED", description="The row's id in that run"),
    Column("part", "INT64", "REQUIRED", description="Which of the rows it became, 0 = first"),
    Column("row", "JSON", description="The row as it was sent"),
    Column("status", "INT64", description="HTTP status of the answer"),
    Column("answer", "JSON", description="The answer; null = none, or it was too large"),
    Column("answered_at", "TIMESTAMP", description="When the answer came"),
)
"""The table of answers that a job keeps."""

_IDS = (ROW_ID, ATTEMPT, PART)


def _same(left: str, right: str) -> str:
    return " AND ".join(f"{left}.{name} = {right}.{name}" for name in _IDS)


def open_bundles(staged: Staged, answers: TableName) -> str:
    """All items of the bundles that have one to send, in order; `is_settled` says which are not.

    Those are items with an answer, and those of rows that are rejected, skipped, or staged anew by a
    later attempt. They are needed to cut a bundle as it was cut before.
    """
    ids = ", ".join(_IDS)
    chosen = ", ".join([ids, PARTS, *(column.name for column in OUTBOX_COLUMNS)])
    items = "\n    UNION ALL\n    ".join(
        f"SELECT {chosen} FROM {table.sql} WHERE {PARTS} > 0" for table, _ in staged.tables
    )
    return (
        "SELECT * FROM (\n"
        "  SELECT items.*, wanted.n IS NULL OR done.n IS NOT NULL AS is_settled,\n"
        "    SUM(IF(wanted.n IS NULL OR done.n IS NOT NULL, 0, 1)) OVER (\n"
        f"      PARTITION BY items.{ATTEMPT}, items.{BUNDLE}) AS num_open\n"
        f"  FROM (\n    SELECT * FROM (\n    {items}\n    ) WHERE TRUE\n"
        f"    QUALIFY ROW_NUMBER() OVER (PARTITION BY {ids} ORDER BY {POSITION}) = 1\n  ) AS items\n"
        f"  LEFT JOIN (\n    SELECT {ids}, 1 AS n FROM (\n"
        f"{staged_rows(staged, OUTBOX_COLUMNS, with_ids=True)}\n)\n  ) AS wanted\n"
        f"  ON {_same('items', 'wanted')}\n"
        f"  LEFT JOIN (SELECT DISTINCT {ids}, 1 AS n FROM {answers.sql}) AS done\n"
        f"  ON {_same('items', 'done')}\n"
        f") WHERE num_open > 0\nORDER BY {ATTEMPT}, {POSITION}"
    )


def refused_rows(staged: Staged, answers: TableName) -> str:
    """Rows that the API refused and that are neither rejected nor skipped yet, with one error each."""
    return (
        f"SELECT o.{ROW_ID}, o.parts, a.outcome, a.error_class, a.code, a.message, a.attempts\n"
        f"FROM (\n{outcomes(staged)}\n) AS o\nJOIN {answers.sql} AS a\n"
        f"ON a.{ROW_ID} = o.{ROW_ID} AND a.{ATTEMPT} = o.{ATTEMPT}\n"
        "WHERE a.outcome != 'accepted' AND NOT o.rejected AND o.parts > 0\n"
        f"QUALIFY ROW_NUMBER() OVER (PARTITION BY o.{ROW_ID} ORDER BY a.{PART}) = 1"
    )


def without_rows(finished_ids: str, row_ids: Sequence[str]) -> str:
    """The finished ids without some of them."""
    listed = ", ".join(map(literal, row_ids))
    return f"SELECT {ROW_ID} FROM (\n{finished_ids}\n)\nWHERE {ROW_ID} NOT IN ({listed})"


def _accepted(answers: TableName) -> str:
    return (
        f"SELECT * FROM {answers.sql} WHERE outcome = 'accepted'\n"
        f"QUALIFY ROW_NUMBER() OVER (PARTITION BY {', '.join(_IDS)} ORDER BY answered_at) = 1"
    )


def _accepted_items(staged: Staged, answers: TableName) -> str:
    return (
        f"(\n{staged_rows(staged, OUTBOX_COLUMNS, with_ids=True)}\n) AS s\n"
        f"JOIN (\n{_accepted(answers)}\n) AS a\nON {_same('s', 'a')}"
    )


def count_accepted(staged: Staged, answers: TableName) -> str:
    """How many staged rows the API has accepted, as `n`."""
    return f"SELECT COUNT(*) AS n FROM {_accepted_items(staged, answers)}"


def insert_responses(target: TableName, staged: Staged, answers: TableName, run_id: str) -> str:
    """Add one row for each staged row that the API has accepted.

    `wide_number_mode`: BigQuery refuses floats that do not come back as the same text.
    """
    return (
        f"INSERT INTO {target.sql} ({names_of(RESPONSE_COLUMNS)})\n"
        f"SELECT {literal(run_id)}, s.{ROW_ID}, s.{PART},\n"
        f"  SAFE.PARSE_JSON(s.{ROW}, wide_number_mode => 'round'), a.status, a.answer, a.answered_at\n"
        f"FROM {_accepted_items(staged, answers)}"
    )

"""The way back: from target rows to their source rows, runs, code and calls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from etlkit.api.lineage import LINEAGE_NAMES
from etlkit.bigquery.google_errors import errors_as
from etlkit.bigquery.lineage import sql as lineage_sql
from etlkit.bigquery.names import parse_table
from etlkit.bigquery.runs.history import open_ledger
from etlkit.errors import SourceError

if TYPE_CHECKING:
    from etlkit.api.run import Run
    from etlkit.bigquery.client import Connection
    from etlkit.bigquery.names import TableName
    from etlkit.bigquery.runs.ledger import Ledger

_CALLS = ("calls", "units", "shared_by", "cost")


def trace_rows(
    run: Run, dataset: str, table: str, where: str | None, *, limit: int
) -> list[dict[str, Any]]:
    """Look up where rows of a table come from.

    Args:
        run: For its settings and clients.
        dataset: The work dataset.
        table: `dataset.table` or `project.dataset.table`, written by a job with `lineage=True`.
        where: A condition over its columns; None = any rows.
        limit: Rows at most.

    Returns:
        For each row: `target_row` and `source_row` as JSON text, None = not kept; `run_id`, `row_id`,
        `attempt`; `made_by_run_id` and `made_by_row_id`, which differ for a result of an earlier run;
        `job`, `finished_at` and `variables` of the run that published it; `fingerprint` and `revision`
        of the code that made it; `calls`, `units`, `shared_by` and `cost` of what made it; `is_kept`,
        whether its lineage has not expired.

    Raises:
        ConfigError: `table` is no name.
        SourceError: There is no such table, it has no lineage, or BigQuery refuses the condition.
    """
    connection, ledger = open_ledger(run, dataset)
    target = parse_table(table, connection.project)
    with errors_as(SourceError, "trace", f"looking for rows of {target} failed"):
        _check(connection, target)
        rows = connection.select(lineage_sql.target_rows(target, where, limit))
    with errors_as(SourceError, "trace", f"reading the lineage of {target} failed"):
        return _with_lineage(connection, ledger, rows)


def _check(connection: Connection, target: TableName) -> None:
    found = connection.find_table(target)
    if found is None:
        raise SourceError(f"there is no table {target}", stage="trace")
    if not {field.name for field in found.schema} >= LINEAGE_NAMES:
        raise SourceError(
            f"{target} has no lineage: declare the job that writes it with lineage=True. Rows of its "
            "later runs can be traced then",
            stage="trace",
        )


def _with_lineage(
    connection: Connection, ledger: Ledger, rows: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    own = _records(connection, ledger, ((row["run_id"], row["row_id"]) for row in rows))
    makers = {(each["made_by_run_id"], each["made_by_row_id"]) for each in own.values()}
    made = own | _records(connection, ledger, makers - own.keys())
    run_ids = {row["run_id"] for row in rows} | {run_id for run_id, _ in makers}
    names = sorted(filter(None, run_ids))
    runs = {r["run_id"]: r for r in ledger.find("run_id IN UNNEST(@value)", names)} if names else {}
    return [_traced(row, own, made, runs) for row in rows]


def _traced(
    row: dict[str, Any],
    own: Mapping[tuple[str, str], dict[str, Any]],
    made: Mapping[tuple[str, str], dict[str, Any]],
    runs: Mapping[str, dict[str, Any]],
) -> dict[str, Any]:
    here = row["run_id"], row["row_id"]
    record = own.get(here, {})
    maker = record.get("made_by_run_id", here[0]), record.get("made_by_row_id", here[1])
    published, code, calls = runs.get(here[0], {}), runs.get(maker[0], {}), made.get(maker, {})
    return {
        "target_row": row["target_row"],
        "source_row": record.get("source_row"),
        "run_id": here[0],
        "row_id": here[1],
        **{name: published.get(name) for name in ("job", "finished_at", "variables")},
        "attempt": record.get("attempt"),
        "made_by_run_id": maker[0],
        "made_by_row_id": maker[1],
        **{name: code.get(name) for name in ("fingerprint", "revision")},
        **{name: calls.get(name) for name in _CALLS},
        "is_kept": bool(record),
    }


def _records(
    connection: Connection, ledger: Ledger, keys: Iterable[tuple[str | None, str | None]]
) -> dict[tuple[str, str], dict[str, Any]]:
    from google.cloud import bigquery

    pairs = [(run_id, row_id) for run_id, row_id in keys if run_id and row_id]
    name = lineage_sql.lineage_table((ledger.runs.project, ledger.runs.dataset))
    if not pairs or connection.find_table(name) is None:
        return {}
    parameters = [
        bigquery.ArrayQueryParameter(name, "STRING", sorted(set(values)))
        for name, values in zip(("run_ids", "row_ids"), zip(*pairs, strict=True), strict=True)
    ]
    found = connection.select(lineage_sql.records(name), parameters)
    return {(each["run_id"], each["row_id"]): each for each in found}

"""Audit and publish: the end of a run, where repeats are removed and the target changes at once."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from etlkit.bigquery import sql
from etlkit.bigquery.client import google_message
from etlkit.errors import CountMismatchError

if TYPE_CHECKING:
    from etlkit.bigquery.client import Connection
    from etlkit.bigquery.ledger import Ledger
    from etlkit.bigquery.names import TableName
    from etlkit.bigquery.staging import Staging
    from etlkit.columns import Column
    from etlkit.context import Run
    from etlkit.settle import Counts

log = logging.getLogger("etlkit.bigquery")

_ATTEMPTS = 5


def audit(connection: Connection, staging: Staging, counts: Counts) -> None:
    """Compare what stands in the staging tables with what the engine counted.

    Raises:
        CountMismatchError: A row is missing, cut off or too many.
    """
    found = connection.rows(sql.audit(staging.names), "audit")[0]
    expected = {"written": counts.written, "skipped": counts.skipped, "parts": counts.parts}
    settled = found["written"] + found["skipped"]
    if (
        found["broken"]
        or counts.read != counts.settled
        or any(found[name] != value for name, value in expected.items())
    ):
        raise CountMismatchError(
            f"read {counts.read} rows, but the staging table holds {found['written']} written "
            f"({found['parts']} rows after fan-out, {found['broken']} incomplete) and "
            f"{found['skipped']} skipped, where {counts.written} ({counts.parts}) and "
            f"{counts.skipped} were sent; nothing was published",
            read=counts.read,
            settled=settled,
        )


def publish(
    connection: Connection,
    staging: Staging,
    ledger: Ledger,
    run: Run,
    target: TableName,
    *,
    known: tuple[Column, ...],
    replace: bool,
    counts: Counts,
) -> None:
    """Make the staged rows visible in one atomic step. Sent twice, it changes nothing more.

    A target that exists with these columns: one transaction. One that is missing, or that `replace`
    gives other columns: one `CREATE [OR REPLACE] TABLE … AS`.
    """
    from etlkit.bigquery.types import same_definition

    columns = staging.columns
    rows = sql.staged_rows(staging.tables, columns)
    numbers = {
        "read": counts.read,
        "written": counts.written,
        "skipped": counts.skipped,
        "rejected": counts.rejected,
        "rows_published": counts.parts,
    }
    if known and (not replace or same_definition(columns, known)):
        text = sql.publish(
            target, ledger.table, run.run_id, columns, rows, truncate=replace, counts=numbers
        )
        _run_until_settled(connection, ledger, text)
        return
    if columns and (replace or counts.parts):
        _create(connection, run, target, columns, rows, replace=replace)
    marking = sql.mark_published(ledger.table, run.run_id, numbers)
    connection.query(marking, "ledger_publish")


def _run_until_settled(connection: Connection, ledger: Ledger, text: str) -> None:
    """Run the transaction; BigQuery aborts it when another one touches the same tables."""
    from google.api_core.exceptions import GoogleAPICallError

    for attempt in range(1, _ATTEMPTS + 1):
        try:
            connection.query(text, f"publish_{attempt}")
        except GoogleAPICallError as error:
            if ledger.is_published(f"publish_check_{attempt}"):
                return
            if "concurrent update" not in google_message(error) or attempt == _ATTEMPTS:
                raise
            log.info("publish attempt %d met a concurrent update, trying again", attempt)
        else:
            return


def _create(
    connection: Connection,
    run: Run,
    target: TableName,
    columns: tuple[Column, ...],
    rows: str,
    *,
    replace: bool,
) -> None:
    from google.api_core.exceptions import Conflict

    text = sql.create_target(target, columns, rows, connection.labels(), replace=replace)
    try:
        connection.query(text, "publish")
    except Conflict:
        # Lost answer: the table is there. It is ours if it carries this run's label.
        table = connection.find_table(target)
        if table is None or table.labels.get("etlkit_run") != connection.labels()["etlkit_run"]:
            raise
    log.debug("run %s created %s", run.run_id, target)

"""Dry runs: BigQuery validates a statement and tells how many bytes it would process. Free."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from etlkit.bigquery.client import Connection
from etlkit.bigquery.parameters import query_parameters

if TYPE_CHECKING:
    from google.cloud import bigquery


def dry_run(connection: Connection, text: str, parameters: dict[str, Any]) -> bigquery.QueryJob:
    """Have SQL validated.

    Raises:
        google.api_core.exceptions.GoogleAPICallError: BigQuery refused it.
    """
    from google.cloud import bigquery

    config = bigquery.QueryJobConfig(dry_run=True, labels=connection.labels)
    config.query_parameters = query_parameters(parameters)
    return connection.client.query(
        text,
        job_config=config,
        location=connection.location,
        retry=connection.retry(),
        job_retry=None,
    )

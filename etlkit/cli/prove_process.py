"""The process from which `etlkit prove` forks its runs: `python -m etlkit.cli.prove_process`.

It imports what every run needs, once, and nothing of the user's: a run imports the job anew, as
`etlkit run` does.
"""

from __future__ import annotations

import importlib
import sys
from functools import partial
from typing import TYPE_CHECKING

from etlkit.errors import ConfigError
from etlkit.testing.proving.attempt import make_attempt
from etlkit.testing.proving.processes import serve

if TYPE_CHECKING:
    from etlkit.api.job import TransferJob

_NEEDED = (
    "etlkit.bigquery.publish.staged_writer",
    "etlkit.bigquery.storage.append_rows",
    "etlkit.bigquery.storage.read_rows",
    "etlkit.calls.async_http",
    "etlkit.calls.http",
    "etlkit.cli.job_loader",
    "etlkit.engine.transfer",
    "etlkit.local.bigquery.redirects",
    "etlkit.local.vision.redirects",
    "etlkit.runner",
    "google.cloud.bigquery",
    "google.cloud.bigquery_storage_v1",
    "pyarrow",
)


def load_transfer(target: str) -> TransferJob:
    """Import a job that can be proved.

    Args:
        target: As `etlkit run` takes it.

    Raises:
        ConfigError: It cannot be imported, or is no transfer into BigQuery.
    """
    from etlkit.api.job import TransferJob
    from etlkit.bigquery import BigQuerySink
    from etlkit.cli.job_loader import load_job

    _, job = load_job(target)
    if not isinstance(job, TransferJob):
        raise ConfigError(
            f"{target} is a {type(job).__name__}: etlkit prove is for transfers. Datamarts have unit "
            "tests, see docs/guides/testing.md"
        )
    if not isinstance(job.sink, BigQuerySink):
        raise ConfigError(
            f"{target} writes to a {type(job.sink).__name__}: etlkit prove is for jobs with a "
            "BigQuerySink"
        )
    return job


def main() -> None:
    """Import, then fork for each order. Further modules to import may be named as arguments."""
    from etlkit.bigquery.client import import_without_pandas

    import_without_pandas()
    for name in (*_NEEDED, *sys.argv[1:]):
        importlib.import_module(name)
    serve(partial(make_attempt, load=load_transfer))


if __name__ == "__main__":
    main()

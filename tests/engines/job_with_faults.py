"""The job of the contract, for the process that holds the run."""

import os
from functools import partial

from etlkit import BigQuerySink, BigQuerySource, TransferJob
from tests.engines.faulty_etl import Etl

job = TransferJob(
    source=BigQuerySource(f"SELECT n, name FROM {os.environ['SOURCE']}"),
    transform=partial(Etl, os.environ["PAID_API"]),
    sink=BigQuerySink(os.environ["TARGET"], mode="append"),
    name=os.environ["TARGET"],
    on_row_error=os.environ.get("ON_ROW_ERROR", "reject"),
    max_rejected=None,
)

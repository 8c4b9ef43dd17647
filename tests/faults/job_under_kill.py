"""The job that `test_kill.py` kills: each row costs a call of the paid API.

By a row's number: every tenth is skipped, the one after it becomes three rows, and some are rejected.
"""

import http.client
import os

from etlkit import (
    BigQuerySink,
    BigQuerySource,
    Definition,
    EtlBase,
    RowError,
    TimePartitioning,
    TransferJob,
)


class Etl(EtlBase):
    max_concurrency = int(os.environ.get("IN_FLIGHT", "8"))

    def before_action(self):
        self.api = http.client.HTTPConnection(os.environ["PAID_API"], timeout=30)

    def transform_row(self, row):
        n = row["n"]
        self.api.request("POST", "/call", body=f"{n} {os.environ['CHILD']}")
        row["value"] = int(self.api.getresponse().read())
        if n % 10 == 0:
            return None
        if n % 10 == 1:
            return [dict(row, part=part) for part in range(3)]
        if n % 50 == 7:
            raise RowError(f"number {n} is bad")
        return dict(row, part=0)

    def after_action(self):
        self.api.close()


job = TransferJob(
    source=BigQuerySource(f"SELECT n, name FROM {os.environ.get('SOURCE', 'under_kill.rows')}"),
    transform=Etl,
    sink=BigQuerySink(
        os.environ["TARGET"],
        mode=os.environ.get("MODE", "append"),
        definition=Definition(
            partitioning=TimePartitioning() if "BY_LOAD_TIME" in os.environ else None
        ),
    ),
    name=os.environ["TARGET"],
    on_row_error="reject",
    max_rejected=None,  # rows come in any order: of the first hundred, too many may be bad ones
    reuse=os.environ.get("REUSE"),
)

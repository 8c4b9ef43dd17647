"""Calls through etlkit, with what the job declares taken from the environment."""

import os

from etlkit import BigQuerySink, BigQuerySource, EtlBase, TransferJob
from etlkit.calls.http import HttpClient

LIMITS = {"max_calls": int, "max_cost": float, "price_per_unit": float, "rate_limit": str}


class Etl(EtlBase):
    max_concurrency = 4

    def before_action(self):
        self.api = HttpClient(f"http://{os.environ['PAID_API']}", service="paid")

    def transform_row(self, row):
        answer = self.api.request("POST", "/call", body=f"{row['n']} {os.getpid()}".encode())
        return dict(row, value=int(answer.body))

    def after_action(self):
        self.api.close()


job = TransferJob(
    source=BigQuerySource(f"SELECT n FROM {os.environ['SOURCE']}"),
    transform=Etl,
    sink=BigQuerySink(os.environ["TARGET"]),
    name=os.environ["TARGET"],
    **{name: kind(os.environ[name]) for name, kind in LIMITS.items() if name in os.environ},
)

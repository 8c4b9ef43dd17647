"""The transform of the contract: each row costs a call of the paid API, which answers 503 now and then.

By a row's number: every tenth is skipped, the one after it becomes three rows, and some are rejected.
Workers of engines import this module; they have no environment of the test's.
"""

import os

from etlkit import EtlBase, RowError
from etlkit.calls.http import HttpClient


class Etl(EtlBase):
    max_concurrency = 8

    def __init__(self, api):
        self.address = api

    def before_action(self):
        self.api = HttpClient(f"http://{self.address}", service="paid")

    def transform_row(self, row):
        n = row["n"]
        answer = self.api.request("POST", "/call", body=f"{n} {os.getpid()}".encode())
        row["value"] = int(answer.body)
        if n % 10 == 0:
            return None
        if n % 10 == 1:
            return [dict(row, part=part) for part in range(3)]
        if n % 50 == 7:
            raise RowError(f"number {n} is bad")
        return dict(row, part=0)

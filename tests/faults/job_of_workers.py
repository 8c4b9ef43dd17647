"""The job of `job_under_kill.py`, whose calls say which process has made them."""

import os
from dataclasses import replace

import etlkit.bigquery.publish.staging
import etlkit.bigquery.runs.guard
import etlkit.bigquery.runs.lease
from etlkit import Check
from etlkit.engine import scheduler_task
from tests.faults import job_under_kill

scheduler_task.LOOK_S = 1.0
if "LEASE_S" in os.environ:  # of the run and of each worker: their processes load this module
    lease_s = float(os.environ["LEASE_S"])
    etlkit.bigquery.runs.guard.LEASE_S = etlkit.bigquery.runs.lease.LEASE_S = lease_s
    etlkit.bigquery.runs.lease._MARGIN_S = lease_s / 5
    etlkit.bigquery.runs.lease.Lease.__init__.__kwdefaults__["renew_s"] = lease_s / 5
if "MANY_TABLES" in os.environ:
    etlkit.bigquery.publish.staging.MANY_TABLES = int(os.environ["MANY_TABLES"])


class Etl(job_under_kill.Etl):
    def before_action(self):
        os.environ["CHILD"] = str(os.getpid())
        super().before_action()


job = replace(
    job_under_kill.job,
    transform=Etl,
    checks=[
        Check(f"SELECT 1 FROM {{staged}} CROSS JOIN {table} LIMIT 1", name="the gate is open")
        for table in filter(None, [os.environ.get("GATE")])
    ],
    # Workers take rows in a random order: of the first hundred, more than 5 % may be bad.
    max_rejected=int(os.environ.get("MAX_REJECTED", "100")),
)

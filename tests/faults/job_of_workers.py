"""The job of `job_under_kill.py`, whose calls say which process has made them."""

import os
from dataclasses import replace

from etlkit.engine import scheduler_task
from tests.faults import job_under_kill

scheduler_task.LOOK_S = 0.5


class Etl(job_under_kill.Etl):
    def before_action(self):
        os.environ["CHILD"] = str(os.getpid())
        super().before_action()


job = replace(
    job_under_kill.job,
    transform=Etl,
    # Workers take rows in a random order: of the first hundred, more than 5 % may be bad.
    max_rejected=int(os.environ.get("MAX_REJECTED", "100")),
)

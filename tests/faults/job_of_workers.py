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
    max_rejected=int(os.environ["MAX_REJECTED"]) if "MAX_REJECTED" in os.environ else "default",
)

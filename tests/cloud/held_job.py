"""A job in a process of its own, held in its last row until a line comes in on stdin.

When it goes on, it has the clock of a process that was asleep for longer than its lease.

Argument: JSON with `project`, `location`, `dataset`, `work`, `resume`, `held`, `asleep` and `deaf`.
Prints `held` when it waits, and at its end what became of the run, as JSON.
"""

import json
import os
import sys

from etlkit import BigQuerySink, BigQuerySource, EtlBase, EtlkitError, TransferJob, run_job
from etlkit.api.run import Settings
from etlkit.bigquery.runs.lease import Lease

NUM_ROWS = 20
WANTED = json.loads(sys.argv[1])
LEASES = []


class Etl(EtlBase):
    """The same code in every process, or a resume would ask whether it may go on."""

    def transform_row(self, row):
        if row["n"] == NUM_ROWS and WANTED["held"]:
            print("held", flush=True)  # noqa: T201
            sys.stdin.readline()
            for lease in LEASES:
                lease._ends_at = 0.0  # as after a minute of sleep
        return {**row, "pid": os.getpid()}


def main() -> None:
    """Run or resume the job."""
    if WANTED["deaf"]:  # it never asks whether it still has the run: only the fence can stop it
        Lease.check = Lease.renew = lambda _self: None
    if WANTED["asleep"]:  # it gives no sign of life until it goes on
        Lease.__init__.__kwdefaults__["renew_s"] = 3600.0
    start = Lease.start

    def note(lease):
        LEASES.append(lease)
        start(lease)

    Lease.start = note
    name, work = WANTED["dataset"], WANTED["work"]
    query = f"SELECT n FROM UNNEST(GENERATE_ARRAY(1, {NUM_ROWS})) AS n ORDER BY n"
    job = TransferJob(
        source=BigQuerySource(query, work_dataset=work),
        transform=Etl,
        sink=BigQuerySink(f"{name}.target", work_dataset=work),
        name=f"{name}.held",
    )
    settings = Settings(WANTED["project"], WANTED["location"], dict(os.environ))
    try:
        report = run_job(job, settings=settings, resume=WANTED["resume"])
    except EtlkitError as error:
        report = error.report
    ended = {"run_id": report.run_id, "state": report.state, "error": report.error}
    print(json.dumps(ended), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()

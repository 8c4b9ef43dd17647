"""Runs that end in odd ways, against the local BigQuery."""

import json
import os
from pathlib import Path

from tests.warm_python import run_python

ROOT = Path(__file__).parents[2]
JOB = """
import os

from etlkit import BigQuerySink, BigQuerySource, EtlBase, TransferJob


class Etl(EtlBase):
    max_concurrency = 2

    def transform_row(self, row):
        if row["n"] == 40 and "ENDS" in os.environ:
            os._exit(0)
        return row


job = TransferJob(
    source=BigQuerySource("SELECT n FROM UNNEST(GENERATE_ARRAY(1, 60)) AS n"),
    transform=Etl,
    sink=BigQuerySink("{dataset}.exits"),
)
"""


def test_os_exit_publishes_nothing_and_the_run_can_be_resumed(local_server, dataset, run, here):
    """It ends the process there and then, with its own status: no report, no rows, no after_action.

    The guard of the run stays behind, as after SIGKILL, and the next attempt takes it over.
    """
    (here / "exits.py").write_text(JOB.replace("{dataset}", dataset))

    def attempt(*arguments, **environ):
        where = ("--local", "--local-dir", str(local_server.local_dir))
        env = {**os.environ, **environ}
        return run_python("-m", "etlkit.run", "exits", *arguments, *where, cwd=here, env=env)

    ended = attempt(ENDS="1")
    assert (ended.returncode, ended.stdout) == (0, "")
    tables = f"SELECT table_name FROM {dataset}.INFORMATION_SCHEMA.TABLES"
    assert run(tables) == []
    resumed = attempt("--resume")
    assert resumed.returncode == 0, resumed.stderr
    report = json.loads(resumed.stdout.splitlines()[-1])
    assert (report["state"], report["read"], report["written"]) == ("published", 60, 60)
    assert run(f"SELECT COUNT(*), COUNT(DISTINCT n) FROM {dataset}.exits") == [(60, 60)]

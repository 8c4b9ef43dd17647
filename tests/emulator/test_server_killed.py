"""A local server that is killed while jobs use it: each of them says so at once."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import psutil
import pytest

from etlkit import (
    BigQuerySink,
    BigQuerySource,
    Datamart,
    EtlBase,
    Task,
    TransferJob,
    Workflow,
    local_world,
    run_datamart,
    run_job,
    run_workflow,
)
from etlkit.cli.local import main
from etlkit.errors import JobError
from etlkit.local import join_or_start

ENDLESS = (
    "SELECT COUNT(*) AS n FROM UNNEST(GENERATE_ARRAY(1, 1000000)) AS a "
    "CROSS JOIN UNNEST(GENERATE_ARRAY(1, 1000000)) AS b WHERE MOD(a * b, 7) = 3"
)


class Etl(EtlBase):
    def transform_row(self, row):
        return row


def test_every_command_says_that_the_server_is_gone(local_dir, until, capfd):
    """The clients would repeat their requests for minutes, in silence."""
    mart = Datamart(
        sql=ENDLESS,
        query_mode="insert",
        destination="d.mart",
        write_disposition="truncate",
        create_dataset=True,
    )
    transfer = TransferJob(
        source=BigQuerySource(ENDLESS),
        transform=Etl,
        sink=BigQuerySink("d.t", mode="replace", create_dataset=True),
    )
    flow = Workflow(tasks=[Task("endless", Datamart(sql=ENDLESS))])
    with (
        ThreadPoolExecutor() as threads,
        join_or_start(local_dir) as server,
        local_world(local_dir),
    ):
        running = [
            threads.submit(run_datamart, mart, name="mart"),
            threads.submit(run_job, transfer, name="transfer"),
            threads.submit(run_workflow, flow, name="flow"),
        ]
        command = threads.submit(main, ["sql", ENDLESS, "--local-dir", str(local_dir)])
        until(lambda: num_requests(server) >= len(running) + 1)
        os.kill(server.pid, signal.SIGKILL)
        for each in running:
            with pytest.raises(
                JobError, match=r"has ended although it was needed.*Run the command"
            ):
                each.result()
        assert command.result() == 1
    assert "has ended although it was needed" in capfd.readouterr().err


def num_requests(server) -> int:
    """Connections of this process to the server's REST API."""
    port = urlsplit(server.endpoints.bigquery).port
    connections = psutil.Process().net_connections("tcp")
    return sum(bool(each.raddr) and each.raddr.port == port for each in connections)

"""The command `etlkit serve` as a process of its own, with the SQL that it prints."""

import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import urllib3

from etlkit.cli import root

TRANSFORM = """
import pathlib
import time

from etlkit import EtlBase

class Etl(EtlBase):
    columns = ("word",)
    output_schema = {"word": "STRING", "loud": "STRING", "at": "TIMESTAMP"}

    def transform_row(self, row):
        if row["word"] == "wait":
            pathlib.Path("begun").touch()
            while not pathlib.Path("go").exists():
                time.sleep(0.01)
        row["loud"] = row["word"].upper()
        return row

    def after_action(self):
        pathlib.Path("after").touch()
"""
JOB = """
from etlkit import BigQuerySink, BigQuerySource, TransferJob
from transforms.shout import Etl

job = TransferJob(
    source=BigQuerySource("SELECT word, LENGTH(word) AS n FROM UNNEST(['cat', NULL]) AS word"),
    transform=Etl,
    sink=BigQuerySink("{dataset}.shouted"),
)
"""
COMMAND = "import sys; from etlkit.cli.root import main; sys.exit(main())"


@pytest.fixture
def project(here, dataset):
    """A project with one job."""
    for name, text in {"transforms/shout": TRANSFORM, "jobs/shout": JOB}.items():
        path = here / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.replace("{dataset}", dataset))
    return here


def test_a_service_from_sql_to_sigterm(project, run, local_server, capsys, until):
    """Columns come from a dry run, the printed SQL works, SIGTERM finishes the row at work: exit 0."""
    local = ["--local", "--local-dir", str(local_server.local_dir)]
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "serve", "jobs.shout", *local, "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        url = process.stdout.readline().strip()
        assert root.main(["serve", "jobs.shout", *local, "--sql", "--endpoint", url]) == 0
        create, example = capsys.readouterr().out.split("-- An example")
        run(create)
        rows = run(example.partition("\n")[2])
        # n passes by, as the transform does not read it.
        assert sorted((row[:6] for row in rows), key=lambda row: not row[1]) == [
            (3, True, "cat", "CAT", None, None),
            (None, False, None, None, None, "AttributeError"),
        ]
        body = json.dumps({"requestId": "1", "calls": [["wait"]]})
        with ThreadPoolExecutor(1) as client:
            asked = client.submit(
                urllib3.request, "POST", url, body=body,
                headers={"content-type": "application/json"}, retries=False, timeout=60,
            )  # fmt: skip
            until((project / "begun").exists)
            process.send_signal(signal.SIGTERM)
            until(lambda: "ending" in process.stderr.readline())
            (project / "go").touch()
            assert asked.result().json()["replies"][0]["value"]["loud"] == "WAIT"
        assert process.wait(60) == 0
        assert (project / "after").exists()
    finally:
        process.kill()
        process.communicate()

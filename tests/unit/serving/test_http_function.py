"""The Functions Framework runs a transform as a remote function; the command prints what it needs."""

import pytest

from etlkit.cli import root

MAIN = """
import functions_framework
from etlkit import EtlBase, TransferJob, remote_function
from etlkit.testing import MemorySink, MemorySource

class Etl(EtlBase):
    def transform_row(self, row):
        row["loud"] = row["word"].upper()
        return row

job = TransferJob(
    source=MemorySource([]), transform=Etl, sink=MemorySink("replace"), rate_limit="60/min"
)
shout = functions_framework.http(remote_function(job, "word STRING", timeout_s=60))
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "main.py").write_text(MAIN)
    (tmp_path / "requirements.txt").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_under_the_functions_framework(project):
    """Its target answers as the service does, and refuses what is not BigQuery's."""
    import functions_framework  # and Flask, which no other test needs

    client = functions_framework.create_app("shout", str(project / "main.py")).test_client()
    answer = client.post("/", json={"requestId": "1", "calls": [["cat"], [None]]})
    replies = answer.get_json()["replies"]
    assert (answer.status_code, answer.content_type) == (200, "application/json")
    assert replies[0]["value"] == {"word": "cat", "loud": "CAT"}
    assert replies[1]["error"]["class"] == "AttributeError"
    assert client.post("/", data="{").status_code == 400
    assert client.get("/").status_code == 405
    assert client.post("/", json={"calls": []}, headers={"origin": "https://x"}).status_code == 403


def test_what_the_command_prints(project, capsys):
    """SQL with the steps of Cloud Run, a Dockerfile, and sentences for what cannot be."""

    def serve(*arguments):
        status = root.main(["serve", *arguments])
        return status, "".join(capsys.readouterr())

    columns = ("--columns", "word STRING, place GEOGRAPHY, tags ARRAY<STRING>")
    status, text = serve("main.py", *columns, "--sql", "--function", "p.d.shout", "--project", "p")
    assert status == 0
    assert (
        "FUNCTION `p`.`d`.`shout`(`word` STRING, `place` STRING, `tags` JSON)\nRETURNS JSON" in text
    )
    assert "`shout`(`word`, ST_ASTEXT(`place`), TO_JSON(`tags`))" in text
    steps = (
        "run deploy",
        "--timeout=300",
        "mk --connection",
        "role=roles/run.invoker",
        "CREATE OR",
    )
    places = [text.index(step) for step in steps]
    assert places == sorted(places)
    assert "--max-instances=1" in text  # each instance has the rate for itself
    assert max(map(len, text.splitlines())) <= 200
    status, text = serve("main.py", *columns, "--dockerfile")
    assert (status, '"--host", "0.0.0.0"' in text) == (0, True)
    for arguments, said in {
        ("main.py", "--columns", "word"): "write names and types as in CREATE TABLE",
        ("main.py:Etl",): "add --columns",
        ("main.py:nothing", "--columns", "a STRING"): "has no 'nothing'",
        ("main.py", "--columns", "a STRING", "--timeout", "1200"): "at most 1190",
        ("main.py", *columns, "--sql", "--function", "f"): "two or three names",
        ("main.py", *columns, "--sql", "--dockerfile"): "do not go together",
        ("main.py", *columns, "--host", "192.0.2.1", "--port", "0"): "cannot listen",
    }.items():
        status, text = serve(*arguments)
        assert (status, said in text) == (2, True), text

"""Other people's tools, each in a process of its own, against a server that `serve --env` started.

They run with the interpreter that ETLKIT_TOOLS_PYTHON names, which need not have etlkit: `make tools`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

REPOSITORY = Path(__file__).parents[2]
PYTHON = os.environ.get("ETLKIT_TOOLS_PYTHON", "")


def pytest_collection_modifyitems(items):
    """Without an environment of tools there is nothing to test."""
    if not PYTHON:
        missing = pytest.mark.skip(reason="ETLKIT_TOOLS_PYTHON names no interpreter: make tools")
        for item in items:
            if item.path.is_relative_to(Path(__file__).parent):
                item.add_marker(missing)


@pytest.fixture(scope="session")
def env_file(tmp_path_factory):
    """The file that `serve --env` writes, in a world of its own. It is gone when the server ends."""
    folder = tmp_path_factory.mktemp("tools")
    path = folder / "local.env"
    serve = [sys.executable, "-m", "etlkit.local", "serve", "--env", str(path)]
    with subprocess.Popen(
        [*serve, "--local-dir", str(folder / ".etlkit")],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert "runs until Ctrl-C" in server.stdout.readline()
        assert str(path) in server.stdout.readline()
        yield path
        server.terminate()
    assert server.returncode == 0
    assert not path.exists()


@pytest.fixture(scope="session")
def environ(env_file):
    """What a shell that has read the file gives to a tool; nothing else points to Google."""
    show = f'. {env_file} && exec env -u PYTHONPATH -u PYTHONHOME "$0" -c "$1"'
    dump = "import json, os; print(json.dumps(dict(os.environ)))"
    shell = subprocess.run(
        ["/bin/sh", "-c", show, sys.executable, dump], capture_output=True, check=True, timeout=60
    )
    return json.loads(shell.stdout)


@pytest.fixture(scope="session")
def bq(environ):
    """A client of the same server, to see what the tools have done."""
    options = {"api_endpoint": environ["BIGQUERY_EMULATOR_HOST"]}
    with bigquery.Client("local", AnonymousCredentials(), client_options=options) as client:
        yield client


@pytest.fixture
def rows(bq):
    """Rows of a query as tuples."""
    return lambda sql: [tuple(row) for row in bq.query_and_wait(sql)]


@pytest.fixture
def tool(environ, tmp_path):
    """Run a tool's own interpreter in an empty folder; gives what it printed."""

    def run(*arguments: str, package: str, timeout_s: float = 600) -> str:
        has = subprocess.run(
            [PYTHON, "-c", f"import importlib.metadata as m; m.version('{package}')"],
            capture_output=True,
            check=False,
            timeout=60,
        )
        if has.returncode != 0:
            pytest.skip(f"{package} is not installed for {PYTHON}")
        done = subprocess.run(
            [PYTHON, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
            cwd=tmp_path,
            env=environ,
        )
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
        return done.stdout

    return run


@pytest.fixture
def script(tool):
    """Run a script of a tool; gives the JSON of its last line."""

    def run(code: str, package: str) -> object:
        return json.loads(tool("-c", code, package=package).strip().splitlines()[-1])

    return run

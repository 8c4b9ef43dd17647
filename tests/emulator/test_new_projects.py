"""What `etlkit init` and `etlkit new` make runs and passes its tests, as it is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from etlkit.cli.root import main
from etlkit.cli.scaffold.files import made_from, write_all
from etlkit.cli.scaffold.projects import PROJECTS

ROOT = Path(__file__).parents[2]
VALUES = {
    "project": "shop",
    "about": "All templates in one.",
    "job": "greet",
    "commands": "",
    "run": "",
    "etlkit": "etlkit-bigquery",
    "etlkit_local": "etlkit-bigquery[local]",
    "install": "",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory, local_server):
    """All templates in one project, and a new file of each kind; its local world is shared."""
    folder = tmp_path_factory.mktemp("shop")
    write_all(folder, made_from("common", VALUES))
    for template in PROJECTS:
        write_all(folder, made_from(template, VALUES))
    (folder / ".etlkit").symlink_to(local_server.local_dir)
    before = Path.cwd()
    os.chdir(folder)
    try:
        for arguments in ("transform clean", "job nightly --transform clean", "datamart totals"):
            assert main(["new", *arguments.split()]) == 0
    finally:
        os.chdir(before)
    return folder


def shell(project, command):
    """Run a command as a user does, in the project's folder, with this etlkit."""
    environ = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=project,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_all_of_its_tests_pass(project):
    """With nothing but the local BigQuery."""
    done = shell(project, f"{sys.executable} -m pytest -q -p no:cacheprovider -W default")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "11 passed" in done.stdout


@pytest.mark.parametrize(
    ("template", "shown"),
    [("blank", "hello Grace"), ("rest", "Tokyo"), ("sql", "2026-01-02"), ("vision", "Cat")],
)
def test_the_commands_of_its_readme_show_the_table(project, template, shown):
    """Each of them, in the order in which they are written."""
    for command in PROJECTS[template].commands:
        done = shell(project, command)
        assert done.returncode == 0, done.stderr
    assert shown in done.stdout

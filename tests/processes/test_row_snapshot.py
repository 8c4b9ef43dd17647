"""Snapshots of rows, in a pytest of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import etlkit

ROOT = Path(etlkit.__file__).parents[1]
TEST = """
from datetime import date

import pytest

@pytest.mark.parametrize("n", [1, 2])
def test_rows(row_snapshot, n):
    row_snapshot([{"n": n, "day": date(2026, 1, n), "x": None}, {"n": VALUE}])

def test_skipped(row_snapshot):
    if SKIP:
        pytest.skip("no network")
    row_snapshot([])
"""


@pytest.fixture
def run(tmp_path):
    """Run the test with a value; gives exit status and output."""

    def run_pytest(value, *arguments, skip=False):
        file = tmp_path / "test_one.py"
        file.write_text(TEST.replace("VALUE", value).replace("SKIP", str(skip)))
        command = [sys.executable, "-m", "pytest", "-q", *arguments]
        plugin = ["-p", "no:bqemulator", "-p", "etlkit.pytest_plugin"]
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        done = subprocess.run(
            [*command, *plugin, str(file)],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode, done.stdout

    return run_pytest


def test_a_snapshot_is_made_compared_updated_and_removed(run, tmp_path):
    """Missing fails with the command; a difference names its column; unused ones are told."""
    status, said = run("7")
    assert status == 1
    assert 'test_one.py::test_rows[1]" --update-snapshots' in said
    assert run("7", "--update-snapshots")[0] == 0
    folder = tmp_path / "row_snapshots" / "test_one"
    first = folder / "test_rows_1.json"
    made = [first, folder / "test_rows_2.json", folder / "test_skipped.json"]
    assert sorted(folder.iterdir()) == made
    rows = [{"day": {"$date": "2026-01-01"}, "n": 1, "x": None}, {"n": 7}]
    assert json.loads(first.read_text()) == rows
    assert run("7")[0] == 0
    status, said = run("'7'")
    assert status == 1
    assert "n: '7', expected 7" in said
    (folder / "test_gone.json").write_text("[]")
    status, said = run("7", "-p", "xdist", "-n", "2")
    assert status == 0
    assert "no test uses the snapshot" in said
    assert "test_gone.json; --update-snapshots removes it" in said
    assert run("7", "--update-snapshots", skip=True)[0] == 0
    assert sorted(folder.iterdir()) == made  # the one that no test uses is gone


@pytest.mark.parametrize(
    "choice", [["-k", "1"], ["--lf"], ["--collect-only"], ["-k", "1", "-n", "2"]]
)
def test_no_snapshot_goes_when_not_all_tests_have_run(run, tmp_path, choice):
    """After `--lf`, say: the tests that passed before have their snapshots still."""
    assert run("7", "--update-snapshots")[0] == 0
    folder = tmp_path / "row_snapshots" / "test_one"
    made = sorted(folder.iterdir())
    if choice == ["--lf"]:
        (folder / "test_rows_2.json").unlink()
        assert run("7")[0] == 1
    xdist = ["-p", "xdist"] if "-n" in choice else []
    status, said = run("7", *xdist, *choice, "--update-snapshots")
    assert (status, "removed" in said) == (0, False)
    assert sorted(folder.iterdir()) == made

"""The code of users, as mypy and pyright see it; both in their strict form."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
USER_CODE = ROOT / "tests" / "typing" / "user_code"
MIN_COMPLETENESS = 0.95

pytestmark = pytest.mark.timeout(600)  # cold caches on a busy machine


def command(*arguments, cwd=ROOT):
    """Run a module of this environment; gives exit status and standard output."""
    done = subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    return done.returncode, done.stdout + done.stderr


def test_mypy_accepts_good_code_and_refuses_each_mistake():
    """`mistakes.py` has an `ignore` on each line; one that hides nothing is an error itself."""
    status, said = command("mypy", "--strict", "-p", "tests.typing.user_code")
    assert status == 0, said


def test_pyright_does_the_same(tmp_path):
    """It comes from the package index with its own Node.js, and downloads nothing."""
    settings = {
        "include": [str(USER_CODE)],
        "extraPaths": [str(ROOT)],
        "typeCheckingMode": "strict",
        "enableTypeIgnoreComments": False,
        "reportUnnecessaryTypeIgnoreComment": "error",
    }
    config = tmp_path / "pyrightconfig.json"
    config.write_text(json.dumps(settings))
    status, said = command("basedpyright", "-p", config, "--pythonpath", sys.executable)
    assert status == 0, said


def test_nearly_all_public_names_have_a_known_type(tmp_path):
    """As a type checker finds them in an installed package, without looking into functions."""
    options = ("--ignoreexternal", "--outputjson", "--pythonpath", sys.executable)
    _, said = command("basedpyright", *options, "--verifytypes", "etlkit", cwd=tmp_path)
    found = json.loads(said)["typeCompleteness"]
    assert found["exportedSymbolCounts"]["withKnownType"] > 5_000
    assert found["completenessScore"] >= MIN_COMPLETENESS

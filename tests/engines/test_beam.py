"""Options of Beam's pipelines, with the interpreter that has Beam."""

import json
import subprocess

from tests.engines.test_contract import PYTHON, ROOT
from tests.engines.test_contract import pytestmark as needs_an_interpreter

pytestmark = needs_an_interpreter


def test_options_are_checked_and_passed_on(tmp_path):
    """Before anything is read. With another runner, how workers ended comes by a file of its folder."""
    done = subprocess.run(
        [PYTHON, "-m", "tests.engines.beam_cases", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    expected = [
        "no such option",
        "invalid int",
        "--workers N",
        "--workers N",
        "temp_location=gs://",
    ]
    assert len(found["said"]) == len(expected)
    assert all(words in said for words, said in zip(expected, found["said"], strict=True))
    assert (found["ended"], found["remote"]) == (["aa", "bb"], True)
    assert list(tmp_path.iterdir()) == []

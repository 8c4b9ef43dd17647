"""A file that nobody reads to its end."""

import subprocess
import sys

import pytest

CODE = """
import atexit, sys, threading
atexit.register(lambda: print("not given back:", len(throttle._lent)))  # runs last
from etlkit import CsvSource
from etlkit.files import throttle
from etlkit.api.run import Run, RunRequest, Settings
from etlkit.testing.contract_job import contract_job

with open(sys.argv[1], "w") as file:
    file.write("a,b\\n" + f"1,{'x' * 60}\\n" * 300_000)
ready = threading.Event()

def read():
    with Run(RunRequest("abandoned", Settings())) as run:
        batches = CsvSource(sys.argv[1], encoding=sys.argv[2]).open(contract_job(), run).batches()
        next(batches)
        ready.set()
        threading.Event().wait()

threading.Thread(target=read, daemon=True).start()
assert ready.wait(60)
sys.exit(3)
"""


@pytest.mark.parametrize("encoding", ["utf-8", "cp932"])
def test_a_process_ends_although_a_file_is_half_read(tmp_path, encoding):
    """Before the interpreter ends, pyarrow's threads have given back all that they read ahead."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path / "a.csv"), encoding],
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert done.stdout == b"not given back: 0\n"

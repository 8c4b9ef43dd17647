"""How a process of the command line ends."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("library", ["duckdb", "pyarrow", "google.cloud.bigquery"])
def test_a_library_that_a_transform_imports_does_not_spoil_the_exit_status(library):
    pytest.importorskip(library)
    code = f"import etlkit.cli.invocation, {library}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")

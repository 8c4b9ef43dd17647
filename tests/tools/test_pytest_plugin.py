"""etlkit's own plugin for pytest, in the project of a user."""

import os
import subprocess
import sys


def test_the_local_bigquery_is_a_fixture(tmp_path):
    """Google's client in a test goes to a local BigQuery of that session."""
    (tmp_path / "test_it.py").write_text(
        "from google.cloud import bigquery\n"
        "def test_it(local_bigquery):\n"
        "    assert list(bigquery.Client().query_and_wait('SELECT 1'))[0][0] == 1\n"
        "    assert local_bigquery['GOOGLE_CLOUD_PROJECT'] == 'local'\n"
    )
    plugins = ["-p", "etlkit.pytest_plugin", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugins, str(tmp_path)],
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=tmp_path,
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr

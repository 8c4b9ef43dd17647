"""pandas is imported when somebody uses it, and then it is pandas itself for everybody."""

import subprocess
import sys

import pytest

pytest.importorskip("pandas")

CLIENTS = """
import sys
from etlkit.deferred_imports import deferred_pandas
with deferred_pandas():
    import google.cloud.bigquery
    from google.cloud.bigquery import _pandas_helpers, table
    from google.cloud.bigquery_storage_v1 import reader
import pyarrow as pa
pa.array([1, None], pa.int64())
"""
DATA_FRAMES = {"pandas", "db_dtypes", "pandas_gbq"}


def loaded(code: str) -> set[str]:
    """Run code in a process of its own; gives the packages of data frames that it has imported."""
    code += "\nprint(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return DATA_FRAMES & {*done.stdout.split()}


def test_clients_and_pyarrow_do_without_it():
    assert loaded(CLIENTS) == set()


def test_who_imports_it_gets_it_and_so_do_the_clients_and_pyarrow():
    pytest.importorskip("db_dtypes", reason="the oldest clients do not bring it along")
    code = """
import pandas as pd
import pandas.api.types
assert type(pd.__loader__).__module__ == "etlkit.deferred_imports" and pd.__path__
# Of a series, and only of a series, pyarrow reads NaN as NULL.
assert pa.array(pd.Series([1.0, float("nan")])).null_count == 1
assert pa.table({"a": [1]}).to_pandas().equals(pd.DataFrame({"a": [1]}))
for module in (table, reader, _pandas_helpers):
    assert module.pandas.DataFrame is pd.DataFrame
    assert "read_csv" in dir(module.pandas)
import db_dtypes
assert _pandas_helpers.db_dtypes.DateDtype is table.db_dtypes.DateDtype is db_dtypes.DateDtype
assert isinstance(table._EmptyRowIterator().to_dataframe(), pd.DataFrame)
"""
    assert "pandas" in loaded(CLIENTS + code)


def test_the_clients_import_it_for_a_data_frame():
    pytest.importorskip("db_dtypes", reason="the oldest clients do not bring it along")
    code = "assert type(table._EmptyRowIterator().to_dataframe()).__name__ == 'DataFrame'"
    assert "pandas" in loaded(CLIENTS + code)


def test_one_that_is_imported_already_stays():
    code = "assert table.pandas is reader.pandas is pandas is sys.modules['pandas']"
    assert "pandas" in loaded(f"import pandas\n{CLIENTS}\n{code}")


def test_one_that_is_not_installed_stays_unknown():
    code = """
import sys
from etlkit.deferred_imports import NoPandas
sys.meta_path.insert(0, NoPandas())
"""
    assert loaded(f"{code}\n{CLIENTS}\nassert table.pandas is reader.pandas is None") == set()

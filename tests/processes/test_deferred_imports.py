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
ROWS = """
from etlkit import CsvSource, EtlBase, JsonlSource, ParquetSource, TransferJob
from etlkit.api.run import RunRequest
from etlkit.engine.transfer import run_transfer
from etlkit.testing import MemorySink, MemorySource, fake_rows
schema = {
    "i": "INT64", "f": "FLOAT64", "n": "NUMERIC", "b": "BIGNUMERIC", "ok": "BOOL", "s": "STRING",
    "by": "BYTES", "d": "DATE", "dt": "DATETIME", "t": "TIME", "ts": "TIMESTAMP", "j": "JSON",
    "many": "ARRAY<TIMESTAMP>", "deep": "ARRAY<STRUCT<at TIMESTAMP, n NUMERIC>>",
}
class Copy(EtlBase):
    def transform_row(self, row):
        return {key: value for key, value in row.items()}
def run(source):
    sink = MemorySink("replace")
    run_transfer(TransferJob(source=source, transform=Copy, sink=sink), RunRequest("copy"))
    return sink.rows
"""
"""Jobs that read and write a value of every type."""

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


def test_rows_of_every_type_do_without_it():
    """pyarrow imports it for `to_numpy`, and to infer the type of a value."""
    code = "rows = fake_rows(schema, 200)\nassert len(run(MemorySource(rows, schema))) == 200"
    assert loaded(CLIENTS + ROWS + code) == set()


def test_files_do_without_it(tmp_path):
    cells = "1,1.5,2020-01-01T00:00:00Z,12:00:00\n2,1.0000000000000000001,2020-01-01 00:00:00+02,\n"
    (tmp_path / "a.csv").write_text(f"i,f,at,t\n{cells}")
    lines = '{"i": 1, "at": "2020-01-01T00:00:00Z", "l": [1]}\n{"i": 2}\n'
    (tmp_path / "a.jsonl").write_text(lines)
    code = f"""
import pyarrow.parquet
table = pa.table({{"at": pa.array([0, None], pa.timestamp("us", "UTC"))}})
pyarrow.parquet.write_table(table, {str(tmp_path / "a.parquet")!r})
for kind, name in ((CsvSource, "a.csv"), (JsonlSource, "a.jsonl"), (ParquetSource, "a.parquet")):
    assert len(run(kind({str(tmp_path)!r} + "/" + name))) == 2
"""
    assert loaded(CLIENTS + ROWS + code) == set()


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

"""DuckDB alone, as the server locks it: what would remain if SQL of DuckDB itself got through."""

from types import SimpleNamespace

import duckdb
import pytest


@pytest.fixture
def locked(tmp_path, monkeypatch):
    duckdb_extensions = pytest.importorskip("duckdb_extensions")
    for name in ("spatial", "avro", "icu"):
        duckdb_extensions.import_extension(name)
    from bqemulator.types import geography

    from etlkit.local.bigquery.emulator import emulator_version
    from etlkit.local.bigquery.patches import sandbox
    from etlkit.local.bigquery.patches.table import PATCHES

    (tmp_path / "buckets" / "b").mkdir(parents=True)
    (tmp_path / "buckets" / "b" / "x.csv").write_text("n\n1\n")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "buckets" / "b" / "link").symlink_to(tmp_path / "secret")
    settings = SimpleNamespace(
        gcs_local_root=tmp_path / "buckets", upload_staging_dir=tmp_path / "uploads"
    )
    with duckdb.connect(str(tmp_path / "db.duckdb")) as connection:
        connection.execute("LOAD spatial; LOAD avro")
        PATCHES.check(emulator_version())
        monkeypatch.setattr(geography, "_ensure_conv_conn", geography._ensure_conv_conn)
        sandbox.lock(connection, settings)
        yield connection


ATTACKS = (
    "SELECT * FROM read_text('{}/secret')", "SELECT * FROM '{}/secret'",
    "SELECT * FROM read_text('{}/buckets/../secret')", "SELECT * FROM read_text('{}/buckets/b/link')",
    "SELECT * FROM read_text('{}/buckets/b/../../secret')", "SELECT * FROM glob('{}/*')",
    "SELECT * FROM st_read('{}/secret')", "SELECT * FROM st_read('/vsisubfile/0_9,{}/secret')",
    "SELECT * FROM read_avro('{}/secret')", "COPY (SELECT 1) TO '{}/made'",
    "COPY (SELECT st_point(1, 2)) TO '{}/made' WITH (FORMAT gdal, DRIVER 'GeoJSON')",
    "ATTACH '{}/made' AS m", "EXPORT DATABASE '{}/made'", "INSTALL httpfs", "LOAD httpfs",
    "LOAD '{}/secret'", "SET enable_external_access = true", "SET allowed_directories = ['/']",
    "SET temp_directory = '{}/made'", "SET log_query_path = '{}/made'",
    "SET lock_configuration = false", "SET python_enable_replacements = true",
    "SELECT * FROM local_table",
    "CREATE PERSISTENT SECRET s (TYPE http)", "PRAGMA profiling_output = '{}/made'",
    "SELECT * FROM read_csv('http://127.0.0.1:1/x')",
)  # fmt: skip


def test_duckdb_opens_nothing_else(locked, tmp_path):
    """Files, links out, other databases, extensions, the network, and the lock itself."""
    local_table = duckdb.sql("SELECT 1")
    for attack in ATTACKS:
        with pytest.raises(duckdb.Error):
            locked.execute(attack.format(tmp_path)).fetchall()
    assert local_table
    assert not (tmp_path / "made").exists()
    found = locked.execute(f"SELECT * FROM read_csv('{tmp_path}/buckets/b/x.csv')").fetchall()
    assert found == [(1,)]
    locked.execute("SET threads TO 1")
    locked.execute("CREATE TABLE t AS SELECT range AS n FROM range(10)")
    locked.execute("CHECKPOINT")

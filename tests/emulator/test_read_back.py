"""Rows that a report reads back, and those that a datamart shows."""

from pathlib import Path

import pytest

from etlkit import (
    BigQuerySink,
    BigQuerySource,
    ConfigError,
    Datamart,
    EtlBase,
    RowError,
    Settings,
    SourceError,
    TransferJob,
    run_datamart,
    run_job,
)

SOURCE = BigQuerySource(
    "SELECT n, CONCAT('row ', CAST(n AS STRING)) AS t FROM UNNEST([1, 2, 3]) AS n"
)


class Etl(EtlBase):
    def transform_row(self, row):
        if row["n"] == 3:
            raise RowError("three is bad")
        return row


@pytest.fixture(scope="module")
def settings(local_server):
    return Settings(environ=local_server.endpoints.environ())


def job(dataset, policy):
    """A job that fails at its third row, or skips it."""
    return TransferJob(
        source=SOURCE, transform=Etl, sink=BigQuerySink(f"{dataset}.t"), on_row_error=policy
    )


def test_a_report_reads_the_rows_of_the_target(settings, dataset, run):
    """As Arrow and as pandas, also those that were there before; a large table is refused.

    The job has no name and stands in no module: it is named after the module that runs it.
    """
    for number in (2, 4):
        report = run_job(job(dataset, "skip"), settings=settings)
        table = report.rows_as_arrow()
        assert table.num_rows == number
    assert table.schema.names == ["n", "t"]
    assert {"n": 1, "t": "row 1"} in table.to_pylist()
    assert sorted(report.to_pandas()["n"]) == [1, 1, 2, 2]
    assert report.job == __name__
    with pytest.raises(ConfigError, match=r" bytes: more than max_bytes=1\. Read it with a query"):
        report.rows_as_arrow(max_bytes=1)
    run(f"DROP TABLE {dataset}.t")
    with pytest.raises(SourceError, match=rf"there is no table local\.{dataset}\.t"):
        report.rows_as_arrow()


def test_a_failed_run_gives_the_rows_that_it_has_staged(settings, dataset):
    """Those that `--resume` takes over, before anybody else sees them."""
    with pytest.raises(RowError) as caught:
        run_job(job(dataset, "fail"), settings=settings)
    report = caught.value.report
    assert report.kept == 2
    assert sorted(report.rows_as_arrow()["n"].to_pylist()) == [1, 2]


def test_a_datamart_gives_the_rows_of_its_last_select(settings, dataset):
    """In query mode they are in no table of the user's."""
    sql = f"CREATE TABLE {dataset}.a AS SELECT 7 AS n;\nSELECT n + 1 AS m FROM {dataset}.a"
    report = run_datamart(Datamart(sql=sql), settings=settings)
    assert report.rows_as_arrow().to_pylist() == [{"m": 8}]
    only_ddl = Datamart(sql=f"DROP TABLE {dataset}.a")
    with pytest.raises(ConfigError, match="has no SELECT whose rows could be read"):
        run_datamart(only_ddl, settings=settings).rows_as_arrow()


def test_an_inserts_report_reads_its_destination(settings, dataset):
    """As that of a transfer."""
    mart = Datamart(
        sql="SELECT 1 AS n",
        query_mode="insert",
        destination=f"{dataset}.m",
        write_disposition="append",
    )
    assert run_datamart(mart, settings=settings).rows_as_arrow().to_pylist() == [{"n": 1}]


def test_a_select_shows_its_first_rows(cli, here: Path):
    """The first 20 as a table, how many there are, and whether they are kept; not with --quiet."""
    (here / "many.sql").write_text(
        "SELECT n, NULL AS x FROM UNNEST(GENERATE_ARRAY(1, 50)) AS n ORDER BY n"
    )
    status, report, seen = cli("many.sql")
    assert status == 0, seen
    assert "│ 20 │ NULL │" in seen
    assert "│ 21 │" not in seen
    assert "20 of 50 rows of statement 1" in seen
    assert report["statements"][0]["rows"] == 50
    status, _, seen = cli("many.sql", "--quiet")
    assert (status, "│" in seen) == (0, False)


def test_sql_is_found_beside_the_job(cli, here: Path, run, dataset):
    """Whatever the working directory is, as a script finds its own files."""
    folder = here / "jobs"
    (folder / "sql").mkdir(parents=True)
    (folder / "sql" / "one.sql").write_text("SELECT 1 AS n")
    (folder / "mart.py").write_text(
        "from etlkit import Datamart\njob = Datamart(file='sql/one.sql')\n"
    )
    status, report, seen = cli("jobs.mart")
    assert (status, report["job"]) == (0, "jobs.mart"), seen
    (folder / "mart.py").write_text(
        "from etlkit import Datamart\njob = Datamart(file='sql/two.sql')\n"
    )
    status, _, seen = cli("jobs.mart")
    assert status == 2
    assert "cannot read sql/two.sql: No such file or directory; looked in" in seen
    assert str(folder) in seen


def test_a_script_can_create_its_dataset(cli, here: Path, run, dataset):
    """Without --create-dataset the missing dataset is an error that names the option."""
    (here / "same.py").write_text(
        "from etl_base import EtlBase\nclass Etl(EtlBase):\n    def transform_row(self, row):\n"
        "        return row\n"
    )
    options = ["--script", "same.py", "--source", "SELECT 1 AS n", "--sink", f"{dataset}_new.t"]
    status, _, seen = cli(*options)
    assert status == 1
    assert "--create-dataset" in seen
    status, _, seen = cli(*options, "--create-dataset")
    assert status == 0, seen
    assert run(f"SELECT n FROM {dataset}_new.t") == [(1,)]

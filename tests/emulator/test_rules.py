"""What BigQuery would refuse at the end is refused before a row is paid for, in etlkit's words."""

import logging
import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from etlkit import (
    BigQuerySink,
    BigQuerySource,
    Check,
    ConfigError,
    Datamart,
    Definition,
    EtlBase,
    JobError,
    ParquetSource,
    RangePartitioning,
    RowSchemaError,
    SinkError,
    SourceError,
    TimePartitioning,
    TransferJob,
    check_datamart,
    dry_run_job,
    run_datamart,
    run_job,
)
from etlkit.api.run import Settings


class Paid(EtlBase):
    """Counts its calls: what they would have cost."""

    calls = 0

    def transform_row(self, row):
        type(self).calls += 1
        return row


@pytest.fixture
def transfer(local_server, dataset):
    """Run a source into the test's target; `transfer.calls` is what was paid in the last run."""
    settings = Settings(environ=local_server.endpoints.environ())

    def run_transfer(source, *, etl=Paid, schema=None, columns=None, job=None, **sink):
        attributes = {"calls": 0, "output_schema": schema, "columns": columns}
        made = type("Etl", (etl,), attributes)
        source = BigQuerySource(source) if isinstance(source, str) else source
        transfer_job = TransferJob(
            source=source,
            transform=made,
            sink=BigQuerySink(f"{dataset}.target", **sink),
            **(job or {}),
        )
        try:
            return run_job(transfer_job, name=dataset, settings=settings)
        finally:
            run_transfer.calls = made.calls

    return run_transfer


MANY = "SELECT k, CONCAT('v', k) AS v FROM UNNEST(GENERATE_ARRAY(1, 1500)) AS k"


@pytest.mark.parametrize(
    ("schema", "options", "message"),
    [
        (
            {"v": "STRING"},
            {"mode": "merge", "merge_keys": ("k",)},
            "merge_keys: k is not in the rows",
        ),
        (
            {"k": "JSON"},
            {"mode": "merge", "merge_keys": ("k",)},
            "merge key k is JSON, which BigQuery cannot compare",
        ),
        (
            {"k": "ARRAY<INT64>"},
            {"mode": "merge", "merge_keys": ("k",)},
            "merge key k is ARRAY<INT64>, which",
        ),
        (
            {"k": "INT64"},
            {"definition": Definition(TimePartitioning("day"))},
            "cannot partition by day: the rows have no such column",
        ),
        (
            {"day": "DATE"},
            {"definition": Definition(TimePartitioning("day", "HOUR"))},
            "cannot partition by day: it is DATE",
        ),
        ({"f": "FLOAT64"}, {"definition": Definition(clustering=("f",))}, "cannot cluster by f"),
    ],
)
def test_declared_columns_are_judged_at_open(transfer, bq, dataset, schema, options, message):
    """With an `output_schema` nothing is called, and no table is made."""
    with pytest.raises(SinkError, match=message):
        transfer(MANY, schema=schema, **options)
    assert transfer.calls == 0
    assert list(bq.list_tables(dataset)) == []


@pytest.mark.parametrize(
    ("query", "options", "message"),
    [
        (
            "SELECT TO_JSON(1) AS k",
            {"mode": "merge", "merge_keys": ("k",)},
            "merge key k is JSON, which BigQuery cannot compare",
        ),
        (
            "SELECT 'x' AS k",
            {"definition": Definition(RangePartitioning("k", 0, 9, 1))},
            "cannot partition by k: it is STRING",
        ),
        ("SELECT 1.5 AS k", {"definition": Definition(clustering=("k",))}, "cannot cluster by k"),
    ],
)
def test_columns_of_the_source_are_judged_at_open(transfer, query, options, message):
    """A column of the source keeps its type, so its type is known before the first row."""
    with pytest.raises(SinkError, match=message):
        transfer(query, **options)
    assert transfer.calls == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "merge", "merge_keys": ("nope",)}, "merge_keys: nope is not in the rows"),
        ({"definition": Definition(TimePartitioning("nope"))}, "cannot partition by nope"),
    ],
)
def test_inferred_columns_are_judged_at_the_first_rows(transfer, options, message):
    """Without a declared schema it takes the sample of the first rows, and no more."""
    with pytest.raises(SinkError, match=message):
        transfer(MANY.replace("1500", "9000"), **options)
    assert 0 < transfer.calls < 9000


def test_merge_keys_that_the_target_lacks(transfer, run, dataset):
    """No row could be found by such a key; the target tells it at open."""
    run(f"CREATE TABLE {dataset}.target (k INT64, v STRING)")
    with pytest.raises(SinkError, match=r"merge_keys: nope is not in .*target; it has k, v"):
        transfer(MANY, mode="merge", merge_keys=("nope",))
    assert transfer.calls == 0


@pytest.mark.parametrize(
    ("before", "error", "message"),
    [
        ("DELETE FROM {}.target WHERE nope = 1", SinkError, "Unrecognized name: nope"),
        (
            "DELETE FROM {}.target WHERE k = 1; DELET FROM x",
            ConfigError,
            "another statement: DELET",
        ),
        ("DELETE FROM {}.nothing WHERE k = 1", SinkError, "before_load would fail: Not found"),
        ("DROP TABLE {}.target", ConfigError, "INSERT, UPDATE, DELETE, MERGE, TRUNCATE"),
        ("-- nothing", ConfigError, "before_load has no statement"),
    ],
)
def test_before_load_is_validated_at_open(transfer, run, dataset, before, error, message):
    """DML only, and BigQuery's own dry run of it; the target stays as it was."""
    run(f"CREATE TABLE {dataset}.target AS SELECT 1 AS k, 'a' AS v")
    with pytest.raises(error, match=message):
        transfer(MANY, before_load=before.format(dataset))
    assert run(f"SELECT k, v FROM {dataset}.target") == [(1, "a")]
    assert getattr(transfer, "calls", 0) == 0


def test_several_statements_before_the_load(transfer, run, dataset):
    """With semicolons and a comment at the end."""
    run(f"CREATE TABLE {dataset}.target AS SELECT k FROM UNNEST([1, 2, 3]) AS k")
    text = f"DELETE FROM {dataset}.target WHERE k = 1; DELETE FROM {dataset}.target WHERE k = 2; -- end"
    transfer("SELECT 4 AS k", before_load=text)
    assert run(f"SELECT k FROM {dataset}.target ORDER BY k") == [(3,), (4,)]


@pytest.mark.parametrize(
    "check", ["SELECT nope FROM {staged}", Check("SELEC 1 FROM {staged}", name="typo")]
)
def test_checks_are_validated_at_open(transfer, check):
    """A check that cannot run over the declared columns costs no call."""
    with pytest.raises(SinkError, match=r"check .* cannot run: .*\. The rows have k, v"):
        transfer(MANY, schema={"k": "INT64", "v": "STRING"}, job={"checks": [check]})
    assert transfer.calls == 0


def test_checks_are_validated_at_the_first_rows(transfer):
    """Without a declared schema, and where no column can come later, it takes the first rows."""
    job = {"checks": ["SELECT nope FROM {staged}"], "on_schema_change": "drop_columns"}
    with pytest.raises(SinkError, match="Unrecognized name: nope"):
        transfer(MANY.replace("1500", "9000"), job=job)
    assert 0 < transfer.calls < 9000


class Warned(logging.Handler):
    """Tells when a warning came that has a text."""

    def __init__(self, text):
        super().__init__(logging.WARNING)
        self.text, self.came = text, threading.Event()

    def emit(self, record):
        if self.text in record.getMessage():
            self.came.set()


def test_a_check_of_a_column_that_comes_late(transfer, run, dataset):
    """It is a warning at the first rows, because later rows may bring the column."""
    warned = Warned("unless later rows bring the column")

    class LateError(Paid):
        """The key `error` has a value in one row only, which waits for the first rows."""

        def transform_row(self, row):
            late = "no" if row["k"] == 1400 and warned.came.wait(60) else None
            return {**super().transform_row(row), "error": late}

    job = {"checks": [Check("SELECT COUNT(*) FROM {staged} WHERE error IS NOT NULL", at_most=1)]}
    logger = logging.getLogger("etlkit")
    logger.addHandler(warned)
    try:
        transfer(MANY, etl=LateError, job=job)
    finally:
        logger.removeHandler(warned)
    assert warned.came.is_set()
    assert run(f"SELECT COUNT(error) FROM {dataset}.target") == [(1,)]


def test_partitions_that_one_job_cannot_change(transfer, run, dataset):
    """More than 4,000 are counted in the audit, and the target stays as it was."""
    query = "SELECT DATE_ADD(DATE '2000-01-01', INTERVAL k DAY) AS day FROM UNNEST(GENERATE_ARRAY"
    by_day = Definition(TimePartitioning("day"))
    with pytest.raises(SinkError, match=r"4,001 partitions of .*target \(by day\).*--resume"):
        transfer(query + "(1, 4001)) AS k", definition=by_day)
    by_month = Definition(TimePartitioning("day", "MONTH"))
    transfer(query + "(1, 4001)) AS k", definition=by_month)
    assert run(f"SELECT COUNT(*) FROM {dataset}.target") == [(4001,)]


@pytest.mark.parametrize("query", ["SELECT 1, 2 AS b", "SELECT COUNT(*) FROM UNNEST([1])"])
def test_columns_without_a_name(transfer, query):
    """The sentence says which column, and what to write."""
    with pytest.raises(SourceError, match="column 1 of the source query has no name: name your"):
        transfer(query)
    assert transfer.calls == 0


@pytest.mark.parametrize(
    "end", ["; -- end", ";\n/* end */", " -- end", " # end", ";;"], ids=lambda end: end.strip()
)
def test_comments_behind_the_query(transfer, run, dataset, end):
    """What follows the query stays out of the statement that it is put into."""
    transfer("-- begin\nSELECT ';' AS a" + end)
    assert run(f"SELECT a FROM {dataset}.target") == [(";",)]


def test_another_statement_before_the_query(transfer):
    """Only temporary functions can stand there."""
    with pytest.raises(ConfigError, match="another statement, in line 1: DECLARE x INT64"):
        transfer("DECLARE x INT64; SELECT 1 AS a")
    assert transfer.calls == 0


def test_values_that_the_target_cannot_hold(transfer, run, dataset):
    """Each is its row's error while rows are staged; the others are published."""
    schema = {"k": "INT64", "v": "STRING(5) NOT NULL", "n": "NUMERIC(3, 1)"}
    query = (
        "SELECT k, IF(k = 2, NULL, IF(k = 3, 'too long', 'short')) AS v, "
        "IF(k = 4, NUMERIC '100', NUMERIC '99.5') AS n FROM UNNEST(GENERATE_ARRAY(1, 5)) AS k"
    )
    with pytest.raises(RowSchemaError, match="column 'v': it is None or missing"):
        transfer(query, schema=schema)
    report = transfer(query, schema=schema, job={"on_row_error": "reject", "max_rejected": 3})
    assert (report.written, report.rejected) == (2, 3)
    found = run(f"SELECT message FROM {dataset}.target_rejects ORDER BY 1")
    messages = "\n".join(message for (message,) in found)
    assert "got 8 characters, but the column holds 5" in messages
    assert "more than 2 digits before the point" in messages
    assert "the column is NOT NULL" in messages


@pytest.mark.parametrize("columns", [None, ("k",)], ids=["read", "passing through"])
def test_a_required_column_of_the_target(transfer, run, dataset, columns):
    """Its rule is taken over by the rows, whether the transform reads the column or not."""
    run(f"CREATE TABLE {dataset}.target (k INT64, v STRING NOT NULL)")
    query = "SELECT k, IF(k = 2, NULL, 'v') AS v FROM UNNEST([1, 2, 3]) AS k"
    report = transfer(query, columns=columns, job={"on_row_error": "skip"})
    assert (report.written, report.skipped) == (2, 1)
    assert "column 'v': it is None or missing" in report.first_errors[0]
    assert run(f"SELECT k FROM {dataset}.target ORDER BY k") == [(1,), (3,)]


def test_skipped_rows_have_empty_arrays(transfer, run, dataset):
    """BigQuery has no NULL in place of an array: the staging table gets none."""

    class SkipTwo(Paid):
        def transform_row(self, row):
            return None if row["k"] == 2 else super().transform_row(row)

    query = "SELECT k, [k] AS list FROM UNNEST([1, 2]) AS k"
    report = transfer(query, etl=SkipTwo)
    assert (report.written, report.skipped) == (1, 1)
    assert run(f"SELECT list FROM {dataset}.target") == [([1],)]


def test_the_location_is_the_targets(transfer, bq, dataset, tmp_path):
    """A file into a dataset outside of the US: the work dataset is made beside it."""
    there = bq.get_dataset(dataset)
    bq.delete_dataset(there)
    there = type(there)(there.reference)
    there.location = "asia-northeast1"
    bq.create_dataset(there)
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"k": [1, 2]}), path)
    transfer(ParquetSource(str(path)), work_dataset=f"{dataset}_work")
    assert bq.get_dataset(f"{dataset}_work").location == "asia-northeast1"


def test_a_work_dataset_in_another_location(transfer, bq, dataset, tmp_path):
    """It is refused at open: BigQuery could not publish from there."""
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"k": [1, 2]}), path)
    work = bq.get_dataset(dataset)
    work = type(work)(f"{work.project}.{dataset}_elsewhere")
    work.location = "EU"
    bq.create_dataset(work)
    with pytest.raises(JobError, match=r"elsewhere is in EU, this run is in US.*work_dataset"):
        transfer(ParquetSource(str(path)), work_dataset=f"{dataset}_elsewhere")
    assert transfer.calls == 0


def test_a_dry_run_tells_what_would_change(transfer, local_server, run, bq, dataset):
    """Columns in and out, the target's changes, calls and their price; nothing is written."""
    run(f"CREATE TABLE {dataset}.target (k INT64, v STRING)")
    made = type("Etl", (Paid,), {"calls": 0, "output_schema": {"k": "NUMERIC", "new": "STRING(9)"}})
    job = TransferJob(
        source=BigQuerySource(MANY),
        transform=made,
        sink=BigQuerySink(f"{dataset}.target", mode="replace", work_dataset=f"{dataset}_work"),
        price_per_unit=0.0015,
    )
    settings = Settings(environ=local_server.endpoints.environ())
    report = dry_run_job(job, settings=settings)
    assert report.target == f"local.{dataset}.target"
    assert (report.source_columns, report.columns) == (
        ["k INT64", "v STRING"],
        ["k NUMERIC", "new STRING(9)"],
    )
    assert [change.split(": ")[1] for change in report.changes] == [
        "ADD COLUMN IF NOT EXISTS `new` STRING(9)",
        "ALTER COLUMN `k` SET DATA TYPE NUMERIC",
        "DROP COLUMN IF EXISTS `v`",
    ]
    assert "about 1.50 USD" in report.calls
    assert (report.bytes_processed, made.calls) == (0, 0)
    assert [field.name for field in bq.get_table(f"{dataset}.target").schema] == ["k", "v"]
    assert f"{dataset}_work" not in {each.dataset_id for each in bq.list_datasets()}


def test_a_dry_run_makes_no_dataset(local_server, bq, dataset):
    """For a missing target it says which columns it would get, and its layout."""
    made = type("Etl", (Paid,), {"output_schema": {"k": "INT64"}})
    definition = Definition(RangePartitioning("k", 0, 9, 1), clustering=("k",))
    sink = BigQuerySink(f"{dataset}_new.target", create_dataset=True, definition=definition)
    job = TransferJob(source=BigQuerySource(MANY), transform=made, sink=sink)
    settings = Settings(environ=local_server.endpoints.environ())
    created, partitioned, clustered = dry_run_job(job, settings=settings).changes
    assert created == f"local.{dataset}_new.target would be created with k INT64"
    assert partitioned == ("it would be partitioned by RANGE_BUCKET(`k`, GENERATE_ARRAY(0, 9, 1))")
    assert clustered == "it would be clustered by k"
    assert f"{dataset}_new" not in {each.dataset_id for each in bq.list_datasets()}


def test_a_dry_run_refuses_what_a_run_would(transfer, local_server, dataset):
    """With the same sentence."""
    made = type("Etl", (Paid,), {"output_schema": {"v": "STRING"}})
    sink = BigQuerySink(f"{dataset}.target", mode="merge", merge_keys=("k",))
    job = TransferJob(source=BigQuerySource(MANY), transform=made, sink=sink)
    with pytest.raises(SinkError, match="merge_keys: k is not in the rows"):
        dry_run_job(job, settings=Settings(environ=local_server.endpoints.environ()))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"checks": ["SELECT nope FROM {staged}"]}, SinkError, "check .* cannot run: Unrecognized"),
        ({"before_load": "DELETE FROM {}.target WHERE nope"}, SinkError, "before_load would fail"),
        ({"before_load": "SELECT 1"}, ConfigError, "before_load takes"),
        ({"destination": "{}.target$1"}, ConfigError, "names one partition"),
        ({"definition": Definition(clustering=("j",))}, SinkError, "cannot cluster by j"),
        (
            {"write_disposition": "incremental", "merge_keys": ("j",), "on_matched_action": "skip"},
            SinkError,
            "merge key j is JSON",
        ),
    ],
)
def test_a_datamart_is_judged_before_its_query_runs(
    local_server, run, dataset, options, error, message
):
    """The same rules, in a dry run and in a run; the query is not billed."""
    missing = "definition" in options
    if not missing:
        run(f"CREATE TABLE {dataset}.target (k INT64, j JSON)")
    given = {"destination": "{}.target", "write_disposition": "append", **options}
    given = {k: v.format(dataset) if isinstance(v, str) else v for k, v in given.items()}
    job = Datamart(sql="SELECT 1 AS k, JSON '1' AS j", query_mode="insert", **given)
    settings = Settings(environ=local_server.endpoints.environ())
    for start in (check_datamart, run_datamart):
        with pytest.raises(error, match=message):
            start(job, name=dataset, settings=settings)
    if not missing:
        assert run(f"SELECT COUNT(*) FROM {dataset}.target") == [(0,)]

"""What each mode and each table option does to the target, through the real clients."""

import logging

import pytest

from etlkit import (
    BigQuerySink,
    BigQuerySource,
    Check,
    CheckFailedError,
    ConfigError,
    Definition,
    EtlBase,
    RangePartitioning,
    RowSchemaError,
    SinkError,
    SourceError,
    TimePartitioning,
    TooManyRejectedError,
    TransferJob,
)
from etlkit.bigquery.client import Connection
from etlkit.rows.columns import Column
from etlkit.runner import run_job


class Same(EtlBase):
    def transform_row(self, row):
        return row


@pytest.fixture
def transfer(world, dataset):
    """Run a query into the test's target; gives the report."""

    def run_transfer(query, etl=Same, *, table="target", job=None, run=None, **sink):
        transfer_job = TransferJob(
            source=BigQuerySource(query, work_dataset=world.work),
            transform=etl,
            sink=BigQuerySink(f"{dataset}.{table}", work_dataset=world.work, **sink),
            **(job or {}),
        )
        name = f"{dataset}_{table}"
        return run_job(transfer_job, name=name, settings=world.settings, **(run or {}))

    return run_transfer


@pytest.fixture
def target(run, dataset):
    """The rows of the target, sorted by their text."""
    return lambda what="*": sorted(run(f"SELECT {what} FROM {dataset}.target"), key=str)


@pytest.fixture
def there(run, dataset):
    """Make the target with (k, v) rows, which no run has written."""
    return lambda *pairs: run(f"CREATE TABLE {dataset}.target AS {rows(*pairs)}")


def rows(*pairs):
    """A query that gives (k, v) rows."""
    structs = ", ".join(f"STRUCT({k} AS k, {v} AS v)" for k, v in pairs)
    return f"SELECT k, v FROM UNNEST(ARRAY<STRUCT<k INT64, v STRING>>[{structs}])"


def test_merge_updates_and_inserts_null_safely(transfer, target):
    """Matching keys are updated, others inserted, nothing deleted; NULL keys match each other."""
    transfer(rows((1, "'a'"), ("NULL", "'n'")), mode="merge", merge_keys=("k",))
    transfer(rows((2, "'b'"), ("NULL", "'m'")), mode="merge", merge_keys=("k",))
    assert target() == sorted([(1, "a"), (None, "m"), (2, "b")], key=str)


def test_merge_with_several_keys_and_chosen_columns(transfer, run, dataset):
    """A composite key; only the named columns of a matching row change."""
    first = "SELECT 1 AS a, 'x' AS b, 'old' AS c, 'old' AS d"
    second = "SELECT 1 AS a, 'x' AS b, 'new' AS c, 'new' AS d UNION ALL SELECT 1, 'y', 'new', 'new'"
    keys = {"mode": "merge", "merge_keys": ("a", "b"), "merge_update_columns": ("c",)}
    transfer(first, **keys)
    transfer(second, **keys)
    assert run(f"SELECT b, c, d FROM {dataset}.target ORDER BY b") == [
        ("x", "new", "old"),
        ("y", "new", "new"),
    ]


def test_merge_refuses_repeated_keys_and_shows_some(transfer, there, target):
    """Two source rows with one key are a mistake; the target stays as it was."""
    there((1, "'a'"))
    with pytest.raises(SinkError, match=r"merge keys k repeat.*k = 2 \(2 rows\)"):
        transfer(rows((2, "'b'"), (2, "'c'"), (3, "'d'")), mode="merge", merge_keys=("k",))
    assert target() == [(1, "a")]


def test_merge_without_its_key_in_the_rows(transfer):
    """A key that the transform dropped is found before anything is published."""
    with pytest.raises(SinkError, match="merge_keys: nope is not in the rows"):
        transfer(rows((1, "'a'")), mode="merge", merge_keys=("nope",))


def test_delete_in_advance_makes_the_table_anew(transfer, there, target, bq, dataset):
    """The job's definition wins over what was there; the layout only if the job allows a drop."""
    there((1, "'a'"))
    table = bq.get_table(f"{dataset}.target")
    described = Definition(description="made anew", labels={"team": "x"})
    transfer(rows((2, "'b'")), mode="delete_in_advance", definition=described)
    assert target() == [(2, "b")]
    again = bq.get_table(f"{dataset}.target")
    assert (again.description, again.labels["team"]) == ("made anew", "x")
    assert again.created == table.created  # the table itself stays
    clustered = Definition(description="made anew", clustering=("k",))
    with pytest.raises(SinkError, match=r"clustering is not set.*allow_drop=True"):
        transfer(rows((3, "'c'")), mode="delete_in_advance", definition=clustered)
    assert target() == [(2, "b")]
    options = {"mode": "delete_in_advance", "definition": clustered, "allow_drop": True}
    transfer(rows((3, "'c'")), **options)
    assert target() == [(3, "c")]
    assert bq.get_table(f"{dataset}.target").clustering_fields == ["k"]
    assert [t.table_id for t in bq.list_tables(dataset)] == ["target"]
    transfer(rows((4, "'d'")), **options)
    assert target() == [(4, "d")]


def test_append_direct_writes_and_warns(transfer, target, caplog):
    """Rows go straight to the table, skipped ones do not; it says so, and it cannot be resumed."""

    class SkipTwo(EtlBase):
        def transform_row(self, row):
            return None if row["k"] == 2 else {**row, "added": 1}

    with caplog.at_level(logging.WARNING, logger="etlkit"):
        report = transfer(rows((1, "'a'"), (2, "'b'")), SkipTwo, mode="append_direct")
    assert "cannot be resumed" in caplog.text
    assert target("k, v, added") == [(1, "a", 1)]
    assert (report.written, report.skipped) == (1, 1)
    assert transfer(rows((1, "'a'")), mode="append_direct", run={"resume": "last"}) is not None
    assert target("k, v, added") == [(1, "a", 1)]


def test_before_load_runs_in_the_same_transaction(transfer, there, target, dataset):
    """DML before the rows, and none of it if the rows do not make it."""
    there((1, "'a'"), (2, "'b'"))
    transfer(rows((3, "'c'")), before_load=f"DELETE FROM {dataset}.target WHERE k = 1;")
    assert target() == [(2, "b"), (3, "c")]
    fails = f"DELETE FROM {dataset}.target WHERE k = 2; DELETE FROM {dataset}.target "
    with pytest.raises(SinkError, match="publishing to"):
        transfer(rows((4, "'d'")), before_load=fails + "WHERE ERROR('stop')")
    assert target() == [(2, "b"), (3, "c")]


@pytest.mark.parametrize(
    ("partitioning", "field", "kind"),
    [
        (TimePartitioning("ts", "HOUR", expiration_days=3.0), "ts", "HOUR"),
        (TimePartitioning("d", "MONTH", require_filter=True), "d", "MONTH"),
        (TimePartitioning("dt", "YEAR"), "dt", "YEAR"),
    ],
)
def test_time_partitioning(transfer, bq, dataset, partitioning, field, kind):
    """Unit, column, expiration and the required filter are those of the job."""
    query = "SELECT TIMESTAMP '2026-01-02 03:04:05+00' AS ts, DATE '2026-01-02' AS d, "
    query += "DATETIME '2026-01-02 03:04:05' AS dt"
    transfer(query, definition=Definition(partitioning=partitioning))
    made = bq.get_table(f"{dataset}.target").time_partitioning
    assert (made.field, made.type_) == (field, kind)


def test_other_definitions(transfer, bq, run, dataset):
    """Integer ranges, load time, clustering, descriptions and labels reach the table."""
    definition = Definition(
        partitioning=RangePartitioning("k", 0, 100, 10),
        clustering=("k", "v"),
        description='a "quoted" 表',
        labels={"team": "data"},
        column_descriptions={"k": "the key"},
    )
    transfer(rows((1, "'a'")), definition=definition)
    table = bq.get_table(f"{dataset}.target")
    assert table.clustering_fields == ["k", "v"]
    assert table.description == 'a "quoted" 表'
    assert table.labels["team"] == "data"
    assert {f.name: f.description for f in table.schema}["k"] == "the key"
    transfer(rows((1, "'a'")), table="loads", definition=Definition(TimePartitioning()))
    assert bq.get_table(f"{dataset}.loads").time_partitioning.type_ == "DAY"
    assert run(f"SELECT k FROM {dataset}.loads") == [(1,)]


def test_a_different_definition_is_reported(transfer, there, caplog):
    """Options apply when a table is made; a warning tells how an existing one differs."""
    there((1, "'a'"))
    with caplog.at_level(logging.WARNING, logger="etlkit"):
        transfer(rows((2, "'b'")), definition=Definition(clustering=("k",)))
    assert "clustering is not set, the job says ('k',)" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "merge"}, "needs merge_keys"),
        ({"merge_keys": ("k",)}, "needs merge_keys, and no other mode takes them"),
        ({"mode": "merge", "merge_keys": "k"}, r"write \('k',\)"),
        ({"merge_update_columns": ("v",)}, "goes with mode='merge'"),
        ({"mode": "append_direct", "before_load": "DELETE"}, "does not go with"),
    ],
)
def test_options_that_do_not_go_together(options, message):
    """They are refused before any I/O."""
    with pytest.raises(ConfigError, match=message):
        BigQuerySink("d.t", **options)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TimePartitioning("c", "WEEK"), "HOUR, DAY, MONTH, YEAR"),
        (lambda: RangePartitioning("c", 5, 5, 1), "start < end"),
        (lambda: Definition(clustering=("a", "b", "c", "d", "e")), "at most 4"),
        (lambda: Definition(clustering="a"), r"write \('a',\)"),
    ],
)
def test_definitions_bigquery_would_refuse(make, message):
    """So are definitions."""
    with pytest.raises(ConfigError, match=message):
        make()


MANY_ROWS = 20_000
"""So many that the columns are decided long before the last row is there, also on a busy machine."""


class Late(EtlBase):
    """A new key in the very last row."""

    def transform_row(self, row):
        if row["k"] == MANY_ROWS:
            row["late"] = {"found": True}
        return row


MANY = f"SELECT k, 'v' AS v FROM UNNEST(GENERATE_ARRAY(1, {MANY_ROWS})) AS k"


def test_a_new_key_late_in_the_run_adds_a_column(transfer, run, dataset):
    """`add_columns`: the column is there, null in the rows before."""
    transfer(MANY, Late)
    assert run(f"SELECT COUNT(*), COUNT(late) FROM {dataset}.target") == [(MANY_ROWS, 1)]


def test_a_new_key_late_in_the_run_is_left_out(transfer, bq, dataset, caplog):
    """`drop_columns`: the key is left out of the rows, with a warning."""
    transfer(MANY, Late, job={"on_schema_change": "drop_columns"})
    assert [f.name for f in bq.get_table(f"{dataset}.target").schema] == ["k", "v"]
    assert "left out of the rows: late" in caplog.text


def test_a_new_key_late_in_the_run_fails(transfer, there, run, dataset):
    """`fail`: the row and the key are named, and nothing is published."""
    there((7, "'a'"))
    with pytest.raises(RowSchemaError, match=r"row 20,?000 .*late"):
        transfer(MANY, Late, job={"on_schema_change": "fail"})
    assert run(f"SELECT COUNT(*) FROM {dataset}.target") == [(1,)]


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_columns_the_target_lacks(transfer, there, target, mode):
    """Added, left out, or refused, as the job says."""
    there((1, "'a'"))
    query = "SELECT 2 AS k, 'b' AS v, 'x' AS extra"
    with pytest.raises(SinkError, match="it lacks extra STRING"):
        transfer(query, mode=mode, job={"on_schema_change": "fail"})
    transfer(query, mode=mode, job={"on_schema_change": "drop_columns"})
    old = [(1, "a")] if mode == "append" else []
    assert target() == [*old, (2, "b")]
    transfer(query, mode=mode, job={"on_schema_change": "add_columns"})
    assert (2, "b", "x") in target("k, v, extra")


def test_columns_the_rows_lack(transfer, there, target):
    """`append` leaves them null; a required one is refused before more is paid for."""
    there((1, "'a'"))
    transfer("SELECT 2 AS k")
    assert target() == [(1, "a"), (2, None)]
    with pytest.raises(SinkError, match="the rows lack v"):
        transfer("SELECT 3 AS k", job={"on_schema_change": "fail"})


def test_a_required_column_the_rows_lack(transfer, run, dataset):
    """No value for a required column is found when the columns are known."""
    run(f"CREATE TABLE {dataset}.target (k INT64, must STRING NOT NULL)")
    with pytest.raises(SinkError, match="no value for required column must"):
        transfer("SELECT 3 AS k")


def test_another_type_is_always_refused(transfer, there, target):
    """A type that differs is never converted in silence."""
    there((1, "'a'"))
    for policy in ("fail", "add_columns", "drop_columns"):
        with pytest.raises(SinkError, match="column k is INT64, the rows have STRING"):
            transfer("SELECT 'one' AS k, 'a' AS v", job={"on_schema_change": policy})
    assert target() == [(1, "a")]


def test_checks_see_the_staged_rows(transfer, target, run):
    """A check that holds publishes; one that does not keeps the staged rows for a look."""
    good = [
        "SELECT * FROM {staged} WHERE v IS NULL",
        Check("SELECT COUNT(*) FROM {staged}", at_least=1, at_most=2),
    ]
    transfer(rows((1, "'a'")), job={"checks": good})
    bad = [*good, Check("SELECT k FROM {staged} WHERE k > 1", name="k is small")]
    with pytest.raises(CheckFailedError, match=r"k is small: .*found \(2,\).*out_") as caught:
        transfer(rows((2, "'b'")), job={"checks": bad})
    assert target() == [(1, "a")]
    staged = str(caught.value).split("staged rows are in ")[1].split(" ")[0]
    assert run(f"SELECT v FROM `{staged}`") == [("b",)]


class Picky(EtlBase):
    """Takes no even numbers."""

    columns = ("k",)

    def transform_row(self, row):
        if row["k"] % 2 == 0:
            raise ValueError("even")
        if row["k"] % 5 == 0:
            raise KeyError("five")
        return row


def test_rejected_rows_land_beside_the_target(transfer, run, dataset):
    """Row, class, message and source row as JSON, in the same publish."""
    query = "SELECT k, DATE '2026-01-02' AS d, b'x' AS b FROM UNNEST([1, 2, 5]) AS k"
    report = transfer(query, Picky, job={"on_row_error": "reject"})
    assert (report.read, report.written, report.rejected) == (3, 1, 2)
    found = run(
        "SELECT run_id, error_class, message, source_row, attempts, rejected_at IS NOT NULL "
        f"FROM {dataset}.target_rejects ORDER BY error_class DESC"
    )
    assert [row[1] for row in found] == ["ValueError", "KeyError"]
    assert found[0][0] == report.run_id
    assert "ValueError: even" in found[0][2]
    assert found[0][3] == {"k": 2, "d": "2026-01-02", "b": "eA=="}
    assert found[0][4:] == (1, True)


@pytest.mark.parametrize(("allowed", "passes"), [(1, False), (0.9, True)])
def test_max_rejected_as_count_or_share(transfer, target, allowed, passes):
    """One more than allowed ends the run, with the classes; nothing is published."""
    query = "SELECT k FROM UNNEST([1, 2, 5]) AS k"
    job = {"on_row_error": "reject", "max_rejected": allowed}
    if passes:
        assert transfer(query, Picky, job=job).rejected == 2
        return
    with pytest.raises(TooManyRejectedError, match="ValueError 1"):
        transfer(query, Picky, job=job)


class Mended(EtlBase):
    """What Picky should have been, but for one row."""

    def transform_row(self, row):
        if row["k"] == 5:
            raise KeyError("still")
        return {**row, "k": row["k"] * 10}


def test_retry_rejects_runs_only_those_rows(transfer, target, run, dataset):
    """The rejected rows run through today's code; those that work leave the table of rejects."""
    query = (
        "SELECT k, TIMESTAMP '2026-01-02 03:04:05.000006+00' AS seen FROM UNNEST([1, 2, 4, 5]) AS k"
    )
    options = {"mode": "replace", "job": {"on_row_error": "reject"}}
    first = transfer(query, Picky, **options)
    again = transfer(query, Mended, run={"retry_rejects": first.run_id}, **options)
    assert (again.read, again.written, again.rejected) == (3, 2, 1)
    assert target("k") == [(1,), (20,), (40,)]
    assert len({row[0] for row in target("seen")}) == 1
    rejects = run(f"SELECT run_id, error_class FROM {dataset}.target_rejects")
    assert rejects == [(again.run_id, "KeyError")]


def test_retry_rejects_of_one_class(transfer, target, run, dataset):
    """`--only CLASS` leaves the others where they are."""
    query = "SELECT k FROM UNNEST([1, 2, 5]) AS k"
    options = {"job": {"on_row_error": "reject"}}
    first = transfer(query, Picky, **options)
    retry = {"retry_rejects": first.run_id, "only": "ValueError"}
    assert transfer(query, Mended, run=retry, **options).read == 1
    assert target("k") == [(1,), (20,)]
    assert run(f"SELECT error_class FROM {dataset}.target_rejects") == [("KeyError",)]


def test_integer_ranges_are_declared_as_bigquery_wants_them():
    """The clause is right; the embedded BigQuery has no place to keep it."""
    columns = (Column("k", "INT64"), Column("v", "STRING"))
    definition = Definition(RangePartitioning("k", 0, 100, 10, require_filter=True))
    assert definition.clauses(columns, {}).splitlines() == [
        "PARTITION BY RANGE_BUCKET(`k`, GENERATE_ARRAY(0, 100, 10))",
        "OPTIONS(require_partition_filter = TRUE)",
    ]
    with pytest.raises(SinkError, match="cannot partition by v: it is STRING"):
        Definition(RangePartitioning("v", 0, 1, 1)).clauses(columns, {})


def test_retrying_rejects_that_are_not_there(transfer):
    """A mistyped run id or class is said, instead of a success with no rows."""
    query = "SELECT k FROM UNNEST([1, 2]) AS k"
    options = {"job": {"on_row_error": "reject"}}
    first = transfer(query, Picky, **options)
    for retry in ({"retry_rejects": "nonsense"}, {"retry_rejects": first.run_id, "only": "Typo"}):
        with pytest.raises(SourceError, match="has no rejected rows"):
            transfer(query, Mended, run=retry, **options)


class Forgetful(EtlBase):
    """Forgets to return its rows."""

    def transform_row(self, row):
        row["k"] += 1


@pytest.mark.parametrize("mode", ["replace", "delete_in_advance"])
def test_a_run_that_wrote_nothing_does_not_empty_a_table(
    transfer, there, target, run, dataset, mode
):
    """Every row skipped is more likely a mistake than the data; a source without rows is not."""
    there((1, "'a'"))
    with pytest.raises(SinkError, match=r"all 2 source rows were skipped .*allow_empty=True"):
        transfer(rows((2, "'b'"), (3, "'c'")), Forgetful, mode=mode)
    assert target() == [(1, "a")]
    transfer(rows((2, "'b'")), Forgetful, mode=mode, job={"allow_empty": True})
    assert target() == []
    transfer(rows((2, "'b'")), Forgetful, mode=mode)  # there is nothing to lose
    run(f"INSERT {dataset}.target VALUES (1, 'a')")
    transfer(rows((2, "'b'")), Forgetful, mode="append")  # this mode takes nothing away
    assert target() == [(1, "a")]
    transfer("SELECT k, v FROM (SELECT 1 AS k, 'a' AS v) WHERE FALSE", mode=mode)
    assert target() == []


@pytest.mark.parametrize("next_run", [{"resume": "last"}, {}], ids=["resume", "a new run"])
def test_what_is_left_to_do_after_publishing_is_done_next(
    transfer, there, target, run, dataset, bq, monkeypatch, next_run, world
):
    """The process ends between publishing and dropping a column that went away."""
    there((1, "'a'"))
    send = Connection.query

    def die(self, text, purpose, **more):
        if purpose == "cleanup":
            raise KeyboardInterrupt
        return send(self, text, purpose, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Connection, "query", die)
        with pytest.raises(KeyboardInterrupt) as caught:
            transfer("SELECT 2 AS k", mode="replace")
    assert run(f"SELECT k, v FROM {dataset}.target") == [
        (2, None)
    ]  # published, one column too many
    run_id = caught.value.report.run_id
    state = f"SELECT state FROM {world.work}.runs WHERE run_id = '{run_id}'"
    assert run(state) == [("published",)]
    report = transfer("SELECT 2 AS k", mode="replace", run=next_run)
    assert (report.run_id == run_id) == bool(next_run)
    assert run(f"SELECT * FROM {dataset}.target") == [(2,)]
    left = [t.table_id for t in bq.list_tables(world.work) if run_id in t.table_id]
    assert left == []

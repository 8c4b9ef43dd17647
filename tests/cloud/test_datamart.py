"""Datamarts in insert mode: what each disposition does to its table, and what failures leave."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from google.api_core.exceptions import ServiceUnavailable

from etlkit import (
    Check,
    CheckFailedError,
    ConfigError,
    Datamart,
    Definition,
    Lookback,
    SinkError,
    StatementError,
    TimePartitioning,
)
from etlkit.api.datamart import TROCCO_COLUMNS
from etlkit.bigquery.client import Connection
from etlkit.runner import check_datamart, run_datamart


@pytest.fixture
def insert(world, dataset):
    """Run a query into the test's target; gives the report."""

    def run_insert(sql, disposition="append", *, given=None, **options):
        options = {"destination": f"{dataset}.target"} | options
        if disposition in {"append", "truncate"}:
            options = {
                "is_runnable_concurrently": True
            } | options  # half the questions to the ledger
        job = Datamart(
            sql=sql.replace("DS", dataset),
            query_mode="insert",
            write_disposition=disposition,
            work_dataset=world.work,
            **options,
        )
        return run_datamart(job, name=f"{dataset}_mart", settings=world.settings, variables=given)

    return run_insert


@pytest.fixture
def there(run, dataset):
    """Make the target with (k, v) rows, which no run has written."""
    return lambda *pairs: run(f"CREATE TABLE {dataset}.target AS {rows(*pairs)}")


@pytest.fixture
def target(run, dataset):
    """The rows of the target, sorted by their text."""
    return lambda what="*": sorted(run(f"SELECT {what} FROM {dataset}.target"), key=str)


def rows(*pairs):
    """A query that gives (k, v) rows."""
    structs = ", ".join(f"STRUCT({k} AS k, '{v}' AS v)" for k, v in pairs)
    return f"SELECT k, v FROM UNNEST(ARRAY<STRUCT<k INT64, v STRING>>[{structs}])"


def merge(action="upsert"):
    return {"disposition": "incremental", "merge_keys": ("k",), "on_matched_action": action}


NOTHING = "SELECT k, v FROM (SELECT 1 AS k, 'a' AS v) WHERE FALSE"


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"sql": "SELECT CAST(v AS INT64) AS k, v FROM (SELECT 'x' AS v)"}, StatementError),
        ({"checks": ["SELECT * FROM {staged} WHERE k = 2"]}, CheckFailedError),
        ({"before_load": "DELETE FROM DS.nope WHERE TRUE"}, SinkError),
        ({"sql": "SELECT 2 AS k"}, SinkError),
        ({"sql": "SELECT '2' AS k, 'b' AS v"}, SinkError),
        ({"sql": "SELECT 2 AS k, 'b' AS v, 1 AS w"}, SinkError),
    ],
    ids=["fails", "check", "before_load", "lost column", "other type", "new column"],
)
def test_a_run_that_fails_leaves_the_table_as_it_was(
    insert, there, target, run, options, kind, dataset, world
):
    """Whatever the stage; the ledger has the reason."""
    there((1, "a"))
    options = {"sql": rows((2, "b"))} | options
    if "before_load" in options:
        options["before_load"] = options["before_load"].replace("DS", dataset)
    with pytest.raises(kind) as caught:
        insert(options.pop("sql"), **options)
    assert target() == [(1, "a")]
    run_id = caught.value.report.run_id
    assert run(f"SELECT state FROM {world.work}.runs WHERE run_id = '{run_id}'") == [("failed",)]
    assert caught.value.report.state == "failed"


def test_append_and_truncate(insert, target, bq, dataset, world):
    """Rows come on top, or in place of the others; the work table goes."""
    insert(rows((1, "a")))
    report = insert(rows((2, "b"), (3, "c")))
    assert target() == [(1, "a"), (2, "b"), (3, "c")]
    assert report.rows_published == 2
    assert report.target == f"{bq.project}.{dataset}.target"
    assert [s.statement_type for s in report.statements] == ["CREATE_TABLE_AS_SELECT"]
    insert(rows((4, "d")), "truncate")
    assert target() == [(4, "d")]
    left = [t.table_id for t in bq.list_tables(world.work) if report.run_id in t.table_id]
    assert left == []


def test_no_rows_are_a_normal_run(insert, target, run, dataset):
    """A missing table is made empty; an existing one is emptied by `truncate` and kept by others."""
    assert insert(NOTHING).rows_published == 0
    assert target() == []
    run(f"INSERT {dataset}.target VALUES (1, 'a')")
    insert(NOTHING, **merge())
    assert target() == [(1, "a")]
    insert(NOTHING, "truncate")
    assert target() == []


def test_before_load_runs_in_the_same_transaction(insert, target, dataset):
    """Only if the table exists, with its variables as literals; the query's are parameters."""
    before = {
        "before_load": f"DELETE FROM {dataset}.target WHERE v = $v$; -- those of before",
        "variables": {"v": "it's"},
    }
    insert('SELECT 1 AS k, "it\'s" AS v', **before)
    assert target() == [(1, "it's")]
    insert('SELECT 2 AS k, "it\'s" AS v', **before)
    assert target() == [(2, "it's")]


def test_incremental_upserts_null_safely(insert, target):
    """Rows that are there change, others are added, nothing is deleted; NULL is a key."""
    insert(rows((1, "a"), ("NULL", "n")), **merge())
    insert(rows((2, "b"), ("NULL", "m")), **merge())
    assert target() == sorted([(1, "a"), (2, "b"), (None, "m")], key=str)


def test_incremental_skips_what_is_there(insert, there, target):
    """Only unknown keys come in, NULL among the known ones."""
    there((1, "a"), ("NULL", "n"))
    insert(rows((1, "x"), (2, "b"), ("NULL", "x")), **merge("skip"))
    assert target() == sorted([(1, "a"), (2, "b"), (None, "n")], key=str)


def test_repeated_keys_are_named(insert, target):
    """Which of two rows were to win? Nobody knows, so nobody does; NULL counts as a key."""
    versions = scd(incremental_column="v")
    insert(rows((1, "a")), **versions)
    with pytest.raises(SinkError, match=r"merge keys k repeat.*k = None \(2 rows\)"):
        insert(rows((2, "b"), ("NULL", "c"), ("NULL", "d")), **versions)
    assert target("k, v") == [(1, "a")]


def test_a_key_that_the_query_lacks(insert):
    """Told before anything is staged, with the columns that there are."""
    with pytest.raises(SinkError, match="the query has no column id; it has k, v"):
        insert(rows((1, "a")), **merge() | {"merge_keys": ("id",)})


def scd(**more):
    return {"disposition": "scd_type_2", "merge_keys": ("k",), "incremental_column": "seq"} | more


def version(k, v, at):
    return f"SELECT {k} AS k, '{v}' AS v, {at} AS seq"


def union(*queries):
    return " UNION ALL ".join(queries)


def test_versions_are_kept(insert, run, dataset):
    """A newer row ends the current version, an unknown one begins; late and equal ones are left out."""
    first = insert(
        union(version(1, "a", 10), version("NULL", "n", 10), version(3, "gone", 1)), **scd()
    )
    second = insert(
        union(version(1, "b", 20), version("NULL", "late", 9), version(2, "new", "NULL")), **scd()
    )
    insert(union(version(1, "equal", 20), version("NULL", "m", 11), version(2, "c", 1)), **scd())
    found = run(
        "SELECT k, v, etlkit_valid_to IS NULL, etlkit_is_current "
        f"FROM {dataset}.target ORDER BY k, seq"
    )
    assert found == [
        (None, "n", False, False),
        (None, "m", True, True),
        (1, "a", False, False),
        (1, "b", True, True),
        (2, "new", False, False),
        (2, "c", True, True),
        (3, "gone", True, True),
    ]
    ended, began = run(
        f"SELECT MAX(IF(v = 'a', etlkit_valid_to, NULL)), MAX(IF(v = 'b', etlkit_valid_from, NULL)) "
        f"FROM {dataset}.target"
    )[0]
    assert ended == began
    assert ended.strftime("%Y%m%d_%H%M%S") == second.run_id[:15]
    assert first.run_id < second.run_id


def test_versions_of_random_batches(insert, run, target, dataset):
    """Whatever comes in whatever order: the table is what a few lines of Python say it is."""
    chance = random.Random(20240131)  # noqa: S311
    expected = {}
    for batch in range(3):
        keys = chance.sample([None, *range(6)], chance.randrange(1, 7))
        rows = [(key, f"{batch}", chance.choice([None, *range(9)])) for key in keys]
        for key, value, seq in rows:
            versions = expected.setdefault(key, [])
            newest = versions[-1][1] if versions else None
            if not versions or (seq is not None and (newest is None or seq > newest)):
                versions.append((value, seq))
        sql = [version(*("NULL" if each is None else each for each in row)) for row in rows]
        insert(union(*sql), **scd())
    before = target()
    insert(union(*sql), **scd())  # the same input again changes nothing, not even a time
    assert target() == before
    found = run(
        "SELECT k, v, seq, etlkit_is_current, etlkit_valid_to IS NULL, LEAD(etlkit_valid_from) "
        "OVER (PARTITION BY k ORDER BY etlkit_valid_from) IS NOT DISTINCT FROM etlkit_valid_to "
        f"FROM {dataset}.target"
    )
    assert sorted(found, key=str) == sorted(
        (
            (key, value, seq, number == len(versions), number == len(versions), True)
            for key, versions in expected.items()
            for number, (value, seq) in enumerate(versions, 1)
        ),
        key=str,
    )


def test_versions_with_troccos_names(insert, target):
    """Tables that TROCCO made go on under their names; a table without the columns is refused."""
    insert(version(1, "a", 1), **scd(validity_columns=TROCCO_COLUMNS))
    assert target("k, trocco_valid_to, trocco_is_current") == [(1, None, True)]
    with pytest.raises(SinkError, match=r"has no column etlkit_valid_from.*not made by scd_type_2"):
        insert(version(1, "b", 2), **scd())
    taken = version(1, "b", 2) + ", TRUE AS trocco_is_current"
    with pytest.raises(SinkError, match="the query has a column trocco_is_current"):
        insert(taken, **scd(validity_columns=TROCCO_COLUMNS))


def test_the_period_wraps_the_query(insert, target, run, dataset):
    """Rows outside of it are neither read into the table nor touched there."""
    now = datetime.now(UTC)
    days = [(now - timedelta(days=back)).date().isoformat() for back in range(4)]
    values = ", ".join(f"STRUCT({n} AS k, DATE '{day}' AS d)" for n, day in enumerate(days))
    run(f"CREATE TABLE {dataset}.source AS SELECT * FROM UNNEST([{values}])")
    period = Lookback(column="d", column_type="DATE", start=2, end=1)
    insert("SELECT k, d FROM DS.source -- all", **merge(), lookback=period)
    assert target("k") == [(1,), (2,)]


@pytest.mark.parametrize("disposition", ["truncate", "scd_type_2"])
def test_new_columns(insert, target, disposition):
    """`auto_add_column` adds them, `detect_only` leaves them out and says so."""
    options = scd() if disposition == "scd_type_2" else {"disposition": disposition}
    old, new = "SELECT {} AS k, {} AS seq", "SELECT {} AS k, {} AS seq, 'x' AS extra"
    insert(old.format(1, 1), **options)
    report = insert(new.format(2, 1), **options, schema_evolution="detect_only")
    assert [("extra STRING" in text) for text in report.warnings] == [True]
    assert insert(new.format(3, 1), **options, schema_evolution="auto_add_column").warnings == []
    kept = [] if disposition == "truncate" else [(1, None), (2, None)]
    assert target("k, extra") == [*kept, (3, "x")]
    with pytest.raises(SinkError, match="extra is gone from the query"):
        insert(old.format(4, 1), **options, schema_evolution="auto_add_column")


def test_truncate_takes_the_querys_columns(insert, there, target):
    """Wider types and other columns; what ALTER cannot do is refused, and with `fail` any change."""
    there((1, "a"))
    insert("SELECT 2.5 AS k", "truncate")
    assert target() == [(2.5,)]
    with pytest.raises(SinkError, match="k is FLOAT64, the rows have STRING, and BigQuery cannot"):
        insert("SELECT 'x' AS k", "truncate")
    with pytest.raises(SinkError, match="k is FLOAT64, the query has INT64"):
        insert("SELECT 1 AS k", "truncate", schema_evolution="fail")
    assert target() == [(2.5,)]


@pytest.mark.parametrize(
    ("partitioning", "disposition"),
    [
        (TimePartitioning("d", "MONTH", require_filter=True), "scd_type_2"),
        (TimePartitioning(), "append"),
    ],
    ids=["month", "load time"],
)
def test_definitions(insert, run, bq, dataset, partitioning, disposition):
    """Partitioning and clustering apply when the table is made, and every mode goes on with them."""
    options = scd() if disposition == "scd_type_2" else {}
    definition = Definition(partitioning=partitioning, clustering=("k",), description="marts")
    query = "SELECT {} AS k, DATE '2024-01-31' AS d, {} AS seq"
    insert(query.format(1, 1), **options, definition=definition)
    insert(query.format(1, 2), **options, definition=definition)
    table = bq.get_table(f"{dataset}.target")
    assert table.description == "marts"
    assert table.clustering_fields == ["k"]
    assert table.time_partitioning.type_ == partitioning.unit
    assert run(f"SELECT COUNT(*) FROM {dataset}.target WHERE d > '2000-01-01'") == [(2,)]


def test_checks_see_the_new_rows_alone(insert, there, target, dataset):
    """Before they are published, and without those that are there."""
    count = Check("SELECT COUNT(*) FROM {staged}", at_most=1)
    there((1, "a"))
    insert(rows((2, "b")), checks=[count])
    with pytest.raises(CheckFailedError, match="it is 2, and should be at most 1") as caught:
        insert(rows((3, "c"), (4, "d")), checks=[count])
    assert f"out_{caught.value.report.run_id}" in str(caught.value)
    assert target() == [(1, "a"), (2, "b")]
    assert dataset in caught.value.report.target


def test_a_publish_that_is_sent_again_changes_nothing(insert, there, target, monkeypatch):
    """The ledger's row guards it: whoever comes second finds the run published."""
    there((0, "z"))
    send = Connection.query

    def send_twice(self, text, purpose, **more):
        if purpose.startswith("publish_"):
            send(self, text, "publish_before", **more)
        return send(self, text, purpose, **more)

    monkeypatch.setattr(Connection, "query", send_twice)
    insert(rows((1, "a")))
    assert target() == [(0, "z"), (1, "a")]


def test_a_publish_that_never_arrived(insert, there, target, monkeypatch):
    """The run failed, and the next one starts from what is there."""
    there((0, "z"))
    send = Connection.query

    def refuse(self, text, purpose, **more):
        if purpose.startswith("publish_"):
            raise ServiceUnavailable("nobody there")
        return send(self, text, purpose, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Connection, "query", refuse)
        with pytest.raises(SinkError, match=r"publishing to .* failed: nobody there"):
            insert(rows((1, "a")))
    assert target() == [(0, "z")]
    insert(rows((1, "a")))
    assert target() == [(0, "z"), (1, "a")]


def test_a_run_that_is_in_progress_elsewhere(insert, target, monkeypatch):
    """The second one is refused, and nothing of it is left."""
    send = Connection.query

    def start_another(self, text, purpose, **more):
        if purpose == "stage":
            monkeypatch.setattr(Connection, "query", send)
            with pytest.raises(Exception, match="is in progress already"):
                insert(rows((2, "b")), is_runnable_concurrently=False)
        return send(self, text, purpose, **more)

    monkeypatch.setattr(Connection, "query", start_another)
    insert(rows((1, "a")), is_runnable_concurrently=False)
    assert target() == [(1, "a")]


def test_a_query_that_is_refused(insert):
    """Before the run is recorded or anything written; with the place in the SQL."""
    with pytest.raises(
        StatementError, match=r"statement 1 of 1 failed \(line 1, column 1: SELECT k"
    ):
        insert("SELECT k\nFROM DS.nope")


def test_other_statements_are_no_insert(insert, world, dataset, bq):
    """A CREATE is told apart before it runs; a dry run of an insert writes nothing."""
    with pytest.raises(ConfigError, match="takes one SELECT, this is CREATE_TABLE"):
        insert("CREATE TABLE DS.x AS SELECT 1 AS k")
    job = Datamart(
        sql="SELECT 1 AS k, DATE '2024-01-01' AS d",
        query_mode="insert",
        destination=f"{dataset}.target",
        lookback=Lookback(column="d", column_type="DATE", start=1),
        write_disposition="incremental",
        merge_keys=("k",),
        on_matched_action="skip",
    )
    report = check_datamart(job, settings=world.settings)
    assert (report.state, report.statements[0].statement_type) == ("checked", "SELECT")
    assert list(bq.list_tables(dataset)) == []


def test_a_missing_dataset(insert, world, run, bq, dataset):
    """Told with the next thing to do; made where the job says so, but not by a dry run."""
    with pytest.raises(
        SinkError, match=rf"dataset {bq.project}\.nowhere does not exist.*create_dataset=True"
    ):
        insert(rows((1, "a")), destination="nowhere.t")
    options = {"destination": f"{dataset}_new.t", "create_dataset": True}
    job = Datamart(sql=rows((1, "a")), query_mode="insert", write_disposition="append", **options)
    assert check_datamart(job, settings=world.settings).state == "checked"
    assert f"{dataset}_new" not in [each.dataset_id for each in bq.list_datasets()]
    insert(rows((1, "a")), **options)
    assert run(f"SELECT * FROM {dataset}_new.t") == [(1, "a")]

"""Datamarts in query mode: statements as jobs, through the command line and the real clients."""

import json
import signal
import sys
import textwrap

import pytest

from etlkit import Datamart, StatementError
from etlkit.api.run import Settings
from etlkit.bigquery.client import Connection
from etlkit.runner import check_datamart, run_datamart, run_datamarts


@pytest.fixture
def sql_file(here, dataset):
    """Write SQL into a file; DS stands for the test's dataset."""

    def write(text, name="x.sql"):
        (here / name).write_text(textwrap.dedent(text).replace("DS", dataset))
        return name

    return write


@pytest.fixture
def settings(local_server):
    return Settings(environ=local_server.endpoints.environ())


def states(report):
    return [statement["state"] for statement in report["statements"]]


def test_a_bare_file_stops_at_the_statement_that_fails(cli, sql_file, run, dataset, bq):
    """Shows number, place in the file and job; nothing after it runs; the ledger has it."""
    name = sql_file("""\
        -- three statements
        CREATE TABLE DS.a AS SELECT 1 AS x;
        SELECT x,
          y
        FROM DS.a; CREATE TABLE DS.b AS SELECT 1 AS x;
    """)
    status, report, seen = cli(name, "--report", "report.json")
    assert status == 1
    assert (report["state"], states(report)) == ("failed", ["done", "failed", "not_run"])
    assert "statement 2 of 3 failed (x.sql, line 3, column 1: SELECT x,)" in seen
    assert "[4:3]" in seen  # BigQuery's own position, in the file
    assert report["statements"][1]["job_id"] in seen
    assert "1 statement before it ran, 1 statement after it did not" in seen
    assert run(f"SELECT x FROM {dataset}.a") == [(1,)]
    assert [table.table_id for table in bq.list_tables(dataset)] == ["a"]
    ledger = f"SELECT state, mode, error FROM etlkit_work.runs WHERE run_id = '{report['run_id']}'"
    assert [row[:2] for row in run(ledger)] == [("failed", "query")]


def test_a_bare_file_with_variables(cli, sql_file, run, dataset, bq, here):
    """Each statement is a labelled job of ours; text from outside stays text."""
    name = sql_file("""\
        CREATE TABLE DS.t_$day$ AS SELECT $who$ AS a, '$who$' AS b, 'for $who$' AS c;
        INSERT INTO DS.t_$day$ VALUES ('x', 'y', 'z');
        SELECT * FROM DS.`t_$day$`;
    """)
    evil = "it's \"`\\ -- 🐈\n*/"
    out = ["--report", "report.json"]
    status, report, seen = cli(name, "--var", "day=20240131", "--var", f"who={evil}", *out)
    assert status == 0, seen
    assert report["state"] == "published"
    assert run(f"SELECT * FROM {dataset}.t_20240131 ORDER BY a LIMIT 1") == [
        (evil, evil, f"for {evil}")
    ]
    assert json.loads((here / "report.json").read_text()) == report
    assert [s["statement_type"] for s in report["statements"]] == [
        "CREATE_TABLE_AS_SELECT",
        "INSERT",
        "SELECT",
    ]
    assert [s["rows"] for s in report["statements"]] == [None, 1, 2]
    assert report["variables"] == {"day": "20240131", "who": evil}
    job = bq.get_job(report["statements"][0]["job_id"])
    assert job.labels == {"etlkit_job": "x-sql", "etlkit_run": report["run_id"]}
    assert "t_20240131" in job.query
    assert "CREATE_TABLE_AS_SELECT" in seen


def test_a_script_is_one_job(cli, sql_file, run, dataset):
    """Declarations, temporary tables, transactions and branches hold together; so do parameters."""
    name = sql_file("""\
        DECLARE n INT64 DEFAULT 2;
        CREATE TEMP TABLE fresh AS SELECT $who$ AS who, n AS n;
        CREATE TABLE DS.t (who STRING, n INT64);
        BEGIN TRANSACTION;
        INSERT INTO DS.t SELECT who, n FROM fresh;
        COMMIT TRANSACTION;
        IF n = 2 THEN
          INSERT INTO DS.t VALUES ('$who$', n + 1);
        END IF;
    """)
    status, report, seen = cli(name, "--var", "who=me")
    assert status == 0, seen
    assert [s["statement_type"] for s in report["statements"]] == ["SCRIPT"]
    assert run(f"SELECT * FROM {dataset}.t ORDER BY n") == [("me", 2), ("me", 3)]


def test_a_dry_run_validates_every_statement_and_writes_nothing(cli, sql_file, bq, dataset):
    """What needs an earlier statement cannot be validated, and is no failure; what is wrong is."""
    bq.query(f"CREATE TABLE {dataset}.old AS SELECT 1 AS x").result()
    good = sql_file("""\
        CREATE TABLE DS.t AS SELECT x FROM DS.old;
        SELECT x FROM DS.t;
        SELECT x FROM DS.old;
    """)
    status, report, seen = cli(good, "--dry-run")
    assert status == 0, seen
    assert (report["state"], states(report)) == ("checked", ["checked", "unchecked", "checked"])
    assert "statement 2 needs what an earlier statement makes" in seen
    assert report["estimated_cost"] == 0
    bad = sql_file("SELECT x FROM DS.old;\nSELECT y FROM DS.old;\nSELECT z FROM DS.nope;")
    status, report, seen = cli(bad, "--dry-run")
    assert (status, states(report)) == (1, ["checked", "failed", "failed"])
    assert "statement 2 of 3 failed (x.sql, line 2" in seen
    assert "did run" not in seen
    assert [table.table_id for table in bq.list_tables(dataset)] == ["old"]
    if "etlkit_work" in [each.dataset_id for each in bq.list_datasets()]:
        ledger = f"SELECT COUNT(*) FROM etlkit_work.runs WHERE run_id = '{report['run_id']}'"
        assert [tuple(row) for row in bq.query(ledger).result()] == [(0,)]


def test_a_dry_run_knows_what_an_earlier_statement_may_make(cli, sql_file, bq, dataset):
    """Functions and columns too; without such a statement they are errors."""
    bq.query(f"CREATE TABLE {dataset}.old AS SELECT 1 AS x").result()
    good = sql_file("""\
        CREATE FUNCTION DS.twice(n INT64) AS (n * 2);
        SELECT DS.twice(x) FROM DS.old;
    """)
    status, report, seen = cli(good, "--dry-run")
    assert (status, states(report)) == (0, ["checked", "unchecked"]), seen
    status, report, seen = cli(sql_file("SELECT DS.twice(x) FROM DS.old;"), "--dry-run")
    assert (status, states(report)) == (1, ["failed"]), seen


def test_the_estimate_has_a_price(settings):
    """USD per TiB is an argument; the emulator processes no bytes, so nothing costs nothing."""
    job = Datamart(sql="SELECT 1")
    report = check_datamart(job, settings=settings, price_per_tib=7.5)
    assert report.statements[0].bytes_processed == 0
    assert report.estimated_cost == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x.sql", "--resume"], "--resume does not go with a datamart"),
        (["x.sql", "--preview"], "--preview does not go with a datamart"),
        (["x.sql", "--limit", "5"], "--limit does not go with"),
        (["x.sql", "--retry-rejects", "r"], "--retry-rejects does not go with"),
        (["x.sql", "--var", "a"], "write name=value"),
        (["x.sql", "--price-per-tib", "5"], "--price-per-tib goes with --dry-run"),
        (["x.sql", "--queued-at", "noon"], "--queued-at 'noon'"),
        (["x.sql", "--var", "a=1"], r"variable $a$ is not used anywhere"),
        (["nope.sql"], "no file nope.sql"),
        (["empty.sql"], "there is no statement"),
        (["v.sql"], "unknown variable $v$; the job has none"),
        (["both:job", "--var", "zz=1"], "unknown variable $zz$; the job has $v$"),
        (["transfer", "--dry-run", "--resume"], "--resume does not go with --dry-run"),
        (["transfer", "--var", "a=1"], "unknown variable $a$; the job has none"),
    ],
)
def test_usage_errors_exit_with_2(cli, here, arguments, message):
    """Found before anything is sent; no report is printed for what never began."""
    (here / "x.sql").write_text("SELECT 1")
    (here / "empty.sql").write_text("-- nothing\n")
    (here / "v.sql").write_text("SELECT $v$")
    (here / "both.py").write_text(
        "from etlkit import Datamart\njob = Datamart(sql='SELECT $v$', variables={'v': 'a'})\n"
    )
    (here / "transfer.py").write_text(
        "from etlkit import EtlBase, TransferJob\n"
        "from etlkit.testing import MemorySink, MemorySource\n"
        "job = TransferJob(source=MemorySource([]), transform=EtlBase, sink=MemorySink())\n"
    )
    status, report, seen = cli(*arguments)
    for module in ("both", "transfer"):
        sys.modules.pop(module, None)
    assert (status, report) == (2, None)
    assert message in seen


def test_a_transfer_has_variables_too(cli, here, run, dataset):
    """In its query and in the name of its table; the ledger has their values."""
    (here / "moves.py").write_text(
        "from etlkit import BigQuerySink, BigQuerySource, EtlBase, String, TransferJob\n"
        "class Etl(EtlBase):\n"
        "    def transform_row(self, row):\n"
        "        return row\n"
        "job = TransferJob(\n"
        "    source=BigQuerySource(\"SELECT $n$ AS n, '$who$' AS who, @p AS p\", {'p': 'p'}),\n"
        "    transform=Etl,\n"
        f"    sink=BigQuerySink('{dataset}.t_$day$'),\n"
        "    variables={'n': 1, 'who': String('me'), 'day': '20240101'},\n"
        ")\n"
    )
    status, report, seen = cli("moves", "--var", "n=7", "--var", "day=20240202", "--var", "who='")
    sys.modules.pop("moves", None)
    assert status == 0, seen
    assert report["target"] == f"local.{dataset}.t_20240202"
    assert run(f"SELECT n, who, p FROM {dataset}.t_20240202") == [(7, "'", "p")]
    known = run(f"SELECT variables FROM etlkit_work.runs WHERE run_id = '{report['run_id']}'")[0][0]
    known = json.loads(known) if isinstance(known, str) else known
    assert known == {"n": 7, "who": "'", "day": "20240202", "p": "p"}


def test_a_script_of_a_transform_has_variables_too(cli, here, run, dataset):
    """Those that are given are its own, as text."""
    (here / "own.py").write_text(
        "from etl_base import EtlBase\n"
        "class Etl(EtlBase):\n"
        "    def transform_row(self, row):\n"
        "        return row\n"
    )
    options = ["--script", "own.py", "--source", "SELECT $v$ AS v", "--sink", f"{dataset}.t_$day$"]
    status, _, seen = cli(*options, "--var", "v=it's", "--var", "day=1")
    assert status == 0, seen
    assert run(f"SELECT v FROM {dataset}.t_1") == [("it's",)]
    status, _, seen = cli(*options, "--var", "v=1")
    assert (status, "unknown variable $day$" in seen) == (2, True)


def test_datamarts_run_after_those_they_depend_on(settings, run, dataset):
    """Declared the other way round; the second reads what the first makes."""
    second = f"CREATE TABLE {dataset}.b AS SELECT x + 1 AS x FROM {dataset}.a"
    jobs = [
        Datamart(sql=second, name="b", depends_on=("a",)),
        Datamart(sql=f"CREATE TABLE {dataset}.a AS SELECT 1 AS x", name="a"),
    ]
    assert [report.job for report in run_datamarts(jobs, settings=settings)] == ["a", "b"]
    assert run(f"SELECT x FROM {dataset}.b") == [(2,)]


def test_a_failed_run_has_its_report(settings):
    """From Python the error carries what the command line prints."""
    with pytest.raises(StatementError) as caught:
        run_datamart(Datamart(sql="SELECT 1;\n SELECT nope"), settings=settings)
    assert (caught.value.number, caught.value.line) == (2, 2)
    assert [s.state for s in caught.value.report.statements] == ["done", "failed"]


@pytest.fixture
def own_signals():
    """The handlers as they were, whatever a run has installed."""
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


@pytest.mark.usefixtures("own_signals")
def test_ctrl_c(cli, sql_file, run, monkeypatch):
    """The statement in progress ends, later ones do not begin, and the ledger knows why."""
    send = Connection.query

    def press_ctrl_c(self, text, purpose, **more):
        if purpose == "statement_2":
            signal.raise_signal(signal.SIGINT)
        return send(self, text, purpose, **more)

    monkeypatch.setattr(Connection, "query", press_ctrl_c)
    status, report, seen = cli(sql_file("SELECT 1; SELECT 2; SELECT 3"))
    assert (status, report["state"]) == (130, "interrupted")
    assert states(report) == ["done", "failed", "not_run"]
    assert "the current statement was cancelled, later ones did not run" in seen
    ledger = f"SELECT state FROM etlkit_work.runs WHERE run_id = '{report['run_id']}'"
    assert run(ledger) == [("interrupted",)]


def test_history_shows_datamarts(cli, sql_file, local_server, capsys):
    """`python -m etlkit.runs` lists them beside the transfers, variables and all."""
    from etlkit import runs

    _, report, _ = cli(sql_file("SELECT $v$"), "--var", "v=1")
    where = ["--local", "--local-dir", str(local_server.local_dir), "--format", "json"]
    assert runs.main([report["run_id"], *where]) == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["state"], row["mode"], row["job"]) == ("published", "query", "x.sql")
    variables = row["variables"]
    assert (json.loads(variables) if isinstance(variables, str) else variables) == {"v": "1"}

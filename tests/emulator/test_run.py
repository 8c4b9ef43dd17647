"""`python -m etlkit.run`, from the command line to the target table, bad input included."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from etlkit.bigquery.publish import audit
from etlkit.local.bigquery.object_table import create_object_table
from etlkit.local.bigquery.wasm_service import cache_folder
from etlkit.local.buckets import Buckets

JOBS_OF_A_RUN = ["jobs"] * 4
"""The query's dry run, the start, the snapshot, the publish."""

TABLES_OF_A_RUN = ["tables"] * 2
"""The guard and a staging table."""

ROOT = Path(__file__).parents[2]
PHOTOS = sorted((ROOT / "photos").glob("*.jpg"))

JOB = """
from etlkit import BigQuerySink, BigQuerySource, EtlBase, TransferJob

class Etl(EtlBase):
{attributes}
    def transform_row(self, row):
        {body}

job = TransferJob(
    source=BigQuerySource({query!r}{source}),
    transform=Etl,
    sink=BigQuerySink("{target}", {sink}),
    {job}
)
"""


@pytest.fixture
def write_job(here, dataset):
    """Write a job module; returns its name."""

    def write(
        query,
        body="return row",
        *,
        target=None,
        sink='mode="replace"',
        attributes="",
        source="",
        job="",
    ):
        text = JOB.format(
            query=query,
            body=body,
            target=target or f"{dataset}.target",
            sink=sink,
            attributes="".join(f"    {line}\n" for line in attributes.splitlines()),
            source=source,
            job=job,
        )
        (here / "the_job.py").write_text(text)
        return "the_job"

    return write


def test_a_run_asks_for_no_more_than_it_needs(cli, write_job, caplog):
    """Its second run: target, ledger and lock are there, and nothing is looked up twice."""
    name = write_job("SELECT 1 AS n")
    cli(name)
    with caplog.at_level("DEBUG", "urllib3.connectionpool"):
        caplog.clear()
        cli(name)
    asked = re.findall(
        r'"(GET|POST|PATCH|DELETE) /bigquery/v2/projects/\w+/(\S+?)[?" ]', caplog.text
    )
    posted = [path.rsplit("/", 1)[-1] for method, path in asked if method == "POST"]
    assert sorted(posted) == sorted([*JOBS_OF_A_RUN, "queries", *TABLES_OF_A_RUN])
    assert len(asked) == 19, asked


def test_a_row_that_arrives_again_after_the_audit_is_published_once(
    cli, write_job, run, dataset, monkeypatch
):
    """An append whose answer was lost may have been on its way."""
    plain, arrived = audit.audit, []

    def audit_and_repeat(connection, staging, *rest):
        plain(connection, staging, *rest)
        table = staging.names[0].sql
        connection.query(f"INSERT INTO {table} SELECT * FROM {table} LIMIT 1", "late")
        arrived.append(table)

    monkeypatch.setattr(audit, "audit", audit_and_repeat)
    status, report, said = cli(write_job("SELECT n FROM UNNEST([1, 2, 3]) AS n"))
    assert (status, report["rows_published"], len(arrived)) == (0, 3, 1)
    assert "repeats are left out" in said
    assert sorted(run(f"SELECT n FROM {dataset}.target")) == [(1,), (2,), (3,)]


def test_the_main_job_finds_the_cat(cli, local_server, bq, run, monkeypatch):
    """A photo goes in, what Vision sees comes out in a table; a second run replaces it."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    monkeypatch.delenv("ETLKIT_VISION_ENDPOINT", raising=False)
    buckets = Buckets(local_server.local_dir / "buckets")
    buckets.put(PHOTOS, "gs://bqml-vision/")
    create_object_table(bq, "bqml_vision.object_table", ["gs://bqml-vision/*"], buckets)
    for _ in range(2):
        status, report, _ = cli("jobs.vision_objects")
        assert status == 0
        assert (report["job"], report["state"]) == ("jobs.vision_objects", "published")
        assert (report["read"], report["written"], report["rows_published"]) == (5, 5, 5)
        assert set(report["seconds"]) == {"open", "snapshot", "transform", "publish"}
    rows = run((ROOT / "jobs/sql/show_objects.sql").read_text())
    cats = [row for row in rows if row[0].endswith("chelsea.jpg")]
    assert [row[1] for row in cats] == ["Cat"]
    left, top, right, bottom = map(float, cats[0][3].split())
    assert cats[0][2] > 0.8
    assert left < 0.05
    assert top < 0.05
    assert right > 0.9
    assert bottom > 0.9
    response, updated = run(
        "SELECT response, updated FROM bqml_vision.vision_objects WHERE uri LIKE '%chelsea%'"
    )[0]
    assert response["responses"][0]["localizedObjectAnnotations"][0]["name"] == "Cat"
    assert updated.utcoffset() is not None
    assert not [t.table_id for t in bq.list_tables("etlkit_work") if report["run_id"] in t.table_id]
    ledger = run(
        f"SELECT state, job, `read` FROM etlkit_work.runs WHERE run_id = '{report['run_id']}'"
    )
    assert ledger == [("published", "jobs.vision_objects", 5)]


def test_a_file_that_is_no_image_is_that_rows_error(
    cli, write_job, local_server, bq, run, dataset, here
):
    """With `on_row_error="skip"` others continue; the bad one is named with Vision's message."""
    (here / "broken.jpg").write_bytes(b"this is no image")
    buckets = Buckets(local_server.local_dir / "buckets")
    buckets.put([here / "broken.jpg", PHOTOS[0]], "gs://mixed/")
    create_object_table(bq, f"{dataset}.objects", ["gs://mixed/*"], buckets)
    module = write_job(
        f"SELECT uri FROM {dataset}.objects ORDER BY uri", job='on_row_error="skip",'
    )
    source = (here / "the_job.py").read_text().replace("transform=Etl", "transform=VisionEtl")
    (here / "the_job.py").write_text(
        f"import sys; sys.path.append({str(ROOT)!r})\n"
        f"from transforms.vision_rest import Etl as VisionEtl\n{source}"
    )
    status, report, seen = cli(module)
    assert status == 0
    assert (report["read"], report["written"], report["skipped"], report["row_errors"]) == (
        2,
        1,
        1,
        1,
    )
    assert "Bad image data" in report["first_errors"][0]
    assert "left out row 2" in seen
    assert run(f"SELECT uri FROM {dataset}.target") == [("gs://mixed/astronaut.jpg",)]


def test_types_survive_the_whole_way(cli, write_job, run, dataset):
    """Every BigQuery type goes through snapshot, transform, staging and publish unchanged."""
    query = """
        SELECT 1 AS i, 1.5 AS f, NUMERIC '1.25' AS n, BIGNUMERIC '2.5' AS bn, TRUE AS b, 'é🐈' AS s,
          FROM_HEX('00ff') AS `by`, DATE '2024-02-29' AS d, DATETIME '2024-01-01 01:02:03.000004' AS dt,
          TIME '01:02:03.000004' AS t, TIMESTAMP '1969-12-31 23:59:59.999999+00' AS ts,
          JSON '{"a":[1,null,"x"]}' AS j, [1,2] AS ai, STRUCT(1 AS a, 'x' AS b) AS st,
          [STRUCT(1 AS a, [STRUCT('z' AS z)] AS l)] AS ast,
          ST_ASTEXT(ST_GEOGPOINT(1, 2)) AS g_text, ST_GEOGPOINT(1, 2) AS g
    """
    module = write_job(
        query, "row['seen'] = {k: type(v).__name__ for k, v in row.items()}; return row"
    )
    status, report, seen = cli(module)
    assert status == 0, seen
    fields = "i, f, n, bn, b, s, `by`, d, dt, t, ts, ai, st, TO_JSON_STRING(j), ST_ASTEXT(g)"
    assert run(f"SELECT {fields} FROM {dataset}.target") == run(f"SELECT {fields} FROM ({query})")
    kinds = run(f"SELECT seen FROM {dataset}.target")[0][0]
    assert kinds == {
        "i": "int",
        "f": "float",
        "n": "Decimal",
        "bn": "Decimal",
        "b": "bool",
        "s": "str",
        "by": "bytes",
        "d": "date",
        "dt": "datetime",
        "t": "time",
        "ts": "datetime",
        "j": "dict",
        "ai": "list",
        "st": "dict",
        "ast": "list",
        "g_text": "str",
        "g": "str",
    }
    assert report["written"] == 1


def test_odd_text_survives(cli, write_job, run, dataset):
    """Emoji, NUL and a string of 1 MB arrive as they were sent."""
    body = "row['s'] = chr(0x1F408) + chr(0) + 'x' * 2**20; return row"
    status, _, seen = cli(write_job("SELECT 1 AS n", body))
    assert status == 0, seen
    rows = run(f"SELECT CHAR_LENGTH(s), STARTS_WITH(s, '🐈') FROM {dataset}.target")
    assert rows == [(2**20 + 2, True)]


def test_append_adds_and_fan_out_multiplies(cli, write_job, run, dataset):
    """`append` keeps the rows of earlier runs; parameters reach the query; skips are counted."""
    module = write_job(
        "SELECT n FROM UNNEST(GENERATE_ARRAY(1, @top)) AS n",
        "return [dict(row, part=i) for i in range(row['n'] - 1)]",
        sink='mode="append"',
        source=', parameters={"top": 3}',
    )
    for times in (1, 2):
        status, report, seen = cli(module)
        assert status == 0, seen
        assert (report["written"], report["skipped"], report["rows_published"]) == (2, 1, 3)
        expected = sorted([(2, 0), (3, 0), (3, 1)] * times)
        assert sorted(run(f"SELECT n, part FROM {dataset}.target")) == expected


def test_replace_keeps_the_description_while_the_columns_stay(cli, write_job, bq, dataset):
    """`TRUNCATE` and `INSERT` in one transaction leave the table's own metadata alone."""
    module = write_job("SELECT 1 AS n")
    assert cli(module)[0] == 0
    table = bq.get_table(f"{dataset}.target")
    table.description = "kept"
    bq.update_table(table, ["description"])
    assert cli(module)[0] == 0
    assert bq.get_table(f"{dataset}.target").description == "kept"


def test_replace_takes_changed_columns(cli, write_job, run, dataset):
    """Columns are added, dropped and widened; a type that cannot be widened is refused."""
    assert cli(write_job("SELECT 1 AS n"))[0] == 0
    assert cli(write_job("SELECT 'x' AS s, 2 AS n"))[0] == 0
    assert run(f"SELECT n, s FROM {dataset}.target") == [(2, "x")]
    assert cli(write_job("SELECT 'y' AS s, 3.5 AS n"))[0] == 0
    assert run(f"SELECT n, s FROM {dataset}.target") == [(3.5, "y")]
    status, _, seen = cli(write_job("SELECT 'y' AS s, '3' AS n"))
    assert status == 1
    assert "column n is FLOAT64, the rows have STRING, and BigQuery cannot change that" in seen
    assert run(f"SELECT n, s FROM {dataset}.target") == [(3.5, "y")]
    assert cli(write_job("SELECT 'z' AS s"))[0] == 0
    assert run(f"SELECT * FROM {dataset}.target") == [("z",)]


def test_zero_rows_leave_an_empty_table(cli, write_job, run, dataset):
    """A source without rows is a success."""
    status, report, seen = cli(write_job("SELECT 1 AS n FROM UNNEST([]) AS x"))
    assert status == 0, seen
    assert (report["state"], report["read"]) == ("published", 0)
    assert run(f"SELECT COUNT(*) FROM {dataset}.target") == [(0,)]


def test_zero_rows_replace_what_was_there(cli, write_job, run, dataset):
    """`replace` by nothing empties the table and keeps its columns."""
    assert cli(write_job("SELECT 1 AS n", "row['m'] = {'a': 1}; return row"))[0] == 0
    assert cli(write_job("SELECT 1 AS n FROM UNNEST([]) AS x"))[0] == 0
    assert run(f"SELECT n, m FROM {dataset}.target") == []


def test_limit_report_file_and_quiet(cli, write_job, here):
    """`--limit` bounds the rows; `--report` writes the line; `--quiet` leaves nothing else."""
    module = write_job("SELECT n FROM UNNEST(GENERATE_ARRAY(1, 9)) AS n")
    status, report, seen = cli(module, "--limit", "3", "--report", "report.json", "--quiet")
    assert (status, report["read"]) == (0, 3)
    assert json.loads((here / "report.json").read_text()) == report
    assert seen.strip().count("\n") == 0


def test_log_format_json(cli, write_job):
    """With `--log-format json` every line of the log is an object."""
    _, _, seen = cli(write_job("SELECT 1 AS n"), "--log-format", "json", "--debug")
    logged = [json.loads(line) for line in seen.splitlines() if line.startswith('{"severity"')]
    assert {"severity", "time", "level", "logger", "message"} <= set(logged[0])
    assert any("etlkit_" in line["message"] for line in logged)
    assert any(line["message"].startswith("published 1 row ") for line in logged)
    assert len(logged) == len(seen.strip().splitlines()) - 1  # and the report


def test_preview_shows_before_and_after_and_writes_nothing(cli, write_job, bq, dataset):
    """Rows, columns and failures are shown; no table appears anywhere."""
    work = {t.table_id for t in bq.list_tables("etlkit_work")} if _has(bq, "etlkit_work") else set()
    module = write_job(
        "SELECT n FROM UNNEST(GENERATE_ARRAY(1, 50)) AS n ORDER BY n",
        "row['inverse'] = 6 / (row['n'] - 2); return None if row['n'] == 3 else row",
    )
    status, report, seen = cli(module, "--preview", "3")
    assert (status, report) == (1, None)
    assert [line.split("│")[1].split() for line in seen.splitlines() if line.startswith("│")] == [
        ["row"],
        ["1"],
        ["2", "rejected"],
        ["3", "skipped"],
    ]
    assert "+ -6.0" in seen
    assert "row 2 rejected: ZeroDivisionError" in seen
    assert "no calls were made through etlkit" in seen
    assert "columns: n INT64, inverse FLOAT64" in seen
    assert not list(bq.list_tables(dataset))
    if work:
        assert {t.table_id for t in bq.list_tables("etlkit_work")} == work


def _has(bq, name):
    return name in {d.dataset_id for d in bq.list_datasets()}


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("no_such_package.job", "no module 'no_such_package'"),
        ("missing/file.py", "no file missing/file.py"),
    ],
)
def test_an_unknown_job_is_a_usage_error(cli, here, target, message):
    """Exit status 2, one sentence, no traceback."""
    status, report, seen = cli(target)
    assert (status, report) == (2, None)
    assert message in seen
    assert "Traceback" not in seen


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELEC 1 AS n", "Syntax error"),
        ("SELECT nope FROM (SELECT 1 AS n)", "nope"),
        ("SELECT n FROM no_such_dataset.t", "no_such_dataset"),
    ],
)
def test_bad_sql_shows_bigquerys_message(cli, write_job, query, message):
    """The query is checked before anything is created; BigQuery's message is shown."""
    status, report, seen = cli(write_job(query))
    assert (status, report["state"]) == (1, "failed")
    assert message in seen
    assert "Traceback" not in seen


def test_a_dry_run_of_a_transfer(cli, write_job, bq, dataset):
    """It says what would change and what it would cost, prints its report, and writes nothing."""
    schema = 'output_schema = {"n": "INT64"}'
    module = write_job("SELECT 1 AS n", attributes=schema, job="    price_per_unit=0.5,\n")
    status, report, seen = cli(module, "--dry-run", "--limit", "4", "--price-per-tib", "5")
    assert (status, report["state"], report["columns"]) == (0, "checked", ["n INT64"])
    assert report["changes"] == [f"local.{dataset}.target would be created with n INT64"]
    assert "at most: to transform: 4 rows; about 4 calls, 4 units; about 2.00 USD" in seen
    assert "the job can run; nothing was written" in seen
    assert list(bq.list_tables(dataset)) == []
    status, report, seen = cli(write_job("SELECT 1, 2"), "--dry-run")
    assert (status, report) == (1, None)
    assert "name your columns" in seen


def test_two_queries_are_a_mistake_of_configuration(cli, write_job):
    """The source is one SELECT; nothing is sent."""
    status, report, seen = cli(write_job("SELECT 1 AS n; SELECT 2 AS n"))
    assert (status, report["state"]) == (2, "failed")
    assert "write one SELECT" in seen


def test_a_syntax_error_has_its_position(cli, write_job):
    """The position is the one in the user's own query."""
    _, _, seen = cli(write_job("SELECT 1 AS n\nFROM UNNEST([1]) AS x\nWHER x = 1"))
    assert "at [3:" in seen


def test_a_missing_target_dataset_says_both_ways_out(cli, write_job):
    """The message says how to create the dataset."""
    module = write_job("SELECT 1 AS n", target="no_such_dataset.t")
    status, report, seen = cli(module)
    assert (status, report["state"]) == (1, "failed")
    assert "no_such_dataset does not exist" in seen
    assert "create_dataset=True" in seen


def test_create_dataset_makes_it(cli, write_job, run, dataset):
    """`create_dataset=True` creates the target's dataset."""
    module = write_job("SELECT 1 AS n", target=f"{dataset}_made.t", sink="create_dataset=True")
    assert cli(module)[0] == 0
    assert run(f"SELECT n FROM {dataset}_made.t") == [(1,)]


def test_a_failing_row_names_itself_and_publishes_nothing(cli, write_job, run, dataset):
    """Exit status 1, the row, the place in the user's code, and what to do next."""
    assert cli(write_job("SELECT 7 AS n"))[0] == 0
    status, report, seen = cli(write_job("SELECT 1 AS n", "return 1 / 0"))
    assert (status, report["state"]) == (1, "failed")
    assert "row 1 (id " in seen
    assert "ZeroDivisionError" in seen
    assert "the_job.py:" in seen
    assert "--preview" in seen
    assert "Traceback" not in seen
    assert run(f"SELECT n FROM {dataset}.target") == [(7,)]
    ledger = run(f"SELECT state, error FROM etlkit_work.runs WHERE run_id = '{report['run_id']}'")
    assert ledger[0][0] == "failed"
    assert "ZeroDivisionError" in ledger[0][1]


def test_debug_shows_the_traceback(cli, write_job):
    """`--debug` shows the traceback and the SQL."""
    _, _, seen = cli(write_job("SELECT 1 AS n", "return 1 / 0"), "--debug")
    assert "Traceback" in seen
    assert "CREATE TABLE IF NOT EXISTS" in seen


def test_column_names_that_differ_only_in_case(cli, write_job):
    """BigQuery's names ignore case: it refuses the query, and its message is shown."""
    status, _, seen = cli(write_job("SELECT 1 AS n, 2 AS N"))
    assert status == 1
    assert "the source query was refused: Duplicate column names" in seen
    assert "Found duplicate(s): N" in seen


def test_too_many_columns_are_refused_before_anything_is_billed(cli, write_job):
    """10,000 columns plus etlkit's own exceed BigQuery's limit; the message has the limit."""
    attributes = "output_schema = {f'c{i}': 'INT64' for i in range(10_000)}"
    status, _, seen = cli(write_job("SELECT 1 AS c0", attributes=attributes))
    assert status == 2
    assert "9,997" in seen


def test_a_bucket_path_that_is_not_there(cli, write_job, here):
    """An object that is gone is a row error with Vision's message."""
    write_job("SELECT 'gs://no-such-bucket/x.jpg' AS uri")
    source = (here / "the_job.py").read_text().replace("transform=Etl", "transform=VisionEtl")
    (here / "the_job.py").write_text(
        f"import sys; sys.path.append({str(ROOT)!r})\n"
        f"from transforms.vision_rest import Etl as VisionEtl\n{source}"
    )
    status, _, seen = cli("the_job")
    assert status == 1
    assert "gs://no-such-bucket/x.jpg" in seen


def clean_environment(home):
    """A machine without credentials; the metadata server of a cloud VM is not asked."""
    cache = str(cache_folder().parent)  # it has the compiled analyzer
    keep = {"PATH": os.environ["PATH"], "NO_GCE_CHECK": "true", "XDG_CACHE_HOME": cache}
    return keep | {"HOME": str(home), "CLOUDSDK_CONFIG": str(home), "PYTHONPATH": str(ROOT)}


def start(here, *arguments, **options):
    """Start the command line as a separate process."""
    return subprocess.Popen(
        [sys.executable, "-m", "etlkit.run", *arguments],
        cwd=here,
        env=clean_environment(here),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_no_credentials_says_both_ways_out(write_job, here):
    """Without `--local` and without an account: sign in, or run locally."""
    process = start(here, write_job("SELECT 1 AS n"))
    out, err = process.communicate(timeout=90)
    assert process.returncode == 2
    assert "--local" in err
    assert "gcloud auth application-default login" in err
    assert "Traceback" not in out + err


def test_ctrl_c_publishes_nothing(write_job, here, local_server, run, dataset):
    """Exit status 130; the target is unchanged; the ledger says interrupted."""
    module = write_job(
        "SELECT n FROM UNNEST(GENERATE_ARRAY(1, 100000)) AS n",
        "print('started', flush=True); import time; time.sleep(0.05); return row",
    )
    process = start(here, module, "--local", "--local-dir", str(local_server.local_dir))
    assert process.stdout.readline() == "started\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; nothing was published" in err
    report = json.loads(out.strip().splitlines()[-1])
    assert report["state"] == "interrupted"
    states = run(f"SELECT state FROM etlkit_work.runs WHERE run_id = '{report['run_id']}'")
    assert states == [("interrupted",)]


def test_help_names_every_option():
    """`--help` works without Google's clients and lists the exit statuses."""
    done = subprocess.run(
        [sys.executable, "-m", "etlkit.run", "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    for option in ("--local", "--local-dir", "--project", "--location", "--limit", "--preview"):
        assert option in done.stdout
    for option in ("--report", "--log-format", "--quiet", "--debug", "130  stopped"):
        assert option in done.stdout

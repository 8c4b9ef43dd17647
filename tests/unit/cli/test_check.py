"""`etlkit check` over files: the analyzer runs in this process, no server is started."""

import importlib
import json
import sys

import pytest

from etlkit.cli.root import main

pytest.importorskip("zetasql")

ORDERS = [
    {"name": "id", "type": "INTEGER", "mode": "REQUIRED"},
    {"name": "day", "type": "DATE"},
    {"name": "customer", "type": "STRING"},
    {"name": "price", "type": "NUMERIC"},
]

LOAD = """\
from datetime import date

from etlkit import BigQuerySink, BigQuerySource, EtlBase, TransferJob


class Etl(EtlBase):
    columns = ("customer", "total")
    output_schema = {"customer": "STRING", "total": "STRING NOT NULL", "day": "DATE"}

    def transform_row(self, row):
        return row


job = TransferJob(
    source=BigQuerySource(
        "SELECT customer, total, day FROM shop.totals WHERE day > @since",
        parameters={"since": date(2024, 1, 1)},
    ),
    transform=Etl,
    sink=BigQuerySink("shop.loaded", mode="merge", merge_keys=("customer",)),
    checks=["SELECT customer FROM {staged} WHERE total = ''"],
)
"""

TOTALS = '''\
from etlkit import Datamart

job = Datamart(
    sql="""
        SELECT day, customer, SUM(price) AS total
        FROM shop.orders
        WHERE day >= CAST($since$ AS DATE)
        GROUP BY day, customer
    """,
    query_mode="insert",
    destination="shop.totals",
    write_disposition="truncate",
    variables={"since": "2024-01-01"},
)
'''


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with two jobs, a file of SQL and the schema of one table."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for folder in ("jobs", "schemas"):
        (tmp_path / folder).mkdir()
    (tmp_path / "schemas/shop.orders.json").write_text(json.dumps(ORDERS), encoding="utf-8")
    (tmp_path / "jobs/load.py").write_text(LOAD, encoding="utf-8")
    (tmp_path / "jobs/totals.py").write_text(TOTALS, encoding="utf-8")
    (tmp_path / "jobs/show.sql").write_text("SELECT total FROM shop.loaded\n", encoding="utf-8")
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]
    sys.modules.pop("jobs", None)
    importlib.invalidate_caches()


@pytest.fixture
def check(project, capsys):
    """Run `etlkit check` with JSON; gives the exit status and the jobs by name, or what stderr has."""

    def call(*arguments):
        for name in [name for name in sys.modules if name.partition(".")[0] == "jobs"]:
            del sys.modules[name]
        status = main(["check", *arguments, "--format", "json"])
        out, err = capsys.readouterr()
        if not out:
            return status, err
        return status, {each["job"]: each for each in json.loads(out)["jobs"]}

    return call


def errors(jobs):
    """File, line, column and message of each error."""
    return [
        (each["file"], each["line"], each["column"], each["message"])
        for job in jobs.values()
        for each in job["errors"]
    ]


def place_of(text, part):
    """Line and column of the first place of a part."""
    before = text[: text.index(part)]
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def test_jobs_that_make_each_others_tables(check):
    """Each job sees the tables of those before it; columns in and out have names and types."""
    status, jobs = check()
    assert (status, errors(jobs)) == (0, [])
    assert list(jobs) == ["jobs.totals", "jobs.load", "jobs/show.sql"]
    totals, load, show = jobs.values()
    assert totals["reads"] == ["shop.orders"]
    assert totals["writes"] == ["shop.totals"]
    assert [f"{c['name']} {c['type']}" for c in load["columns_in"]] == [
        "customer STRING",
        "total NUMERIC",
        "day DATE",
    ]
    assert load["columns_out"][1] == {"name": "total", "type": "STRING", "mode": "REQUIRED"}
    assert load["changes"] == [
        "shop.loaded would be created with customer STRING, total STRING, day DATE"
    ]
    assert show["columns_out"] == [{"name": "total", "type": "STRING", "mode": "NULLABLE"}]


def test_all_mistakes_of_a_file_are_found(check, project):
    """Several in one statement and in several statements, each at its line and column."""
    (project / "jobs/bad.sql").write_text(
        "CREATE TEMP FUNCTION twice(x NUMERIC) AS (x * 2);\n"
        "-- a comment\n"
        "SELECT id, prise,\n\tcustommer FROM shop.orders WHERE twice(price) > 1;\n"
        "SELECT id = '1' FROM shop.orders;\n"
        "SELECT 1 FROM shop.order\n",
        encoding="utf-8",
    )
    status, jobs = check("jobs/bad.sql")
    assert status == 1
    found = errors(jobs)
    assert [each[:3] for each in found] == [
        ("jobs/bad.sql", 3, 12),
        ("jobs/bad.sql", 4, 2),
        ("jobs/bad.sql", 5, 8),
        ("jobs/bad.sql", 6, 15),
    ]
    assert found[0][3] == "Unrecognized name: prise; Did you mean price?"
    assert found[1][3] == "Unrecognized name: custommer; Did you mean customer?"
    assert found[2][3].startswith("No matching signature for operator =")
    assert "schemas/shop.order.json" in jobs["jobs/bad.sql"]["errors"][3]["hint"]


@pytest.mark.parametrize(
    ("file", "old", "new", "at", "message"),
    [
        ("totals", "SUM(price)", "SUM(prise)", "prise", "Unrecognized name: prise"),
        ("totals", "SUM(price)", "SUM(day)", "SUM(", "No matching signature for aggregate"),
        ("totals", "AS total", "", "SELECT", "column 3 of the query has no name"),
        ("totals", "GROUP BY", "GRUOP BY", "GRUOP", "Syntax error"),
        ("load", "> @since", "> @sinc", "@sinc", "Query parameter 'sinc' not found"),
        ("load", "> @since", "> @since + idd", "idd", "Unrecognized name: idd"),
        ("load", '("customer", "total")', '("amount",)', "class", "the transform reads amount"),
        ("load", '("customer",)', '("id",)', "class", "merge_keys: id is not in the rows"),
        ("load", "total = ''", "total = 1", "total = 1", "No matching signature for operator ="),
        ("load", '"day": "DATE"', '"day": "STRING"', "class", "output_schema says day STRING"),
    ],
)
def test_a_mistake_in_a_module_is_at_its_line(check, project, file, old, new, at, message):
    """SQL in a module is found in the module; the transform's mistakes are at its class."""
    path = project / f"jobs/{file}.py"
    text = path.read_text("utf-8").replace(old, new)
    path.write_text(text, encoding="utf-8")
    status, jobs = check("jobs/totals.py", "jobs/load.py")
    assert status == 1
    (found,) = errors(jobs)
    assert found[3].startswith(message)
    assert found[:3] == (f"jobs/{file}.py", *place_of(text, at))


def test_rows_that_do_not_fit_their_table(check, project):
    """A target that exists is compared with the rows, as a run would."""
    fields = [{"name": "customer", "type": "INTEGER"}, {"name": "x", "type": "STRING"}]
    (project / "schemas/shop.loaded.json").write_text(json.dumps(fields), encoding="utf-8")
    status, jobs = check("jobs.totals", "jobs.load")
    assert status == 1
    ((_, _, _, message),) = errors(jobs)
    assert message == (
        "shop.loaded: column customer is INT64, the rows have STRING: convert it in the transform "
        "and declare it in output_schema"
    )


def test_what_a_transform_decides_is_not_an_error(check, project):
    """Without output_schema, a column that is not known may come from the transform."""
    path = project / "jobs/load.py"
    text = path.read_text("utf-8")
    lines = [line for line in text.splitlines() if "output_schema" not in line]
    path.write_text("\n".join(line for line in lines if "checks" not in line), encoding="utf-8")
    (project / "jobs/show.sql").write_text("SELECT new_one FROM shop.loaded", encoding="utf-8")
    status, jobs = check()
    assert status == 0
    assert jobs["jobs/show.sql"]["state"] == "unchecked"
    assert "the transform of jobs.load decides" in jobs["jobs/show.sql"]["notes"][0]
    assert jobs["jobs.load"]["columns_out_complete"] is False


def test_what_is_not_known_stays_so(check, project):
    """Also through views and tables that are made of all columns of such a table."""
    path = project / "jobs/load.py"
    lines = [line for line in path.read_text("utf-8").splitlines() if "output_schema" not in line]
    path.write_text("\n".join(line for line in lines if "checks" not in line), encoding="utf-8")
    (project / "jobs/show.sql").write_text(
        "CREATE VIEW shop.all_loaded AS SELECT * FROM shop.loaded;\n"
        "CREATE TABLE shop.copy AS SELECT l.* FROM shop.all_loaded AS l;\n"
        "SELECT new_one FROM shop.copy;\n"
        "CREATE TABLE shop.some AS SELECT total FROM shop.loaded;\n"
        "SELECT new_one FROM shop.some",
        encoding="utf-8",
    )
    status, jobs = check()
    assert status == 1
    assert [(each[1], each[3]) for each in errors(jobs)] == [(5, "Unrecognized name: new_one")]
    assert len(jobs["jobs/show.sql"]["notes"]) == 1


@pytest.mark.parametrize(
    ("sql", "place"),
    [("SELECT 1;\nSELECT 'open", (2, 8)), ("SELECT 1\n/* open", (2, 1)), ("SELECT (1", (1, 10))],
)
def test_a_quote_or_bracket_without_an_end(check, project, sql, place):
    """The error is where it begins."""
    (project / "jobs/open.sql").write_text(sql, encoding="utf-8")
    status, jobs = check("jobs/open.sql")
    ((_, line, column, message),) = errors(jobs)
    assert (status, line, column) == (1, *place)
    assert message.startswith("Syntax error")


def test_variables_of_bare_files(check, project):
    """A file of SQL takes the variables that it names; one that nobody has is a mistake."""
    (project / "jobs/show.sql").write_text(
        "SELECT id FROM shop.$table$ WHERE day = '$day$'", encoding="utf-8"
    )
    status, jobs = check("jobs/show.sql", "--var", "table=orders", "--var", "day=2024-01-31")
    assert (status, jobs["jobs/show.sql"]["reads"]) == (0, ["shop.orders"])
    status, jobs = check("jobs/show.sql", "--var", "table=orders")
    assert status == 2
    assert "unknown variable $day$" in errors(jobs)[0][3]
    status, said = check("jobs/show.sql", "--var", "table=orders", "--var", "day=1", "--var", "x=1")
    assert status == 2
    assert "no job of this check has a variable $x$" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["jobs.none"], "no module 'jobs.none'"),
        (["none.sql"], "no file none.sql"),
        (["jobs.load:other"], "jobs.load has no 'other'"),
        (["--schemas", "none"], "no folder none"),
        (["--local", "--project", "p"], "give --local or --project"),
        (["--var", "x"], "write name=value"),
        (["jobs.none", "none.sql"], "no module 'jobs.none'"),
        (["schemas"], "there is no job in schemas"),
    ],
)
def test_wrong_usage(check, arguments, message):
    """The message says what is wrong, and nothing is analyzed."""
    status, said = check(*arguments)
    assert status == 2
    assert message in said


def test_all_wrong_targets_are_named(check):
    """Not only the first one."""
    _, said = check("jobs.none", "none.sql", "jobs.load")
    assert "jobs.none" in said
    assert "none.sql" in said


def test_a_module_that_cannot_be_imported(check, project):
    """In a folder, it is reported with its line, and the others are checked all the same."""
    (project / "jobs/broken.py").write_text("import nothing_here\n\njob = 1\n", encoding="utf-8")
    (project / "jobs/helper.py").write_text("raise SystemExit('not imported')\n", encoding="utf-8")
    status, jobs = check()
    assert status == 2
    assert "nothing_here" in errors(jobs)[0][3]
    assert jobs["jobs.load"]["state"] == "ok"


def test_no_jobs_folder(check, project):
    """The message says what to write instead."""
    (project / "jobs").rename(project / "other")
    status, said = check()
    assert (status, "name what to check" in said) == (2, True)
    status, jobs = check("other/totals.py")
    assert (status, list(jobs)) == (0, ["other.totals"])


def test_a_script(check, project):
    """Variables, conditions, loops and tables that a script makes are known to what follows."""
    script = """
DECLARE top, bottom INT64 DEFAULT 3;
DECLARE name DEFAULT (SELECT MAX(customer) FROM shop.orders);
CREATE TABLE shop.scratch AS SELECT id, price FROM shop.orders WHERE id < top;
ALTER TABLE shop.scratch ADD COLUMN note STRING, DROP COLUMN price;
IF top > (SELECT COUNT(*) FROM shop.scratch) THEN
  INSERT INTO shop.scratch (id, note) SELECT id, name FROM shop.orders;
ELSE
  SET top = bottom + name;
END IF;
FOR row IN (SELECT id, note FROM shop.scratch) DO
  SELECT row.id, row.nothing;
END FOR;
BEGIN TRANSACTION;
DROP TABLE shop.scratch;
COMMIT TRANSACTION;
SELECT 1 FROM shop.scratch;
"""
    (project / "jobs/script.sql").write_text(script, encoding="utf-8")
    status, jobs = check("jobs/script.sql")
    assert status == 1
    assert [
        (line, message.splitlines()[0].partition(":")[0]) for _, line, _, message in errors(jobs)
    ] == [
        (9, "No matching signature for operator +"),
        (12, "Field name nothing does not exist in STRUCT<id INT64, note STRING>"),
        (17, "Table not found"),
    ]


def test_statements_that_make_things(check, project):
    """Views, functions and table functions are known to later jobs, in the order of their tables."""
    (project / "jobs/a_use.sql").write_text(
        "SELECT big.id, shop.half(big.price) AS half, shop.label(2) AS label\n"
        "FROM shop.big_orders AS big JOIN shop.of_day(DATE '2024-01-31') AS d ON d.id = big.id",
        encoding="utf-8",
    )
    (project / "jobs/b_make.sql").write_text(
        "CREATE OR REPLACE VIEW shop.big_orders AS SELECT * FROM shop.orders WHERE price > 100;\n"
        "CREATE FUNCTION shop.half(x NUMERIC) AS (x / 2);\n"
        "CREATE FUNCTION shop.label(x INT64) RETURNS STRING LANGUAGE js AS 'return x';\n"
        "CREATE TABLE FUNCTION shop.of_day(d DATE) AS SELECT id FROM shop.orders WHERE day = d;",
        encoding="utf-8",
    )
    status, jobs = check("jobs/a_use.sql", "jobs/b_make.sql")
    assert (status, errors(jobs)) == (0, [])
    assert list(jobs) == ["jobs/b_make.sql", "jobs/a_use.sql"]
    assert [each["type"] for each in jobs["jobs/a_use.sql"]["columns_out"]] == [
        "INT64",
        "NUMERIC",
        "STRING",
    ]


def test_many_files_side_by_side(check, project):
    """On several threads, each job still sees the tables that it needs, and the order is the same."""
    for number in range(60):
        source = "shop.orders" if number < 5 else f"shop.t_{number // 2}"
        wrong = ", wrong" if number == 59 else ""
        (project / f"jobs/t_{number:02}.sql").write_text(
            f"CREATE TABLE shop.t_{number} AS SELECT id + {number} AS id{wrong} FROM {source}",
            encoding="utf-8",
        )
    status, jobs = check()
    assert status == 1
    assert [(each[0], each[3]) for each in errors(jobs)] == [
        ("jobs/t_59.sql", "Unrecognized name: wrong")
    ]
    assert len(jobs) == 63
    names = list(jobs)
    for number in range(5, 60):
        needed = names.index(f"jobs/t_{number // 2:02}.sql")
        assert needed < names.index(f"jobs/t_{number:02}.sql")


def test_what_only_bigquery_knows_is_not_an_error(check, project):
    """Its own functions and views are not judged."""
    (project / "jobs/own.sql").write_text(
        "SELECT * FROM AI.FORECAST(TABLE shop.orders, data_col => 'price');\n"
        "SELECT table_name FROM shop.INFORMATION_SCHEMA.TABLES;\n"
        "EXECUTE IMMEDIATE 'SELECT 1';\n"
        "SELECT _TABLE_SUFFIX, customer FROM `shop.order*`",
        encoding="utf-8",
    )
    status, jobs = check("jobs/own.sql")
    assert (status, errors(jobs)) == (0, [])
    assert jobs["jobs/own.sql"]["state"] == "unchecked"
    assert len(jobs["jobs/own.sql"]["notes"]) == 3
    assert jobs["jobs/own.sql"]["columns_out"][0]["name"] == "_TABLE_SUFFIX"


def test_models(check, project):
    """What ML.PREDICT gives is known from the model's resource; a missing model is an error."""
    floats = {"typeKind": "ARRAY", "arrayElementType": {"typeKind": "FLOAT64"}}
    model = {
        "modelReference": {"modelId": "net"},
        "featureColumns": [{"name": "x", "type": floats}],
        "labelColumns": [{"name": "scores", "type": floats}],
    }
    (project / "schemas/shop.net.json").write_text(json.dumps(model), encoding="utf-8")
    (project / "jobs/predict.sql").write_text(
        "WITH rows_in AS (SELECT id, [CAST(price AS FLOAT64)] AS x FROM shop.orders)\n"
        "SELECT id, scores[OFFSET(0)] AS first, scors\n"
        "FROM ML.PREDICT(MODEL `shop.net`, (SELECT * FROM rows_in));\n"
        "SELECT * FROM ML.PREDICT(MODEL shop.nett, TABLE shop.orders)",
        encoding="utf-8",
    )
    status, jobs = check("jobs/predict.sql")
    assert status == 1
    assert [(each[1], each[2], each[3].partition(";")[0]) for each in errors(jobs)] == [
        (2, 40, "Unrecognized name: scors"),
        (4, 32, "Model not found: shop.nett"),
    ]
    assert "shop.nett.json" in jobs["jobs/predict.sql"]["errors"][1]["hint"]


WORKFLOW = """\
from etlkit import DataCheck, Loop, Task, TaskValue, Workflow
from jobs import load, totals

job = Workflow(
    tasks=[
        Task("totals", totals.job),
        Task("load", load.job, after="totals"),
        Task("enough", DataCheck("SELECT COUNT(*) FROM shop.loaded", ">", 0), after="load"),
        Task(
            "each_day",
            DataCheck("SELECT id FROM shop.orders WHERE day = $day$ AND id < 0"),
            loop=Loop(query="SELECT DISTINCT day FROM shop.orders"),
        ),
        Task("python", lambda: None, after="enough"),
    ],
)
"""


def test_all_tasks_of_a_workflow(check, project):
    """Jobs are checked once; checks and loops are checked with the values that they have."""
    (project / "jobs/daily.py").write_text(WORKFLOW, encoding="utf-8")
    status, jobs = check()
    assert (status, errors(jobs)) == (0, [])
    assert set(jobs) == {
        "jobs.totals",
        "jobs.load",
        "jobs/show.sql",
        "jobs.daily/enough",
        "jobs.daily/each_day",
    }
    status, jobs = check("jobs.daily")
    assert set(jobs) == {f"jobs.daily/{name}" for name in ("totals", "load", "enough", "each_day")}


@pytest.mark.parametrize(
    ("old", "new", "at", "message"),
    [
        ("COUNT(*)", "'one'", "SELECT 'one'", "the check compares one number"),
        ("SELECT DISTINCT day", "SELECT DISTINCT dai", "dai FROM", "Unrecognized name: dai"),
        ("day = $day$", "customer = $day$", "customer", "No matching signature for operator ="),
    ],
)
def test_a_mistake_in_a_workflow(check, project, old, new, at, message):
    """It is at its line of the workflow's module."""
    text = WORKFLOW.replace(old, new)
    (project / "jobs/daily.py").write_text(text, encoding="utf-8")
    _, jobs = check("jobs.daily")
    assert errors(jobs)[0][3].startswith(message)
    assert errors(jobs)[0][:3] == ("jobs/daily.py", *place_of(text, at))


def test_what_a_person_reads(project, capsys):
    """A table of the jobs, and under each line with a mistake a caret."""
    (project / "jobs/show.sql").write_text("SELECT totl\nFROM shop.loaded\n", encoding="utf-8")
    assert main(["check", "jobs"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["✓", "jobs.totals", "shop.orders", "shop.totals"]
    at = lines.index("error: Unrecognized name: totl; Did you mean total?")
    assert lines[at + 1 : at + 4] == [
        "  --> jobs/show.sql:1:8",
        "    1 | SELECT totl",
        "      |        ^^^^",
    ]
    assert lines[-1].startswith("3 jobs, 4 statements, 1 error in ")
    assert lines[-1].endswith("against 1 schema in schemas")

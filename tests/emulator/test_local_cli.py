import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from etlkit.cli.local import main
from tests.warm_python import WarmPython, run_python

REPOSITORY = Path(__file__).parents[2]
PHOTOS = REPOSITORY / "photos"

# A value of each type whose text is not obvious.
ODD_VALUES = """
SELECT 1 AS i, NULL AS n, 'say "é", \\n' AS s, FROM_BASE64('AP8=') AS b, TRUE AS t, 0.5 AS f,
  CAST('nan' AS FLOAT64) AS nan, NUMERIC '1.5' AS d, DATE '2026-01-02' AS day,
  TIMESTAMP '2026-01-02 03:04:05+00' AS ts, DATETIME '2026-01-02 03:04:05' AS dt,
  TIME '03:04:05' AS tm, STRUCT(1 AS x, ['a', 'b'] AS y) AS st, [1, 2] AS arr, JSON '{"k": [1]}' AS j
"""


@pytest.fixture
def cli(local_server, tmp_path, monkeypatch, capsys):
    """Run `etlkit local` against the server that the tests share, in this process."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, local_dir: Path = local_server.local_dir):
        command = list(map(str, arguments))
        if "--help" not in arguments:
            command += ["--local-dir", str(local_dir)]
        capsys.readouterr()
        status = main(command)
        return subprocess.CompletedProcess(command, status, *capsys.readouterr())

    return run


@pytest.fixture
def out(cli):
    """Run a command that must succeed and return what it printed."""

    def run(*arguments: object, **options) -> str:
        done = cli(*arguments, **options)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def assert_fails(done: subprocess.CompletedProcess[str], code: int, message: str) -> None:
    """Check that there is one message on stderr, nothing on stdout and no traceback."""
    assert done.returncode == code, done.stderr
    assert re.search(message, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_it_runs_as_a_process_of_its_own(local_server):
    """`python -m etlkit.local`, as a user types it, with a row of any text."""
    sql = "SELECT 'é🐈' AS s"
    done = subprocess.run(
        [sys.executable, "-m", "etlkit.local", "sql", sql, "--format", "csv", "--local-dir", "."],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
        cwd=local_server.local_dir,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert (done.returncode, done.stdout.split()) == (0, ["s", "é🐈"]), done.stderr


def test_help_names_every_command_and_imports_nothing_heavy(out):
    """`--help` works without Google's clients, pyarrow, DuckDB or the models."""
    text = out("--help")
    for command in ("put", "ls", "sql", "object-table", "serve"):
        assert command in text
        assert "--local-dir" in out(command, "--help")
    # Some packages put an empty `google.cloud` there when the interpreter starts.
    bare, tool = "import sys; old = set(sys.modules)", "import etlkit.cli.local"
    script = f"{bare}; {tool}; print(*set(sys.modules) - old)"
    modules = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=REPOSITORY,
    ).stdout.split()
    assert not {"google.cloud", "pyarrow", "duckdb", "rich", "onnxruntime", "PIL"} & set(modules)


def test_put_then_ls(out, tmp_path):
    """`put` stores photos and `ls` lists them, without a server."""
    local_dir = tmp_path / "own"
    photos = [PHOTOS / "chelsea.jpg", PHOTOS / "coffee.jpg"]
    printed = out("put", *photos, "gs://photos/a/", local_dir=local_dir)
    assert printed.splitlines() == ["gs://photos/a/chelsea.jpg", "gs://photos/a/coffee.jpg"]
    listing = out("ls", "gs://photos", local_dir=local_dir)
    size = f"{photos[0].stat().st_size:,}"
    assert re.search(rf"^ *{size}  20\d\d-.*Z  gs://photos/a/chelsea\.jpg$", listing, re.MULTILINE)
    assert "bytes in 2 object(s)" in listing
    assert sorted(path.name for path in local_dir.iterdir()) == ["buckets"]


def test_ls_for_programs(out, tmp_path):
    """`ls` prints an object table's columns as JSON and CSV; a prefix without a match gives none."""
    local_dir = tmp_path / "own"
    out("put", PHOTOS / "chelsea.jpg", "gs://photos/", local_dir=local_dir)
    (row,) = json.loads(out("ls", "gs://photos/", "--format", "json", local_dir=local_dir))
    assert row["uri"] == "gs://photos/chelsea.jpg"
    assert row["content_type"] == "image/jpeg"
    (line,) = csv.DictReader(
        io.StringIO(out("ls", "gs://photos/c*", "--format", "csv", local_dir=local_dir))
    )
    assert line == {key: str(value) for key, value in row.items()}
    assert json.loads(out("ls", "gs://photos/z", "--format", "json", local_dir=local_dir)) == []


def test_sql_as_json_is_one_array_of_native_values(out):
    """JSON has every type: NULL, nested, bytes, times; numbers that could lose digits are strings."""
    (row,) = json.loads(out("sql", ODD_VALUES, "--format", "json"))
    assert row.pop("d") in {"1.5", "1.500000000"}
    assert row == {
        "i": 1,
        "n": None,
        "s": 'say "é", \n',
        "b": "AP8=",
        "t": True,
        "f": 0.5,
        "nan": "NaN",
        "day": "2026-01-02",
        "ts": "2026-01-02T03:04:05Z",
        "dt": "2026-01-02T03:04:05",
        "tm": "03:04:05",
        "st": {"x": 1, "y": ["a", "b"]},
        "arr": [1, 2],
        "j": {"k": [1]},
    }


def test_sql_as_csv_has_a_header_and_json_for_what_is_nested(out):
    """CSV quotes where it has to, and NULL is an empty cell."""
    (row,) = csv.DictReader(io.StringIO(out("sql", ODD_VALUES, "--format", "csv")))
    assert (row["n"], row["s"], row["b"], row["t"]) == ("", 'say "é", \n', "AP8=", "true")
    assert json.loads(row["st"]) == {"x": 1, "y": ["a", "b"]}
    assert json.loads(row["j"]) == {"k": [1]}


def test_sql_as_a_table_cuts_nothing(out):
    """Outside a terminal a table is as wide as its content, and NULL differs from an empty string."""
    text = out("sql", f"SELECT '{'x' * 500}' AS long, NULL AS gone, '' AS empty, '\\x1b[31m' AS c")
    assert "x" * 500 in text
    assert "NULL" in text
    assert "\x1b" not in text
    assert text.endswith("(1 row)\n")


def test_sql_from_a_file(out, cli, tmp_path):
    """SQL can come from a file or from an argument; both at once is a usage error."""
    (tmp_path / "q.sql").write_text("-- comment\nSELECT 1 AS a", encoding="utf-8")
    assert json.loads(out("sql", "--file", "q.sql", "--format", "json")) == [{"a": 1}]
    assert_fails(cli("sql", "SELECT 1", "--file", "q.sql"), 2, "either SQL or --file")
    assert_fails(cli("sql", "--file", "missing.sql"), 2, "missing.sql")


def test_sql_without_rows(out):
    """An empty result has a header; a statement without a result prints what it did."""
    assert (
        json.loads(out("sql", "SELECT 1 AS a FROM (SELECT 1) WHERE FALSE", "--format", "json"))
        == []
    )
    assert "(0 rows)" in out("sql", "SELECT 1 AS a FROM (SELECT 1) WHERE FALSE")
    assert out("sql", "CREATE SCHEMA IF NOT EXISTS cli_rows") == ""
    assert out("sql", "CREATE OR REPLACE TABLE cli_rows.t AS SELECT 1 AS a") == ""
    assert json.loads(out("sql", "INSERT INTO cli_rows.t VALUES (2)", "--format", "json")) == []
    rows = json.loads(out("sql", "SELECT a FROM cli_rows.t ORDER BY a", "--format", "json"))
    assert rows == [{"a": 1}, {"a": 2}]


def test_object_table_over_a_bucket(out):
    """One command creates the object table."""
    out("put", *PHOTOS.glob("*.jpg"), "gs://cli-photos/")
    assert out("object-table", "cli_vision.object_table", "gs://cli-photos/*") == (
        "cli_vision.object_table: 5 rows\n"
    )
    text = out("sql", "SELECT uri FROM cli_vision.object_table ORDER BY uri", "--format", "csv")
    assert text.splitlines()[1] == "gs://cli-photos/astronaut.jpg"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["put", "gone.jpg", "gs://photos/"], 2, r"^error no file gone\.jpg$"),
        (["put", ".", "gs://photos/"], 2, "is not a file"),
        (["put", "gs://photos/"], 2, "Missing argument"),
        (["put", PHOTOS / "coffee.jpg", "photos/"], 2, "not an address in a bucket"),
        (["ls", "photos"], 2, "write gs://bucket/name"),
        (["ls", "gs://unknown-bucket"], 2, r"no bucket gs://unknown-bucket .*etlkit\.local put"),
        (["object-table", "t", "gs://photos/*"], 2, "write dataset.table"),
        (["object-table", "d.t", "gs://unknown-bucket/*"], 2, "no bucket gs://unknown-bucket"),
        (["sql", "SELECT 1 +"], 1, "^error Syntax error: "),
        (["sql", "SELECT * FROM nowhere.t"], 1, "^error .*nowhere"),
        (["sql", "SELECT 1", "--format", "xml"], 2, "'table', 'json', 'csv'"),
        (["sql"], 2, "either SQL or --file"),
        (["no-such-command"], 2, "No such command"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_bad_input_is_one_message(cli, arguments, code, message):
    """Wrong usage and configuration exit with 2, a refused query with 1, and none has a traceback."""
    assert_fails(cli(*arguments), code, message)


def test_a_local_dir_that_is_a_file_is_refused(cli, tmp_path):
    """`--local-dir` must be a directory, or must not exist."""
    (tmp_path / "file").touch()
    assert_fails(cli("ls", "gs://photos/", local_dir=tmp_path / "file"), 2, "is a file")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_says_how_to_connect_and_ends_cleanly(local_dir, until, number):
    """`serve` prints variables and a snippet that works, and a signal ends it with exit code 0."""
    command = ["-m", "etlkit.local", "serve", "--local-dir", str(local_dir)]
    process = WarmPython(command, cwd=REPOSITORY, env=os.environ)
    try:
        printed = ""
        while "client.query" not in printed:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            printed += line
        exports = dict(re.findall(r"^export (\w+)=(\S+)$", printed, re.MULTILINE))
        assert exports["BIGQUERY_EMULATOR_HOST"].startswith("http://127.0.0.1:")
        assert exports["ETLKIT_VISION_ENDPOINT"].startswith("http://127.0.0.1:")
        assert exports["ETLKIT_VISION_GRPC_ENDPOINT"].startswith("127.0.0.1:")
        snippet = "\n".join(
            re.findall(r"^#   ((?:from|options|client|print).*)$", printed, re.MULTILINE)
        )
        assert len(snippet.splitlines()) == 5
        local_dir.with_name("snippet.py").write_text(snippet)
        answer = run_python(local_dir.with_name("snippet.py"))
        assert "'one'" in answer.stdout, answer.stderr
        process.send_signal(number)
        assert process.wait(60) == 0
        assert process.stderr.read() == ""
    finally:
        process.kill()
        process.close()
    until(lambda: not (local_dir / "server.json").exists())


def test_serve_ends_when_the_server_dies(local_dir):
    """`serve` ends when its server was killed."""
    command = [sys.executable, "-m", "etlkit.local", "serve", "--local-dir", str(local_dir)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY
    )
    try:
        assert process.stdout.readline()
        deadline = time.monotonic() + 60
        while not (local_dir / "server.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(json.loads((local_dir / "server.json").read_text())["pid"], signal.SIGKILL)
        assert process.wait(60) == 1
        assert re.search(r"has ended; see .*server\.log", process.stderr.read())
    finally:
        process.kill()
        process.communicate()

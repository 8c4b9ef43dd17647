"""`etlkit report`: a page of rows that are read from the local BigQuery."""

from pathlib import Path

import pytest

from etlkit import SourceError, local_world, write_results
from etlkit.api.run import Run, RunRequest
from etlkit.bigquery.client import connect as connect_run
from etlkit.bigquery.result_rows import ResultColumn, read_result
from etlkit.cli.root import main
from etlkit.local.bigquery.object_table import create_object_table
from etlkit.local.buckets import Buckets
from etlkit.runner import environment
from tests.page_checks import faults, parse, text_of

PHOTOS = sorted((Path(__file__).parents[2] / "photos").glob("*.jpg"))


@pytest.fixture
def connection(local_server):
    with local_world(local_server.local_dir), Run(RunRequest("test", environment())) as run:
        yield connect_run(run)


@pytest.fixture
def report(local_server, tmp_path, capsys):
    """Run the command; gives its status, what it said, and the page."""

    def run(*arguments, html="page.html"):
        local = ["--local", "--local-dir", str(local_server.local_dir)]
        path = tmp_path / html
        status = main(["report", *arguments, "--html", str(path), *local])
        said = capsys.readouterr()
        return status, said.out, said.err, path.read_text("utf-8") if path.is_file() else None

    return run


@pytest.fixture
def photos(local_server, bq, dataset):
    """Five photos as an object table, and what two models say of them."""
    buckets = Buckets(local_server.local_dir / "buckets")
    buckets.put(PHOTOS, f"gs://{dataset.replace('_', '-')}/")
    table = f"{dataset}.photos"
    create_object_table(bq, table, [f"gs://{dataset.replace('_', '-')}/*"], buckets)
    bq.query_and_wait(f"""
        CREATE TABLE {dataset}.answers AS
        SELECT model, uri, model = 'a' AND ENDS_WITH(uri, 'cat.jpg') AS is_cat, label, score, box
        FROM {table}, UNNEST([
          STRUCT('a' AS model, 'tabby cat' AS label, 0.9 AS score, CAST(NULL AS STRING) AS box),
          STRUCT('b', 'Cat', NUMERIC '0.8', '0.1 0.2 0.6 0.7')
        ])
    """)
    return dataset


def test_five_photos(report, photos):
    """The page has the photos, boxes, answers and agreement, and passes the checks of every page."""
    status, out, err, html = report(f"{photos}.answers", "--title", "Five photos")
    assert status == 0
    assert out.strip().endswith("page.html")
    assert "10 rows, 5 of 5 pictures, 2 model(s)" in err
    assert "image = uri, model = model, label = label, score = score, box = box" in err
    assert faults(html) == []
    page = parse(html)
    assert page.findtext("head/title") == "Five photos"
    assert "a and b: 5 of 5" in text_of(page)
    assert html.count("data:image/webp;base64,") == 5
    assert html.count("[0.1,0.2,0.6,0.7]") + html.count("[0.1, 0.2, 0.6, 0.7]") == 5


def test_what_the_user_says(report, photos, tmp_path):
    """A query from a file, columns by name, and bounds; the page says what it leaves out."""
    (tmp_path / "query.sql").write_text(f"SELECT * FROM {photos}.answers ORDER BY uri, model")
    status, _, err, html = report(
        "--file", str(tmp_path / "query.sql"), "--model", "none", "--limit", "4",
        "--max-picture-mb", "0",
    )  # fmt: skip
    assert status == 0
    assert "left out Only 4 of 10 rows were read." in err
    assert "left out 2 picture(s) not shown: the page has 0 MB of pictures already." in err
    assert "4 rows, 0 of 2 pictures, 1 model(s)" in err
    assert "model = " not in err
    assert "data:image/webp" not in html
    assert "ORDER BY uri, model" in text_of(parse(html))


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 2, "give either QUERY|TABLE or --file FILE.sql"),
        (["items"], 2, "'items' is not a table name"),
        (["DROP TABLE a.b"], 2, "this statement begins with DROP"),
        (["a.b", "--box", "x,y"], 2, "give one column, or four"),
        (
            ["SELECT 1 AS n", "--image", "uri"],
            2,
            "--image uri: the result has no such column; it has n",
        ),
        (["nowhere.items"], 1, "there is no table"),
        (["SELECT * FROM nowhere.items"], 1, "the query failed: "),
        (["SELECT nothing"], 1, "the query failed: "),
    ],
)
def test_bad_input(report, arguments, status, message):
    """A sentence and an exit status; no page is written."""
    assert report(*arguments)[0::3] == (status, None)
    assert message in report(*arguments)[2]


def test_the_folder_must_be_there(report):
    """That is said before anything is read."""
    status, _, err, _ = report("SELECT 1", html="nowhere/page.html")
    assert status == 2
    assert "there is no folder" in err


def test_every_type_has_a_name_and_a_value(connection):
    """Names of types are the standard ones, also nested; a type that etlkit does not know is text."""
    found = read_result(
        connection,
        "SELECT 1 AS i, 1.5 AS f, TRUE AS b, NUMERIC '2' AS n, [STRUCT('x' AS a)] AS s, "
        "JSON '{}' AS j, INTERVAL 1 DAY AS v",
        limit=10,
    )
    assert [column.type for column in found.columns] == [
        "INT64", "FLOAT64", "BOOL", "NUMERIC", "STRUCT", "JSON", "INTERVAL",
    ]  # fmt: skip
    fields = (ResultColumn("a", "STRING"),)
    assert found.columns[4] == ResultColumn("s", "STRUCT", is_repeated=True, fields=fields)
    assert found.rows[0][:2] == (1, 1.5)
    assert (found.num_there, found.is_cut) == (1, False)


def test_rows_are_bounded(connection, bq, dataset):
    """A table and a query say how many rows there are; a view only whether there are more."""
    bq.query_and_wait(f"CREATE TABLE {dataset}.t AS SELECT n FROM UNNEST([1, 2, 3]) AS n")
    bq.query_and_wait(f"CREATE VIEW {dataset}.v AS SELECT * FROM {dataset}.t")
    table, view, query = f"{dataset}.t", f"{dataset}.v", f"SELECT * FROM {dataset}.t"
    for text, num_there in ((table, 3), (query, 3), (view, None)):
        found = read_result(connection, text, limit=2)
        assert (len(found.rows), found.num_there, found.is_cut) == (2, num_there, True), text
    assert read_result(connection, view, limit=3).num_there == 3


def test_the_bytes_of_a_query_are_bounded(connection, monkeypatch):
    """The bound reaches BigQuery with the query."""
    asked = []
    query = connection.client.query

    def listen(sql, **options):
        asked.append(options["job_config"].maximum_bytes_billed)
        return query(sql, **options)

    monkeypatch.setattr(connection.client, "query", listen)
    read_result(connection, "SELECT 1", limit=1, maximum_bytes_billed=10_000_000)
    assert asked == [10_000_000]


def test_from_python(local_server, photos, tmp_path):
    """The same from a script or a notebook; a table that is missing is a SourceError."""
    told = []
    with local_world(local_server.local_dir):
        found = write_results(
            f"{photos}.photos", tmp_path / "a.html", on_progress=lambda *each: told.append(each)
        )
        with pytest.raises(SourceError, match="there is no table"):
            write_results(f"{photos}.none", tmp_path / "b.html")
    assert (found.num_pictures_shown, found.models, found.meanings) == (5, (), {"image": "uri"})
    assert found.page_bytes == (tmp_path / "a.html").stat().st_size
    assert told[0] == ("read", 0, 1)
    assert ("pictures", 5, 5) in told
    assert not (tmp_path / "b.html").exists()

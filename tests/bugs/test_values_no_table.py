"""Files that are no tables: an error page with status 200 does not take the place of a table.

A file with no schema of its own (CSV, JSON Lines) whose columns are all unknown to a target with rows
is refused in the modes that replace rows. Parquet files and queries say themselves what they are.
"""

import itertools
from http.server import BaseHTTPRequestHandler

import pytest
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from etlkit import (
    BigQuerySink,
    CsvSource,
    EtlBase,
    JsonlSource,
    Settings,
    SinkError,
    TransferJob,
    run_job,
)
from etlkit.local import join_or_start
from tests.loopback import serving

NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A local BigQuery: settings for runs, and a client."""
    with join_or_start(tmp_path_factory.mktemp("no_table") / ".etlkit") as server:
        options = ClientOptions(api_endpoint=server.endpoints.bigquery)
        project = server.endpoints.project
        with bigquery.Client(
            project=project, credentials=AnonymousCredentials(), client_options=options
        ) as client:
            client.create_dataset("d")
            yield Settings(environ=server.endpoints.environ()), client


@pytest.fixture
def table(world):
    """A table with two rows: its name, and a function that gives its rows."""
    name = f"d.t{next(NUMBERS)}"
    client = world[1]
    client.query_and_wait(
        f"CREATE TABLE {name} AS SELECT 1 AS id, 'a' AS name UNION ALL SELECT 2, 'b'"
    )

    def rows():
        return sorted(tuple(row) for row in client.query_and_wait(f"SELECT * FROM {name}"))

    return name, rows


class Pass(EtlBase):
    """Passes rows through."""

    def transform_row(self, row):
        return row


@pytest.fixture
def load(world, table):
    """Run a job that reads a source into the table."""

    def call(source, mode="replace", **options):
        sink = BigQuerySink(table[0], mode=mode)
        job = TransferJob(source=source, transform=Pass, sink=sink, **options)
        return run_job(job, settings=world[0])

    return call


ONE_LINE = "Service temporarily unavailable, try again in 5 minutes"


class Busy(BaseHTTPRequestHandler):
    """Answers every request with one line of text, and with status 200."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(ONE_LINE.encode())

    def log_message(self, *_):
        return


@pytest.mark.edge_case(
    "one line of text with status 200, mode `replace` or `delete_in_advance`",
    "CSV from a web server",
    "refused: it has none of the target's columns; the target keeps its rows",
)
@pytest.mark.parametrize("mode", ["replace", "delete_in_advance"])
def test_one_line_of_text(load, table, mode):
    """It is a CSV file with a header and no rows. `allow_empty` says that this is meant."""
    before = table[1]()
    with serving(Busy) as server:
        source = CsvSource(f"{server.url}/export.csv")
        with pytest.raises(SinkError, match=r"none of those of \S+d\.t.*error page") as caught:
            load(source, mode)
        assert ONE_LINE.split(",", maxsplit=1)[0] in str(caught.value)
        assert table[1]() == before
        load(source, mode, allow_empty=True)
    assert table[1]() == []


@pytest.mark.edge_case(
    '`{"error": "busy"}` with status 200, mode `replace`', "JSON Lines", "refused, as above"
)
@pytest.mark.edge_case("several lines of text, any mode", "CSV", "refused, as above")
def test_rows_without_any_column_of_the_target(load, table, file):
    """Rows that have nothing in common with the target are not its next content, nor added to it."""
    before = table[1]()
    for source, mode in (
        (JsonlSource(file([{"error": "busy", "code": 1}], "jsonl")), "replace"),
        (CsvSource(file("We are sorry\nTry again\nLater\n", "csv")), "append"),
    ):
        with pytest.raises(SinkError, match=r"each row has the columns .* none of those of"):
            load(source, mode)
        assert table[1]() == before


@pytest.mark.edge_case(
    "a header and no rows, mode `replace`", "CSV", "an empty table: it is a normal run"
)
def test_files_that_are_tables(load, table, file):
    """One column in common is enough, and modes that only add rows take nothing away."""
    load(JsonlSource(file([{"id": 4, "more": True}], "jsonl")))
    assert table[1]() == [(4, True)]
    with serving(Busy) as server:
        load(CsvSource(f"{server.url}/export.csv"), "append")
    assert table[1]() == [(4, True)]
    load(CsvSource(file("id,more\n", "csv")))
    assert table[1]() == []

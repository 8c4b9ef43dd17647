"""Files into BigQuery, from the command line: buckets, a web server, resume, the list of labels."""

import csv
import functools
import json
import sys
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pytest

from etlkit.local.buckets import Buckets
from tests.loopback import serving

ROOT = Path(__file__).parents[2]
LABELS = ROOT / "etlkit" / "local" / "models" / "imagenet_labels_1001.csv"

JOB = """
from pathlib import Path
from etlkit import BigQuerySink, {source}, EtlBase, TransferJob

class Etl(EtlBase):
    max_concurrency = 2

    def transform_row(self, row):
        if row["n"] == 1500 and not Path("mended").exists():
            raise OSError("the service is away")
        with Path("calls.txt").open("a") as calls:
            calls.write(str(row["n"]) + "\\n")
        row["twice"] = row["n"] * 2
        return row

job = TransferJob(
    source={source}({arguments}),
    transform=Etl,
    sink=BigQuerySink("{table}", mode="replace"),
    {options}
)
"""


@pytest.fixture
def bucket(local_server, tmp_path, dataset):
    """Two files with the numbers 1 to 2,000 in a local bucket; gives its address."""
    for name, numbers in (("1.csv", range(1, 1001)), ("2.csv", range(1001, 2001))):
        (tmp_path / name).write_text("n,code\n" + "".join(f"{n},{n:06}\n" for n in numbers))
    address = f"gs://files-{dataset.replace('_', '-')}/"
    Buckets(local_server.local_dir / "buckets").put(
        [tmp_path / "1.csv", tmp_path / "2.csv"], address
    )
    return address


def write_job(path, arguments, table, source="CsvSource", options=""):
    text = JOB.format(source=source, arguments=arguments, table=table, options=options)
    (path / "file_job.py").write_text(text)


def test_a_failed_run_is_resumed_with_the_same_rows(cli, bucket, dataset, tmp_path, run):
    """Rows that were settled are not transformed again; the ids find them in the files."""
    write_job(tmp_path, f'"{bucket}*.csv"', f"{dataset}.numbers")
    status, failed, said = cli("file_job")
    assert status == 1
    assert "the service is away" in said
    first = (tmp_path / "calls.txt").read_text().split()
    (tmp_path / "mended").touch()
    status, report, said = cli("file_job", "--resume")
    assert status == 0, said
    assert report["run_id"] == failed["run_id"]
    assert (report["read"], report["written"]) == (2000, 2000)
    assert report["resumed"] > 0
    again = (tmp_path / "calls.txt").read_text().split()[len(first) :]
    assert len(again) == 2000 - report["resumed"]
    ((rows, distinct, total, code),) = run(
        f"SELECT COUNT(*), COUNT(DISTINCT n), SUM(twice), MIN(code) FROM {dataset}.numbers"
    )
    assert (rows, distinct, total, code) == (2000, 2000, 2000 * 2001, "000001")


def test_a_changed_file_is_not_resumed(cli, bucket, dataset, tmp_path, run, local_server):
    """What is staged belongs to other rows; nothing is published, and a new run works."""
    write_job(tmp_path, f'"{bucket}*.csv"', f"{dataset}.numbers")
    assert cli("file_job")[0] == 1
    path = tmp_path / "2.csv"
    path.write_text(path.read_text() + "2001,x\n")
    Buckets(local_server.local_dir / "buckets").put([path], bucket)
    (tmp_path / "mended").touch()
    status, _, said = cli("file_job", "--resume")
    assert status == 1
    assert "the files have changed since" in said
    assert cli("file_job")[1]["written"] == 2001
    assert run(f"SELECT COUNT(*) FROM {dataset}.numbers") == [(2001,)]


def test_rejected_rows_carry_the_file_they_came_from(cli, bucket, dataset, tmp_path, run):
    """The id says which row of which file it was, and the ledger which files; they can be retried."""
    write_job(tmp_path, f'"{bucket}*.csv"', f"{dataset}.numbers", options='on_row_error="reject",')
    status, report, said = cli("file_job")
    assert status == 0, said
    assert (report["written"], report["rejected"]) == (1999, 1)
    ((row_id, source_row),) = run(f"SELECT row_id, source_row FROM {dataset}.numbers_rejects")
    assert row_id.endswith("-0-2-500")
    assert json.loads(json.dumps(source_row)) in (
        {"n": 1500, "code": "001500"},
        '{"n": 1500, "code": "001500"}',
    )
    ((variables,),) = run(
        "SELECT TO_JSON_STRING(variables) FROM etlkit_work.runs "
        f"WHERE run_id = '{report['run_id']}'"
    )
    assert f"{bucket}1.csv" in variables
    (tmp_path / "mended").touch()
    status, report, said = cli("file_job", "--retry-rejects", report["run_id"])
    assert status == 0, said
    assert (report["read"], report["written"]) == (1, 1)
    counts = (
        f"SELECT COUNT(*), COUNT(DISTINCT n), MAX(IF(n = 1500, code, '')) FROM {dataset}.numbers"
    )
    assert run(counts) == [(2000, 2000, "001500")]
    assert run(f"SELECT COUNT(*) FROM {dataset}.numbers_rejects") == [(0,)]


def test_the_list_of_labels_over_http(cli, dataset, bq, run, monkeypatch):
    """`jobs.labels` as it is, and from a web server; the columns are named as BigQuery names them."""
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    monkeypatch.delenv("ETLKIT_LABELS", raising=False)
    sys.modules.pop("jobs.labels", None)
    serve = functools.partial(SimpleHTTPRequestHandler, directory=LABELS.parent)
    with serving(serve) as server:
        for address in (None, f"{server.url}/{LABELS.name}"):
            if address is not None:
                monkeypatch.setenv("ETLKIT_LABELS", address)
                sys.modules.pop("jobs.labels", None)
            status, report, said = cli("jobs.labels")
            assert status == 0, said
            assert (report["read"], report["written"]) == (1001, 1001)
    sys.modules.pop("jobs.labels", None)
    table = bq.get_table(f"{bq.project}.bqml_vision.label")
    assert [(field.name, field.field_type) for field in table.schema] == [
        ("int64_field_0", "INTEGER"),
        ("string_field_1", "STRING"),
    ]
    rows = run("SELECT int64_field_0, string_field_1 FROM bqml_vision.label ORDER BY 1")
    with LABELS.open(newline="", encoding="utf-8") as stream:
        assert rows == [(int(index), label) for index, label in csv.reader(stream)]
    bq.delete_table(table)  # other tests load it themselves

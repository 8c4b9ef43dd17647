import os

import pytest

from etlkit import ConfigError, CsvSource, EtlBase, JsonlSource, SourceError, TransferJob
from etlkit.api.outcomes import Counts, Recovered
from etlkit.api.run import Run, RunRequest, Settings
from etlkit.api.source import ROW_ID
from etlkit.engine.transfer import run_transfer
from etlkit.runner import run_job
from etlkit.testing import MemorySink
from etlkit.testing.contract_job import contract_job


@pytest.fixture
def files(tmp_path):
    """Two files with the rows 1 to 10, and a source of both."""
    for number, rows in ((1, range(1, 7)), (2, range(7, 11))):
        (tmp_path / f"{number}.csv").write_text("n\n" + "".join(f"{n}\n" for n in rows))
    return CsvSource(str(tmp_path / "*.csv"))


def ids_and_rows(reader):
    got = [row for batch in reader.batches() for row in batch.to_pylist()]
    return {row[ROW_ID]: row["n"] for row in got}


def read(source, *, limit=None, earlier=()):
    with Run(RunRequest("files", Settings(), limit=limit)) as run:
        reader = source.open(contract_job(source=source), run)
        ids = tuple(earlier)
        reader.freeze(Recovered(Counts(written=len(ids)), lambda: ids))
        got = ids_and_rows(reader)
        assert reader.num_rows == len(got)
        reader.close(succeeded=True)
    return got


def test_another_attempt_gives_the_same_ids(files):
    """Ids depend only on a row's place and the files' content, so a new reader gives the same."""
    first = read(files)
    assert first == read(files)
    assert list(first.values()) == list(range(1, 11))
    assert [row_id.split("-")[1:] for row_id in first][5:7] == [["0", "1", "6"], ["0", "2", "1"]]


def test_finished_rows_are_left_out(files):
    """A resume reads the other rows, with the ids they had."""
    everything = read(files)
    finished = [row_id for row_id, n in everything.items() if n in {1, 2, 5, 7, 10}]
    rest = read(files, earlier=finished)
    assert list(rest.values()) == [3, 4, 6, 8, 9]
    assert rest.items() <= everything.items()
    assert read(files, earlier=everything) == {}


def test_a_resume_keeps_the_limit_it_began_with(files):
    """`--limit` belongs to the frozen rows, so a resume does not need it again."""
    begun = read(files, limit=8)
    assert list(read(files, earlier=list(begun)[:3]).values()) == [4, 5, 6, 7, 8]


@pytest.mark.parametrize("change", ["edit", "add", "remove", "swap"])
def test_changed_files_are_not_resumed(files, tmp_path, change):
    """A resume over other content is refused, and the message says what to do."""
    finished = list(read(files))[:3]
    one, two = tmp_path / "1.csv", tmp_path / "2.csv"
    if change == "edit":
        two.write_text(two.read_text().replace("9", "8"))
    elif change == "add":
        (tmp_path / "3.csv").write_text("n\n11\n")
    elif change == "remove":
        two.unlink()
    else:
        texts = one.read_text(), two.read_text()
        one.write_text(texts[1])
        two.write_text(texts[0])
    with pytest.raises(
        SourceError, match=r"files have changed since run .* began: .* start a new run"
    ):
        read(files, earlier=finished)


def test_a_copy_elsewhere_is_the_same(files, tmp_path, tmp_path_factory):
    """Only content counts, not path or time: a run can be resumed on another machine."""
    finished = list(read(files))[:9]
    elsewhere = tmp_path_factory.mktemp("other")
    for name in ("1.csv", "2.csv"):
        (elsewhere / name).write_bytes((tmp_path / name).read_bytes())
        os.utime(elsewhere / name, (1, 1))
    assert list(read(CsvSource(str(elsewhere / "*.csv")), earlier=finished).values()) == [10]


@pytest.mark.parametrize("earlier", ["row-1", "0123-0-1", "x"])
def test_ids_of_another_kind_are_refused(files, earlier):
    """Ids of another kind of source, e.g. BigQuery before the job was changed, are refused."""
    with pytest.raises(SourceError, match="start a new run"):
        read(files, earlier=[earlier])


def test_a_file_that_changes_under_the_run_is_an_error(files, tmp_path):
    """After freezing, changed content is an error."""
    with Run(RunRequest("files", Settings())) as run:
        reader = files.open(contract_job(source=files), run)
        reader.freeze()
        path = tmp_path / "2.csv"
        path.write_text(path.read_text() + "11\n")
        with pytest.raises(SourceError, match=r"2\.csv was changed while the run was reading it"):
            ids_and_rows(reader)
        path.unlink()
        with pytest.raises(SourceError, match=r"2\.csv cannot be read"):
            ids_and_rows(reader)
        reader.close(succeeded=False)


def test_fetch_gives_rows_again(files):
    """`fetch` gives any rows by id, with all columns."""
    with Run(RunRequest("files", Settings())) as run:
        reader = files.open(contract_job(source=files), run)
        reader.freeze()
        ids = {n: row_id for row_id, n in ids_and_rows(reader).items()}
        wanted = [ids[9], ids[2], ids[6]]
        found = reader.fetch(wanted)
        reader.close(succeeded=True)
    assert found == {ids[9]: {"n": 9}, ids[2]: {"n": 2}, ids[6]: {"n": 6}}


def test_the_fingerprint_is_what_is_read(tmp_path):
    """Other paths or options give another fingerprint; secrets and timeouts do not."""
    one = JsonlSource("https://h/a", headers={"Authorization": "secret"}, timeout_s=5)
    assert one.fingerprint == JsonlSource("https://h/a").fingerprint
    assert "secret" not in one.fingerprint + repr(one)
    others = [
        CsvSource("a"), CsvSource(["a", "b"]), CsvSource("a", delimiter=";"),
        CsvSource("a", types={"x": "INT64"}), JsonlSource("a"),
    ]  # fmt: skip
    assert len({each.fingerprint for each in others}) == len(others)


class Etl(EtlBase):
    def transform_row(self, row):
        row["twice"] = row["n"] * 2
        return row


def test_a_job_runs_from_files(files):
    """A job runs from files to a sink, and the reader's details name the files."""
    sink = MemorySink()
    report = run_transfer(
        TransferJob(source=files, transform=Etl, sink=sink), RunRequest("files", Settings())
    )
    assert (report.read, report.written) == (10, 10)
    assert sink.rows == [{"n": n, "twice": 2 * n} for n in range(1, 11)]
    with Run(RunRequest("files", Settings())) as run:
        details = files.open(contract_job(source=files), run).details
    assert [name[-5:] for name in details["files"]] == ["1.csv", "2.csv"]


def test_a_bad_line_is_found_before_anything_is_paid(files, tmp_path):
    """Freezing checks every row."""
    path = tmp_path / "2.csv"
    path.write_text(path.read_text() + "1,2\n")
    calls = []

    class Paid(EtlBase):
        def transform_row(self, row):
            calls.append(row)
            return row

    job = TransferJob(source=files, transform=Paid, sink=MemorySink())
    with pytest.raises(SourceError, match=r"2\.csv:6: 2 cells"):
        run_transfer(job, RunRequest("files", Settings()))
    assert calls == []


def test_variables_in_paths(files, tmp_path):
    """A variable may be part of a name; a value that leads elsewhere is refused."""
    source = CsvSource([str(tmp_path / "$part$.csv"), str(tmp_path / "1.csv")])
    job = TransferJob(source=source, transform=Etl, sink=MemorySink(), variables={"part": "2"})
    assert run_job(job).read == 10
    assert [row["n"] for row in job.sink.rows][:5] == [7, 8, 9, 10, 1]
    for value in ("../2", "*", "2/x"):
        with pytest.raises(ConfigError, match="cannot be part of a name"):
            run_job(job, variables={"part": value})
    with pytest.raises(ConfigError, match="other"):
        run_job(job, variables={"other": "2"})

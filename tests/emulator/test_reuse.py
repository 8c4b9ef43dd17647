"""Results of earlier runs: a row that is known costs no call, whatever became of it."""

import logging
from types import SimpleNamespace
from typing import ClassVar

import pytest

from etlkit import (
    BigQuerySink,
    BigQuerySource,
    CheckFailedError,
    EtlBase,
    RowError,
    TransferJob,
    dry_run_job,
    run_job,
)
from etlkit.api.run import Settings
from etlkit.bigquery.results.results_table import results_name
from etlkit.cli.console import show_dry_run
from etlkit.engine.user_modules import import_file

NUM_ROWS = 60
REJECTED = [7, 17]
SOURCE = (
    "SELECT IF(n IN (2, 3), NULL, CONCAT('gs://b/', CAST(n AS STRING))) AS uri, "
    "IF(n IN (2, 3), NULL, 1) AS generation, n, 'old' AS note FROM ("
    f"SELECT n FROM UNNEST(GENERATE_ARRAY(0, {NUM_ROWS - 2})) AS n UNION ALL SELECT 4)"
)
"""Two rows have no key, and number 4 is there twice."""


class Paid(EtlBase):
    """Each row costs a call. By its number: skipped, three rows, or rejected."""

    columns = ("uri", "generation", "n")
    calls: ClassVar = []

    def transform_row(self, row):
        self.calls.append(row["uri"])
        n = row.pop("n")
        if n % 10 == 0:
            return None
        if n % 10 == 1:
            return [dict(row, answer=n, part=part) for part in range(3)]
        if n in REJECTED:
            raise RowError("bad")
        return dict(row, answer=n, part=0)


class World:
    """Runs of a job of its own, over the same rows and others."""

    def __init__(self, run, dataset, settings):
        self.run, self.dataset, self.settings = run, dataset, settings
        self.target = f"{dataset}.target"
        self.name = f"job_{dataset}"
        self.etl = type("Etl", (Paid,), {"calls": [], "__module__": Paid.__module__})

    @property
    def results(self):
        return results_name(("local", "etlkit_work"), self.name).sql

    def job(self, mode="replace", query=SOURCE, target=None, **options):
        options = {
            "transform": self.etl,
            "reuse": "uri, generation",
            "on_row_error": "reject",
            "max_rejected": None,
            **options,
        }
        keys = ("answer", "part") if mode == "merge" else ()
        sink = BigQuerySink(target or self.target, mode=mode, merge_keys=keys)
        return TransferJob(source=BigQuerySource(query), sink=sink, name=self.name, **options)

    def go(self, *, run_options=None, **options):
        """Run the job; gives its report and the calls that it made."""
        self.etl.calls.clear()
        report = run_job(self.job(**options), settings=self.settings, **run_options or {})
        return report, len(self.etl.calls)

    def rows(self, columns="uri, part, answer", target=None):
        return self.run(
            f"SELECT {columns} FROM {target or self.target} ORDER BY answer, part, uri, {columns}"
        )


def make_world(bq, local_server, number):
    """A world in a dataset of its own."""

    def run(text):
        return [tuple(row) for row in bq.query_and_wait(text, retry=None, job_retry=None)]

    dataset = f"known_{number}"
    bq.create_dataset(dataset, exists_ok=True)
    return World(run, dataset, Settings(environ=local_server.endpoints.environ()))


@pytest.fixture(scope="module")
def known(bq, local_server):
    """A job that has run once. Tests may add results, for other keys."""
    world = make_world(bq, local_server, "shared")
    report, calls = world.go()
    assert (calls, report.read, report.reused) == (NUM_ROWS, NUM_ROWS, 0)
    return SimpleNamespace(go=world.go, world=world, first=report, rows=world.rows())


@pytest.fixture
def world(bq, local_server, dataset):
    """A job that has not run yet."""
    return make_world(bq, local_server, dataset)


def test_an_unchanged_table_costs_no_call(known, caplog):
    """Whatever became of the rows, also without a key; only rejected rows are called again."""
    caplog.set_level(logging.INFO)
    again, calls = known.go()
    assert (calls, again.reused) == (len(REJECTED), NUM_ROWS - len(REJECTED))
    names = ("read", "written", "skipped", "rejected", "rows_published")
    assert [getattr(again, n) for n in names] == [getattr(known.first, n) for n in names]
    assert (again.resumed, again.kept) == (0, 0)
    assert "to transform: 2 rows (58 are known from earlier runs)" in caplog.text
    assert "known rows keep n as of then" in caplog.text
    rows = known.world.rows()
    assert [row for row in rows if row[0] is not None] == [
        r for r in known.rows if r[0] is not None
    ]
    without_key = [answer for uri, _, answer in rows if uri is None]
    assert without_key in ([2, 2], [3, 3])  # both have the result of one of them


def test_changed_and_new_rows_are_called_and_those_that_are_gone_are_gone(known):
    """Columns that pass through are those of today."""
    query = (
        "SELECT uri, IF(n IN (12, 13), 2, generation) AS generation, IF(n = 12, 1002, n) AS n, "
        f"'new' AS note FROM ({SOURCE}) WHERE n NOT IN (14, 15) "
        "UNION ALL SELECT 'gs://b/new', 1, 1006, 'new'"
    )
    target = f"{known.world.dataset}.changed"
    report, calls = known.go(query=query, target=target)
    assert (calls, report.reused) == (len(REJECTED) + 3, NUM_ROWS - len(REJECTED) - 4)
    answers = {answer for (answer,) in known.world.rows("answer", target)}
    assert {1002, 1006} <= answers
    assert not {12, 14, 15} & answers
    assert {note for (note,) in known.world.rows("note", target)} == {"new"}


@pytest.mark.parametrize("mode", ["append", "merge"])
def test_other_modes_publish_known_rows_like_any_other(known, mode):
    """A known row is staged, and then published as the mode says."""
    query = f"SELECT * FROM ({SOURCE}) WHERE n > 4"
    target = f"{known.world.dataset}.{mode}"
    known.world.run(f"CREATE TABLE {target} LIKE {known.world.target}")
    known.world.run(f"INSERT INTO {target} (answer, part) VALUES (5, 0)")
    _, calls = known.go(mode=mode, target=target, query=query)
    assert calls == len(REJECTED)
    expected = [row for row in known.rows if row[2] > 4]
    there = [(None, 0, 5)] if mode == "append" else []
    assert sorted(known.world.rows(target=target), key=repr) == sorted(there + expected, key=repr)


def test_workers_take_what_is_known_and_call_for_the_rest(world, bq):
    columns = ["uri", "generation", "note", "answer", "part"]
    query = f"SELECT * FROM ({SOURCE}) WHERE uri IS NOT NULL AND n NOT IN UNNEST({REJECTED})"
    first, _ = world.go(transform=Paid, query=query)
    for more, new in (("", 0), (" UNION ALL SELECT 'gs://b/new', 1, 99, 'new'", 1)):
        report, _ = world.go(transform=Paid, query=query + more, workers=2)
        assert (report.read, report.reused) == (first.read + new, first.read)
        assert sum(worker.rows for worker in report.workers) == new
        assert [field.name for field in bq.get_table(world.target).schema] == columns
        assert (("gs://b/new", 0, 99) in world.rows()) == bool(new)


def test_a_known_row_that_breaks_the_targets_demands_is_an_error_of_its_own(known):
    """It is transformed again, and rejected as any other."""
    target = f"{known.world.dataset}.strict"
    known.world.run(
        f"CREATE TABLE {target} (uri STRING(9), generation INT64, note STRING(3) NOT NULL, "
        "answer INT64, part INT64)"
    )
    query = (
        "SELECT uri, generation, n, CASE n WHEN 12 THEN 'long' WHEN 11 THEN NULL ELSE note END AS note "
        f"FROM ({SOURCE})"
    )
    report, calls = known.go(target=target, query=query)
    assert (report.rejected, calls) == (len(REJECTED) + 2, len(REJECTED) + 2)
    assert len(known.world.rows(target=target)) == len(known.rows) - 1 - 3


def test_a_dry_run_says_how_many_rows_are_known(known, capsys):
    """Without writing anything."""
    world = known.world
    report = dry_run_job(world.job(), settings=world.settings)
    assert report.known >= NUM_ROWS - len(REJECTED) - 2  # two keys are there twice
    show_dry_run(report)
    line = f"known {report.known} rows: no call for rows with the same uri, generation"
    assert line in capsys.readouterr().err
    assert dry_run_job(world.job(), settings=world.settings, fresh=True).known == 0
    assert dry_run_job(world.job(reuse=None), settings=world.settings).known is None


def test_any_type_can_be_a_key(world):
    """Also those that SQL cannot compare, and values that are not equal to themselves."""
    query = (
        "SELECT uri, generation, n, PARSE_JSON(FORMAT('{\"n\": %d}', n)) AS j, [n] AS a, "
        "STRUCT(n AS x, CAST(NULL AS STRING) AS y) AS s, CAST('NaN' AS FLOAT64) AS f, "
        "NUMERIC '1.5' AS num, CAST(uri AS BYTES) AS b, TIMESTAMP '2024-01-01 00:00:00Z' AS t, "
        f"ST_GEOGPOINT(n / 10, 1) AS g FROM ({SOURCE}) WHERE n BETWEEN 11 AND 15"
    )
    options = {"query": query, "reuse": "j, a, s, f, num, b, t, g"}
    assert world.go(**options)[1] == 5
    changed = query.replace("[n] AS a", "IF(n = 12, [n, 1], [n]) AS a")
    assert world.go(**options | {"query": changed})[1] == 1


def test_fresh_calls_for_every_row_and_the_newest_result_counts(world):
    """And a run that was to be fresh stays so when it is resumed."""
    query = f"SELECT * FROM ({SOURCE}) WHERE n BETWEEN 22 AND 26"
    world.go(query=query)
    newer = query.replace("*", "uri, generation, note, n + 1000 AS n")
    report, calls = world.go(query=newer, run_options={"fresh": True})
    assert (calls, report.reused) == (5, 0)

    def stop(run):
        real = run.on_stop
        run.on_stop = lambda notify: (real(notify), run.request_stop(2))

    with pytest.raises(KeyboardInterrupt) as caught:
        world.go(query=newer, run_options={"fresh": True, "on_start": stop})
    failed = caught.value.report
    report, calls = world.go(query=newer, run_options={"resume": failed.run_id})
    assert (report.reused, calls) == (0, 5 - failed.kept)
    assert world.go(query=query)[1] == 0
    assert [answer for (answer,) in world.rows("answer")] == [n + 1000 for n in range(22, 27)]


CODE = """
from etlkit import EtlBase
class Etl(EtlBase):
    columns = ("uri",)
    calls = []
    def transform_row(self, row):
        self.calls.append(1)
        return {{**row, "answer": "{version}", "part": 0}}
"""


def test_only_results_of_published_runs_of_the_same_code_count(world, tmp_path, caplog):
    """A failed check says that results are no good; other code says so unless it is asked to."""
    caplog.set_level(logging.INFO)

    def use(version):
        file = tmp_path / f"etl_of_{world.dataset}.py"
        file.write_text(CODE.format(version=version))
        world.etl = import_file(file).Etl

    def answers():
        return {answer for (answer,) in world.rows("answer")}

    query = f"SELECT * FROM ({SOURCE}) WHERE n BETWEEN 22 AND 26"
    use("one")
    with pytest.raises(CheckFailedError) as caught:
        world.go(query=query, checks=["SELECT 1 FROM {staged}"])
    assert world.go(query=query)[1] == 5
    resumed = {"resume": caught.value.report.run_id}
    assert world.go(query=query, run_options=resumed)[1] == 0
    use("another")
    assert dry_run_job(world.job(query=query), settings=world.settings).known == 0
    hint = "note: results of 5 rows were made by other code; --reuse-across-code takes them"
    assert hint in caplog.text
    assert world.go(query=query, run_options={"reuse_across_code": True})[1] == 0
    assert answers() == {"one"}
    assert world.go(query=query)[1] == 5
    assert answers() == {"another"}


def test_the_table_of_results_follows_the_job(world, bq):
    """Old rows do not count, a column is added, and for another type it is made anew."""
    query = f"SELECT * FROM ({SOURCE}) WHERE n BETWEEN 22 AND 26"
    world.go(query=query, reuse_days=7)
    table = bq.get_table(world.results.strip("`"))
    assert table.time_partitioning.field == "_etlkit_made_at"
    assert table.time_partitioning.expiration_ms == 7 * 24 * 3600 * 1000
    assert table.clustering_fields == ["_etlkit_key"]
    assert [f.name for f in table.schema[8:]] == ["uri", "generation", "answer", "part"]
    world.run(
        f"UPDATE {world.results} SET _etlkit_made_at = TIMESTAMP_SUB(_etlkit_made_at, INTERVAL 8 DAY) "
        "WHERE answer = 22"
    )
    wider = type("Etl", (world.etl,), {"__module__": Paid.__module__})
    wider.transform_row = lambda self, row: dict(Paid.transform_row(self, row), more=1.5)
    world.etl = wider
    assert world.go(query=query, reuse_days=7)[1] == 1
    assert world.run(f"SELECT answer FROM {world.target} WHERE more = 1.5") == [(22,)]
    world.run(f"DROP TABLE {world.target}")
    world.run(f"ALTER TABLE {world.results} DROP COLUMN more")
    world.run(f"ALTER TABLE {world.results} ADD COLUMN more STRING")
    wider.transform_row = lambda self, row: dict(Paid.transform_row(self, row), more=2.5)
    changed = query.replace("*", "uri, IF(n = 23, 2, generation) AS generation, n, note")
    assert world.go(query=changed, reuse_days=9)[1] == 1
    table = bq.get_table(world.results.strip("`"))
    assert table.time_partitioning.expiration_ms == 9 * 24 * 3600 * 1000
    assert {f.name: f.field_type for f in table.schema}["more"] in {"FLOAT", "STRING"}
    assert world.run(f"SELECT COUNT(DISTINCT _etlkit_key) FROM {world.results}") >= [(5,)]

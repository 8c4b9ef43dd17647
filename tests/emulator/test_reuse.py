"""Results of earlier runs: a row that is known costs no call, whatever became of it."""

import logging
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
from etlkit.engine.user_modules import import_file

NUM_ROWS = 200


class Paid(EtlBase):
    """Each row costs a call. By its number: skipped, three rows, or rejected."""

    columns = ("uri", "generation", "n")
    calls: ClassVar = []
    suffix: ClassVar = ""

    def transform_row(self, row):
        type(self).calls.append(row["uri"])
        n = row.pop("n")
        if n % 10 == 0:
            return None
        if n % 10 == 1:
            return [dict(row, answer=n, part=part) for part in range(3)]
        if n % 50 == 7:
            raise RowError("bad")
        return dict(row, answer=n, part=0)


REJECTED = [n for n in range(NUM_ROWS) if n % 50 == 7]
PARTS = {n: 3 if n % 10 == 1 else int(bool(n % 10) and n not in REJECTED) for n in range(NUM_ROWS)}


class World:
    """A source of the test's own, and runs of a job over it."""

    def __init__(self, run, dataset, settings):
        self.run, self.dataset, self.settings = run, dataset, settings
        self.source, self.target = f"{dataset}.source", f"{dataset}.target"
        self.results = results_name(("local", "etlkit_work"), f"job_{dataset}").sql
        self.etl = type("Etl", (Paid,), {"calls": [], "__module__": Paid.__module__})
        self.options = {"on_row_error": "reject", "reuse": "uri, generation"}

    def fill(self, *more):
        """Make the source; `more` are statements that follow."""
        self.run(
            f"CREATE OR REPLACE TABLE {self.source} AS SELECT CONCAT('gs://b/', CAST(n AS STRING)) "
            f"AS uri, 1 AS generation, n, 'old' AS note FROM UNNEST(GENERATE_ARRAY(0, {NUM_ROWS - 1})) "
            "AS n"
        )
        self.change(*more)

    def change(self, *statements):
        for statement in statements:
            self.run(statement.format(source=self.source))

    def job(self, **options):
        mode = options.pop("mode", "replace")
        query = options.pop("query", f"SELECT * FROM {self.source}")
        keys = ("uri", "part") if mode == "merge" else ()
        options = {**self.options, **options}
        return TransferJob(
            source=BigQuerySource(query),
            transform=options.pop("transform", self.etl),
            sink=BigQuerySink(self.target, mode=mode, merge_keys=keys),
            name=f"job_{self.dataset}",
            **options,
        )

    def go(self, *, run_options=None, **options):
        """Run the job; gives its report and the calls that it made."""
        self.etl.calls.clear()
        report = run_job(self.job(**options), settings=self.settings, **run_options or {})
        return report, len(self.etl.calls)

    def rows(self, columns="uri, part, answer"):
        return self.run(f"SELECT {columns} FROM {self.target} ORDER BY uri, part")


@pytest.fixture
def world(run, dataset, local_server):
    made = World(run, dataset, Settings(environ=local_server.endpoints.environ()))
    made.fill()
    return made


def test_an_unchanged_table_costs_no_call_and_a_changed_row_one(world, caplog):
    """Whatever became of the rows; only rejected rows are called again."""
    caplog.set_level(logging.INFO)
    first, calls = world.go()
    assert (calls, first.reused) == (NUM_ROWS, 0)
    rows = world.rows()
    again, calls = world.go()
    assert (calls, again.reused) == (len(REJECTED), NUM_ROWS - len(REJECTED))
    names = ("read", "written", "skipped", "rejected", "rows_published")
    assert [getattr(again, n) for n in names] == [getattr(first, n) for n in names]
    assert world.rows() == rows
    assert (again.resumed, again.kept) == (0, 0)
    assert f"to transform: 4 rows ({again.reused} are known from earlier runs)" in caplog.text
    world.change(
        "UPDATE {source} SET generation = 2, n = 1001 WHERE n IN (2, 3)",
        "INSERT INTO {source} VALUES ('gs://b/new', 1, 6, 'old')",
        "DELETE FROM {source} WHERE n IN (4, 5)",
    )
    changed, calls = world.go()
    assert (calls, changed.reused) == (len(REJECTED) + 3, NUM_ROWS - len(REJECTED) - 4)
    assert len(world.rows()) == len(rows) + 4 - 2 + 1
    _, calls = world.go()
    assert calls == len(REJECTED)


@pytest.mark.parametrize("mode", ["append", "merge", "delete_in_advance"])
def test_the_other_modes_publish_known_rows_like_any_other(world, mode):
    """A known row is staged, and then published as the mode says."""
    world.go(mode=mode)
    rows = world.rows()
    _, calls = world.go(mode=mode)
    assert calls == len(REJECTED)
    assert world.rows() == sorted(rows * 2 if mode == "append" else rows)


def test_columns_that_pass_through_are_those_of_today(world):
    """They are no part of what the transform made."""
    world.go()
    world.change("UPDATE {source} SET note = 'new' WHERE TRUE")
    _, calls = world.go()
    assert calls == len(REJECTED)
    assert {note for (note,) in world.rows("note")} == {"new"}


def test_rows_with_the_same_key_get_the_same_result(world):
    """Also where the key is NULL; within one run each of them is called."""
    world.change(
        "UPDATE {source} SET uri = NULL, generation = NULL WHERE n = 2",
        "UPDATE {source} SET uri = NULL, generation = NULL WHERE n = 3",
        "INSERT INTO {source} SELECT * FROM {source} WHERE n = 4",
    )
    first, calls = world.go()
    assert calls == first.read == NUM_ROWS + 1
    again, calls = world.go()
    assert calls == len(REJECTED)
    assert again.written == first.written
    answers = world.run(f"SELECT answer FROM {world.target} WHERE uri IS NULL")
    assert answers in ([(2,), (2,)], [(3,), (3,)])


def test_any_type_can_be_a_key(world):
    """Also those that SQL cannot compare, and values that are not equal to themselves."""
    query = (
        f"SELECT uri, generation, n, PARSE_JSON(FORMAT('{{\"n\": %d}}', n)) AS j, [n] AS a, "
        "STRUCT(n AS x, CAST(NULL AS STRING) AS y) AS s, CAST('NaN' AS FLOAT64) AS f, "
        "NUMERIC '1.5' AS num, CAST(uri AS BYTES) AS b, TIMESTAMP '2024-01-01 00:00:00Z' AS t, "
        f"ST_GEOGPOINT(n / 10, 1) AS g FROM {world.source}"
    )
    options = {"query": query, "reuse": "j, a, s, f, num, b, t, g"}
    world.go(**options)
    _, calls = world.go(**options)
    assert calls == len(REJECTED)
    _, calls = world.go(**options | {"query": query.replace("[n] AS a", "[n, 1] AS a")})
    assert calls == NUM_ROWS


def test_all_columns_that_are_read_can_be_the_key(world):
    """`reuse=True`: a change of a column that passes through changes nothing."""
    world.go(reuse=True)
    world.change("UPDATE {source} SET note = 'new' WHERE TRUE")
    world.change("UPDATE {source} SET n = 72 WHERE n = 2")
    _, calls = world.go(reuse=True)
    assert calls == len(REJECTED) + 1


def test_fresh_calls_for_every_row_and_keeps_the_new_results(world):
    """The newest result of a key counts."""
    world.go()
    world.change("UPDATE {source} SET n = 1002 WHERE n = 2")  # the key stays
    _, calls = world.go()
    assert calls == len(REJECTED)
    report, calls = world.go(run_options={"fresh": True})
    assert (calls, report.reused) == (NUM_ROWS, 0)
    _, calls = world.go()
    assert calls == len(REJECTED)
    assert ("gs://b/2", 0, 1002) in world.rows()


def test_a_run_that_was_to_be_fresh_stays_so_when_it_is_resumed(world):
    """What its first attempt did not take, the next does not take either."""
    world.go()

    def stop(run):
        real = run.on_stop
        run.on_stop = lambda notify: (real(notify), run.request_stop(2))

    with pytest.raises(KeyboardInterrupt) as caught:
        world.go(run_options={"fresh": True, "on_start": stop})
    failed = caught.value.report
    report, calls = world.go(run_options={"resume": failed.run_id})
    assert (report.reused, calls) == (0, NUM_ROWS - failed.kept)


CODE = """
from etlkit import EtlBase
class Etl(EtlBase):
    columns = ("uri",)
    calls = []
    def __init__(self, model="small"):
        self.model = model
    def transform_row(self, row):
        self.calls.append(1)
        return {{**row, "answer": "{version}", "part": 0}}
"""


@pytest.fixture
def version(world, tmp_path):
    """Give a version of the transform; its code is in a file of its own."""

    def import_version(name):
        file = tmp_path / f"etl_of_{world.dataset}.py"
        file.write_text(CODE.format(version=name))
        world.etl = import_file(file).Etl
        return world.etl

    return import_version


def test_other_code_takes_nothing_unless_it_is_asked_to(world, version):
    """And back again: the results of the first version are still there."""
    version("one")
    world.go()
    version("another")
    assert world.go(run_options={"reuse_across_code": True})[1] == 0
    assert {answer for (answer,) in world.rows("answer")} == {"one"}
    assert world.go()[1] == NUM_ROWS
    assert {answer for (answer,) in world.rows("answer")} == {"another"}
    version("one")
    assert world.go()[1] == 0
    assert {answer for (answer,) in world.rows("answer")} == {"one"}


def test_other_parameters_take_nothing(world, version):
    """What a factory gives to the transform decides the result as the code does."""
    etl = version("one")
    world.go(transform=lambda: etl("small"))
    assert world.go(transform=lambda: etl("small"))[1] == 0
    assert world.go(transform=lambda: etl("large"))[1] == NUM_ROWS
    assert world.go(transform=lambda: etl("small"), reuse="uri")[1] == NUM_ROWS


def test_a_run_that_is_not_published_keeps_nothing(world):
    """A check that fails says that the results are no good; a resume still has them."""
    with pytest.raises(CheckFailedError) as caught:
        world.go(checks=["SELECT 1 FROM {staged}"])
    assert world.go(run_options={"limit": 50})[1] == 50
    assert world.go(run_options={"resume": caught.value.report.run_id})[1] == 0
    assert world.go()[1] == len(REJECTED)


def test_failed_rows_that_are_skipped_are_called_again(world):
    """Nobody can tell them from rows that the transform left out: no skipped row is kept then."""
    options = {"on_row_error": "skip"}
    first, _ = world.go(**options)
    _, calls = world.go(**options)
    assert calls == first.skipped


def test_old_results_do_not_count(world):
    """After `reuse_days`; BigQuery deletes the partition then."""
    world.go(reuse_days=30)
    world.run(
        f"UPDATE {world.results} SET _etlkit_made_at = TIMESTAMP_SUB(_etlkit_made_at, INTERVAL 31 DAY) "
        "WHERE answer < 100"
    )
    _, calls = world.go(reuse_days=60)
    assert calls == len(REJECTED)
    _, calls = world.go(reuse_days=30)
    assert calls > 80


def test_the_table_of_results_is_made_for_its_use(world, bq):
    """Partitioned by day, with the job's expiration, and without the target's demands."""
    world.run(
        f"CREATE TABLE {world.target} (uri STRING(20) NOT NULL, generation INT64, note STRING, "
        "answer NUMERIC(6, 2) NOT NULL, part INT64)"
    )
    world.go(mode="append", reuse_days=7)
    table = bq.get_table(world.results.strip("`"))
    assert table.time_partitioning.field == "_etlkit_made_at"
    assert table.time_partitioning.expiration_ms == 7 * 24 * 3600 * 1000
    assert table.clustering_fields == ["_etlkit_key"]
    made = {field.name: field for field in table.schema}
    assert "note" not in made
    assert (made["answer"].field_type, made["answer"].precision, made["answer"].mode) == (
        "NUMERIC",
        None,
        "NULLABLE",
    )
    world.go(mode="append", reuse_days=8)
    table = bq.get_table(world.results.strip("`"))
    assert table.time_partitioning.expiration_ms == 8 * 24 * 3600 * 1000


def test_a_known_row_that_breaks_the_targets_demands_is_an_error_of_its_own(world):
    """It is transformed again, and rejected as any other."""
    world.go()
    rows = len(world.rows())
    world.run(f"DROP TABLE {world.target}")
    world.run(
        f"CREATE TABLE {world.target} (uri STRING(10), generation INT64, note STRING(3) NOT NULL, "
        "answer INT64, part INT64)"
    )
    world.change("UPDATE {source} SET note = 'long' WHERE n = 2")
    world.change("UPDATE {source} SET note = NULL WHERE n = 11")
    report, calls = world.go(max_rejected=None)
    assert report.rejected == len(REJECTED) + 2
    assert calls == len(REJECTED) + 2
    assert len(world.rows()) == rows - 1 - 3


def test_a_new_column_is_added_and_another_type_makes_the_table_anew(world):
    """Results of before lack the column; and nothing that is known is paid for again."""
    world.go()
    wider = type("Etl", (world.etl,), {"__module__": Paid.__module__})
    wider.transform_row = lambda self, row: _with(Paid.transform_row(self, row), more=1.5)
    world.etl = wider
    world.change("UPDATE {source} SET generation = 2 WHERE n = 2")
    _, calls = world.go()
    assert calls == len(REJECTED) + 1
    assert world.run(f"SELECT uri FROM {world.target} WHERE more = 1.5") == [("gs://b/2",)]
    world.run(f"DROP TABLE {world.target}")
    world.run(f"ALTER TABLE {world.results} DROP COLUMN more")
    world.run(f"ALTER TABLE {world.results} ADD COLUMN more STRING")
    world.change("UPDATE {source} SET generation = 3 WHERE n = 2")
    wider.transform_row = lambda self, row: _with(Paid.transform_row(self, row), more="x")
    _, calls = world.go()
    assert calls == len(REJECTED) + 1


def _with(result, **more):
    return dict(result, **more) if isinstance(result, dict) else result


def test_a_dry_run_says_how_many_rows_are_known(world, capsys):
    """Without writing anything."""
    from etlkit.cli.console import show_dry_run

    report = dry_run_job(world.job(), settings=world.settings)
    assert (report.known, report.reuse) == (0, ["generation", "uri"])
    world.go()
    report = dry_run_job(world.job(), settings=world.settings)
    assert report.known == NUM_ROWS - len(REJECTED)
    show_dry_run(report)
    line = "known 196 rows: no call for rows with the same generation, uri"
    assert line in capsys.readouterr().err
    assert dry_run_job(world.job(), settings=world.settings, fresh=True).known == 0
    assert dry_run_job(world.job(reuse=None), settings=world.settings).known is None


def test_a_source_without_known_rows_and_one_with_nothing_else_are_fine(world):
    """Everything new; nothing at all; and a limit."""
    world.go()
    report, calls = world.go(run_options={"limit": 20})
    assert report.read == 20
    assert calls <= len(REJECTED)
    query = f"SELECT * FROM {world.source} WHERE n = 2"
    report, calls = world.go(query=query)
    assert (report.reused, calls, report.written) == (1, 0, 1)
    report, calls = world.go(query=query.replace("= 2", "> 1000"), allow_empty=True)
    assert (report.read, calls) == (0, 0)

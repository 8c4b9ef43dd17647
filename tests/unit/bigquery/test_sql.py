"""What the SQL texts give: asked of DuckDB, in its own dialect, over small tables."""

import duckdb
import pytest
import sqlglot

from etlkit.bigquery import sql
from etlkit.bigquery.names import TableName
from etlkit.bigquery.runs.ledger import EVENT_COLUMNS
from etlkit.rows.columns import Column

VALUE = Column("v", "STRING")
OUT_1, OUT_2 = TableName("p", "d", "out_1"), TableName("p", "d", "out_2")
REJECTS = TableName("p", "d", "rej")


@pytest.fixture
def db():
    with duckdb.connect() as connection:
        connection.execute("ATTACH ':memory:' AS p; CREATE SCHEMA p.d")
        yield connection


@pytest.fixture
def ask(db):
    """Ask a GoogleSQL question."""

    def asked(text):
        (translated,) = sqlglot.transpile(text, read="bigquery", write="duckdb")
        return sorted(db.execute(translated).fetchall())

    return asked


@pytest.fixture
def stage(db):
    """Work tables: rows of (id, attempt, part, parts, v), and rejected rows of (id, attempt)."""

    def make(*tables, rejects=None):
        for name, rows in zip((OUT_1, OUT_2), tables, strict=False):
            db.execute(
                f"CREATE TABLE {name} (_etlkit_row_id TEXT, _etlkit_attempt INT, "
                "_etlkit_part INT, _etlkit_parts INT, v TEXT)"
            )
            if rows:
                db.executemany(f"INSERT INTO {name} VALUES (?, ?, ?, ?, ?)", rows)
        if rejects is not None:
            db.execute(
                f"CREATE TABLE {REJECTS} (_etlkit_row_id TEXT, _etlkit_attempt INT, "
                "rejected_at TIMESTAMP, message TEXT)"
            )
            db.executemany(
                f"INSERT INTO {REJECTS} VALUES (?, ?, TIMESTAMP '2030-01-01', 'why')", rejects
            )
        names = tuple((name, (VALUE,)) for name, _ in zip((OUT_1, OUT_2), tables, strict=False))
        return sql.Staged(names, None if rejects is None else REJECTS)

    return make


def written(ask, staged):
    return [v for (v,) in ask(sql.staged_rows(staged, (VALUE,)))]


def finished(ask, staged):
    return [row_id for (row_id,) in ask(sql.finished_ids(staged))]


def audited(ask, staged):
    """rejected, skipped, written, parts, broken, broken_parts."""
    (row,) = ask(sql.audit(staged))
    return tuple(map(int, row[:6]))


def num_staged(ask, staged):
    """With all repeats."""
    return ask(sql.audit(staged))[0][6]


ONE_TO_TWO = [("a", 1, 0, 2, "x"), ("a", 1, 1, 2, "y"), ("b", 1, 0, 0, None)]


@pytest.mark.parametrize(
    ("tables", "rejects"),
    [
        ([ONE_TO_TWO], None),
        ([ONE_TO_TWO, [("c", 2, 0, 1, "z")]], [("r", 1)]),
    ],
)
def test_rows_that_nobody_repeated_need_not_be_sorted(ask, stage, tables, rejects):
    """There are as many as the audit counts, and they are those that are published."""
    staged = stage(*tables, rejects=rejects)
    _, skipped, _, parts, _, _ = audited(ask, staged)
    assert num_staged(ask, staged) == parts + skipped
    found = [v for (v,) in ask(sql.unrepeated_rows(staged, (VALUE,)))]
    assert found == written(ask, staged)
    assert len(found) == parts


@pytest.mark.parametrize(
    ("tables", "rejects"),
    [
        ([[*ONE_TO_TWO, ("a", 1, 1, 2, "y")]], None),  # sent again
        ([[*ONE_TO_TWO, ("b", 1, 0, 0, None)]], None),
        ([ONE_TO_TWO, [("b", 2, 0, 1, "z")]], None),  # another attempt made it again
        ([ONE_TO_TWO], [("a", 2)]),  # and rejected it
        ([[*ONE_TO_TWO, ("c", 1, 0, 2, "z")]], None),  # cut off
    ],
)
def test_any_repeat_shows_in_the_number_of_rows(ask, stage, tables, rejects):
    """Whatever row was staged more often than it counts."""
    staged = stage(*tables, rejects=rejects)
    _, skipped, _, parts, _, broken_parts = audited(ask, staged)
    assert num_staged(ask, staged) != parts - broken_parts + skipped


def test_a_row_that_was_staged_twice_is_published_once(ask, stage):
    """Staging is at least once."""
    staged = stage([("a", 1, 0, 1, "x"), ("a", 1, 0, 1, "x"), ("b", 1, 0, 0, None)])
    assert written(ask, staged) == ["x"]
    assert finished(ask, staged) == ["a", "b"]
    assert audited(ask, staged) == (0, 1, 1, 1, 0, 0)


def test_a_row_that_was_cut_off_has_no_outcome_yet(ask, stage):
    """One of its two parts is missing."""
    staged = stage([("a", 1, 0, 2, "x"), ("b", 1, 0, 1, "y")])
    assert finished(ask, staged) == ["b"]
    assert audited(ask, staged) == (0, 0, 2, 3, 1, 2)


@pytest.mark.parametrize("first", [3, 1])
def test_the_fan_out_of_a_row_differs_between_two_attempts(ask, stage, first):
    """The later attempt's rows are published, and none of the earlier one's."""
    staged = stage(
        [("a", 1, part, first, f"old {part}") for part in range(first)],
        [("a", 2, part, 2, f"new {part}") for part in range(2)],
    )
    assert written(ask, staged) == ["new 0", "new 1"]
    assert finished(ask, staged) == ["a"]
    assert audited(ask, staged) == (0, 0, 1, 2, 0, 0)


@pytest.mark.parametrize("order", [(3, 2), (2, 3)])
def test_the_fan_out_of_a_row_differs_within_one_attempt(ask, stage, order):
    """One of the two is taken, never a mixture: what is counted is what is published."""
    rows = [("a", 1, part, parts, f"{part} of {parts}") for parts in order for part in range(parts)]
    staged = stage(rows)
    assert written(ask, staged) == ["0 of 2", "1 of 2"]
    assert audited(ask, staged) == (0, 0, 1, 2, 0, 0)


def test_a_row_is_skipped_by_one_staging_and_written_by_another_of_the_same_attempt(ask, stage):
    """Counted as skipped, and nothing of it is published."""
    staged = stage([("a", 1, 0, 1, "x"), ("a", 1, 0, 0, None)])
    assert written(ask, staged) == []
    assert audited(ask, staged) == (0, 1, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("out", "rejected", "values", "counts"),
    [
        (("a", 1, 0, 1, "x"), ("a", 2), [], (1, 0, 0, 0, 0, 0)),
        (("a", 2, 0, 1, "x"), ("a", 1), ["x"], (0, 0, 1, 1, 0, 0)),
        (("a", 2, 0, 0, None), ("a", 1), [], (0, 1, 0, 0, 0, 0)),
        (("a", 1, 0, 1, "x"), ("a", 1), [], (1, 0, 0, 0, 0, 0)),
    ],
    ids=["rejected later", "written later", "skipped later", "both at once"],
)
def test_a_row_is_never_both_written_and_rejected(ask, stage, out, rejected, values, counts):
    """The later attempt's word counts; within one attempt, rejected wins."""
    staged = stage([out], rejects=[rejected])
    assert written(ask, staged) == values
    assert audited(ask, staged) == counts
    assert finished(ask, staged) == ["a"]
    published = [Column("message", "STRING")]
    insert = sql.insert_rejects(TableName("p", "d", "t_rejects"), staged, "r", published)
    select = insert[insert.index("SELECT") :]
    assert [row_id for _, row_id, _ in ask(select)] == (["a"] if counts[0] else [])


def test_what_a_process_stages_after_it_lost_its_run_changes_nothing(ask, stage):
    """Its attempt is older, whenever it writes."""
    staged = stage(
        [("a", 2, 0, 1, "new"), ("b", 2, 0, 0, None)],
        [
            ("a", 1, 0, 3, "late"),
            ("a", 1, 1, 3, "late"),
            ("a", 1, 2, 3, "late"),
            ("b", 1, 0, 1, "l"),
        ],
    )
    assert written(ask, staged) == ["new"]
    assert audited(ask, staged) == (0, 1, 1, 1, 0, 0)


def test_a_column_that_a_staging_table_lacks_is_null(ask, stage):
    """Columns may come later in a run."""
    staged = stage([("a", 1, 0, 1, "x")])
    more = Column("w", "INT64")
    assert ask(sql.staged_rows(staged, (VALUE, more))) == [("x", None)]


def test_the_rest_is_what_has_no_outcome(db, ask, stage):
    """A resume reads it again."""
    staged = stage([("a", 1, 0, 1, "x"), ("b", 1, 0, 2, "y")], rejects=[("c", 1)])
    db.execute("CREATE TABLE p.d.src AS SELECT UNNEST(['a', 'b', 'c', 'd']) AS _etlkit_row_id")
    text = sql.rest(TableName("p", "d", "r"), TableName("p", "d", "src"), sql.finished_ids(staged))
    assert ask(text[text.index("SELECT") :]) == [("b",), ("d",)]


def test_the_view_shows_the_latest_state_of_each_run(db, ask):
    """A published run stays published; a later attempt wins; ends of tasks are no ends of runs."""
    names = ["event_at", "event", "run_id", "attempt"]
    rest = [column.name for column in EVENT_COLUMNS if column.name not in names]
    columns = ", ".join([f'"{name}" TEXT' for name in (*names, *rest)])
    db.execute(f"CREATE TABLE p.d.run_events ({columns})")
    events = [
        ("1", "started", "a", 1),
        ("2", "failed", "a", 1),
        ("3", "started", "a", 2),
        ("4", "started", "b", 1),
        ("5", "published", "b", 1),
        ("6", "failed", "b", 1),
        ("7", "started", "c", 1),
        ("7", "interrupted", "c", 1),
        ("8", "task_succeeded", "a", 3),
        ("8", "task_failed", "c", 1),
    ]
    db.executemany(f"INSERT INTO p.d.run_events ({', '.join(names)}) VALUES (?, ?, ?, ?)", events)
    view = sql.runs_view(TableName("p", "d", "run_events"))
    assert ask(f"SELECT run_id, state, attempt, began_at, finished_at FROM ({view})") == [
        ("a", "running", "2", "1", None),
        ("b", "published", "1", "4", "5"),
        ("c", "interrupted", "1", "7", "7"),
    ]


def test_a_list_that_a_staging_table_lacks_is_empty(ask, stage):
    """BigQuery has no NULL in a repeated column."""
    staged = stage([("a", 1, 0, 1, "x")])
    more = Column("w", "INT64", "REPEATED")
    assert ask(sql.staged_rows(staged, (VALUE, more))) == [("x", [])]

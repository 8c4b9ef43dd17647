"""What staged rows become: asked of DuckDB, in its own dialect, over small tables."""

import pytest

from etlkit.bigquery.names import TableName
from etlkit.bigquery.sql.rejects import insert_rejects
from etlkit.bigquery.sql.staging import audit, finished_ids, staged_rows, unrepeated_rows
from etlkit.rows.columns import Column

VALUE = Column("v", "STRING")


def written(ask, staged):
    return [v for (v,) in ask(staged_rows(staged, (VALUE,)))]


def finished(ask, staged):
    return [row_id for (row_id,) in ask(finished_ids(staged))]


def audited(ask, staged):
    """rejected, skipped, written, parts, broken, broken_parts."""
    (row,) = ask(audit(staged))
    return tuple(map(int, row[:6]))


def num_staged(ask, staged):
    """With all repeats."""
    return ask(audit(staged))[0][6]


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
    found = [v for (v,) in ask(unrepeated_rows(staged, (VALUE,)))]
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
    insert = insert_rejects(TableName("p", "d", "t_rejects"), staged, "r", published)
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
    assert ask(staged_rows(staged, (VALUE, more))) == [("x", None)]


def test_a_list_that_a_staging_table_lacks_is_empty(ask, stage):
    """BigQuery has no NULL in a repeated column."""
    staged = stage([("a", 1, 0, 1, "x")])
    more = Column("w", "INT64", "REPEATED")
    assert ask(staged_rows(staged, (VALUE, more))) == [("x", [])]

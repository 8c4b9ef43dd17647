import pytest

from etlkit.local.bigquery.patches.alter_actions import one_action_each


@pytest.mark.parametrize(
    ("sql", "actions"),
    [
        (
            "ADD COLUMN IF NOT EXISTS a INT64, ADD COLUMN b STRUCT<a INT64, add STRING>",
            ["ADD COLUMN IF NOT EXISTS a INT64", "ADD COLUMN b STRUCT<a INT64, add STRING>"],
        ),
        (
            "ALTER COLUMN a DROP NOT NULL,\n ALTER COLUMN b SET OPTIONS(description='x, DROP')",
            ["ALTER COLUMN a DROP NOT NULL", "ALTER COLUMN b SET OPTIONS(description='x, DROP')"],
        ),
        ("DROP COLUMN a, DROP COLUMN IF EXISTS b", ["DROP COLUMN a", "DROP COLUMN IF EXISTS b"]),
        ("ADD COLUMN x NUMERIC(5, 2)", ["ADD COLUMN x NUMERIC(5, 2)"]),
        ("SET OPTIONS(a='x', b=[('a', 'b')])", ["SET OPTIONS(a='x', b=[('a', 'b')])"]),
        ("RENAME TO add", ["RENAME TO add"]),
    ],
)
def test_an_alter_is_split_at_its_actions(sql, actions):
    """At commas between actions, not at those within types and options."""
    head = "ALTER TABLE `p.d.t` "
    assert one_action_each(head + sql) == [head + action for action in actions]


@pytest.mark.parametrize("sql", ["SELECT 1, 2", "DROP TABLE t", "ALTER TABLE t ADD COLUMN 'a"])
def test_other_statements_stay(sql):
    """Also those that are wrong: the translator says so."""
    assert one_action_each(sql) == [sql]

from etlkit.bigquery.names import TableName
from etlkit.bigquery.sql.ddl import alter_columns

NAME = TableName("p", "d", "t")


def test_one_alter_for_each_kind_of_change():
    """BigQuery documents lists of one kind, and takes few changes of a table in a short time."""
    changes = [
        "ADD COLUMN IF NOT EXISTS `a` INT64",
        "ADD COLUMN IF NOT EXISTS `b` INT64",
        "ALTER COLUMN `c` DROP NOT NULL",
        "ALTER COLUMN `d` DROP NOT NULL",
        "ALTER COLUMN `e` SET DATA TYPE NUMERIC",
        "ALTER COLUMN `f` SET DATA TYPE NUMERIC",
        "DROP COLUMN IF EXISTS `g`",
    ]
    texts = alter_columns(NAME, changes)
    assert all(text.startswith("ALTER TABLE `p.d.t`\n") for text in texts)
    assert [text.count("COLUMN") for text in texts] == [2, 1, 1, 2, 1]
    assert alter_columns(NAME, []) == []

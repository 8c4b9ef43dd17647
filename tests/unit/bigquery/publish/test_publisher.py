"""What is sent to publish a run, in every mode: before the transaction, in it, and after it."""

from dataclasses import dataclass, field

import pytest
from google.api_core.exceptions import BadRequest
from google.cloud import bigquery

from etlkit import BigQuerySink, Definition
from etlkit.api.outcomes import Counts
from etlkit.api.run import Run, RunRequest
from etlkit.bigquery.names import TableName
from etlkit.bigquery.publish.publisher import Publisher
from etlkit.bigquery.publish.target import Target
from etlkit.bigquery.sql import dml
from etlkit.bigquery.sql.staging import Staged
from etlkit.errors import SinkError
from etlkit.rows.columns import Column
from tests.unit.bigquery.fake_connection import FakeConnection

N, V = Column("n", "INT64"), Column("v", "STRING")
SOME = Counts(read=2, written=2, parts=2)
T = "`p.d.t`"


@dataclass
class Owner:
    """What a run's owner was asked to publish."""

    published: list = field(default_factory=list)
    purposes: list = field(default_factory=list)
    raises: str | None = None

    def publish(self, statements, counts, cleanup, *, purpose="publish"):
        self.purposes.append(purpose)
        if self.raises and purpose == "publish":
            raise BadRequest(self.raises)
        self.published.append((list(statements), counts, cleanup))


@dataclass
class Staging:
    """Staged rows with these columns."""

    columns: tuple = (N, V)
    rejects: TableName | None = None
    names: tuple = ()
    makes_empty_table: bool = False

    @property
    def staged(self):
        return Staged(((TableName("p", "w", "out"), self.columns),), self.rejects)

    unrepeated: bool = False

    def rows(self, columns):
        return f"SELECT {', '.join(column.name for column in columns)} FROM staged"

    def unrepeated_rows(self, columns, counts):
        return "SELECT all_of_them" if self.unrepeated else None


@pytest.fixture
def publish():
    """Publish rows; gives what was sent before, within and after the transaction."""

    def run_it(mode="append", *, there=None, staging=None, counts=SOME, policy="fail", **given):
        connection = FakeConnection(datasets={"p.d"})
        if there is not None:
            table = bigquery.Table("p.d.t", schema=[bigquery.SchemaField(*each) for each in there])
            table.clustering_fields = given.pop("clustered", None)
            connection.make_table(table)
        retry_of = given.pop("retry_of", None)
        raises = given.pop("raises", None)
        run = Run(RunRequest("j", retry_of=retry_of))
        options = BigQuerySink("p.d.t", mode=mode, **given)
        connection.find_dataset = lambda _: bigquery.Dataset("p.d")
        target = Target(options, policy, connection)
        query = connection.query

        def making(text, purpose, **options):
            if "CREATE TABLE" in text:
                name = text.partition("`")[2].partition("`")[0]
                fields = [bigquery.SchemaField("n", "INT64"), bigquery.SchemaField("v", "STRING")]
                connection.make_table(bigquery.Table(name, schema=fields))
            return query(text, purpose, **options)

        connection.query = making
        owner = Owner(raises=raises)
        Publisher(options, run, connection, target, staging or Staging(), owner).publish(counts)
        ((statements, _, cleanup),) = owner.published
        texts = [each.sql for each in connection.statements if each.purpose]
        purposes = [each.purpose for each in connection.statements if each.purpose]
        assert len(purposes) == len(set(purposes)), "two statements with one job id"
        after = [each.sql for each in connection.statements if each.purpose == "cleanup"]
        assert after == ([] if cleanup is None else [cleanup])
        return texts[: len(texts) - len(after)], statements, cleanup

    return run_it


SAME = [("n", "INT64"), ("v", "STRING")]
OTHER = [("n", "INT64"), ("old", "STRING", "REQUIRED")]


def test_append_adds_the_rows(publish):
    """One INSERT in the transaction, nothing before, nothing after."""
    before, within, after = publish(there=SAME)
    assert (before, after) == ([], None)
    assert within == [f"INSERT INTO {T} (`n`, `v`)\nSELECT n, v FROM staged"]


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_rows_that_were_not_repeated_are_counted_in_the_transaction(publish, mode):
    """Exactly as many as the audit has counted are added, or nothing changes."""
    _, within, _ = publish(mode, there=SAME, staging=Staging(unrepeated=True))
    assert within[-1].startswith(
        f"INSERT INTO {T} (`n`, `v`)\nSELECT all_of_them;\nIF IFNULL(@@row_count, -1) != 2"
    )
    assert dml.REPEATED in within[-1]


def test_a_row_that_is_repeated_after_the_audit_is_left_out(publish):
    """The first transaction is undone; the second one takes each row once."""
    _, within, _ = publish(there=SAME, staging=Staging(unrepeated=True), raises=dml.REPEATED)
    assert within == [f"INSERT INTO {T} (`n`, `v`)\nSELECT n, v FROM staged"]


def test_another_error_is_not_repeated(publish):
    """It would come again."""
    with pytest.raises(BadRequest, match="quota"):
        publish(there=SAME, staging=Staging(unrepeated=True), raises="quota exceeded")


def test_a_merge_takes_each_row_once(publish):
    """It changes as many rows as it finds, whatever the number of those that are staged."""
    staging = Staging(unrepeated=True)
    _, within, _ = publish("merge", there=SAME, staging=staging, merge_keys=("n",))
    assert "all_of_them" not in within[-1]


def test_before_load_runs_in_the_same_transaction(publish):
    """Before the rows."""
    _, within, _ = publish(there=SAME, before_load="DELETE FROM d.t WHERE n = 1; -- old ones")
    assert [text.split()[0] for text in within] == ["DELETE", "INSERT"]


@pytest.mark.parametrize("mode", ["append", "replace", "merge", "delete_in_advance"])
def test_a_missing_target_is_made_empty_first(publish, mode):
    """Rows never travel in DDL: it cannot be fenced."""
    keys = {"merge_keys": ("n",)} if mode == "merge" else {}
    before, within, after = publish(mode, **keys)
    (made,) = before
    assert made.startswith(f"CREATE TABLE IF NOT EXISTS {T} (")
    assert "SELECT" not in made
    assert "staged" in within[-1]
    assert after is None


def test_required_columns_of_a_new_table_are_not_null(publish):
    """As the rows' schema says."""
    required = (Column("n", "INT64", "REQUIRED"), V)
    (made,), _, _ = publish(staging=Staging(required))
    assert "`n` INT64 NOT NULL" in made
    assert "`v` STRING NOT NULL" not in made


def test_rows_without_a_required_column_are_refused(publish):
    """BigQuery would refuse them after all was paid."""
    with pytest.raises(SinkError, match="no value for required column old"):
        publish(there=[*SAME, ("old", "STRING", "REQUIRED")], policy="add_columns")


def test_no_rows_into_a_missing_table_make_none(publish):
    """Nobody knows what its columns would have been; `replace` makes it all the same."""
    nothing = Counts()
    assert publish(counts=nothing)[:2] == ([], [])
    (made,), _, _ = publish("replace", counts=nothing)
    assert made.startswith("CREATE TABLE")


def test_replace_empties_the_table_in_the_transaction(publish):
    """The table itself stays, with all that hangs on it."""
    before, within, after = publish("replace", there=SAME)
    assert (before, after) == ([], None)
    assert [text.split()[0] for text in within] == ["TRUNCATE", "INSERT"]


@pytest.mark.parametrize("mode", ["replace", "delete_in_advance"])
def test_changed_columns_are_added_before_and_dropped_after(publish, mode):
    """What is done before harms nobody if the rows never come; columns go when the rows are there."""
    before, within, after = publish(mode, there=OTHER, policy="add_columns")
    (altered,) = before
    assert altered.split(";\n") == [
        f"ALTER TABLE {T}\nADD COLUMN IF NOT EXISTS `v` STRING",
        f"ALTER TABLE {T}\nALTER COLUMN `old` DROP NOT NULL",
    ]
    assert [text.split()[0] for text in within] == ["TRUNCATE", "INSERT"]
    assert after == f"ALTER TABLE {T}\nDROP COLUMN IF EXISTS `old`"


def test_append_never_drops_a_column(publish):
    """With `add_columns` it takes the new ones."""
    there = [("n", "INT64"), ("old", "STRING")]
    before, within, after = publish(there=there, policy="add_columns")
    assert before == [f"ALTER TABLE {T}\nADD COLUMN IF NOT EXISTS `v` STRING"]
    assert (len(within), after) == (1, None)


def test_a_table_that_must_be_dropped_stays_until_the_new_one_is_full(publish):
    """The rows go into a table beside it; taking its place is what is left to do after publishing."""
    before, within, after = publish(
        "delete_in_advance",
        there=SAME,
        definition=Definition(clustering=("v",)),
        allow_drop=True,
    )
    (made,) = before
    beside = made.partition("(")[0].split()[-1]
    assert beside.startswith("`p.d.t__")
    assert "CLUSTER BY `v`" in made
    assert [text.splitlines()[0] for text in within[-1:]] == [f"INSERT INTO {beside} (`n`, `v`)"]
    assert not any(T in text for text in [*before, *within])
    assert after.index("IF EXISTS") < after.index(f"DROP TABLE IF EXISTS {T}")
    assert after.index("DROP TABLE") < after.index(f"ALTER TABLE {beside} RENAME TO `t`")


def test_merge_updates_and_inserts_by_key(publish):
    """Null-safe."""
    _, (merged,), _ = publish("merge", there=SAME, merge_keys=("n",))
    assert "ON (T.`n` = S.`n` OR (T.`n` IS NULL AND S.`n` IS NULL))" in merged
    assert "WHEN MATCHED THEN UPDATE SET `v` = S.`v`" in merged


@pytest.mark.parametrize("mode", ["append", "replace", "merge", "delete_in_advance"])
def test_rejected_rows_that_are_run_again_are_added_whatever_the_mode(publish, mode):
    """Nothing is emptied, and they leave the rejected rows in the same transaction."""
    keys = {"merge_keys": ("n",)} if mode == "merge" else {}
    before, within, after = publish(mode, there=SAME, retry_of="r0", **keys)
    assert (before, after) == ([], None)
    assert [text.split()[0] for text in within] == ["MERGE" if keys else "INSERT", "DELETE"]
    assert within[-1].startswith("DELETE FROM `p.d.t_rejects` WHERE run_id = ")


def test_rejected_rows_go_into_their_table_in_the_same_transaction(publish):
    """No row is both."""
    staging = Staging(rejects=TableName("p", "w", "rej"))
    _, within, _ = publish(there=SAME, staging=staging)
    assert within[-1].startswith("INSERT INTO `p.d.t_rejects` (run_id, row_id,")


def test_rows_that_share_no_column_with_the_target_are_refused(publish):
    """With `drop_columns` nothing of them would be left."""
    with pytest.raises(SinkError, match="no column that the target has"):
        publish(there=[("other", "INT64")], policy="drop_columns")

"""A default expiration of the work dataset does not delete the ledger."""

from datetime import UTC, datetime

from google.api_core.exceptions import Forbidden

from etlkit.bigquery.runs.ledger import Ledger


class Connection:
    """Creates tables as a dataset with a default expiration does."""

    def __init__(self, refusal=None):
        self.refusal, self.updates = refusal, []

    def make_dataset(self, _dataset_id):
        return

    def find_or_make_table(self, table):
        if table.view_query is None:
            table.expires = datetime(2030, 1, 1, tzinfo=UTC)
        return table

    def update(self, table, fields):
        self.updates.append((table.table_id, fields, table.expires))
        if self.refusal is not None:
            raise self.refusal


def test_the_expiration_is_taken_away():
    """The history of runs stays."""
    connection = Connection()
    Ledger(connection, ("p", "w")).make()
    assert connection.updates == [("run_events", ["expires"], None)]


def test_a_sandbox_insists_on_it(caplog):
    """It is said, and the run goes on."""
    Ledger(Connection(Forbidden("sandbox")), ("p", "w")).make()
    assert "p.w.run_events will be deleted at the default expiration" in caplog.text


def test_without_a_default_nothing_is_changed():
    """No request more than needed."""
    connection = Connection()
    connection.find_or_make_table = lambda table: table
    Ledger(connection, ("p", "w")).make()
    assert connection.updates == []

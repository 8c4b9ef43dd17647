"""What guards and locks need of BigQuery's tables: kept by the fake and by the real connection."""

import pytest
from google.api_core.exceptions import NotFound, PreconditionFailed
from google.cloud import bigquery

from etlkit.bigquery.names import TableName


class ConnectionContract:
    """Give `connection` and `dataset` (project and name of a dataset that is there)."""

    @pytest.fixture
    def name(self, dataset_of_contract):
        return TableName(*dataset_of_contract, "contract")

    @pytest.fixture
    def table(self, connection, name):
        table = bigquery.Table(str(name), schema=[bigquery.SchemaField("n", "INT64")])
        table.labels = {"owner": "first"}
        table.description = "made"
        return connection.make_table(table)

    def test_a_table_that_is_there_is_returned_as_it_is(self, connection, name, table):
        """Making it twice changes nothing: the second one sees the first one's labels."""
        other = bigquery.Table(str(name), schema=[bigquery.SchemaField("n", "INT64")])
        other.labels = {"owner": "second"}
        assert connection.make_table(other).labels == {"owner": "first"}
        assert connection.find_table(name).labels == {"owner": "first"}
        assert connection.find_table(name).description == "made"

    def test_a_table_that_is_nearly_always_there_is_found_first(self, connection, name):
        """It is made when it is missing, and is as it was otherwise."""
        for owner in ("first", "second"):
            wanted = bigquery.Table(str(name), schema=[bigquery.SchemaField("n", "INT64")])
            wanted.labels = {"owner": owner}
            assert connection.find_or_make_table(wanted).labels == {"owner": "first"}

    def test_a_look_ahead_changes_no_answer(self, connection, name, table):
        """The next look gives what is there, and the one after it what is there then."""
        missing = TableName(name.project, name.dataset, "missing")
        connection.look_ahead([name.dataset_id], [name, missing])
        assert connection.find_dataset(name.dataset_id) is not None
        assert connection.find_table(name).labels == {"owner": "first"}
        assert connection.find_table(missing) is None
        connection.drop_work_table(name)
        assert connection.find_table(name) is None

    def test_the_second_of_two_that_read_the_same_is_refused(self, connection, name, table):
        """An update with an etag is a compare-and-swap."""
        one, two = connection.find_table(name), connection.find_table(name)
        one.labels, two.labels = {"owner": "one"}, {"owner": "two"}
        connection.client.update_table(one, ["labels"])
        with pytest.raises(PreconditionFailed):
            connection.client.update_table(two, ["labels"])
        assert connection.find_table(name).labels == {"owner": "one"}

    def test_an_update_changes_etag_and_time(self, connection, name, table):
        """So the time of the last change tells when somebody gave a sign of life."""
        before = connection.find_table(name)
        before.description = "changed"
        connection.client.update_table(before, ["description"])
        after = connection.find_table(name)
        assert (after.description, after.labels) == ("changed", {"owner": "first"})
        assert after.etag != before.etag
        assert after.modified >= before.modified

    def test_a_table_that_is_not_there(self, connection, name):
        """It is not found, and dropping it does no harm."""
        assert connection.find_table(name) is None
        with pytest.raises(NotFound):
            connection.client.get_table(str(name))
        connection.drop_work_table(name)

    def test_an_update_of_a_dropped_table_is_refused(self, connection, name, table):
        """It does not come back."""
        connection.drop_work_table(name)
        table.labels = {"owner": "late"}
        with pytest.raises((NotFound, PreconditionFailed)):
            connection.client.update_table(table, ["labels"])
        assert connection.find_table(name) is None

    def test_what_is_dropped_beside_is_gone_when_the_connection_is_closed(
        self, connection, name, table
    ):
        """The last table goes after the others."""
        last = TableName(name.project, name.dataset, "contract_last")
        connection.make_table(bigquery.Table(str(last), schema=table.schema))
        connection.drop_beside([name], then=lambda: connection.drop_work_table(last))
        connection.close()
        assert connection.find_table(name) is None
        assert connection.find_table(last) is None

    def test_tables_are_listed(self, connection, name, table):
        """By their short names."""
        listed = connection.client.list_tables(f"{name.project}.{name.dataset}")
        assert "contract" in [each.table_id for each in listed]

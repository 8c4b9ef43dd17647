import pytest

from tests.unit.bigquery.connection_contract import ConnectionContract
from tests.unit.bigquery.fake_connection import DATASET, FakeConnection


class TestFakeConnection(ConnectionContract):
    @pytest.fixture
    def connection(self):
        return FakeConnection(datasets={".".join(DATASET)})

    @pytest.fixture
    def dataset_of_contract(self):
        return DATASET

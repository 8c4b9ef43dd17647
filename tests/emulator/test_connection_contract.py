"""The connection keeps the contract that the unit tests' fake keeps."""

import pytest

from etlkit.api.run import Settings
from etlkit.bigquery.client import Connection
from tests.unit.bigquery.connection_contract import ConnectionContract


class TestConnection(ConnectionContract):
    @pytest.fixture
    def connection(self, local_server):
        settings = Settings(environ=local_server.endpoints.environ())
        made = Connection(settings, job_prefix="etlkit_contract")
        yield made
        made.close()

    @pytest.fixture
    def dataset_of_contract(self, dataset, local_server):
        return local_server.endpoints.project, dataset

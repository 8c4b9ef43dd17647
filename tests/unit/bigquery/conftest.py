"""A gRPC server on loopback that speaks as much of the Storage APIs as a script tells it to."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import pyarrow as pa
import pytest
from google.cloud.bigquery_storage_v1 import types

READ = "/google.cloud.bigquery.storage.v1.BigQueryRead/"
WRITE = "/google.cloud.bigquery.storage.v1.BigQueryWrite/"


class Service(grpc.GenericRpcHandler):
    """Hands every call to a function of the test."""

    def __init__(self):
        self.calls = {}

    def service(self, details):
        call = self.calls.get(details.method)
        if call is None:
            return None
        if details.method == f"{READ}CreateReadSession":
            return grpc.unary_unary_rpc_method_handler(
                call,
                types.CreateReadSessionRequest.deserialize,
                types.ReadSession.serialize,
            )
        if details.method == f"{READ}ReadRows":
            return grpc.unary_stream_rpc_method_handler(
                call, types.ReadRowsRequest.deserialize, types.ReadRowsResponse.serialize
            )
        return grpc.stream_stream_rpc_method_handler(
            call, types.AppendRowsRequest.deserialize, types.AppendRowsResponse.serialize
        )


@pytest.fixture
def service():
    """The server; `service.target` is where it listens."""
    handler = Service()
    pool = ThreadPoolExecutor(8)
    server = grpc.server(pool)
    server.add_generic_rpc_handlers([handler])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    handler.target = f"127.0.0.1:{port}"
    yield handler
    server.stop(grace=None).wait()
    pool.shutdown()


@pytest.fixture
def connection(service):
    """What reader and appender need of a connection, on the real clients."""
    from etlkit.api.run import Settings
    from etlkit.bigquery.client import Connection

    environ = {
        "BIGQUERY_EMULATOR_HOST": "http://127.0.0.1:1",
        "ETLKIT_BIGQUERY_GRPC_ENDPOINT": service.target,
        "GOOGLE_CLOUD_PROJECT": "p",
    }
    made = Connection(Settings(environ=environ), job_prefix="etlkit_test")
    yield made
    made.close()


@pytest.fixture
def batch():
    """Rows as they are staged: id, part, parts, n."""

    def make(*numbers):
        return pa.RecordBatch.from_pydict(
            {
                "_etlkit_row_id": [f"id{n}" for n in numbers],
                "_etlkit_part": [0] * len(numbers),
                "_etlkit_parts": [1] * len(numbers),
                "n": list(numbers),
            }
        )

    return make

import importlib
import itertools
import json
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pyarrow as pa
import pytest
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import BigQueryReadClient, BigQueryWriteClient, types
from google.cloud.bigquery_storage_v1.services.big_query_read.transports import (
    BigQueryReadGrpcTransport,
)
from google.cloud.bigquery_storage_v1.services.big_query_write.transports import (
    BigQueryWriteGrpcTransport,
)

from etlkit.calls.local_token import with_metadata
from etlkit.cli.run import main
from etlkit.local import LocalServer, join_or_start

DATASET_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def local_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """The server that all tests share; tests that kill servers start their own."""
    with join_or_start(tmp_path_factory.mktemp("shared") / ".etlkit") as server:
        yield server


@pytest.fixture(scope="session")
def connect() -> Callable[[LocalServer], bigquery.Client]:
    """Make the official client for a local server, without touching the environment."""

    def connect_to(server: LocalServer) -> bigquery.Client:
        return bigquery.Client(
            project=server.endpoints.project,
            credentials=AnonymousCredentials(),
            client_options=ClientOptions(api_endpoint=server.endpoints.bigquery),
        )

    return connect_to


@pytest.fixture(scope="session")
def bq(local_server, connect) -> Iterator[bigquery.Client]:
    with connect(local_server) as client:
        yield client


@pytest.fixture
def dataset(bq) -> str:
    """A fresh dataset."""
    name = f"ds_{next(DATASET_NUMBERS)}"
    bq.create_dataset(name)
    return name


@pytest.fixture
def run(bq) -> Callable[..., list[tuple]]:
    """Run SQL and give the rows as tuples."""

    def run_sql(sql: str, **options) -> list[tuple]:
        config = bigquery.QueryJobConfig(**options)
        job = bq.query(sql, job_config=config, retry=None, job_retry=None)
        return [tuple(row) for row in job.result(retry=None, job_retry=None)]

    return run_sql


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty project as the working directory; its modules are removed afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    # Bytecode is told apart by seconds and size: a job that is written anew would be the old one.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    forget_modules(tmp_path)


def forget_modules(folder: Path) -> None:
    """Remove the modules that were imported from a folder."""
    for name, module in list(sys.modules.items()):
        if str(vars(module).get("__file__")).startswith(str(folder)):
            del sys.modules[name]
    importlib.invalidate_caches()


@pytest.fixture
def cli(local_server, here, capsys) -> Iterator[Callable[..., tuple[int, dict | None, str]]]:
    """Run `etlkit run` in this process; gives exit status, report and all output."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def call(*arguments: object, local: bool = True) -> tuple[int, dict | None, str]:
        forget_modules(here)  # the test may have written its job anew
        where = ["--local", "--local-dir", str(local_server.local_dir)] if local else []
        status = main([*map(str, arguments), *where])
        out, err = capsys.readouterr()
        lines = out.strip().splitlines()
        report = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else None
        return status, report, out + err

    yield call
    for number, handler in handlers.items():  # a run takes them to itself
        signal.signal(number, handler)


@pytest.fixture
def local_dir(tmp_path: Path) -> Path:
    """A directory for a server of the test's own."""
    return tmp_path / ".etlkit"


@pytest.fixture(scope="session")
def channel(local_server) -> Iterator[grpc.Channel]:
    endpoints = local_server.endpoints
    with grpc.insecure_channel(endpoints.bigquery_grpc) as channel:
        yield with_metadata(channel, ("authorization", f"Bearer {endpoints.token}"))


@pytest.fixture(scope="session")
def read_client(channel) -> BigQueryReadClient:
    return BigQueryReadClient(transport=BigQueryReadGrpcTransport(channel=channel))


@pytest.fixture(scope="session")
def write_client(channel) -> BigQueryWriteClient:
    return BigQueryWriteClient(transport=BigQueryWriteGrpcTransport(channel=channel))


@pytest.fixture
def append(write_client) -> Callable[..., list]:
    """Append Arrow tables to `dataset.table`, one request each, on one connection."""

    def append_tables(table: str, *tables: pa.Table, name_stream: str = "first") -> list:
        dataset, name = table.split(".")
        stream = f"projects/local/datasets/{dataset}/tables/{name}/streams/_default"

        def requests() -> Iterator[types.AppendRowsRequest]:
            for number, rows in enumerate(tables):
                request = types.AppendRowsRequest()
                if number == 0 or name_stream == "always":
                    request.write_stream = stream
                if number == 0:
                    schema = rows.schema.serialize().to_pybytes()
                    request.arrow_rows.writer_schema.serialized_schema = schema
                (batch,) = rows.combine_chunks().to_batches() or [None]
                request.arrow_rows.rows.serialized_record_batch = batch.serialize().to_pybytes()
                yield request

        metadata = [("x-goog-request-params", f"write_stream={stream}")]
        return list(write_client.append_rows(requests(), metadata=metadata))

    return append_tables


@pytest.fixture
def read_table(read_client) -> Callable[..., pa.Table]:
    """Read `dataset.table` over the Storage Read API with one stream."""

    def read(table: str, *, offset: int = 0, **options) -> pa.Table:
        dataset, name = table.split(".")
        session = read_client.create_read_session(
            parent="projects/local",
            read_session=types.ReadSession(
                table=f"projects/local/datasets/{dataset}/tables/{name}",
                data_format=types.DataFormat.ARROW,
                read_options=types.ReadSession.TableReadOptions(**options),
            ),
            max_stream_count=1,
        )
        schema = pa.ipc.read_schema(pa.py_buffer(session.arrow_schema.serialized_schema))
        batches = [
            pa.ipc.read_record_batch(
                pa.py_buffer(message.arrow_record_batch.serialized_record_batch), schema
            )
            for stream in session.streams
            for message in read_client.read_rows(stream.name, offset)
        ]
        return pa.Table.from_batches(batches, schema)

    return read

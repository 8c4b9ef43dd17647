"""How clients of other people reach the local BigQuery: credentials, storage clients, results."""

import json
import os
import socket
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import google.auth
import grpc
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.api_core.exceptions import InvalidArgument, NotFound
from google.auth import crypt, jwt
from google.auth.transport.requests import Request
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import BigQueryReadClient, BigQueryWriteClient, types
from google.cloud.bigquery_storage_v1.services.big_query_read import BigQueryReadAsyncClient
from google.oauth2 import service_account

from etlkit import ConfigError, local_world
from etlkit.local.env_file import env_file

pytestmark = pytest.mark.filterwarnings("ignore:Retrieving Arrow:PendingDeprecationWarning")

BIG = "SELECT n, CAST(n AS STRING) AS s FROM UNNEST(GENERATE_ARRAY(1, 200000)) AS n"
EVERY_TYPE = """
SELECT 1 AS i, 'say "é"' AS s, FROM_BASE64('AP8=') AS b, TRUE AS t, 0.5 AS f, NUMERIC '1.5' AS d,
  BIGNUMERIC '2.25' AS bd, DATE '2026-01-02' AS day, TIMESTAMP '2026-01-02 03:04:05+00' AS ts,
  DATETIME '2026-01-02 03:04:05' AS dt, TIME '03:04:05' AS tm, STRUCT(1 AS x, ['a', 'b'] AS y) AS st,
  [1, 2] AS arr, JSON '{"k": [1]}' AS j, ST_GEOGPOINT(1, 2) AS g, STRUCT(ST_GEOGPOINT(1, 2) AS p) AS sg,
  CAST(NULL AS ARRAY<INT64>) AS nothing
"""
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"

OTHER_PROGRAM = f"""
import grpc, json
from google.cloud import bigquery
client = bigquery.Client()
rows = client.query("{BIG}").result().to_arrow()
with grpc.secure_channel("pubsub.googleapis.com:443", grpc.ssl_channel_credentials()) as channel:
    try:
        channel.unary_unary("/a.B/C")(b"", timeout=20)
    except grpc.RpcError as error:
        refused = error.details()
print(json.dumps([client.project, rows.num_rows, rows["n"][199_999].as_py(), refused]))
"""


@pytest.fixture
def read_result(read_client):
    """Read the result of a job over the Storage Read API."""

    def read(job, **options):
        return job.result().to_arrow(bqstorage_client=read_client, **options)

    return read


def test_a_key_file_gives_a_token_to_its_owner_alone(local_server):
    """The key is for this user only; a request that another key signed gets no token."""
    path = Path(local_server.endpoints.key_file)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(Path(local_server.endpoints.grpc_roots).stat().st_mode) == 0o600
    credentials = service_account.Credentials.from_service_account_file(path, scopes=["x"])
    credentials.refresh(Request())
    assert credentials.token
    assert not credentials.expired

    uri = json.loads(path.read_text())["token_uri"]
    assert uri.startswith("http://127.0.0.1:")
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    now = datetime.now(UTC)
    claims = {
        "iss": credentials.service_account_email,
        "aud": uri,
        "iat": int(now.timestamp()),
        "exp": int((now + timedelta(hours=1)).timestamp()),
    }
    other = jwt.encode(crypt.RSASigner.from_string(stranger), claims).decode()
    own = jwt.encode(credentials.signer, claims).decode()
    late = jwt.encode(credentials.signer, {**claims, "exp": claims["iat"] - 60}).decode()
    elsewhere = jwt.encode(credentials.signer, {**claims, "aud": "https://example.com"}).decode()
    answers = [
        requests.post(uri, data={"grant_type": GRANT, "assertion": each}, timeout=30)
        for each in (own, other, late, elsewhere, "a.b.c", "")
    ]
    assert [answer.status_code for answer in answers] == [200, 400, 400, 400, 400, 400]
    assert answers[0].json()["token_type"] == "Bearer"
    assert {answer.json()["error"] for answer in answers[1:]} == {"invalid_grant"}
    refused = requests.post(uri, data={"grant_type": "refresh_token"}, timeout=30)
    assert refused.json()["error"] == "unsupported_grant_type"
    assert requests.post(uri, data=b"x" * 100_000, timeout=30).status_code == 413
    assert requests.get(uri, timeout=30).status_code == 405


def test_another_program_stays_in_the_local_world(local_server):
    """A large result comes over the library's own storage client; another host is refused aloud."""
    done = subprocess.run(
        [sys.executable, "-c", OTHER_PROGRAM],
        env={**os.environ, **local_server.tool_environ()},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    project, num_rows, last, refused = json.loads(done.stdout)
    assert (project, num_rows, last) == ("local", 200_000, 200_000)
    assert "HTTP proxy returned response code 403" in refused
    log = (local_server.local_dir / "server.log").read_text()
    assert "The local world has no pubsub.googleapis.com: add it to no_grpc_proxy" in log


@pytest.mark.parametrize(
    ("request_line", "password", "status"),
    [
        ("CONNECT bigquerystorage.googleapis.com:443", "wrong", 407),
        ("CONNECT bigquerystorage.googleapis.com:443", None, 407),
        ("CONNECT example.com:443", "right", 403),
        ("CONNECT bigquerystorage.googleapis.com.example.com:443", "right", 403),
        ("GET http://127.0.0.1/", "right", 405),
    ],
)
def test_the_gateway_connects_its_own_clients_to_its_own_hosts(
    local_server, request_line, password, status
):
    """It asks for its password, and leads nowhere else."""
    user, _, address = local_server.endpoints.grpc_proxy.removeprefix("http://").rpartition("@")
    given = {"right": user, "wrong": user[:-1] + "-"}.get(password)
    host, port = address.split(":")
    headers = "" if given is None else f"Proxy-Authorization: Basic {encoded(given)}\r\n"
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(f"{request_line} HTTP/1.1\r\n{headers}\r\n".encode())
        answer = connection.makefile("rb").read()
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())


def encoded(text):
    return requests.auth._basic_auth_str(*text.split(":")).removeprefix("Basic ")


def test_clients_in_this_process_stay_in_the_local_world(local_server, monkeypatch):
    """Inside `local_world` storage clients without an endpoint are led to the local server."""
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    with local_world(local_server.local_dir) as environ:
        credentials, project = google.auth.default()
        assert (credentials.service_account_email, project) == (
            "etlkit@local.iam.gserviceaccount.com",
            "local",
        )
        with bigquery.Client() as client:
            assert client.query(BIG).result().to_arrow().num_rows == 200_000
            assert client.query_and_wait(BIG).to_arrow().num_rows == 200_000
        writer = BigQueryWriteClient()
        assert writer.transport.host == local_server.endpoints.bigquery_grpc
        with grpc.insecure_channel("127.0.0.1:1") as channel:
            kind = BigQueryReadClient.get_transport_class("grpc")
            own = BigQueryReadClient(transport=kind(channel=channel, host="mine:1"))
            assert own.transport.host == "mine:1"
        elsewhere = BigQueryReadClient(client_options={"api_endpoint": "127.0.0.1:2"})
        assert elsewhere.transport.host == "127.0.0.1:2"
        with pytest.raises(ConfigError, match="no grpc_asyncio for storage clients"):
            BigQueryReadAsyncClient(credentials=credentials)
        assert environ == local_server.tool_environ()
        assert "grpc_proxy" not in os.environ
    assert "GOOGLE_APPLICATION_CREDENTIALS" not in os.environ
    outside = BigQueryReadClient(credentials=credentials)
    assert outside.transport.host == "bigquerystorage.googleapis.com:443"


def test_the_real_vision_keeps_its_credentials(local_server, monkeypatch):
    """With another Vision's address, the credentials of the environment stay as they are."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/my/key.json")
    monkeypatch.setenv("ETLKIT_VISION_ENDPOINT", "https://vision.googleapis.com")
    with local_world(local_server.local_dir):
        assert os.environ["GOOGLE_APPLICATION_CREDENTIALS"] == "/my/key.json"
    monkeypatch.setenv("ETLKIT_VISION_ENDPOINT", "http://127.0.0.1:1")
    with local_world(local_server.local_dir):
        key_file = os.environ["GOOGLE_APPLICATION_CREDENTIALS"]
    assert key_file == local_server.endpoints.key_file
    assert os.environ["GOOGLE_APPLICATION_CREDENTIALS"] == "/my/key.json"


def test_a_result_is_read_like_a_table(bq, run, dataset, read_result, read_table):
    """Storage Read gives a result the Arrow types and values that a table of it has."""
    run(f"CREATE TABLE {dataset}.t AS {EVERY_TYPE}")
    result = read_result(bq.query(EVERY_TYPE))
    table = read_table(f"{dataset}.t")
    assert result.schema.equals(table.schema)
    assert result.to_pylist() == table.to_pylist()
    assert result.num_columns == 17


def test_parts_of_a_result(bq, read_client):
    """A read session of a result has columns and a filter, reaches no file, and needs a result."""
    job = bq.query("SELECT n, n * n AS square FROM UNNEST([1, 2, 3]) AS n")
    job.result()
    place = job.destination

    def read(table_id, **options):
        session = types.ReadSession(
            table=f"projects/local/datasets/{place.dataset_id}/tables/{table_id}",
            data_format=types.DataFormat.ARROW,
            read_options=types.ReadSession.TableReadOptions(**options),
        )
        made = read_client.create_read_session(parent="projects/local", read_session=session)
        rows = read_client.read_rows(made.streams[0].name)
        return rows.to_arrow(made).to_pydict()

    found = read(place.table_id, selected_fields=["square"], row_restriction="n > 1")
    assert found == {"square": [4, 9]}
    with pytest.raises(InvalidArgument, match="Invalid row restriction"):
        read(place.table_id, row_restriction="(FROM read_text('/etc/hostname')) IS NOT NULL")
    with pytest.raises(NotFound, match="anonnothing"):
        read("anonnothing")


def test_a_finished_job_gives_its_rows_with_the_first_page(bq):
    """A client that asks for no rows at first has no empty page before them."""
    job = bq.query("SELECT n FROM UNNEST([1, 2]) AS n")
    job.result()
    pages = bq.get_job(job.job_id).result().pages
    assert [page.num_items for page in pages] == [2]


def test_dbt_finds_the_partitions_to_overwrite(bq, run, dataset):
    """One variable in parentheses gets the field of the STRUCT; a STRUCT variable gets all of it."""
    run(f"CREATE TABLE {dataset}.t AS SELECT DATE '2026-01-02' AS day, 1 AS n")
    found = run(f"""
        DECLARE days ARRAY<DATE>;
        DECLARE pair STRUCT<n INT64>;
        SET (days) = (SELECT AS STRUCT ARRAY_AGG(DISTINCT DATE(day) IGNORE NULLS) FROM {dataset}.t);
        SET pair = (SELECT AS STRUCT 7 AS n);
        SELECT n, pair.n AS seven FROM {dataset}.t WHERE day IN UNNEST(days)
    """)
    assert found == [(1, 7)]


def test_tables_in_the_hidden_dataset(bq, run):
    """A client may put tables beside the results, as ibis does; the dataset is not listed."""
    job = bq.query("SELECT 1 AS n")
    job.result()
    hidden = job.destination.dataset_id
    run(f"CREATE TABLE {hidden}.mine AS SELECT 2 AS n")
    assert run(f"SELECT n FROM {hidden}.mine") == [(2,)]
    assert bq.get_table(f"{hidden}.mine").num_rows == 1
    assert hidden not in [each.dataset_id for each in bq.list_datasets()]
    assert hidden in [each.dataset_id for each in bq.list_datasets(include_all=True)]


def test_an_env_file_is_for_this_user_and_replaces_no_other_file(tmp_path):
    """A shell reads it; a file of somebody else is left alone."""
    path = tmp_path / "local.env"
    with env_file(path, {"A": "it's $HOME", "B": "1"}):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        shell = ["sh", "-c", f'. {path}; printf "%s|%s" "$A" "$B"']
        read = subprocess.run(shell, capture_output=True, text=True, check=True, timeout=30)
        assert read.stdout == "it's $HOME|1"
        with env_file(path, {"A": "2"}):  # what a server that was killed has left
            assert "A=2" in path.read_text()
    assert not path.exists()
    path.write_text("MINE=1\n")
    with pytest.raises(ConfigError, match="is not one that"), env_file(path, {}):
        pass
    assert path.read_text() == "MINE=1\n"
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(ConfigError, match="not a plain file"), env_file(tmp_path / "link", {}):
        pass
    with pytest.raises(ConfigError, match="cannot be written"), env_file(tmp_path / "a/b", {}):
        pass

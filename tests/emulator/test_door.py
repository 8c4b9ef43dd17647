"""The local server answers its own clients, and nobody else: no web page and no other user."""

import http.client
import json
import os
import re
import socket
import stat
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import pytest
from google.api_core.exceptions import Forbidden, NotFound
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import BigQueryReadClient, types
from google.cloud.bigquery_storage_v1.services.big_query_read.transports import (
    BigQueryReadGrpcTransport,
)

from etlkit.api.run import Settings
from etlkit.bigquery.client import Connection
from etlkit.cli.local import main
from etlkit.errors import ConfigError, without_keys
from etlkit.local import join_or_start
from etlkit.local.server.server_info import read_server_info
from tests.bench.browser import Browser, find_browser

PROJECTS = "/bigquery/v2/projects"
QUERIES = f"{PROJECTS}/local/queries"
ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["bigquery", "vision"])
def address(request, local_server):
    """`host:port` of one of the HTTP servers, and its path with the token."""
    url = urlsplit(getattr(local_server.endpoints, request.param))
    return url.netloc, url.path, PROJECTS if request.param == "bigquery" else "/healthz"


def ask(netloc, path, method="GET", body=None, **headers):
    """One request; gives the status, the headers and the body."""
    connection = http.client.HTTPConnection(netloc, timeout=60)
    try:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, sent)
        answer = connection.getresponse()
        return answer.status, dict(answer.headers), answer.read().decode()
    finally:
        connection.close()


def test_the_token_opens_the_door_and_nothing_else_does(address, local_server):
    """In the path, as a bearer token, as an API key in a header or in the address."""
    netloc, secret, path = address
    token = local_server.endpoints.token
    assert secret == f"/{token}"
    assert re.fullmatch("[0-9a-f]{32}", token)
    known = [
        ask(netloc, secret + path),
        ask(netloc, path, Authorization=f"Bearer {token}"),
        ask(netloc, path, X_Goog_Api_Key=token),
        ask(netloc, f"{path}?key={token}"),
    ]
    assert [status for status, _, _ in known] == [200] * 4
    other = token[:-1] + ("0" if token[-1] != "0" else "1")
    unknown = [
        ask(netloc, path),
        ask(netloc, f"/{other}{path}"),
        ask(netloc, f"/{path}"),
        ask(netloc, path, Authorization=f"Bearer {other}"),
        ask(netloc, path, Authorization="Bearer \xe9"),
        ask(netloc, path, Authorization="Basic Og=="),
        ask(netloc, path, X_Goog_Api_Key=""),
        ask(netloc, f"{path}?key="),
        ask(netloc, path, "POST", "{}", Content_Type="application/json"),
    ]
    assert [status for status, _, _ in unknown] == [403] * 9
    body = json.loads(unknown[0][2])["error"]
    assert body["message"].startswith("The local server answers only programs that send its token")
    assert body["errors"][0]["reason"] == "accessDenied"  # no client repeats that
    assert not any(token in text for _, _, text in unknown)


def test_a_foreign_host_is_refused(address):
    """A name that an attacker lets lead to 127.0.0.1 is not one of ours, whatever port it has."""
    netloc, secret, path = address
    port = netloc.partition(":")[2]
    names = (netloc, f"localhost:{port}", f"LOCALHOST:{port}", f"[::1]:{port}", "127.0.0.1")
    assert [ask(netloc, secret + path, Host=name)[0] for name in names] == [200] * 5
    foreign = (
        f"attacker.test:{port}",
        "127.0.0.1.attacker.test",
        "localhost.",
        "10.0.0.1",
        "",
        "a b",
    )
    assert [ask(netloc, secret + path, Host=name)[0] for name in foreign] == [403] * 6
    with socket.create_connection((urlsplit(f"//{netloc}").hostname, int(port)), 60) as connection:
        two = f"GET {secret}{path} HTTP/1.1\r\nHost: {netloc}\r\nHost: attacker.test\r\n\r\n"
        connection.sendall(two.encode())
        assert b" 200 " not in connection.recv(65536).partition(b"\r\n")[0]


def test_a_web_page_is_refused(address):
    """Even one that knows the token; and no answer has a CORS header."""
    netloc, secret, path = address
    asked = [
        ask(netloc, secret + path, Origin="https://attacker.test"),
        ask(netloc, secret + path, Origin="null"),
        ask(netloc, secret + path, Origin="http://127.0.0.1:1"),
        ask(netloc, secret + path, Sec_Fetch_Site="cross-site"),
        ask(netloc, secret + path, Sec_Fetch_Site="same-site"),
        ask(
            netloc, secret + path, "OPTIONS",
            Origin="https://attacker.test", Access_Control_Request_Method="POST",
        ),
    ]  # fmt: skip
    assert [status for status, _, _ in asked] == [403] * 6
    for kind in ("text/plain", "Text/Plain;charset=UTF-8", "multipart/form-data; boundary=x"):
        asked.append(ask(netloc, secret + path, "POST", "{}", Content_Type=kind))
        assert asked[-1][0] == 415
    asked.append(ask(netloc, secret + path, Origin=f"http://{netloc}"))
    assert asked[-1][0] == 200
    names = {name.lower() for _, headers, _ in asked for name in headers}
    assert not any(name.startswith("access-control-") for name in names)


def test_the_plain_client_sends_the_token_with_its_address(local_server, dataset, tmp_path):
    """Also in uploads of many requests; without the token the first call says what is missing."""
    url = local_server.endpoints.bigquery
    options = {"project": "local", "credentials": AnonymousCredentials()}
    big = tmp_path / "rows.csv"
    big.write_text("n\n" + "".join(f"{n}\n" for n in range(200_000)))  # resumable, two chunks
    config = bigquery.LoadJobConfig(
        source_format="CSV", skip_leading_rows=1, schema=[bigquery.SchemaField("n", "INT64")]
    )
    with bigquery.Client(**options, client_options={"api_endpoint": url}) as client:
        with big.open("rb") as file:
            job = client.load_table_from_file(file, f"{dataset}.t", job_config=config)
        assert job.result(timeout=60).output_rows == 200_000
        job = client.load_table_from_json([{"n": 1}], f"{dataset}.u", project="local")
        assert job.result(timeout=60).output_rows == 1
        assert local_server.endpoints.token not in json.dumps(job.to_api_repr())
    open_door = url.rpartition("/")[0]
    with (
        bigquery.Client(**options, client_options={"api_endpoint": open_door}) as client,
        pytest.raises(Forbidden, match="answers only programs that send its token"),
    ):
        client.query("SELECT 1", retry=None, job_retry=None)


@pytest.mark.parametrize("service", ["bigquery_grpc", "vision_grpc"])
def test_grpc_wants_the_token(local_server, service):
    """Every method, of whichever form, also one that does not exist."""
    token = local_server.endpoints.token
    with grpc.insecure_channel(getattr(local_server.endpoints, service)) as channel:
        for method in ("/a/b", "/google.cloud.bigquery.storage.v1.BigQueryRead/ReadRows"):
            for metadata in (None, [("authorization", "Bearer x")], [("x-goog-api-key", "")]):
                with pytest.raises(grpc.RpcError) as caught:
                    list(channel.stream_stream(method)(iter([b""]), metadata=metadata))
                assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
                assert token not in caught.value.details()
        for metadata in ([("authorization", f"bearer {token}")], [("x-goog-api-key", token)]):
            with pytest.raises(grpc.RpcError) as caught:
                list(channel.stream_stream("/a/b")(iter([b""]), metadata=metadata))
            assert caught.value.code() != grpc.StatusCode.UNAUTHENTICATED


def test_the_official_grpc_client_is_told_what_is_missing(local_server, dataset, run):
    """A read session without the token; then with it."""
    run(f"CREATE TABLE {dataset}.t AS SELECT 1 AS n")
    session = types.ReadSession(
        table=f"projects/local/datasets/{dataset}/tables/t", data_format=types.DataFormat.ARROW
    )
    asked = {"parent": "projects/local", "read_session": session, "max_stream_count": 1}
    with grpc.insecure_channel(local_server.endpoints.bigquery_grpc) as channel:
        client = BigQueryReadClient(transport=BigQueryReadGrpcTransport(channel=channel))
        with pytest.raises(Exception, match="ETLKIT_LOCAL_TOKEN") as caught:
            client.create_read_session(**asked, retry=None)
        assert caught.value.code == 401
        token = [("x-goog-api-key", local_server.endpoints.token)]
        assert client.create_read_session(**asked, metadata=token).streams


def test_the_lease_tells_a_stranger_nothing(local_server):
    """Who does not know the token gets no answer; the token itself is not sent by either side."""
    info = read_server_info(local_server.local_dir)
    token = info.endpoints.token
    for greeting in (b"hello\n", f"hello {token}\n".encode(), b"POST / HTTP/1.1\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", info.lease_port), 60) as connection:
            connection.sendall(greeting)
            assert connection.recv(1024) == b""
    assert token not in repr(info)
    assert token not in (local_server.local_dir / "server.log").read_text()


def test_etlkits_own_messages_do_not_have_the_token(local_server, capsys):
    """It sends the token in a header, and takes it out of what other clients say."""
    token = local_server.endpoints.token
    connection = Connection(Settings(environ=local_server.endpoints.environ()), job_prefix="door")
    with pytest.raises(NotFound) as caught:
        connection.client.get_table("nothing.nothing", retry=None)
    assert "127.0.0.1" in str(caught.value)
    assert token not in str(caught.value)
    connection.close()
    arguments = ["sql", "SELECT nothing", "--local-dir", str(local_server.local_dir)]
    assert main(["--debug", *arguments]) == 1
    out, err = capsys.readouterr()
    assert "nothing" in err
    assert token not in out + err
    url = local_server.endpoints.bigquery
    plain = bigquery.Client("local", AnonymousCredentials(), client_options={"api_endpoint": url})
    with plain, pytest.raises(NotFound) as caught:
        plain.get_table("nothing.nothing", retry=None)
    assert token not in without_keys(str(caught.value))


def test_a_token_is_only_for_a_signature(local_server):
    """The port that gives clients with a key file their token gives a stranger or a page none."""
    info = read_server_info(local_server.local_dir)
    url = urlsplit(json.loads(Path(info.endpoints.key_file).read_text())["token_uri"])
    form = "grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion=e30.e30.e30"
    kind = {"Content_Type": "application/x-www-form-urlencoded"}
    asked = [
        ask(url.netloc, url.path, "POST", form, **kind),
        ask(url.netloc, url.path, "POST", form, **kind, Origin="https://attacker.test"),
        ask(url.netloc, url.path, "POST", form, **kind, Host="attacker.test"),
        ask(url.netloc, url.path),
    ]
    assert [status for status, _, _ in asked] == [400, 403, 400, 405]
    assert not any(info.endpoints.token in text for _, _, text in asked)


def modes(folder):
    """What others may do with a local folder, without what tests put into its buckets themselves."""
    found = [folder, *folder.rglob("*")]
    own = [
        path for path in found if path.relative_to(folder).parts[1:] == () or "data" in path.parts
    ]
    return {str(path): oct(path.stat().st_mode) for path in own if path.stat().st_mode & 0o077}


def test_files_are_for_one_user_only(local_dir, connect):
    """The folder, the database, the log and the token."""
    with join_or_start(local_dir) as server, connect(server) as client:
        client.query_and_wait("CREATE SCHEMA d; CREATE TABLE d.t AS SELECT 1 AS n")
        assert modes(local_dir) == {}
        database = local_dir / "data" / "bqemulator.duckdb"
        assert stat.S_IMODE(database.stat().st_mode) == 0o600


def test_an_older_folder_is_closed_at_the_next_start(local_dir):
    """Folders that earlier versions made were open to everybody."""
    (local_dir / "data").mkdir(parents=True)
    (local_dir / "data" / "left").touch()
    for path in (local_dir, local_dir / "data", local_dir / "data" / "left"):
        path.chmod(0o755)
    with join_or_start(local_dir):
        assert modes(local_dir) == {}


def test_a_folder_that_cannot_be_used_says_so(tmp_path):
    """What stands in its place, or above it, is a file; or one of its files is not ours to write."""
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "x"):
        with pytest.raises(ConfigError, match=f"{path} cannot be used .*--local-dir"):
            join_or_start(path)


LOCKED_OUT = """
import os, sys
from etlkit.errors import ConfigError
from etlkit.local.server.local_dir import make_local_dir
from pathlib import Path
for name in ("a", "b", "c"):
    Path(name).mkdir()
Path("b/data").mkdir()
Path("b/data").chmod(0o500)
os.chmod("c", 0o500)
os.setgroups([])
os.chmod(".", 0o777)
for name in ("b", "c", "b/data"):
    os.chown(name, 65534, 65534)
os.setgid(65534)
os.setuid(65534)
for name in ("a", "b", "c", "a/new", "fine"):
    try:
        make_local_dir(Path(name))
        print("ok", oct(os.stat(name).st_mode & 0o777))
    except ConfigError as error:
        print(error.message)
"""


@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0, reason="only root can become another user"
)
def test_a_folder_that_cannot_be_written_says_so(tmp_path):
    """That of another user, one that is read-only, and one in which only a part is."""
    done = subprocess.run(
        [sys.executable, "-c", LOCKED_OUT],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    a, b, c, new, fine = done.stdout.splitlines()
    for said, path in ((a, "a"), (b, "b/data"), (c, "c")):
        assert said.startswith(f"the local folder cannot be used: {path} cannot be written")
    assert new.startswith("the local folder a/new cannot be used (Permission denied)")
    assert fine == "ok 0o700"


STRANGER = """
import encodings.idna, os, socket, sys, urllib.request
url, lease = sys.argv[2], int(sys.argv[3])
os.chdir(sys.argv[1])
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
for name in (".", "server.json", "server.log", "data/bqemulator.duckdb"):
    try:
        os.listdir(name) if name == "." else open(name).close()
    except PermissionError:
        print("refused")
try:
    urllib.request.urlopen(url + "/bigquery/v2/projects", timeout=60)
except urllib.error.HTTPError as error:
    print(error.code)
with socket.create_connection(("127.0.0.1", lease), 60) as connection:
    connection.sendall(b"hello\\n")
    print(connection.recv(100))
"""
"""A process of root that becomes `nobody` once it stands in the local folder."""


@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0, reason="only root can become another user"
)
def test_another_user_reads_nothing_and_is_not_answered(local_server):
    """Neither the files with the token and the data, nor the ports, which everybody can find."""
    info = read_server_info(local_server.local_dir)
    url = info.endpoints.bigquery.rpartition("/")[0]
    arguments = (STRANGER, str(local_server.local_dir), url, str(info.lease_port))
    done = subprocess.run(
        [sys.executable, "-c", *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.split() == [*["refused"] * 4, "403", "b''"], done.stderr


ATTACK = """
(async () => {
  const [url, sql] = %s, body = JSON.stringify({query: sql, useLegacySql: false});
  const seen = [];
  const tries = [
    {headers: {"content-type": "text/plain"}}, {mode: "no-cors"},
    {headers: {"content-type": "application/json"}}, {mode: "no-cors", body: new Blob([body])},
    {credentials: "include"}, {mode: "no-cors", keepalive: true},
  ];
  for (const given of tries) {
    try { seen.push((await fetch(url, {method: "POST", body, ...given})).type); }
    catch (error) { seen.push(error.name); }
  }
  try { seen.push((await fetch(url + "?key=x")).type); } catch (error) { seen.push(error.name); }
  navigator.sendBeacon(url, body);
  await new Promise(done => {
    const frame = document.createElement("iframe"), form = document.createElement("form");
    frame.name = form.target = "f";
    frame.onload = () => form.parentNode ? done() : (document.body.append(form), form.submit());
    form.method = "post"; form.enctype = "text/plain"; form.action = url;
    const field = document.createElement("input");
    field.name = body.slice(0, -1) + ", \\"x\\": \\""; field.value = "\\"}";
    form.append(field);
    document.body.append(frame);
  });
  return seen;
})()
"""


class Page(BaseHTTPRequestHandler):
    """A web page of somebody else."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b"<body>hello")

    def log_message(self, *arguments):
        pass


@pytest.fixture
def web_page():
    with HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://attacker.test:{server.server_port}/"
        server.shutdown()


@pytest.mark.skipif(find_browser() is None, reason="there is no Chromium (Debian: chromium)")
def test_a_page_in_a_real_browser_can_do_nothing(local_server, web_page, dataset, bq):
    """Even if it has learned the port and the token, and lets its own name lead to 127.0.0.1."""
    url = local_server.endpoints.bigquery + QUERIES
    sql = f"CREATE TABLE {dataset}.made_by_a_page AS SELECT 1 AS n"
    rules = "--host-resolver-rules=MAP attacker.test 127.0.0.1"
    checks = "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests"
    with Browser(find_browser(), rules, checks) as browser:
        browser.go(web_page)
        seen = browser.run(ATTACK % json.dumps([url, sql]))
        # An opaque answer is one that the page cannot read.
        assert seen[1] == "opaque"
        assert set(seen) == {"TypeError", "opaque"}
        port = urlsplit(url).port
        browser.go(f"http://attacker.test:{port}/{local_server.endpoints.token}{PROJECTS}")
        said = browser.run("document.body.innerText")
        assert "no other name than those of loopback" in said
        # On the server's own name it may read, but a page that it did not send cannot be there.
        browser.go(f"{local_server.endpoints.bigquery}{PROJECTS}")
        assert "bigquery#projectList" in browser.run("document.body.innerText")
    assert [table.table_id for table in bq.list_tables(dataset)] == []

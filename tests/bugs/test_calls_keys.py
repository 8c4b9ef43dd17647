"""Keys in messages: whatever shape they have, no message, log, report or table of rows shows them.

A client's exception often quotes its request: the address with its user, a dict of headers, the keyword
arguments of a call, the header that could not be sent. A table of rejected rows kept them for ever.
"""

import http.client
import pickle

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from etlkit import ApiError, EtlBase, JobError, RowError, TransferJob, TransformError, run_job
from etlkit.api.user_errors import user_error_text
from etlkit.errors import without_keys
from etlkit.testing import MemorySink, MemorySource

KEY = "s3cret0815-Abc"

SHAPES = [
    # Addresses
    "no answer from https://me:{key}@host/x",
    "no answer from https://{key}@github.com/x",
    "cannot connect to postgres://etl:{key}@db:5432/x",
    "proxy http://me:{key}@proxy:3128 failed",
    "GET /x?api_key={key}&n=1",
    "GET /x?a=1&client_secret={key} (Caused by",
    "https://app.example/callback#access_token={key}&state=1",
    "https://s3.example/x?X-Amz-Signature={key}&y=1",
    "https://s3.example/x?X-Amz-Security-Token={key}",
    # Dicts of headers, and lists of pairs
    "{{'Authorization': 'Bearer {key}', 'X-Api-Key': '{key}'}}",
    '{{"authorization": "{key}", "n": 1}}',
    "headers={{'PRIVATE-TOKEN': '{key}'}}",
    "metadata was invalid: [('x-goog-api-key', '{key}\\n')]",
    "Headers({{'Proxy-Authorization': 'Basic {key}'}})",
    "{{'Cookie': 'session={key}; b=2'}}",
    '"{{\\"client_secret\\": \\"{key}\\"}}"',
    # Keyword arguments, forms, settings
    "Client(api_key='{key}', n=1)",
    'Client(api_key="{key}")',
    "connect(user='me', password='{key}')",
    "grant_type=client_credentials&client_secret={key}&scope=x",
    "access_key={key}",
    "aws_secret_access_key = {key}",
    "AWS_ACCESS_KEY_ID={key}",
    "OPENAI_API_KEY={key} is wrong",
    "DB_PASSWORD={key}",
    "AccountKey={key};EndpointSuffix=x",
    "refresh_token: {key}",
    "token='{key}'",
    # Header lines
    "password= refresh_token: {key}",
    "Authorization: Bearer {key}",
    "Authorization: {key}",
    "X-Auth-Token: {key}",
    "Set-Cookie: {key}",
    # What libraries say of a header with a line break
    "Invalid header value b'{key}\\n'",
    "Illegal header value b'Bearer {key}\\n'",
    "return character(s) in header value: '{key}\\n'",
]


@pytest.mark.edge_case(
    "a key in an address, a dict of headers, `api_key='…'`, `client_secret=…`, `#access_token=…`",
    "messages, logs, reports, rejected rows", "`…` in its place",
)  # fmt: skip
@pytest.mark.parametrize("shape", SHAPES)
def test_a_key_is_known_by_where_it_stands(shape):
    """Its name or its place says that it is one."""
    cleaned = without_keys(shape.format(key=KEY))
    assert KEY not in cleaned
    assert "s3cret" not in cleaned
    assert "…" in cleaned
    assert without_keys(cleaned) == cleaned


KNOWN = [
    ("sk-", "proj-Abc123def456Ghi789"), ("sk-", "ant-api03-abc_def-123"),
    ("sk_", "live_4eC39HqLyjWDarjtT1zdp7dc"), ("AKIA", "IOSFODNN7EXAMPLE"),
    ("ASIA", "IOSFODNN7EXAMPLE"), ("AIza", "Sy1" * 11 + "xx"), ("ya29.", "a0AfH6SMB_x-1234"),
    ("GOCSPX-", "abcdefghijklm"), ("ghp_", "16C7e42F292c6912E7710c838347Ae178B4a"),
    ("github_pat_", "11ABCDEFG0abcdefghij"), ("glpat-", "abcdefghijklmnopqrst"),
    ("hf_", "abcdefghijklmnopqr"), ("npm_", "abcdefghijklmnopqr"), ("xoxb-", "123456-abcdef"),
    ("https://hooks.slack.com/services/", "T0AB/B0CD/xyz"),
    ("eyJ", "hbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dBjftJeZ4CVP-mB92K27uhbUJU1p1r"),
    ("-----BEGIN RSA PRIVATE KEY-----", "\nMIIEowIBAAKCAQEA\nabcdefgh\n"),
]  # fmt: skip


@pytest.mark.edge_case(
    "`sk-…`, `AKIA…`, `AIza…`, `ghp_…`, `xoxb-…`, JSON web tokens, private keys",
    "messages, logs, reports, rejected rows", "`…` in their place, wherever they stand",
)  # fmt: skip
@pytest.mark.parametrize(("start", "rest"), KNOWN, ids=[start for start, _ in KNOWN])
def test_a_key_is_known_by_how_it_begins(start, rest):
    """Only the beginning is left."""
    cleaned = without_keys(f"Incorrect key provided: {start}{rest}-----END. See the page")
    assert f"{start}…" in cleaned
    assert not [rest[at : at + 4] for at in range(len(rest) - 3) if rest[at : at + 4] in cleaned]


@pytest.mark.parametrize(
    "text",
    [
        "a monkey=1 and ?page=2&keys=3",
        "column 'key': bearer of news",
        "column 'password': it is NULL",
        "row 7 (id 3f2), column 'api_key': required, but it is NULL",
        "name 'api_key' is not defined",
        "ImportError: cannot import name 'access_token' from 'x'",
        "merge_keys=['id'], primary_key='id', partition_key: 'day'",
        "HttpSink(idempotency_key='{id}-{day}')",
        "headers={'Authorization': 'Basic ${NAME}'}, client_secret=Secret('NAME')",
        "Authorization: Bearer ${CRM_TOKEN}, X-Api-Key: ${KEY}",
        "headers=…: the value of X-Api-Key has a line break or another character",
        "set HTTPS_PROXY to http://user:password@host:port",
        "set ETLKIT_VISION_API_KEY, or run `gcloud auth application-default login`",
        "user@example.com wrote to https://host/a@b and ssh://git@host/x",
        "unexpected token 'x' at 3; token count: 512; the token is wrong",
        "password: None",
        "sk-learn-contrib-package and pk_customers_orders_dim",
        "the header value 'x y' is fine",
    ],
)
def test_nothing_else_is_taken_out(text):
    """A message without its words is no message."""
    assert without_keys(text) == text


PIECES = [
    "password", "api_key", "X-Api-Key", "Authorization", "token", "header value", "https://", "me:",
    "@host", "?key=", "&sig=", "'", '"', "\\", "\\n", "=", ":", ", ", " ", "b", "(", "{", "…",
    "Bearer ", "Basic ", "None", "${NAME}", "sk-", "eyJ", ".", "abc123DEF456", "\n", "犬",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=20).map("".join))
def test_no_text_is_too_much(text):
    """It never raises, and after a few times nothing is left to take out."""
    for _ in range(5):
        before, text = text, without_keys(text)
    assert before == text


@given(st.sampled_from(SHAPES), st.text(max_size=40), st.text(max_size=40))
def test_a_key_is_found_in_the_middle_of_any_text(shape, before, after):
    """Quotes, brackets and line breaks around it change nothing."""
    text = f"{before} {shape.format(key=KEY)} {after}"
    assert KEY not in without_keys(text)


@pytest.mark.parametrize(
    "evil",
    ["x-" * 50_000, "sk-" * 30_000, "header '" + "\\n" * 50_000, "api_key='" + "\\" * 50_000,
     "password " + " " * 50_000, "http://a:" * 10_000, "key " + "a_" * 50_000, "eyJ." * 30_000],
    ids=lambda evil: evil[:10],
)  # fmt: skip
@pytest.mark.timeout(30)
def test_no_text_takes_long(evil):
    """A pattern that backtracks would take minutes for each of these."""
    without_keys(evil)


def broken_header(library):
    """What a library raises for a key with a line break, such as one that was read from a file."""
    try:
        if library == "requests":
            requests.get("http://127.0.0.1:1", headers={"X-Key": f"{KEY}\n"}, timeout=5)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", 1)
            connection.putrequest("GET", "/", skip_host=True, skip_accept_encoding=True)
            connection.putheader("X-Key", f"{KEY}\n")
    except ValueError as error:
        return error
    raise AssertionError(library)


@pytest.mark.edge_case(
    "a key with a line break in a header", "requests, urllib3, http.client",
    "the library's sentence, without the key",
)  # fmt: skip
@pytest.mark.parametrize("library", ["requests", "http.client"])
def test_what_libraries_say_of_a_key_with_a_line_break(library):
    """Their sentences quote it."""
    error = broken_header(library)
    assert KEY in str(error)
    assert KEY not in without_keys(str(error))


@pytest.mark.parametrize("kind", [ValueError, RowError, LookupError])
def test_a_table_of_rejected_rows_keeps_no_key(kind):
    """Also if the transform raises a `RowError` of its own."""

    class Etl(EtlBase):
        def transform_row(self, row):
            if row["n"] == 1:
                raise kind(f"Client(api_key='{KEY}') got 422 from https://me:{KEY}@host/x")
            return row

    sink = MemorySink("replace")
    job = TransferJob(
        source=MemorySource([{"n": n} for n in range(3)]), transform=Etl, sink=sink,
        on_row_error="reject", max_rejected=2,
    )  # fmt: skip
    report = run_job(job)
    assert report.rejected == 1
    assert "got 422 from https://…@host/x" in sink.rejects[0].message
    assert KEY not in repr(sink.rejects) + report.to_json()


@pytest.mark.parametrize("kind", [JobError, RowError])
def test_every_error_of_etlkit_is_clean_when_it_is_made(kind):
    """So no place that shows one has to think of it."""
    error = kind(f"no answer from https://me:{KEY}@host/x?key={KEY}")
    assert KEY not in repr(error) + str(error) + repr(vars(error))
    refused = ApiError("no", service="crm", status=403, reason=f"api_key={KEY} is suspended")
    assert KEY not in repr(vars(refused))


def test_a_key_at_the_place_where_a_message_is_cut():
    """It is taken out first: half of it would not be known as one. The text is looked at once."""
    for num_chars in range(1955, 2001, 5):
        text = user_error_text(ValueError("x" * num_chars + " AIza" + "Sy" * 18 + "B" * 500))
        assert "AIzaS" not in text
        assert without_keys(text) == text
        assert type(without_keys(text)) is str

    class Password(Exception):  # noqa: N818 - the name matters
        """Its name and its text make a pair."""

    error = TransformError(user_error_text(Password(KEY)))
    assert KEY not in repr(vars(error))
    assert type(error.message) is str
    assert type(pickle.loads(pickle.dumps(error)).message) is str

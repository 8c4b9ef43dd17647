"""`HttpClient`: methods, parameters, headers, forms, files, streams, and errors of one row."""

import json
import re
from email import message_from_bytes
from email.policy import HTTP

import pytest

from etlkit import (
    ApiError,
    ConfigError,
    EtlBase,
    RequestRefusedError,
    RetryPolicy,
    RowError,
    Secret,
    TransferJob,
    run_job,
)
from etlkit.testing import MemorySink, MemorySource

ONCE = RetryPolicy(max_attempts=1, max_outage_s=2)


pytestmark = pytest.mark.usefixtures("run")


@pytest.fixture
def client(server, make_client):
    with make_client(server.url, service="crm") as client:
        yield client


def test_each_method_sends_its_own_request(server, client):
    """Method, body and content type; the JSON of the answer comes back."""
    assert client.get_json("/a") == {"n": 1}
    assert client.post_json("/a", {"x": "犬"}) == {"n": 1}
    assert client.put("/a", [1]) == {"n": 1}
    assert client.patch("/a", None) == {"n": 1}
    assert client.delete("/a") == {"n": 1}
    sent = [
        (each.method, each.body.decode(), each.headers["Content-Type"]) for each in server.asked
    ]
    assert sent == [
        ("GET", "", None),
        ("POST", '{"x": "犬"}', "application/json"),
        ("PUT", "[1]", "application/json"),
        ("PATCH", "null", "application/json"),
        ("DELETE", "", None),
    ]


def test_parameters_are_quoted_and_those_of_the_call_come_before_the_clients(server, make_client):
    """Lists repeat the name, None leaves it out, truth values are in small letters."""
    with make_client(f"{server.url}/v1/", service="crm", params={"v": 3, "lang": "ja"}) as client:
        client.get_json("/a?x=1", params={"q": "a&b c/é", "id": [1, 2], "no": None, "lang": True})
    assert server.asked[0].path == "/v1/a?x=1&v=3&lang=true&q=a%26b+c%2F%C3%A9&id=1&id=2"


@pytest.mark.parametrize("value", [{"a": 1}, b"x", object()])
def test_a_parameter_without_a_text_is_the_rows_error(server, client, value):
    """Nothing is sent, because every service would read it in another way."""
    with pytest.raises(RowError, match="the parameter 'q' is a "):
        client.get_json("/a", params={"q": value})
    assert server.asked == []


def test_headers_of_a_call_replace_those_of_the_client(server, monkeypatch, make_client):
    """Whatever the letters' size; None takes one away; a secret comes from the environment."""
    monkeypatch.setenv("CRM_KEY", "made-up\n")
    headers = {"X-Key": Secret("CRM_KEY"), "Accept": "text/csv"}
    with make_client(server.url, service="crm", headers=headers) as client:
        client.post_json("/a", 1, headers={"accept": "a/b", "content-TYPE": "x/y", "X-Key": None})
        client.get_json("/a")
    first, second = (each.headers for each in server.asked)
    assert first.get_all("Accept") == ["a/b"]
    assert first.get_all("Content-Type") == ["x/y"]
    assert (first["X-Key"], second["X-Key"]) == (None, "made-up")


@pytest.mark.parametrize("header", [{"X": "a\nb"}, {"X": "é"}, {"a b": "c"}, {"X": 5}])
def test_a_header_of_a_call_that_cannot_be_sent_is_the_rows_error(client, header):
    """It may come from the row; its value is not shown."""
    with pytest.raises(RowError, match="header"):
        client.get_json("/a", headers=header)


def test_an_unknown_option_is_named(client):
    """A misspelled option would have no effect, so it is an error."""
    with pytest.raises(TypeError, match=r"unknown option param; there are errors_as_row, headers"):
        client.get_json("/a", param={"q": 1})


@pytest.mark.parametrize(
    ("path", "error"), [("v1/a", ConfigError), ("http://other/", ConfigError), ("/a#b", RowError)]
)
def test_a_path_that_would_not_be_sent_as_it_is_written_is_refused(server, client, path, error):
    """Without a slash it could become a part of the host, and what follows # is dropped."""
    with pytest.raises(error):
        client.get_json(path)
    assert server.asked == []


@pytest.mark.parametrize(
    ("status", "body", "value"),
    [(204, b"", None), (202, b"", None), (201, b"", None), (201, b"[]", []), (200, b"null", None)],
)
def test_an_answer_without_content_is_none(server, client, status, body, value):
    """Its status says that there is none, so it is one call and no error."""
    server.answer = lambda asked: (status, {}, body)
    assert client.post_json("/a", {}) is value or value == []
    assert client.get_json("/a") == value
    assert len(server.asked) == 2


def test_a_200_without_content_is_not_json(server, client):
    """It says that there is some: a proxy may have lost it. Changes are another matter."""
    server.answer = lambda asked: (200, {}, b"")
    with pytest.raises(ApiError, match="answered 200 with something that is not JSON"):
        client.get_json("/a")
    assert len(server.asked) == 3
    assert [client.put("/a", 1), client.patch("/a", 1), client.delete("/a")] == [None] * 3


def test_a_form_is_sent_as_browsers_do(server, client):
    """Names and values are quoted."""
    assert client.post_form("/a", {"a b": "ü&", "n": [1, 2], "none": None}) == {"n": 1}
    asked = server.asked[0]
    assert asked.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert asked.body == b"a+b=%C3%BC%26&n=1&n=2"


def test_files_are_sent_in_a_form(server, client, tmp_path):
    """Bytes, a path, or name, bytes and type; and the other fields. A retry sends the same again."""
    (tmp_path / "cat.jpg").write_bytes(b"\xff\xd8cat")
    answers = [(503, {}, b""), (200, {}, b"{}")]
    server.answer = lambda asked: answers.pop(0)
    files = {"raw": b"\0\1", "photo": tmp_path / "cat.jpg", "doc": ("é.txt", b"text", "a/b")}
    assert client.post_files("/a", files, {"title": "犬"}) == {}
    first, second = server.asked
    assert first.body == second.body
    head = f"Content-Type: {first.headers['Content-Type']}\r\n\r\n".encode()
    parts = {
        part.get_param("name", header="content-disposition"): part
        for part in message_from_bytes(head + first.body, policy=HTTP).iter_parts()
    }
    assert {name: part.get_payload(decode=True) for name, part in parts.items()} == {
        "title": "犬".encode(),
        "raw": b"\0\1",
        "photo": b"\xff\xd8cat",
        "doc": b"text",
    }
    assert parts["photo"].get_content_type() == "image/jpeg"
    assert (parts["photo"].get_filename(), parts["doc"].get_content_type()) == ("cat.jpg", "a/b")


def test_a_bad_request_of_one_row_is_that_rows_error(server, make_client):
    """The service's own reason is in the table of rejected rows, and the run goes on."""

    def answer(asked):
        n = json.loads(asked.body)["n"]
        if n == 2:
            return 422, {}, b'{"detail": [{"loc": ["n"], "msg": "n must be odd"}]}'
        return (404, {}, b"<html>nobody</html>") if n == 4 else (200, {}, b'{"ok": true}')

    class Etl(EtlBase):
        def before_action(self):
            self.api = make_client(
                server.url, service="crm", headers={"X-Key": "k-4711-secret"},
                errors_as_row={404, 422},
            )  # fmt: skip

        def transform_row(self, row):
            return {**row, **self.api.post_json("/v1/rows", row)}

        def after_action(self):
            self.api.close()

    server.answer = answer
    sink = MemorySink("replace")
    job = TransferJob(
        source=MemorySource([{"n": n} for n in range(1, 7)]), transform=Etl, sink=sink,
        on_row_error="reject", max_rejected=0.5,
    )  # fmt: skip
    report = run_job(job)
    assert (report.written, report.rejected, report.calls) == (4, 2, 6)
    assert [(each.error_class, each.code, each.message) for each in sink.rejects] == [
        (
            "RequestRefusedError",
            "422",
            "row 2 (id row-2): crm refused /v1/rows with 422: n must be odd",
        ),
        ("RequestRefusedError", "404", "row 4 (id row-4): crm refused /v1/rows with 404"),
    ]


def test_errors_as_row_can_be_said_for_one_call(server, make_client):
    """It takes the place of the client's, and what is passing is still repeated."""
    answers = [(503, {}, b""), (404, {}, b""), (404, {}, b"")]
    server.answer = lambda asked: answers.pop(0)
    with make_client(server.url, service="crm", errors_as_row={404}) as client:
        with pytest.raises(RequestRefusedError) as caught:
            client.delete("/a")
        assert (caught.value.code, caught.value.attempts) == ("404", 2)
        with pytest.raises(ApiError):
            client.delete("/a", errors_as_row=())


@pytest.mark.parametrize("status", [200, 302, 401, 407, 429, 503, "404"])
def test_not_every_status_can_be_a_rows_error(status, make_client):
    """A wrong key, a proxy or an outage concerns every row."""
    with pytest.raises(ConfigError, match="cannot be the error of one row"):
        make_client("http://h", service="crm", errors_as_row=[status])


def test_a_reason_repeats_no_key_of_the_request(server, make_client):
    """Services quote what they were sent."""
    server.answer = lambda asked: (400, {}, b'{"error": "no user for key k-4711-secret"}')
    with (
        make_client(server.url, service="crm", headers={"X-Key": "k-4711-secret"}) as client,
        pytest.raises(ApiError, match=re.escape("with 400: no user for key …")),
    ):
        client.get_json("/a")

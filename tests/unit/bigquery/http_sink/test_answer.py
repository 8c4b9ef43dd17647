import json

import pytest

from etlkit import ApiError, ConfigError, JobError, RetryableError, RowError
from etlkit.bigquery.http_sink.answer import MAX_ANSWER_BYTES, AnswerReader, check_errors_at


def reader(errors_at=None, *, keeps=True, hide=lambda text: text):
    return AnswerReader(range(200, 300), errors_at, keeps=keeps, hide=hide)


def verdicts(answer, num_rows=1, errors_at=None, rows=None, **options):
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return reader(errors_at, **options).verdicts(body, num_rows, lambda: rows)


def reasons(*args, **options):
    return [verdict.reason for verdict in verdicts(*args, **options)]


def kept(*args, **options):
    return [verdict.answer for verdict in verdicts(*args, **options)]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"error": {"message": "no\n such  thing"}}, "no such thing"),
        ({"error": "bad"}, "bad"),
        ({"title": "Bad", "detail": "name is missing"}, "name is missing"),
        ({"errors": [{"message": "first"}, {"message": "second"}]}, "first"),
        ({"code": 7}, '{"code": 7}'),
        ([], ""),
        (b"plain words", "plain words"),
        (b"<html>a page</html>", ""),
        (b"", ""),
        ({"message": "x" * 999}, "x" * 300 + "…"),
    ],
)
def test_the_reason_of_a_refusal(body, reason):
    """In the usual places, in one line, bounded."""
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert reader().refusal(422, body, "crm") == reason


@pytest.mark.parametrize("status", [301, 401, 402, 403, 405, 407, 415, 501])
def test_what_concerns_all_requests_ends_the_run(status):
    """With the API's words, without keys."""
    body = b'{"message": "key abc"}'
    with pytest.raises(ApiError, match=rf"crm answered {status}.*key …") as caught:
        reader(hide=lambda text: text.replace("abc", "…")).refusal(status, body, "crm")
    assert caught.value.status == status


def test_without_errors_at_a_success_is_about_all_rows():
    """Whatever the body says, also a page or nothing."""
    assert reasons({"errors": ["x"]}, 3) == [None] * 3
    assert reasons(b"<html>", 2) == [None] * 2


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("items[].error", {"items": [{"id": 1}, {"error": {"message": "bad"}}, {"error": None}]}),
        ("[].error", [{}, {"error": "bad"}, {"error": ""}]),
        ("a.b[]", {"a": {"b": [None, "bad", False]}}),
        ("items[].index.error", {"items": [{"index": {}}, {"index": {"error": "bad"}}, {}]}),
        ("errors[index]", {"errors": [{"index": 1, "message": "bad"}]}),
        ("errors[row.at].why", {"errors": [{"row": {"at": 1}, "why": ["bad"]}]}),
    ],
)
def test_a_path_leads_to_the_errors_of_single_rows(path, answer):
    """One entry a row, or entries that name the position of a failed row."""
    assert reasons(answer, 3, path) == [None, "bad", None]


def test_no_list_of_failed_rows_means_that_none_failed():
    """APIs leave it out, or send null."""
    assert reasons({}, 2, "errors[index]") == reasons({"errors": None}, 2, "errors[index]")
    assert reasons({}, 2, "errors[index]") == [None, None]


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("items[]", {"items": [None]}),
        ("items[]", {"items": "x"}),
        ("items[]", []),
        ("errors[index]", {"errors": [{"index": 2}]}),
        ("errors[index]", {"errors": [{"index": "1"}]}),
    ],
)
def test_an_answer_that_cannot_be_matched_ends_the_run(path, answer):
    """Nobody knows what became of the rows."""
    with pytest.raises(JobError, match="row"):
        reasons(answer, 2, path)


def test_an_answer_that_is_no_json_is_asked_for_again():
    """If it is needed: it may come from a proxy."""
    with pytest.raises(RetryableError) as caught:
        reasons(b"<html>", 1, "[].error")
    assert caught.value.code == "not_json"


def test_a_function_decides():
    """None = accepted; a text or an exception = refused; a `RetryableError` = later."""

    def errors_at(answer, rows):
        return [answer.get(row["n"]) for row in rows]

    found = verdicts({"b": "bad"}, 2, errors_at, [{"n": "a"}, {"n": "b"}])
    assert [each.reason for each in found] == [None, "bad"]
    later = RetryableError("busy", status=429)
    found = verdicts({}, 2, lambda *_: [RowError("no"), later])
    assert [(v.reason, v.is_transient, v.code) for v in found] == [
        ("no", False, None),
        ("busy", True, "429"),
    ]


@pytest.mark.parametrize("errors_at", [lambda *_: [], lambda *_: 1 / 0])
def test_a_function_that_is_wrong_ends_the_run(errors_at):
    """It says so, instead of rejecting rows that were accepted."""
    with pytest.raises(JobError, match="errors_at"):
        reasons({}, 2, errors_at)


def test_answers_are_kept_with_their_rows():
    """The entry of each row; a short answer to several rows with each; a text as a JSON text."""
    assert kept({"id": 1}) == ['{"id":1}']
    assert kept([1, 2], 2) == ["1", "2"]
    assert kept({"items": [{"id": 1}, {"id": 2}]}, 2, "items[].error") == ['{"id":1}', '{"id":2}']
    assert kept({"job": 7}, 2) == ['{"job":7}'] * 2
    assert kept(b"OK") == ['"OK"']
    assert kept(b"") == [None]
    assert kept({"id": 1}, keeps=False) == [None]


def test_answers_that_cannot_be_kept_are_left_out():
    """Too large, too deep, too long a number: the row is accepted all the same."""
    assert kept({"x": "y" * 9000}, 2) == [None, None]
    deep = b"[" * 600 + b"]" * 600
    for body in (b'"' + b"x" * MAX_ANSWER_BYTES + b'"', deep, b"[" * 99_999, b"9" * 30):
        assert kept(body) in ([None], ['"' + body.decode() + '"'])
        assert reasons(body) == [None]


@pytest.mark.parametrize("path", ["items", "[a][b]", "items[].", ""])
def test_a_wrong_path_shows_the_right_forms(path):
    """When the job is described."""
    with pytest.raises(ConfigError, match=r"items\[\]\.error"):
        check_errors_at(path)

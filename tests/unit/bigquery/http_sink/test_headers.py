import pytest

from etlkit import ConfigError
from etlkit.bigquery.http_sink.headers import Headers, check_headers

TOKEN = "tok-0123456789"


def test_values_come_from_the_environment():
    """In any place of a value; JSON is the content type unless the job says another one."""
    made = Headers({"Authorization": "Bearer ${CRM}", "content-type": "x/y"}, {"CRM": TOKEN})
    assert made.values["Authorization"] == f"Bearer {TOKEN}"
    assert made.values["content-type"] == "x/y"
    assert "Content-Type" not in made.values
    assert Headers({}, {}).values["Content-Type"] == "application/json"


def test_values_are_not_shown():
    """Names of variables are; texts that stand in the job are hidden, as they may be keys."""
    shown = Headers.shown_of({"Authorization": "Bearer ${CRM}", "X-Key": TOKEN, "Accept": "a/b"})
    assert shown == {
        "Authorization": "Bearer ${CRM}",
        "X-Key": "…",
        "Accept": "a/b",
        "Content-Type": "application/json",
    }


def test_an_answer_that_repeats_a_key_is_cleaned():
    """The whole value and its words; other texts stay."""
    made = Headers({"Authorization": "Bearer ${CRM}", "X-V": "v2"}, {"CRM": TOKEN})
    assert made.hide(f"bad key {TOKEN} for v2, Bearer") == "bad key … for v2, Bearer"
    assert made.hide("see ?api_key=abcdef") == "see ?api_key=…"


@pytest.mark.parametrize("environ", [{}, {"CRM": ""}])
def test_a_missing_variable_is_named(environ):
    """And the header that needs it."""
    with pytest.raises(ConfigError, match=r"CRM is not set.*Authorization"):
        Headers({"Authorization": "Bearer ${CRM}"}, environ)


def test_a_value_that_no_header_holds_is_not_shown():
    """A file with a key often ends with a line break."""
    with pytest.raises(ConfigError, match="strip") as caught:
        Headers({"X-Key": "${KEY}"}, {"KEY": f"{TOKEN}\n"})
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"X Y": "1"}, "not a header"),
        ({"X": 1}, "not a header"),
        ({"Content-Length": "1"}, "connection itself"),
        ({"X": "${A"}, "without a name"),
        ({"idempotency-key": "1"}, "its own key"),
    ],
)
def test_headers_that_cannot_be_sent_are_refused(headers, message):
    """When the job is described."""
    with pytest.raises(ConfigError, match=message):
        check_headers(headers, "Idempotency-Key")
    check_headers({"Idempotency-Key": "mine"}, None)
    with pytest.raises(ConfigError, match="name of a header"):
        check_headers({}, "X Y")

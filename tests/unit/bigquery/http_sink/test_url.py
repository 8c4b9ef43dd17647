from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etlkit import ConfigError, RowSchemaError
from etlkit.bigquery.http_sink.url import UrlTemplate


def path(url, **values):
    return UrlTemplate(url).path(values)


def test_columns_stand_in_path_and_query():
    """Each is quoted; the rest stays as it is written."""
    url = "https://crm.example.com/v1/customers/{id}/tags?since={at}&x=a%20b"
    template = UrlTemplate(url)
    assert template.columns == ("id", "at")
    assert template.origin == "https://crm.example.com"
    assert template.shown == "https://crm.example.com/v1/customers/{id}/tags"
    made = template.path({"id": "a/b c", "at": "2024-01-01T00:00:00+00:00"})
    assert made == "/v1/customers/a%2Fb%20c/tags?since=2024-01-01T00%3A00%3A00%2B00%3A00&x=a%20b"


def test_an_address_may_be_nothing_but_a_host():
    """The path is `/` then, and letters beyond ASCII are quoted."""
    assert path("https://example.com") == "/"
    assert path("https://example.com/käse/{größe}", größe=3) == "/k%C3%A4se/3"


@pytest.mark.parametrize(
    ("value", "text"), [(7, "7"), (1.5, "1.5"), (True, "true"), ("…", "%E2%80%A6")]
)
def test_values_are_written_as_json_has_them(value, text):
    """Texts without quotes."""
    assert path("https://h/{a}", a=value) == f"/{text}"


@pytest.mark.parametrize("value", [None, "", ".", "..", {"a": 1}, [1]])
def test_a_value_that_would_lead_elsewhere_is_the_rows_error(value):
    """`DELETE /customers/` would be about all customers."""
    with pytest.raises(RowSchemaError, match="address") as caught:
        path("https://h/customers/{id}", id=value)
    assert caught.value.column == "id"


@given(st.text(min_size=1).filter(lambda text: text not in {".", ".."}))
def test_no_value_leaves_its_place(value):
    """Whatever it holds, the path has the same segments and the query the same names."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return
    made = urlsplit(path("https://h/a/{x}/b?q={x}&r=1", x=value))
    first, a, x, b = made.path.split("/")
    assert (first, a, unquote(x), b) == ("", "a", value, "b")
    assert parse_qs(made.query, keep_blank_values=True) == {"q": [value], "r": ["1"]}


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("crm.example.com/x", "https://host/path"),
        ("ftp://h/x", "https://host/path"),
        ("https:///x", "https://host/path"),
        ("https://me:secret@h/x", "headers="),
        ("https://{host}/x", "host cannot come from a row"),
        ("https://h/x#y", "never sent"),
        ("https://h/{a", "%7B"),
        ("http://crm.example.com/x", "allow_http=True"),
    ],
)
def test_a_wrong_address_says_what_is_right(url, message):
    """Before anything is sent, and without showing a password."""
    with pytest.raises(ConfigError, match=message) as caught:
        UrlTemplate(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1:80", "localhost", "[::1]:8080"])
def test_plain_text_may_stay_on_this_machine(host):
    """Elsewhere it must be allowed."""
    assert UrlTemplate(f"http://{host}/x").origin == f"http://{host}"
    assert UrlTemplate("http://10.0.0.1/x", allow_http=True).host == "10.0.0.1"

"""Pages of lists: by a header, a link, a cursor or a number, and what ends them."""

import json
from urllib.parse import parse_qsl, urlsplit

import pytest

from etlkit import ApiError, ConfigError, RowError
from etlkit.calls.paging import Cursor, LinkHeader, NextLink, PageNumber

ITEMS = list(range(7))


def query_of(asked):
    return dict(parse_qsl(urlsplit(asked.path).query))


pytestmark = pytest.mark.usefixtures("run")


@pytest.fixture
def read(make_client):
    def pages(server, paging, **options):
        with make_client(f"{server.url}/v1", service="crm") as client:
            return list(client.pages("/items", paging, params={"size": 3}, **options))

    return pages


def json_answer(value, **headers):
    return 200, headers, json.dumps(value).encode()


def page_of(asked, name="page", first=1):
    at = (int(query_of(asked).get(name, first)) - first) * 3
    return at, ITEMS[at : at + 3]


@pytest.mark.parametrize(
    "link",
    [
        '<{url}/v1/items?page={n}&size=3>; rel="next"',
        '<{url}/x>; rel=first, </v1/items?size=3&page={n}>; title="a, b"; rel="last next"',
        "<?page={n}&size=3>;REL=next",
        "<http://127.0.0.1/v1/items?page={n}&size=3>; rel=next",
    ],
)
def test_a_link_header_leads_to_the_next_page(server, link, read):
    """Whole or relative addresses, several links, quoted or not, also without the port."""

    def answer(asked):
        at, items = page_of(asked)
        more = at + 3 < len(ITEMS)
        n = at // 3 + 2
        return json_answer(items, **({"Link": link.format(url=server.url, n=n)} if more else {}))

    server.answer = answer
    assert read(server, LinkHeader()) == [[0, 1, 2], [3, 4, 5], [6]]
    assert [query_of(each)["size"] for each in server.asked] == ["3"] * 3


def test_a_link_in_the_page_leads_to_the_next_one(server, read):
    """Null ends the list, and so does a page without the key."""

    def answer(asked):
        at, items = page_of(asked)
        following = f"{server.url}/v1/items?page={at // 3 + 2}" if at + 3 < len(ITEMS) else None
        return json_answer({"data": items, "links": {"next": following}})

    server.answer = answer
    assert [page["data"] for page in read(server, NextLink("links.next"))] == [
        [0, 1, 2], [3, 4, 5], [6],
    ]  # fmt: skip


@pytest.mark.parametrize("end", [None, ""])
def test_a_cursor_is_sent_with_the_parameters_of_the_first_page(server, end, read):
    """An empty page with a cursor is not the end: services filter behind their pages."""
    pages = {None: ([0], "b c"), "b c": ([], 7), "7": ([1], end)}

    def answer(asked):
        items, token = pages[query_of(asked).get("pageToken")]
        return json_answer({"items": items, "meta": {"next": token}})

    server.answer = answer
    got = read(server, Cursor("meta.next", "pageToken"))
    assert [page["items"] for page in got] == [[0], [], [1]]
    assert [query_of(each) for each in server.asked] == [
        {"size": "3"},
        {"size": "3", "pageToken": "b c"},
        {"size": "3", "pageToken": "7"},
    ]


def test_numbers_grow_until_a_page_is_empty(server, read):
    """The empty page is asked for, because nothing else says where the list ends."""
    server.answer = lambda asked: json_answer(page_of(asked)[1])
    assert read(server, PageNumber()) == [[0, 1, 2], [3, 4, 5], [6], []]
    assert [query_of(each)["page"] for each in server.asked] == ["1", "2", "3", "4"]


def test_a_page_may_say_the_last_number(server, read):
    """Then no more is asked for."""
    server.answer = lambda asked: json_answer({"all": {"of": page_of(asked)[1], "pages": 3}})
    assert len(read(server, PageNumber(items_at="all.of", last_at="all.pages"))) == 3


def test_a_step_makes_offsets(server, read):
    """The number is that of the first item."""

    def answer(asked):
        at = int(query_of(asked)["offset"])
        return json_answer(ITEMS[at : at + 3])

    server.answer = answer
    assert read(server, PageNumber("offset", first_number=0, step=3))[:3] == [
        [0, 1, 2], [3, 4, 5], [6],
    ]  # fmt: skip
    with pytest.raises(ConfigError, match=r"PageNumber\(step=0\)"):
        PageNumber(step=0)


def test_a_page_without_a_list_is_an_error(server, read):
    """A misspelled place would look like a short list."""
    server.answer = lambda asked: json_answer({"rows": [1]})
    with pytest.raises(RowError, match="no list at 'items'"):
        read(server, PageNumber(items_at="items"))


@pytest.mark.parametrize(
    "paging", [Cursor("next", "cursor"), NextLink("next")], ids=["cursor", "link"]
)
def test_a_circle_of_pages_ends(server, paging, read):
    """It would be read, and paid for, until the caps end the run."""
    other = {"b": "/v1/items?size=3&cursor=c", "c": "/v1/items?size=3&cursor=b"}

    def answer(asked):
        at = query_of(asked).get("cursor", "c")
        is_link = isinstance(paging, NextLink)
        return json_answer({"next": other[at] if is_link else "c" if at == "b" else "b"})

    server.answer = answer
    with pytest.raises(ApiError, match="the page after page 3 of /items was read already"):
        read(server, paging)
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    "link", ["http://other.example/x", "//other.example/x", "http://127.0.0.1:1/x", "http://[/"]
)
def test_no_page_leads_to_another_host(server, link, read):
    """The keys of this one would go there."""
    server.answer = lambda asked: json_answer({"next": link})
    with pytest.raises(ApiError, match="leads to another host"):
        read(server, NextLink("next"))
    assert len(server.asked) == 1


def test_a_list_may_have_a_largest_number_of_pages(server, read):
    """More is an error: a list that was cut off looks like a whole one."""
    server.answer = lambda asked: json_answer(page_of(asked)[1])
    assert len(read(server, PageNumber(), max_pages=4)) == 4
    with pytest.raises(RowError, match=r"more than max_pages=2 pages of /items"):
        read(server, PageNumber(), max_pages=2)


def test_each_page_has_its_own_retries(server, run, read):
    """And is counted as a call."""
    failures = {"1": 1, "3": 2}

    def answer(asked):
        page = query_of(asked)["page"]
        if failures.get(page):
            failures[page] -= 1
            return 503, {}, b""
        return json_answer(page_of(asked)[1])

    server.answer = answer
    assert len(read(server, PageNumber())) == 4
    assert (run.meter.calls, run.meter.retries) == (7, 3)

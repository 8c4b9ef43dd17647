"""How the pages of a list follow each other: by a `Link` header, a link, a cursor or a number.

Each kind is a value without a state: it only says what to ask for after a page. The client that reads
the pages knows where it is, so one object may serve many lists at once. Nothing is guessed from an
answer: a wrong guess reads the first page only, and looks like a short list.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from etlkit.errors import ConfigError, RowError

_LINK: Final = re.compile(
    r"<(?P<target>[^>]*)>"
    r"(?P<params>(?:\s*;\s*[^,;=\s]+(?:\s*=\s*(?:\"[^\"]*\"|[^,;\"\s]*))?)*)"
)
_REL: Final = re.compile(
    r";\s*rel\s*=\s*(?:\"(?P<quoted>[^\"]*)\"|(?P<plain>[^,;\s]+))", re.IGNORECASE
)
"""Source: https://www.rfc-editor.org/rfc/rfc8288#section-3"""


@dataclass(frozen=True)
class NextPage:
    """What to ask for after a page; one of the two.

    Attributes:
        link: An address, whole or relative to that of the page; None = there is none.
        params: Parameters to add to those of the first page, or to put in their place.
    """

    link: str | None = None
    params: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Page:
    """A page that was read.

    Attributes:
        json: The JSON of the answer.
        headers: Of the answer.
        number: How many pages were read, this one included.
    """

    json: Any
    headers: Mapping[str, str]
    number: int


class Paging(Protocol):
    """How the pages of a list follow each other."""

    def first(self) -> Mapping[str, Any]:
        """Parameters of the first page, beside the user's."""
        ...

    def after(self, page: Page) -> NextPage | None:
        """What comes after a page; None = it was the last one."""
        ...


@dataclass(frozen=True)
class LinkHeader:
    """The header `Link: <https://host/items?page=2>; rel="next"`, as GitHub sends it.

    Attributes:
        rel: The name of the relation.
    """

    rel: str = "next"

    def first(self) -> Mapping[str, Any]:
        """See `Paging`."""
        return {}

    def after(self, page: Page) -> NextPage | None:
        """See `Paging`."""
        for each in _LINK.finditer(page.headers.get("Link", "")):
            rel = _REL.search(each["params"])
            names = "" if rel is None else rel["quoted"] or rel["plain"] or ""
            if self.rel.lower() in names.lower().split():
                return NextPage(link=each["target"])
        return None


@dataclass(frozen=True)
class NextLink:
    """The address of the next page, somewhere in the JSON.

    Attributes:
        at: Where, e.g. `next` or `links.next`. It is missing, null or empty in the last page.
    """

    at: str

    def first(self) -> Mapping[str, Any]:
        """See `Paging`."""
        return {}

    def after(self, page: Page) -> NextPage | None:
        """See `Paging`."""
        link = _dig(page.json, self.at)
        return NextPage(link=str(link)) if link else None


@dataclass(frozen=True)
class Cursor:
    """A token for the next page, somewhere in the JSON, which is sent as a parameter.

    Attributes:
        at: Where, e.g. `nextPageToken` or `meta.next_cursor`. It is missing, null or empty in the
            last page.
        param: The parameter's name, e.g. `pageToken`.
    """

    at: str
    param: str

    def first(self) -> Mapping[str, Any]:
        """See `Paging`."""
        return {}

    def after(self, page: Page) -> NextPage | None:
        """See `Paging`."""
        token = _dig(page.json, self.at)
        if token in (None, ""):
            return None
        return NextPage(params={self.param: token})


@dataclass(frozen=True)
class PageNumber:
    """The number of a page as a parameter, or with a `step` the number of its first item.

    Attributes:
        param: The parameter's name, e.g. `page` or `offset`.
        items_at: Where a page has its items, e.g. `items`; empty = the page itself is the list. A
            page without items is behind the last one.
        first_number: Of the first page, or item.
        step: How much the next number is larger: 1, or the items of a page.
        last_at: Where a page says the number of the last page; None = the empty page ends the list.
    """

    param: str = "page"
    items_at: str = ""
    first_number: int = 1
    step: int = 1
    last_at: str | None = None

    def __post_init__(self) -> None:
        """Raise if the numbers would not grow.

        Raises:
            ConfigError: With what is allowed.
        """
        if self.step < 1:
            raise ConfigError(f"PageNumber(step={self.step}): it must be 1 or more")

    def first(self) -> Mapping[str, Any]:
        """See `Paging`."""
        return {self.param: self.first_number}

    def after(self, page: Page) -> NextPage | None:
        """See `Paging`."""
        items = _dig(page.json, self.items_at)
        if not isinstance(items, list):
            at = f"at {self.items_at!r}" if self.items_at else "in place of the page"
            raise RowError(f"PageNumber(items_at=…): the page has no list {at}")
        upcoming = self.first_number + page.number * self.step
        last = None if self.last_at is None else _dig(page.json, self.last_at)
        is_last = isinstance(last, int) and upcoming > last
        return None if not items or is_last else NextPage(params={self.param: upcoming})


def _dig(value: Any, path: str) -> Any:
    for key in path.split(".") if path else ():
        value = value.get(key) if isinstance(value, dict) else None
    return value

"""What is sent in one request: items, and the key under which an API knows them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from etlkit.bigquery.http_sink.url import PLACEHOLDER
from etlkit.errors import RowError, RowSchemaError

_PLAIN_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
"""Row ids that a header can hold as they are."""


@dataclass(frozen=True, slots=True)
class Item:
    """One row for the API.

    Attributes:
        row_id: Id of the source row.
        part: Which of the rows it became, 0 = first.
        num_parts: How many it became.
        attempt: The attempt of the run that staged it.
        position: Counts the items of that attempt, in order.
        text: The row as JSON.
    """

    row_id: str
    part: int
    num_parts: int
    attempt: int
    position: int
    text: str

    @property
    def id(self) -> tuple[str, int]:
        """Row id and part."""
        return self.row_id, self.part


@dataclass(frozen=True, slots=True)
class ItemOutcome:
    """What the API said about one item.

    Attributes:
        item: The item.
        status: The HTTP status; None = there was no answer.
        answer: The API's answer as JSON text; None = it is not kept, or there was none.
        error: Why it was refused; None = it was accepted.
    """

    item: Item
    status: int | None = None
    answer: str | None = None
    error: RowError | None = None

    @property
    def name(self) -> Literal["accepted", "refused"]:
        """As it is recorded."""
        return "accepted" if self.error is None else "refused"


def key_of(run_id: str, items: Sequence[Item]) -> str:
    """The idempotency key of a request: the same whenever the same items are sent in the same run.

    It contains the attempt that staged the items. What was staged is sent again as it is, under the
    same key; a row that is transformed anew gets another one, because some APIs repeat their first
    answer to a key, refusals included.
    """
    first = items[0]
    prefix = f"{run_id}-{first.attempt}"
    if len(items) > 1:
        return f"{prefix}-{_digest(*(f'{item.row_id}/{item.part}' for item in items))}"
    row_id = first.row_id if _PLAIN_ID.fullmatch(first.row_id) else _digest(first.row_id)
    return f"{prefix}-{row_id}" + (f"-{first.part}" if first.num_parts > 1 else "")


def key_in_words(template: str, values: Mapping[str, Any]) -> str:
    """The idempotency key that a job words itself; one that no header can hold is digested.

    Args:
        template: With columns as `{name}`.
        values: The row's values, as JSON has them.

    Raises:
        RowSchemaError: The row has no value for it.
    """

    def text(found: re.Match[str]) -> str:
        value = values.get(found[1])
        if value is None or value == "":
            raise RowSchemaError("the row has no value for its idempotency key", column=found[1])
        return value if isinstance(value, str) else json.dumps(value)

    key = PLACEHOLDER.sub(text, template)
    return key if _PLAIN_ID.fullmatch(key) else _digest(key)


def _digest(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:32]


def halves(items: list[Item]) -> tuple[list[Item], list[Item]]:
    """The items of a request that was refused as a whole, for two smaller ones."""
    middle = (len(items) + 1) // 2
    return items[:middle], items[middle:]


def unsettled(items: list[Item], settled: set[tuple[str, int]]) -> list[list[Item]]:
    """The requests that are still to be made of a bundle some of whose items have an outcome.

    They are cut where `halves` cuts: then a request that was on its way when its process died has the
    same items again, and the same key.

    Args:
        items: All items of the bundle, in order.
        settled: Ids of those with an outcome.
    """
    open_ids = [item for item in items if item.id not in settled]
    if len(open_ids) in {0, len(items)}:
        return [items] if open_ids else []
    first, second = halves(items)
    return [*unsettled(first, settled), *unsettled(second, settled)]

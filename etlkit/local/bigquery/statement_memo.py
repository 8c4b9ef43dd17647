"""What texts were made of statements, for statements that differ only in the ids of runs, too.

The work tables of a run have its id in their names, and its statements have the token of its owner as
a literal. So the statements of two runs never have the same text. What is made of one statement is
taken for the next only if it has been seen that nothing but the ids differs: with the statements of two
runs, both worked out, and both results the same but for the ids.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock
from typing import Final

from etlkit.local.bigquery.user_cache import KeptTexts

_ID: Final = re.compile(
    r"(?<![0-9A-Za-z])\d{8}_\d{9}_[0-9a-f]{8}(?![0-9A-Za-z])"
    r"""|(?<=[^\w\\]["'])(?=[0-9a-f]*[a-df])(?=[0-9a-f]*[0-9])[0-9a-f]{16}(?=["'])"""
)
"""The id of a run, in a name or in a literal; a token that is a whole literal, and no number."""

_MARK: Final = re.compile("\x00([0-9]+)\x00")


class Template:
    """A text with a mark in place of each id. The mark is the id's position among all of them, sorted.

    Attributes:
        text: The text with the marks.
        ids: The ids, sorted.
        is_plain: Whether the text had no marks of its own.
    """

    def __init__(self, text: str) -> None:
        self.ids: tuple[str, ...] = ()
        self.is_plain: bool = "\x00" not in text
        found = set(_ID.findall(text)) if self.is_plain else set()
        if any(a in b for a in found for b in found if a != b):
            found = set()  # it would not be certain what stands for what
        self.ids = tuple(sorted(found))
        self.text: str = self.hide(text)

    def hide(self, text: str) -> str:
        """A text with marks in the place of the ids."""
        for number, each in enumerate(self.ids):
            text = text.replace(each, f"\x00{number}\x00")
        return text

    def show(self, text: str) -> str:
        """The inverse of `hide`."""
        if not self.ids:
            return text
        return _MARK.sub(lambda match: self.ids[int(match[1])], text)


@dataclass(slots=True)
class _Entry:
    """A result with marks.

    Attributes:
        ids: The ids that it was found with.
        is_general: Whether it holds for others; None = nobody knows yet.
    """

    result: str
    ids: tuple[str, ...]
    is_general: bool | None = None

    def holds_for(self, ids: tuple[str, ...]) -> bool:
        return self.is_general or self.ids == ids


_Key = tuple[str, tuple[str, ...]]
"""The text of a template, and the ids that alone its entry is about; none = it may be about all."""


class StatementMemo:
    """Results of a function from texts to texts that depends on nothing else. Any thread may use it.

    Args:
        name: What is kept is kept under it.
        max_entries: More push out those that were not asked for the longest.
        max_chars: Longer texts are not kept.

    Attributes:
        kept: Where results are kept for later processes; None = nowhere.
    """

    def __init__(self, name: str = "", max_entries: int = 2048, max_chars: int = 50_000) -> None:
        self._name, self._max_entries, self._max_chars = name, max_entries, max_chars
        self._entries: OrderedDict[_Key, _Entry] = OrderedDict()
        self._lock = Lock()
        self.kept: KeptTexts | None = None

    def find(self, template: Template) -> str | None:
        """The result for a text; None = it is not known."""
        with self._lock:
            for key in ((template.text, ()), (template.text, template.ids)):
                entry = self._entry(key)
                if entry is not None and entry.holds_for(template.ids):
                    self._entries.move_to_end(key)
                    return template.show(entry.result)
        return None

    def keep(self, template: Template, result: str) -> None:
        """Remember the result of a text that `find` did not know."""
        length = len(template.text) + len(result)
        if not template.is_plain or "\x00" in result or length > self._max_chars:
            return
        made = _Entry(template.hide(result), template.ids)
        with self._lock:
            known = self._entry((template.text, ()))
            if known is None:
                self._put((template.text, ()), made)
            elif known.ids != made.ids:
                is_same = known.result == made.result and known.is_general is not False
                known.is_general = is_same
                self._put((template.text, ()), known)
                if not is_same:
                    self._put((template.text, template.ids), made)
            while len(self._entries) > self._max_entries:
                self._entries.popitem(last=False)

    def _entry(self, key: _Key) -> _Entry | None:
        known = self._entries.get(key)
        if known is None and self.kept is not None:
            text = self.kept.get(self._digest(key))
            if text is not None:
                result, ids, is_general = json.loads(text)
                known = self._entries[key] = _Entry(result, tuple(ids), is_general)
        return known

    def _put(self, key: _Key, entry: _Entry) -> None:
        self._entries[key] = entry
        if self.kept is not None:
            text = json.dumps([entry.result, entry.ids, entry.is_general])
            self.kept.put(self._digest(key), text)

    def _digest(self, key: _Key) -> bytes:
        return hashlib.sha256(json.dumps([self._name, *key]).encode()).digest()

"""Why a service refused a request, in its own words: one short line out of an answer."""

from __future__ import annotations

import json
from typing import Any, Final

_MAX_CHARS: Final = 300
_KEYS: Final = (
    "message", "msg", "detail", "error", "title", "reason", "error_description", "error_message",
    "Message", "errors",
)  # fmt: skip
"""Where services put it, in this order. Among them: https://www.rfc-editor.org/rfc/rfc9457 and
https://www.rfc-editor.org/rfc/rfc6749#section-5.2"""


def reason_in(body: bytes) -> str:
    """The reason in the body of an answer; empty = there is none, or the body is a page."""
    try:
        return reason_of(json.loads(body))
    except (ValueError, RecursionError):
        text = body[:_MAX_CHARS].decode("utf-8", "replace").strip()
        return "" if text.startswith("<") else in_one_line(text)


def reason_of(found: Any) -> str:
    """The reason in a value out of JSON, in the usual places; empty = there is none."""
    if isinstance(found, str):
        return in_one_line(found)
    if isinstance(found, list):
        return reason_of(found[0]) if found else ""
    if isinstance(found, dict):
        for key in _KEYS:
            if (text := reason_of(found.get(key))) != "":
                return text
        return in_one_line(json.dumps(found, ensure_ascii=False, default=str))
    return "" if found is None else in_one_line(str(found))


def in_one_line(text: str) -> str:
    """A text as one line of bounded length."""
    line = " ".join(text.split())
    return line if len(line) <= _MAX_CHARS else f"{line[:_MAX_CHARS]}…"

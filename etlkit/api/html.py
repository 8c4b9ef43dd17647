"""Reports as HTML for notebooks: small tables, readable on light and dark pages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

_STYLE = (
    "<style>"
    ".etlkit{font:13px/1.5 system-ui,sans-serif;color:inherit;margin:.3em 0;"
    "overflow-x:auto}"
    ".etlkit table{font-size:inherit;border-collapse:collapse;margin:.2em 0;"
    "color:inherit;background:transparent}"
    ".etlkit th,.etlkit td{padding:.15em .7em;text-align:left;vertical-align:top;color:inherit;"
    "background:transparent;border-bottom:1px solid rgba(128,128,128,.35);max-width:32em;"
    "overflow-wrap:break-word;white-space:pre-wrap}"
    ".etlkit th{font-weight:600;white-space:nowrap}.etlkit pre{font-size:inherit;margin:.2em 0;"
    "color:inherit;white-space:pre-wrap}"
    ".etlkit td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}"
    ".etlkit caption{white-space:nowrap;text-align:left;caption-side:top;color:inherit;padding:.2em 0}"
    ".etlkit .good{color:#2a9d5c}.etlkit .bad{color:#e05252}.etlkit .new{background:"
    "rgba(42,157,92,.18)}"
    "</style>"
)
"""Colors that have contrast on white and on black; everything else is the page's own."""

_MAX_TEXT_CHARS = 500
_GOOD = frozenset({"published", "checked", "succeeded", "done"})
_BAD = frozenset({"failed", "interrupted", "dead"})


def page_of(*parts: str) -> str:
    """Parts of a report, with what they need to look well."""
    return f'<div class="etlkit">{_STYLE}{"".join(filter(None, parts))}</div>'


def text(value: Any) -> str:
    """A value as it may stand in HTML, cut if it is long; None = empty."""
    if value is None:
        return ""
    shown = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    return escape(shown if len(shown) <= _MAX_TEXT_CHARS else shown[:_MAX_TEXT_CHARS] + "…")


def state(value: str) -> str:
    """A state in its color."""
    kind = "good" if value in _GOOD else "bad" if value in _BAD else ""
    return f'<b class="{kind}">{escape(value)}</b>'


def headline(*words: str) -> str:
    """A line of HTML parts."""
    return f"<div>{' '.join(words)}</div>"


def error(message: str | None) -> str:
    """A message in its color; None = nothing."""
    return "" if message is None else f'<div class="bad"><pre>{text(message)}</pre></div>'


def table(
    names: Sequence[str], rows: Iterable[Sequence[Any]], *, caption: str | None = None
) -> str:
    """A table. Values are escaped, except those that are `Html`; numbers stand at the right.

    Args:
        names: Of the columns.
        rows: Values, one for each column.
        caption: Above it; None = none.
    """
    head = "".join(f"<th>{text(name)}</th>" for name in names) if any(names) else ""
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    above = "" if caption is None else f"<caption>{text(caption)}</caption>"
    return f"<table>{above}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


class Html(str):
    """A text that is HTML already."""

    __slots__ = ()


def marked(value: Any) -> Html:
    """A value that has changed."""
    return Html(f'<span class="new">{text(value)}</span>')


def _cell(value: Any) -> str:
    if isinstance(value, Html):
        return f"<td>{value}</td>"
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return f'<td class="n">{text(value)}</td>' if is_number else f"<td>{text(value)}</td>"

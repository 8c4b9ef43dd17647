"""Counts as people read them."""

from __future__ import annotations


def number_of(count: int, thing: str) -> str:
    """`1 row`, `1,234 rows`."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"

"""Numbers as people read them: sizes, durations, money, counts."""

from __future__ import annotations

from datetime import datetime


def count_text(count: int | None) -> str:
    """`1,234`; None = empty."""
    return "" if count is None else f"{count:,}"


def size_text(num_bytes: int | None) -> str:
    """`512 B`, `1.5 GiB`; None = empty."""
    if num_bytes is None:
        return ""
    size, units = float(num_bytes), ["B", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        units.pop(0)
    return f"{size:,.0f} {units[0]}" if units[0] == "B" else f"{size:,.1f} {units[0]}"


def duration_text(seconds: float | None) -> str:
    """`0.3 s`, `12 s`, `4 min 05 s`, `2 h 07 min`, `3 d 4 h`; None = empty."""
    if seconds is None:
        return ""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    hours, minutes = divmod(round(whole / 60), 60)
    if hours < 24:
        return f"{hours} h {minutes:02} min"
    days, hours = divmod(round(whole / 3600), 24)
    return f"{days} d {hours} h"


def cost_text(usd: float | None) -> str:
    """`0.0042 USD`, `7.44 USD`; None = empty."""
    if usd is None:
        return ""
    return f"{usd:,.2f} USD" if usd >= 1 or usd == 0 else f"{usd:,.4f} USD"


def money_text(amount: float, currency: str) -> str:
    """`7.44 USD`, `0.0042 USD`: two decimals, or two significant digits of a small amount."""
    return f"{amount_text(amount)} {currency}"


def amount_text(amount: float) -> str:
    """`7.44`, `0.0042`, `0.00`."""
    return f"{amount:,.2f}" if amount >= 1 or not amount else f"{amount:.2g}"


def time_text(iso: str | None) -> str:
    """`2024-01-31 09:15:02 UTC` of a time in ISO 8601; text that is none as it is; None = empty."""
    moment = parse_time(iso)
    if moment is None:
        return iso or ""
    return f"{moment:%Y-%m-%d %H:%M:%S} {moment.tzname() or ''}".rstrip()


def parse_time(iso: str | None) -> datetime | None:
    """A time in ISO 8601; None = there is none."""
    try:
        return datetime.fromisoformat(iso) if iso else None
    except ValueError:
        return None

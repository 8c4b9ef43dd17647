"""Quotes in CSV: pyarrow takes a cell like `"a"b` for `ab`, and the rest of a file for an open cell."""

from __future__ import annotations

import codecs


class QuoteWatch:
    """Sees the bytes of a CSV file in order, and whether their quotes are where they belong.

    Between quotes, the text is in turn outside and inside of quoted cells. Outside it is empty (a
    doubled quote inside a cell), or it begins and ends with a delimiter or the end of a line.

    Args:
        quote: The quote character.
        delimiter: The delimiter.

    Attributes:
        is_open: Whether the file, as far as it was seen, ends inside a quoted cell.
        is_odd: Whether a quote is where none belongs. It may still be one in the middle of an
            unquoted cell, which is text like any other; if so, `is_open` may be wrong.
    """

    def __init__(self, quote: str, delimiter: str) -> None:
        self.is_open: bool = False
        self.is_odd: bool = False
        self._quote = quote.encode()
        self._ends = (delimiter.encode(), b"\n", b"\r")
        self._is_first = True
        self._outside = b"\n"  # the text since the last closing quote, as far as it matters

    def __call__(self, data: bytes) -> None:
        """Look at the next bytes."""
        if self._is_first:
            data, self._is_first = data.removeprefix(codecs.BOM_UTF8), False
        pieces = data.split(self._quote)
        if not self.is_open:
            pieces[0] = self._outside + pieces[0]
        outside = pieces[int(self.is_open) :: 2]
        self.is_open ^= len(pieces) % 2 == 0
        self._outside = b"" if self.is_open else outside.pop()
        ends = self._ends
        self.is_odd |= not all(
            not piece or (piece.startswith(ends) and piece.endswith(ends)) for piece in set(outside)
        )
        self.is_odd |= bool(self._outside) and not self._outside.startswith(ends)
        self._outside = self._outside[:1] + self._outside[-1:]

"""`made_once`: JSON text of many small values."""

from __future__ import annotations

import json
import json.encoder
from collections.abc import Callable
from typing import Any


def made_once(encoder: json.JSONEncoder) -> Callable[[Any], str]:
    """`encoder.encode`, which makes an encoder in C for each value, with one that is made once.

    Args:
        encoder: Without an indent, sorted keys or skipped ones, and of `ensure_ascii=False`.
    """
    coder: Any = json.encoder
    separators = encoder.key_separator, encoder.item_separator
    try:
        # Without the dict in which it looks for values that hold themselves: threads would share it.
        in_c = coder.c_make_encoder(
            *(None, encoder.default, coder.encode_basestring, None, *separators),
            *(False, False, encoder.allow_nan),
        )
    except TypeError:  # this Python has none, or makes it in another way
        return encoder.encode

    def encode(value: Any) -> str:
        try:
            return "".join(in_c(value, 0))
        except RecursionError:
            return encoder.encode(value)  # says if the value holds itself

    return encode

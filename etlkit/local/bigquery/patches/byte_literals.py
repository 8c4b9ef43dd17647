r"""BYTES literals and parameters.

Real BigQuery: `b'\xff\000'` may have any byte, and a BYTES parameter has the bytes that the client
sent. The emulator: it passed the escapes to DuckDB as escapes of text, which must be valid UTF-8
without NUL ("pg_verifymbstr NOT IMPLEMENTED"), and did not decode the base64 of parameters.

What remains: raw BYTES literals (`rb'…'`) are not supported.
"""

from __future__ import annotations

import base64
import re
from typing import Any, Final

import sqlglot
from bqemulator.sql.translator import SQLTranslator
from sqlglot.tokens import TokenType

from etlkit.local.bigquery.patches.table import PATCHES

_ESCAPE: Final = re.compile(rb"\\(?:[xX]([0-9a-fA-F]{2})|([0-3][0-7]{2})|(.))", re.DOTALL)
_BEGINS: Final = re.compile(r"[bB][rR]?['\"]")
_NAMED: Final = {
    b"a": b"\a",
    b"b": b"\b",
    b"f": b"\f",
    b"n": b"\n",
    b"r": b"\r",
    b"t": b"\t",
    b"v": b"\v",
}
"""Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical#escape_sequences"""


def in_hex(sql: str) -> str:
    """Replace each BYTES literal with escapes or other characters than ASCII by a call of FROM_HEX."""
    if _BEGINS.search(sql) is None:
        return sql
    try:
        tokens = sqlglot.tokenize(sql, read="bigquery")
    except sqlglot.errors.SqlglotError:
        return sql  # the translator reports the error
    for token in reversed(tokens):
        if token.token_type is TokenType.BYTE_STRING:
            text = sql[token.start : token.end + 1]
            if "\\" in text or not text.isascii():
                sql = f"{sql[: token.start]}FROM_HEX('{_value(text).hex()}'){sql[token.end + 1 :]}"
    return sql


def _value(literal: str) -> bytes:
    quotes = 3 if literal[1:4] in {"'''", '"""'} else 1
    return _ESCAPE.sub(_unescape, literal[1 + quotes : -quotes].encode())


def _unescape(match: re.Match[bytes]) -> bytes:
    by_hex, by_octal, char = match.groups()
    if by_hex is not None:
        return bytes.fromhex(by_hex.decode())
    if by_octal is not None:
        return bytes([int(by_octal, 8)])
    return _NAMED.get(char, char)


def _translate(translator: SQLTranslator, bq_sql: str, **options: Any) -> Any:
    return _plain_translate(translator, in_hex(bq_sql), **options)


_plain_translate = SQLTranslator.translate


def apply() -> None:
    """Replace such literals before each translation, and decode parameters."""
    PATCHES.replace("bqemulator.sql.translator:SQLTranslator.translate", _translate)
    PATCHES.replace("bqemulator.sql.parameters:_SCALAR_CONVERTERS[BYTES]", base64.b64decode)

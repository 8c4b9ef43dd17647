"""Bodies of requests that are no JSON: forms, and files in forms."""

from __future__ import annotations

from collections.abc import Mapping
from mimetypes import guess_type
from pathlib import Path
from typing import Any, Final, TypeAlias

from urllib3.fields import RequestField
from urllib3.filepost import encode_multipart_formdata

from etlkit.calls.address import query_of, texts_of

FORM: Final = "application/x-www-form-urlencoded"

File: TypeAlias = "bytes | Path | tuple[str, bytes] | tuple[str, bytes, str]"
"""A file in a form: its bytes, a path, or its name, bytes and perhaps content type."""


def form_body(fields: Mapping[str, Any]) -> bytes:
    """A form as browsers send it.

    Args:
        fields: As query parameters.

    Raises:
        RowError: A value has no text.
    """
    return query_of(fields).encode()


def multipart_body(fields: Mapping[str, Any], files: Mapping[str, File]) -> tuple[bytes, str]:
    """A form with files, and its content type.

    Args:
        fields: As query parameters.
        files: Name to file.

    Raises:
        RowError: A value has no text.
        OSError: A file cannot be read.
    """
    parts = [_part(name, text.encode(), None, None) for name, text in texts_of(fields)]
    for name, file in files.items():
        filename, data, *kind = _named(name, file)
        guessed = guess_type(filename)[0] or "application/octet-stream"
        parts.append(_part(name, data, filename, kind[0] if kind else guessed))
    return encode_multipart_formdata(parts)


def _named(name: str, file: File) -> Any:
    if isinstance(file, Path):
        return file.name, file.read_bytes()
    return (name, file) if isinstance(file, bytes) else file


def _part(name: str, data: bytes, filename: str | None, kind: str | None) -> RequestField:
    part = RequestField(name, data, filename)
    part.make_multipart(content_type=kind)
    return part

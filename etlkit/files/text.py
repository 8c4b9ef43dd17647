"""Text files: decompressed, and decoded into lines."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, cast

import pyarrow as pa

from etlkit.errors import SourceError

if TYPE_CHECKING:
    from etlkit.files.file import File

ENDINGS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
_UNREADABLE = (EOFError, zlib.error, OSError)


def compression_of(file: File, declared: str) -> str | None:
    """How a file is compressed; `declared` is the source's option. None = it is not."""
    if declared != "infer":
        return declared
    ending = next((each for each in ENDINGS if file.name.lower().endswith(each)), "")
    return file.encoded or ENDINGS.get(ending)


@contextmanager
def opened(file: File, declared: str) -> Iterator[IO[bytes]]:
    """Open a file and decompress it; `declared` is the source's `compression`.

    Raises:
        SourceError: It is not compressed like that, or it is cut off.
    """
    with file.open() as raw:
        raw.peek(1)  # a web server says how it compressed the file before the first byte
        kind = compression_of(file, declared)
        try:
            with _decompressed(raw, kind) as stream:
                yield stream
        except _UNREADABLE as error:
            if kind is None or getattr(error, "errno", None) is not None:
                raise
            raise SourceError(
                f"{file.name} cannot be decompressed as {kind} ({type(error).__name__}): it is "
                "damaged, or `compression` is wrong",
                stage="read",
            ) from error


def _decompressed(raw: io.BufferedReader, kind: str | None) -> IO[bytes]:
    if kind == "gzip":
        return cast("IO[bytes]", gzip.GzipFile(fileobj=raw))
    if kind == "bz2":
        return bz2.BZ2File(raw)
    if kind == "zstd":
        return io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(raw, "r"), "zstd"))
    return raw


@contextmanager
def as_text(file: File, declared: str, encoding: str) -> Iterator[io.TextIOWrapper]:
    """Open a file as text, with its own line ends and without a byte order mark.

    Raises:
        SourceError: As `opened`, or it is in another encoding.
    """
    codec = "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding
    with opened(file, declared) as stream:
        text = io.TextIOWrapper(stream, codec, newline="")
        try:
            yield text
        except UnicodeDecodeError as error:
            raise not_in_encoding(file, encoding) from error
        finally:
            text.detach()


class Utf8Stream(io.RawIOBase):
    """A stream of text in another encoding, as UTF-8.

    pyarrow could decode it itself, but keeps what it has decoded in objects of Python, on its threads:
    nobody knows when it has given all of them back, and until then the process must not end.

    Args:
        stream: The stream to read.
        encoding: One of Python's codecs.
    """

    def __init__(self, stream: IO[bytes], encoding: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._pending = b""

    def readable(self) -> bool:
        """See `io.RawIOBase`."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """See `io.RawIOBase`.

        Raises:
            UnicodeDecodeError: The text is in another encoding.
        """
        is_over = False
        while not is_over and (size < 0 or not self._pending):
            data = self._stream.read(size)
            is_over = not data
            self._pending += self._decoder.decode(data, final=is_over).encode()
        end = len(self._pending) if size < 0 else size
        taken, self._pending = self._pending[:end], self._pending[end:]
        return taken


def not_in_encoding(file: File, encoding: str) -> SourceError:
    """The error for a file whose text is in another encoding."""
    return SourceError(
        f"{file.name} is not in {encoding}; set its encoding with encoding=…, e.g. cp932",
        stage="read",
    )
